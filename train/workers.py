"""Pools of processes that leave Ctrl-C to their parent and end with it."""

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
    """A pool of new processes, since forked threads of PyTorch would hang.

    `begin` is called with its arguments in each of them. In a `with` block all end at its end,
    whatever they do: what they are writing leaves nothing behind.
    """

    def __init__(self, jobs: int, begin: Callable[..., None] | None = None, *given: Any) -> None:
        super().__init__(jobs, multiprocessing.get_context("spawn"), start, (begin, given))

    def __exit__(self, *reason: Any) -> None:
        self.stop()

    def submit(self, call: Callable[..., Any], /, *given: Any, **named: Any) -> Future[Any]:
        """Give work to a process; the first call starts them."""
        with deaf():
            return super().submit(call, *given, **named)

    def stop(self) -> None:
        """End all processes at once."""
        processes = list((self._processes or {}).values())
        self.shutdown(wait=False, cancel_futures=True)
        for process in processes:
            process.terminate()
        for process in processes:
            process.join()


def as_made(
    jobs: int,
    make: Callable[[Any], Any],
    items: Sequence[Any],
    begin: Callable[..., None],
    *given: Any,
    what: str,
) -> Iterator[Any]:
    """Yield what `make` returns for each item, in the order in which they are done.

    With one job or item in this process, else in processes; each calls `begin(*given)` first.
    Raises `CorpusError` where one of them was killed; `what` says in it what they made.
    """
    jobs = min(jobs, len(items))
    if jobs < 2:
        if items:
            begin(*given)
        yield from map(make, items)
        return
    try:
        with Workers(jobs, begin, *given) as pool:
            for future in as_completed([pool.submit(make, item) for item in items]):
                yield future.result()
    except BrokenProcessPool as error:
        raise CorpusError(
            f"A process that made {what} was killed, perhaps because memory ran out: run the same "
            "command again to go on, with fewer --jobs."
        ) from error


@contextmanager
def deaf() -> Iterator[None]:
    """Let processes that start inside never hear Ctrl-C, which waits for the end of the block."""
    if not hasattr(signal, "pthread_sigmask"):  # Windows
        yield
        return
    before = signal.pthread_sigmask(signal.SIG_BLOCK, {signal.SIGINT})
    try:
        yield
    finally:
        signal.pthread_sigmask(signal.SIG_SETMASK, before)


def start(begin: Callable[..., None] | None, given: tuple[Any, ...]) -> None:
    """Make a worker end with its parent, leave Ctrl-C to it, and warn in one line."""
    warnings.showwarning = show_warning
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    signal.signal(signal.SIGTERM, lambda number, frame: os._exit(128 + number))
    parent = multiprocessing.parent_process()
    assert parent is not None

    def follow() -> None:
        parent.join()
        os._exit(1)

    threading.Thread(target=follow, daemon=True).start()
    if begin is not None:
        begin(*given)
