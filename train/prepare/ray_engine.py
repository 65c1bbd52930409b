"""The engine on Ray: the same shards, made by the tasks and actors of a cluster.

Every machine of the cluster has to see the corpus and the output under the same path or address;
an object store is the usual way. Only a shard's description travels, never its arrays.
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
from vox2face.train.prepare.shard_task import Done, Work
from vox2face.train.prepare.stages import carry_out

RETRIES = 1  # of a shard whose worker died
TRIES = 3  # of a shard alone, each with its retries
Row = dict[str, Any]


@contextmanager
def on_ray(jobs: int | None, device: str) -> Iterator[Any]:
    """Work on the cluster at $RAY_ADDRESS, or on one that is started here for the time being.

    `jobs` limits how many shards are made at once; None leaves it to the cluster. With a device
    other than "cpu" each of the actors that compute embeddings has a GPU of its own.
    """
    quiet()
    import ray

    own = not ray.is_initialized()
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        if own:
            with _hushed():
                start(jobs)
        try:
            yield lambda works: run(works, jobs, device)
        finally:
            if own:
                ray.shutdown()


def quiet() -> None:
    """Keep Ray's news from the screen; what goes wrong is raised."""
    os.environ.setdefault("RAY_BACKEND_LOG_LEVEL", "fatal")
    os.environ.setdefault("RAY_ACCEL_ENV_VAR_OVERRIDE_ON_ZERO", "0")
    os.environ.setdefault("RAY_enable_metrics_collection", "0")
    os.environ.setdefault("RAY_USAGE_STATS_ENABLED", "0")
    os.environ.setdefault("RAY_DATA_DISABLE_PROGRESS_BARS", "1")


@contextmanager
def _hushed() -> Iterator[None]:
    """Drop what Ray's core, which is no Python, says on the standard error while it starts."""
    try:
        kept = os.dup(2)
    except OSError:  # nobody would hear it
        yield
        return
    nowhere = os.open(os.devnull, os.O_WRONLY)
    os.dup2(nowhere, 2)
    os.close(nowhere)
    try:
        yield
    finally:
        os.dup2(kept, 2)
        os.close(kept)


def start(jobs: int | None) -> None:
    """Join a cluster, or start one on this machine."""
    import ray

    options: dict[str, Any] = {"logging_level": logging.FATAL, "log_to_driver": False}
    if os.environ.get("RAY_ADDRESS"):
        ray.init(**options)
    else:
        ray.init("local", num_cpus=jobs, include_dashboard=False, **options)


def run(works: Sequence[Work], jobs: int | None, device: str) -> Iterator[Done]:
    """Yield what became of each work, the shards of dead workers being tried again.

    Where Ray gives up, those that are left are tried one by one, so that it shows which it is.
    """
    from ray.exceptions import RayError

    left = {work.number: work for work in works}
    try:
        for done in spread(list(left.values()), jobs, device):
            del left[done.work.number]
            yield done
    except RayError:
        for work in list(left.values()):
            yield again(work, device)


def again(work: Work, device: str) -> Done:
    """Try a work again, alone, until files at which processes die have been left out."""
    from ray.exceptions import RayError

    reason = ""
    for _ in range(TRIES):
        try:
            return next(spread([work], 1, device))
        except RayError as error:
            reason = str(error).strip().splitlines()[-1].rstrip(".")
    return Done(work, problem=f"{work.place} could not be made on Ray ({reason})")


def spread(works: Sequence[Work], jobs: int | None, device: str) -> Iterator[Done]:
    """Yield what the cluster makes of works. Raises what they raise, and `RayError`."""
    if not works:
        return
    import ray.data

    for name in ("ray", "ray.data"):
        logging.getLogger(name).setLevel(logging.FATAL)
    context = ray.data.DataContext.get_current()
    context.enable_progress_bars = False
    rows = [{"work": pickle.dumps(work)} for work in works]
    make: Any = carried
    options: dict[str, Any] = {"num_cpus": 1}
    source = ray.data.from_items(rows, override_num_blocks=len(rows))
    if works[0].stage.startswith("embeddings"):
        make = Actor
        actors = min(len(works), jobs or 1 << 16)
        options["compute"] = ray.data.ActorPoolStrategy(min_size=1, max_size=actors)
        options["num_gpus"] = 0 if device == "cpu" else 1
        options["max_restarts"] = -1  # the task gives up, and not the actor
        options["max_task_retries"] = RETRIES
    else:
        options["max_retries"] = RETRIES
        if jobs is not None:
            options["compute"] = ray.data.TaskPoolStrategy(size=jobs)
    results = source.map(make, **options)
    for row in results.iter_rows():
        yield opened(row["done"])


class Actor:
    """Makes shards one after the other, and keeps the network between them."""

    def __call__(self, row: Row) -> Row:
        """Make a shard."""
        return carried(row)


def carried(row: Row) -> Row:
    """Make a shard; what is known to go wrong is carried back as it is."""
    work: Work = pickle.loads(row["work"])
    try:
        return {"done": pickle.dumps(carry_out(work))}
    except Vox2FaceError as error:
        return {"done": pickle.dumps(error)}


def opened(data: bytes) -> Done:
    """Return what became of a shard, or raise what went wrong."""
    done = pickle.loads(data)
    if isinstance(done, Vox2FaceError):
        raise done
    assert isinstance(done, Done)
    return done
