"""Where shards are made: in this process, in a pool of processes, or on a cluster by Ray.

An engine takes works and yields what became of each, in any order; the shards themselves are
written by whoever makes them. What `carry_out` raises (a full disk, say) ends the run.
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
from vox2face.train.prepare.shard_task import Done, Work
from vox2face.train.prepare.stages import carry_out
from vox2face.train.prepare.trace import left_behind
from vox2face.train.workers import Workers

Engine = Callable[[Sequence[Work]], Iterator[Done]]
ENGINES = ("local", "ray")
TRIES = 7  # of a shard alone; three files in it may end their processes


def engine(name: str, jobs: int | None, device: str) -> AbstractContextManager[Engine]:
    """Return an engine by name, "local" or "ray"; None jobs are one for each core there is."""
    if name not in ENGINES:
        raise UsageError(f"There is no engine {name!r}: use {' or '.join(ENGINES)}.")
    if name == "ray":
        require("ray", "The engine ray")
        from vox2face.train.prepare.ray_engine import on_ray

        return on_ray(jobs, device)
    return local(jobs or cores())


def cores() -> int:
    """Return how many cores this process may use."""
    if hasattr(os, "sched_getaffinity"):
        return len(os.sched_getaffinity(0))
    return os.cpu_count() or 1


@contextmanager
def local(jobs: int) -> Iterator[Engine]:
    """Work in this process, or with more than one job in a pool of processes."""
    pool = Pool(jobs)
    try:
        yield pool.run if jobs > 1 else functools.partial(here, pool)
    finally:
        pool.stop()


def here(pool: Pool, works: Sequence[Work]) -> Iterator[Done]:
    """Make shards in this process; from the first at which a process died, in one of the pool."""
    for number, work in enumerate(works):
        if left_behind(work.place):
            yield from pool.run(works[number:])
            return
        try:
            yield carry_out(work)
        except MemoryError:
            yield pool.again(work)


class Pool:
    """Processes of one PyTorch thread each, replaced when one of them dies.

    Who was at work when a process died is tried again one at a time, so that further deaths tell
    which shard and which file it is; the others go on.
    """

    def __init__(self, jobs: int) -> None:
        self.jobs = jobs
        self.workers: Workers | None = None

    def run(self, works: Sequence[Work]) -> Iterator[Done]:
        """Yield what became of each work."""
        waiting, suspects = list(reversed(works)), list[Work]()
        running: dict[Future[Done], Work] = {}
        while waiting or running:
            while waiting and len(running) < self.jobs:
                work = waiting.pop()
                running[self.submit(work)] = work
            for future in wait(running, return_when=FIRST_COMPLETED).done:
                work = running.pop(future)
                try:
                    yield future.result()
                except (BrokenProcessPool, MemoryError):
                    suspects.append(work)
            if suspects and not running:
                self.stop()
                for work in suspects:
                    yield self.again(work)
                suspects.clear()

    def submit(self, work: Work) -> Future[Done]:
        """Give a work to a process that is free."""
        if self.workers is None:
            self.workers = Workers(self.jobs)
        try:
            return self.workers.submit(carry_out, work)
        except BrokenProcessPool as error:
            failed: Future[Done] = Future()
            failed.set_exception(error)
            return failed

    def again(self, work: Work) -> Done:
        """Try a work again, alone, until files at which processes die have been left out."""
        for _ in range(TRIES):
            try:
                return self.submit(work).result()
            except (BrokenProcessPool, MemoryError):
                self.stop()
        return Done(work, problem=died(work))

    def stop(self) -> None:
        """End all processes at once; what they are writing leaves nothing behind."""
        workers, self.workers = self.workers, None
        if workers is not None:
            workers.stop()


def died(work: Work) -> str:
    """Return a sentence about a shard whose workers died."""
    return (
        f"{TRIES} processes that made {work.place} ended without a word, probably for lack of "
        "memory"
    )
