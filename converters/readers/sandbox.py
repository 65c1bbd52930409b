"""Let a child process read a foreign file, so that what the file breaks is not ours.

h5py, PyTorch and zipfile read files that may be damaged or made to harm: they can crash, hang or
take all memory. The child answers with names and shapes and writes values into a file of ours,
which is all that is read here.
"""

from __future__ import annotations

import contextlib
import json
import os
import signal
import subprocess
import sys
import tempfile
import threading
from collections.abc import Sequence
from pathlib import Path
from typing import IO, Any

from vox2face.converters.readers.base import GREEDY
from vox2face.core.errors import WeightFileError

WALL_SECONDS, SLOWEST = 120.0, 1 << 20  # for an answer, and bytes of the file for each one more
GRACE = 0.2  # seconds, for a child that is done
MODULE = "vox2face.converters.readers"


class Child:
    """A child process that reads one file; see `vox2face.converters.readers.__main__`."""

    def __init__(self, path: Path, state: str = "") -> None:
        self.path = path
        self.errors: IO[bytes] = tempfile.TemporaryFile()  # noqa: SIM115  (closed in `end`)
        self.process = subprocess.Popen(
            [sys.executable, "-P", "-m", MODULE, os.fspath(path), state],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=self.errors,
            env={**os.environ, "PYTHONPATH": os.pathsep.join(filter(None, map(str, sys.path)))},
        )
        self.late = False

    def answer(self) -> dict[str, Any]:
        """Return the child's next message.

        Raises `WeightFileError` for a file that it refuses, or does not survive.
        """
        assert self.process.stdout is not None
        patience = WALL_SECONDS + self.path.stat().st_size / SLOWEST
        timer = threading.Timer(patience, self.expire)
        timer.start()
        try:
            for line in self.process.stdout:
                with contextlib.suppress(ValueError, TypeError, AttributeError, KeyError):
                    message: dict[str, Any] = json.loads(line)
                    kind = message.pop("kind")
                    break  # all else is what something prints as Python starts
            else:
                raise self.death(patience)
        finally:
            timer.cancel()
        if kind == "refused":
            raise WeightFileError(str(message["words"]))
        if kind == "disk":
            raise OSError(message["number"], os.strerror(message["number"]))
        return message

    def expire(self) -> None:
        """End a child that does not answer in time."""
        self.late = True
        self.process.kill()

    def ask(self, spool: Path, arrays: Sequence[int]) -> None:
        """Let the child write arrays, by their numbers, into a new file."""
        assert self.process.stdin is not None
        request = json.dumps({"spool": str(spool), "arrays": list(arrays)}) + "\n"
        with contextlib.suppress(BrokenPipeError):  # its last words say why
            self.process.stdin.write(request.encode())
            self.process.stdin.flush()
        self.answer()

    def death(self, patience: float) -> WeightFileError:
        """Return the error for a child that ended without an answer, in so many seconds."""
        code = self.process.wait()
        if self.late:
            return WeightFileError(
                f"{self.path} is refused: reading it took longer than {patience:.0f} s."
            )
        if code == -getattr(signal, "SIGXCPU", 0):
            why = "reading it takes far longer than files of its size do"
        elif code == GREEDY:
            why = "reading it takes too much memory"
        elif code in (-signal.SIGTERM, -getattr(signal, "SIGKILL", 0)):
            return WeightFileError(
                f"Reading {self.path} was ended from outside, perhaps because memory ran out: try "
                "again."
            )
        elif code < 0:
            why = "the library that reads it crashes on it"
        else:
            self.errors.seek(0)
            words = self.errors.read()[-2000:].decode("utf-8", "replace").strip()
            why = f"its reader ended with code {code}: {words.rpartition(chr(10))[2] or 'no words'}"
        return WeightFileError(f"{self.path} is damaged ({why}).")

    def end(self) -> None:
        """End the child, whatever it does."""
        assert self.process.stdin is not None and self.process.stdout is not None
        with contextlib.suppress(OSError):
            self.process.stdin.close()  # which a child that has nothing to do ends by
        try:
            self.process.wait(GRACE)
        except subprocess.TimeoutExpired:
            self.process.kill()
            self.process.wait()
        self.process.stdout.close()
        self.errors.close()
