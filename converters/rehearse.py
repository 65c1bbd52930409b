"""Let a child process read a foreign file first, so that what it breaks is not ours.

libhdf5 is C: a damaged file can make it loop for ever, take all memory or crash, and nothing in
the same process could stop it.
"""

from __future__ import annotations

import json
import os
import select
import signal
import tempfile
import warnings
from collections.abc import Callable
from pathlib import Path
from typing import IO, Any

from vox2face.converters.readers.base import explained
from vox2face.errors import WeightFileError

SECONDS = 5.0
CPU_SECONDS = 2.5  # reading the structure of a real file takes a few milliseconds
MEMORY = 48 << 20  # bytes, beside those of the file; a real file takes a few
GREEDY, REFUSED = 3, 4  # exit codes
MAX_WORDS = 4000
MAX_ANSWER = 64 << 20  # bytes


def rehearse(path: Path, read: Callable[[Path], Any]) -> Any:
    """Run `read(path)` in a child process and return its result, which is plain data as in JSON.

    Raises `WeightFileError` if it fails there. What fails there is not tried here: a library that
    lacked memory there would take it here. On systems that cannot fork it is run here.
    """
    if not hasattr(os, "fork"):
        with explained(path):
            return read(path)
    end, kept_open = os.pipe()
    with tempfile.TemporaryFile() as answer:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # about threads: the child uses none of ours
            child = os.fork()
        if not child:
            act(path, read, answer)
        os.close(kept_open)
        try:
            status = wait(child, end)
        finally:
            os.close(end)
        if status is None or (os.WIFSIGNALED(status) and os.WTERMSIG(status) == signal.SIGPROF):
            raise WeightFileError(f"{path} is damaged (its lists of names never end).")
        if os.WIFSIGNALED(status):
            raise WeightFileError(f"{path} is damaged (the HDF5 library crashes on it).")
        if os.waitstatus_to_exitcode(status) == GREEDY:
            raise WeightFileError(f"{path} is damaged (its lists of names take too much memory).")
        answer.seek(0)
        said = answer.read(MAX_ANSWER)
    if os.waitstatus_to_exitcode(status) == REFUSED:
        raise WeightFileError(os.fsdecode(said) or f"{path} is damaged.")
    try:
        return json.loads(said)
    except ValueError as error:
        raise WeightFileError(f"{path} is damaged (its structure cannot be told).") from error


def act(path: Path, read: Callable[[Path], Any], answer: IO[bytes]) -> None:
    """Read within bounds of memory and time, answer, and end the child process."""
    import resource

    code = REFUSED
    try:
        signal.signal(signal.SIGPROF, signal.SIG_DFL)
        signal.setitimer(signal.ITIMER_PROF, CPU_SECONDS)
        allowed = MEMORY + (path.stat().st_size if path.exists() else 0)
        before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
        _, hard = resource.getrlimit(resource.RLIMIT_AS)
        resource.setrlimit(resource.RLIMIT_AS, (address_space() + allowed, hard))
        try:
            with explained(path):
                answer.write(json.dumps(read(path)).encode())
            code = 0
        except WeightFileError as error:
            code = GREEDY if isinstance(error.__cause__, MemoryError) else REFUSED
            answer.write(os.fsencode(str(error)[:MAX_WORDS]))
        answer.flush()
        grown = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before
        code = GREEDY if grown * 1024 > allowed else code
    finally:
        os._exit(code)


def address_space() -> int:
    """Return the bytes of address space this process has, or much where nobody tells."""
    try:
        pages = int(Path("/proc/self/statm").read_text().split()[0])
    except OSError:
        return 1 << 46
    return pages * os.sysconf("SC_PAGE_SIZE")


def wait(child: int, end: int) -> int | None:
    """Return the status of a child process that ends in time, or None after killing it.

    `end` is a pipe that only the child keeps open, so that its end is noticed at once.
    """
    select.select([end], [], [], SECONDS)
    ended, status = os.waitpid(child, os.WNOHANG)
    if not ended and select.select([end], [], [], 0)[0]:  # it closed its end and is about to end
        ended, status = os.waitpid(child, 0)
    if not ended:
        os.kill(child, signal.SIGKILL)
        os.waitpid(child, 0)
    return status if ended else None
