"""The command as a program: standard streams that cannot fail the work, signals that end it."""

from __future__ import annotations

import errno
import io
import os
import signal
import sys
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any


class Watched(io.RawIOBase):
    """A standard stream that drops what cannot be written to it, and keeps the reasons."""

    def __init__(self, stream: io.TextIOWrapper, refused: list[OSError]) -> None:
        self.stream, self.refused = stream, refused  # the stream, lest it be closed
        self.raw: Any = getattr(stream.buffer, "raw", stream.buffer)

    def write(self, data: Any) -> int:
        """Write bytes, and return how many."""
        try:
            count: int = self.raw.write(data)
        except OSError as error:
            self.refused[:] = [error]
            count = len(data)
        return count

    def writable(self) -> bool:
        """Return that it is for writing."""
        return True

    def fileno(self) -> int:
        """Return the number that the system knows it by."""
        return self.stream.fileno()

    def isatty(self) -> bool:
        """Whether somebody watches."""
        return self.stream.isatty()


@contextmanager
def program() -> Iterator[None]:
    """Let what runs inside, and ends by `SystemExit`, be the whole of this process."""
    open_missing()
    refused: list[OSError] = []
    sys.stdout, sys.stderr = watched(sys.stdout, refused), watched(sys.stderr, [])
    on_signals(lambda number, frame: sys.exit(128 + number))
    try:
        yield
    except SystemExit as end:
        sys.stdout.flush()
        if refused and refused[0].errno != errno.EPIPE and not end.code:
            reason = refused[0].strerror
            sys.stderr.write(f"Error: Standard output cannot be written ({reason}).\n")
            raise SystemExit(1) from None
        raise
    finally:
        on_signals(signal.SIG_DFL)  # nothing is left that would have to be undone


def on_signals(action: Any) -> None:
    """Set what Ctrl-C and SIGTERM do, unless they are ignored, as in the background of a script."""
    if threading.current_thread() is threading.main_thread():  # no other may
        for number in (signal.SIGINT, signal.SIGTERM):
            if signal.getsignal(number) is not signal.SIG_IGN:
                signal.signal(number, action)


def open_missing() -> None:
    """Open streams that this process was started without, or files would get their numbers."""
    for name, mode in (("stdin", "r"), ("stdout", "w"), ("stderr", "w")):
        if getattr(sys, name) is None:
            stream = open(os.devnull, mode, encoding="utf-8")  # noqa: SIM115, PTH123  (stays open)
            os.set_inheritable(stream.fileno(), True)
            setattr(sys, name, stream)


def watched(stream: Any, refused: list[OSError]) -> Any:
    """Return a standard stream that does not fail; one that is of no process stays as it is."""
    if not isinstance(stream, io.TextIOWrapper):
        return stream
    return io.TextIOWrapper(
        io.BufferedWriter(Watched(stream, refused)),
        encoding=stream.encoding,
        errors=stream.errors,
        line_buffering=stream.line_buffering,
    )
