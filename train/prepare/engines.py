"""The engines that make shards: this process, a pool of processes, or a cluster by Ray.

An engine takes jobs and yields their results in any order; the process that makes a shard writes
it. An error that `run_job` raises (a full disk, say) ends the run.
"""

from __future__ import annotations

import functools
import os
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import FIRST_COMPLETED, Future, wait
from concurrent.futures.process import BrokenProcessPool
from contextlib import AbstractContextManager, contextmanager

from vox2face.core.errors import UsageError
from vox2face.core.extras import require
from vox2face.train.prepare.shard_task import ShardJob, ShardResult
from vox2face.train.prepare.stages import run_job
from vox2face.train.prepare.trace import has_died_at
from vox2face.train.workers import Workers

Engine = Callable[[Sequence[ShardJob]], Iterator[ShardResult]]
ENGINES = ("local", "ray")
TRIES = 7  # of a shard alone; three files in it may end their processes


def engine(name: str, jobs: int | None, device: str) -> AbstractContextManager[Engine]:
    """Return the engine "local" or "ray"; `jobs` None is one for each core.

    Raises `UsageError` for another name, or if Ray is not installed.
    """
    if name not in ENGINES:
        raise UsageError(f"There is no engine {name!r}: use {' or '.join(ENGINES)}.")
    if name == "ray":
        require("ray", "The engine ray")
        from vox2face.train.prepare.ray_engine import on_ray

        return on_ray(jobs, device)
    return local(jobs or cores())


def cores() -> int:
    """Return the number of cores that this process may use."""
    if hasattr(os, "sched_getaffinity"):
        return len(os.sched_getaffinity(0))
    return os.cpu_count() or 1


@contextmanager
def local(jobs: int) -> Iterator[Engine]:
    """Yield an engine in this process, or with more than one of `jobs` in a pool."""
    pool = Pool(jobs)
    try:
        yield pool.run if jobs > 1 else functools.partial(in_process, pool)
    finally:
        pool.stop()


def in_process(pool: Pool, shard_jobs: Sequence[ShardJob]) -> Iterator[ShardResult]:
    """Make shards in this process; use the pool from the first shard at which a process died."""
    for number, job in enumerate(shard_jobs):
        if has_died_at(job.path):
            yield from pool.run(shard_jobs[number:])
            return
        try:
            yield run_job(job)
        except MemoryError:
            yield pool.retry(job)


class Pool:
    """Processes of one PyTorch thread each, replaced when one of them dies.

    Jobs that ran when a process died are retried one at a time, so that a further death shows
    which shard and which file is the cause; the others go on.
    """

    def __init__(self, jobs: int) -> None:
        self.jobs = jobs
        self.workers: Workers | None = None

    def run(self, shard_jobs: Sequence[ShardJob]) -> Iterator[ShardResult]:
        """Yield the result of each job, in any order."""
        pending, suspects = list(reversed(shard_jobs)), list[ShardJob]()
        running: dict[Future[ShardResult], ShardJob] = {}
        while pending or running:
            while pending and len(running) < self.jobs:
                job = pending.pop()
                running[self.submit(job)] = job
            for future in wait(running, return_when=FIRST_COMPLETED).done:
                job = running.pop(future)
                try:
                    yield future.result()
                except (BrokenProcessPool, MemoryError):
                    suspects.append(job)
            if suspects and not running:
                self.stop()
                for job in suspects:
                    yield self.retry(job)
                suspects.clear()

    def submit(self, job: ShardJob) -> Future[ShardResult]:
        """Submit a job to the pool; a broken pool is an error of the future."""
        if self.workers is None:
            self.workers = Workers(self.jobs)
        try:
            return self.workers.submit(run_job, job)
        except BrokenProcessPool as error:
            failed: Future[ShardResult] = Future()
            failed.set_exception(error)
            return failed

    def retry(self, job: ShardJob) -> ShardResult:
        """Retry a job alone, until the files at which processes die have been left out."""
        for _ in range(TRIES):
            try:
                return self.submit(job).result()
            except (BrokenProcessPool, MemoryError):
                self.stop()
        return ShardResult(job, problem=death_message(job))

    def stop(self) -> None:
        """End all processes at once; half-written files are removed."""
        workers, self.workers = self.workers, None
        if workers is not None:
            workers.stop()


def death_message(job: ShardJob) -> str:
    """Return the message for a shard whose processes died."""
    return (
        f"{TRIES} processes that made {job.path} ended without an error message, probably for "
        "lack of memory"
    )
