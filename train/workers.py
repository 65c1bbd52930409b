"""Pools of processes that ignore Ctrl-C and end with their parent."""

from __future__ import annotations

import multiprocessing
import os
import signal
import threading
import warnings
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import Future, ProcessPoolExecutor, as_completed
from concurrent.futures.process import BrokenProcessPool
from contextlib import contextmanager
from typing import Any

from vox2face.core.errors import CorpusError, show_warning


class Workers(ProcessPoolExecutor):
    """A pool of spawned processes, since PyTorch's threads hang after a fork.

    `initializer` is called with its arguments in each of them. At the end of a `with` block all
    are terminated; half-written files are removed.
    """

    def __init__(
        self, jobs: int, initializer: Callable[..., None] | None = None, *arguments: Any
    ) -> None:
        super().__init__(
            jobs, multiprocessing.get_context("spawn"), _init_worker, (initializer, arguments)
        )

    def __exit__(self, *reason: Any) -> None:
        self.stop()

    def submit(self, function: Callable[..., Any], /, *args: Any, **kwargs: Any) -> Future[Any]:
        """Submit a call; the first one starts the processes."""
        with sigint_blocked():
            return super().submit(function, *args, **kwargs)

    def stop(self) -> None:
        """End all processes at once."""
        processes = list((self._processes or {}).values())
        self.shutdown(wait=False, cancel_futures=True)
        for process in processes:
            process.terminate()
        for process in processes:
            process.join()


def map_unordered(
    jobs: int,
    function: Callable[[Any], Any],
    items: Sequence[Any],
    initializer: Callable[..., None],
    *arguments: Any,
    what: str,
) -> Iterator[Any]:
    """Yield `function(item)` for each item, in the order in which they finish.

    One job or item runs in this process, more in a pool; `initializer(*arguments)` is called first.
    Raises `CorpusError` if a process was killed; `what` names in it what they made.
    """
    jobs = min(jobs, len(items))
    if jobs < 2:
        if items:
            initializer(*arguments)
        yield from map(function, items)
        return
    try:
        with Workers(jobs, initializer, *arguments) as pool:
            for future in as_completed([pool.submit(function, item) for item in items]):
                yield future.result()
    except BrokenProcessPool as error:
        raise CorpusError(
            f"A process that made {what} was killed, perhaps because memory ran out: run the same "
            "command again to go on, with fewer --jobs."
        ) from error


@contextmanager
def sigint_blocked() -> Iterator[None]:
    """Block Ctrl-C until the end of the block; processes started inside never receive it."""
    if not hasattr(signal, "pthread_sigmask"):  # Windows
        yield
        return
    blocked_before = signal.pthread_sigmask(signal.SIG_BLOCK, {signal.SIGINT})
    try:
        yield
    finally:
        signal.pthread_sigmask(signal.SIG_SETMASK, blocked_before)


def _init_worker(initializer: Callable[..., None] | None, arguments: tuple[Any, ...]) -> None:
    """Let a worker end with its parent, ignore Ctrl-C, and show warnings in one line."""
    warnings.showwarning = show_warning
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    signal.signal(signal.SIGTERM, lambda number, frame: os._exit(128 + number))
    parent = multiprocessing.parent_process()
    assert parent is not None

    def end_with_parent() -> None:
        parent.join()
        os._exit(1)

    threading.Thread(target=end_with_parent, daemon=True).start()
    if initializer is not None:
        initializer(*arguments)
