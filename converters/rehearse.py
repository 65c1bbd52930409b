"""Let a child process read a foreign file first, so that what it breaks is not ours.

libhdf5 is C: a damaged file can make it loop for ever, take all memory or crash, and nothing in
the same process could stop it.
"""

from __future__ import annotations

import os
import signal
import time
import warnings
from collections.abc import Callable
from pathlib import Path

from vox2face.errors import WeightFileError

SECONDS = 5.0
MEMORY = 64 << 20  # bytes; reading the names and shapes of a real file takes a few MB
GREEDY = 3  # exit code


def rehearse(path: Path, read: Callable[[Path], object]) -> None:
    """Run `read(path)` in a child process; raise `WeightFileError` if that must not be repeated.

    An error of `read` itself is not reported here: it will come again where it is explained.
    On systems that cannot fork nothing happens.
    """
    if not hasattr(os, "fork"):
        return
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # about threads: the child uses none of ours
        child = os.fork()
    if not child:
        act(path, read)
    status = wait(child)
    if status is None:
        raise WeightFileError(f"{path} is damaged (its lists of names never end).")
    if os.WIFSIGNALED(status):
        raise WeightFileError(f"{path} is damaged (the HDF5 library crashes on it).")
    if os.waitstatus_to_exitcode(status) == GREEDY:
        raise WeightFileError(f"{path} is damaged (its lists of names take too much memory).")


def act(path: Path, read: Callable[[Path], object]) -> None:
    """Read within bounds of memory and end the child process."""
    import resource

    code = 0
    try:
        before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
        _, hard = resource.getrlimit(resource.RLIMIT_AS)
        resource.setrlimit(resource.RLIMIT_AS, (address_space() + 2 * MEMORY, hard))
        try:
            read(path)
        except MemoryError:
            code = GREEDY
        except Exception:
            code = 0
        grown = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before
        code = GREEDY if grown * 1024 > MEMORY else code
    finally:
        os._exit(code)


def address_space() -> int:
    """Return the bytes of address space this process has, or much where nobody tells."""
    try:
        pages = int(Path("/proc/self/statm").read_text().split()[0])
    except OSError:
        return 1 << 46
    return pages * os.sysconf("SC_PAGE_SIZE")


def wait(child: int) -> int | None:
    """Return the status of a child process that ends in time, or None after killing it."""
    deadline, pause = time.monotonic() + SECONDS, 0.0005
    while time.monotonic() < deadline:
        done, status = os.waitpid(child, os.WNOHANG)
        if done:
            return status
        time.sleep(pause)
        pause = min(2 * pause, 0.02)
    os.kill(child, signal.SIGKILL)
    os.waitpid(child, 0)
    return None
