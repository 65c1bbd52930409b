"""The engine on Ray: the same shards, made by the tasks and actors of a cluster.

Every machine of the cluster must reach the corpus and the output under the same path or address;
an object store is the usual way. Only jobs and results are sent, never arrays.
"""

from __future__ import annotations

import logging
import os
import pickle
import warnings
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from typing import Any

from vox2face.core.errors import Vox2FaceError
from vox2face.train.prepare.shard_task import ShardJob, ShardResult
from vox2face.train.prepare.stages import run_job

RETRIES = 1  # of a shard whose worker died
TRIES = 3  # of a shard alone, each with its retries
Row = dict[str, Any]


@contextmanager
def on_ray(jobs: int | None, device: str) -> Iterator[Any]:
    """Yield an engine on the cluster at $RAY_ADDRESS, or on one that runs here until the end.

    `jobs` limits how many shards are made at once; None leaves it to the cluster. With a device
    other than "cpu" each of the actors that compute embeddings has a GPU of its own.
    """
    silence_logs()
    import ray

    started_here = not ray.is_initialized()
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        if started_here:
            with _stderr_silenced():
                start(jobs)
        try:
            yield lambda shard_jobs: run(shard_jobs, jobs, device)
        finally:
            if started_here:
                ray.shutdown()


def silence_logs() -> None:
    """Silence Ray's logs; errors are raised."""
    os.environ.setdefault("RAY_BACKEND_LOG_LEVEL", "fatal")
    os.environ.setdefault("RAY_ACCEL_ENV_VAR_OVERRIDE_ON_ZERO", "0")
    os.environ.setdefault("RAY_enable_metrics_collection", "0")
    os.environ.setdefault("RAY_USAGE_STATS_ENABLED", "0")
    os.environ.setdefault("RAY_DATA_DISABLE_PROGRESS_BARS", "1")


@contextmanager
def _stderr_silenced() -> Iterator[None]:
    """Drop what Ray's C++ core writes to standard error while it starts."""
    try:
        stderr = os.dup(2)
    except OSError:  # standard error is closed
        yield
        return
    devnull = os.open(os.devnull, os.O_WRONLY)
    os.dup2(devnull, 2)
    os.close(devnull)
    try:
        yield
    finally:
        os.dup2(stderr, 2)
        os.close(stderr)


def start(jobs: int | None) -> None:
    """Join a cluster, or start one on this machine."""
    import ray

    options: dict[str, Any] = {"logging_level": logging.FATAL, "log_to_driver": False}
    if os.environ.get("RAY_ADDRESS"):
        ray.init(**options)
    else:
        ray.init("local", num_cpus=jobs, include_dashboard=False, **options)


def run(shard_jobs: Sequence[ShardJob], jobs: int | None, device: str) -> Iterator[ShardResult]:
    """Yield the result of each job; shards whose workers died are retried.

    Where Ray gives up, the remaining jobs are retried one by one, which shows the one that fails.
    """
    from ray.exceptions import RayError

    remaining = {job.number: job for job in shard_jobs}
    try:
        for result in submit(list(remaining.values()), jobs, device):
            del remaining[result.job.number]
            yield result
    except RayError:
        for job in list(remaining.values()):
            yield retry(job, device)


def retry(job: ShardJob, device: str) -> ShardResult:
    """Retry a job alone, until the files at which processes die have been left out."""
    from ray.exceptions import RayError

    reason = ""
    for _ in range(TRIES):
        try:
            return next(submit([job], 1, device))
        except RayError as error:
            reason = str(error).strip().splitlines()[-1].rstrip(".")
    return ShardResult(job, problem=f"{job.path} could not be made on Ray ({reason})")


def submit(shard_jobs: Sequence[ShardJob], jobs: int | None, device: str) -> Iterator[ShardResult]:
    """Run jobs on the cluster and yield their results. Raises their errors, and `RayError`."""
    if not shard_jobs:
        return
    import ray.data

    for name in ("ray", "ray.data"):
        logging.getLogger(name).setLevel(logging.FATAL)
    context = ray.data.DataContext.get_current()
    context.enable_progress_bars = False
    rows = [{"job": pickle.dumps(job)} for job in shard_jobs]
    task: Any = run_row
    options: dict[str, Any] = {"num_cpus": 1}
    source = ray.data.from_items(rows, override_num_blocks=len(rows))
    if shard_jobs[0].stage.startswith("embeddings"):
        task = Actor
        actors = min(len(shard_jobs), jobs or 1 << 16)
        options["compute"] = ray.data.ActorPoolStrategy(min_size=1, max_size=actors)
        options["num_gpus"] = 0 if device == "cpu" else 1
        options["max_restarts"] = -1  # the task gives up, and not the actor
        options["max_task_retries"] = RETRIES
    else:
        options["max_retries"] = RETRIES
        if jobs is not None:
            options["compute"] = ray.data.TaskPoolStrategy(size=jobs)
    results = source.map(task, **options)
    for row in results.iter_rows():
        yield unpacked(row["result"])


class Actor:
    """Makes shards one after the other and keeps the network loaded between them."""

    def __call__(self, row: Row) -> Row:
        """Make a shard."""
        return run_row(row)


def run_row(row: Row) -> Row:
    """Make a shard; a `Vox2FaceError` is returned as the result, pickled."""
    job: ShardJob = pickle.loads(row["job"])
    try:
        return {"result": pickle.dumps(run_job(job))}
    except Vox2FaceError as error:
        return {"result": pickle.dumps(error)}


def unpacked(data: bytes) -> ShardResult:
    """Return the result of a shard, or raise its error."""
    result = pickle.loads(data)
    if isinstance(result, Vox2FaceError):
        raise result
    assert isinstance(result, ShardResult)
    return result
