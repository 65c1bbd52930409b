"""Damage weight files of every format for a while and hold the reader to its promises.

    python tests/fuzz_read.py --minutes 15 [--seed N] [--failures FOLDER]

Whatever a file holds, opening it and reading all arrays ends in time, within the memory stated,
opens no other file, and raises nothing but `Vox2FaceError`. Files that break this are kept.
"""

from __future__ import annotations

import argparse
import contextlib
import os
import random
import resource
import shutil
import signal
import subprocess
import sys
import tempfile
import time
from collections import Counter
from pathlib import Path

sys.path.insert(0, str(Path(__file__).parent))

import numpy as np
from damage import damaged

from vox2face.converters.read import open_weights, row_blocks
from vox2face.errors import Vox2FaceError

SECONDS = 5.0
GRACE = 3.0  # for a busy machine, and for the child process that is given the same time
MEMORY = 64 << 20
OK, REFUSED, FAILED = 0, 1, 2


def read_all(path: Path) -> int:
    """Open a file and read every value; return the number of bytes read."""
    total = 0
    with open_weights(path) as file, tempfile.TemporaryFile() as spool:
        for array in file.arrays:
            values = file.open(array, spool)
            for block in row_blocks(array.shape, 1 << 20):
                np.array(values[block])
            total += array.nbytes
    return total


def promise(path: Path, size: int) -> tuple[int, str]:
    """Read a file here; return what became of it, with the reason of a failure."""
    opened: list[str] = []
    allowed = (str(path.parent), tempfile.gettempdir(), sys.prefix, sys.base_prefix, "/proc/self")

    def watch(event: str, arguments: tuple[object, ...]) -> None:
        if event == "open" and isinstance(arguments[0], (str, os.PathLike)):
            name = os.fspath(arguments[0])
            if not str(name).startswith((*allowed, str(Path(__file__).parents[1]))):
                opened.append(str(name))

    sys.addaudithook(watch)
    usage = [resource.getrusage(who).ru_maxrss for who in WHO]
    start = time.monotonic()
    try:
        read_all(path)
        result = OK
    except Vox2FaceError as error:
        result = REFUSED
        if str(path.parent) not in str(error) or "\n" in str(error) or len(str(error)) > 2000:
            return FAILED, f"not one sentence about the file: {error}"
    except BaseException as error:
        return FAILED, f"{type(error).__name__}: {error}"
    if time.monotonic() - start > SECONDS + GRACE:
        return FAILED, f"{time.monotonic() - start:.1f} s"
    base = usage[0]  # a child process starts with what this one has
    grown = max(resource.getrusage(who).ru_maxrss for who in WHO) - base
    if grown * 1024 > 2 * size + MEMORY:
        return FAILED, f"{grown / 1024:.0f} MB of memory"
    return (FAILED, f"it opened {opened[0]}") if opened else (result, "")


WHO = (resource.RUSAGE_SELF, resource.RUSAGE_CHILDREN)


def in_child(path: Path, size: int) -> tuple[int, str]:
    """Try a file in a child process, so that crashes and memory are exact."""
    reader, writer = os.pipe()
    child = os.fork()
    if not child:
        os.close(reader)
        signal.alarm(int(2 * (SECONDS + GRACE)))
        code, words = FAILED, "left early"
        try:
            code, words = promise(path, size)
        finally:
            os.write(writer, words.encode("utf-8", "replace")[:4000])
            os._exit(code)
    os.close(writer)
    with os.fdopen(reader, "rb") as pipe:
        words = pipe.read().decode()
    _, status = os.waitpid(child, 0)
    if os.WIFSIGNALED(status):
        return FAILED, f"signal {os.WTERMSIG(status)} {words}"
    return os.waitstatus_to_exitcode(status), words


def prepare(folder: Path) -> list[Path]:
    """Write the seed files in another process, so that no framework is loaded in this one."""
    script = Path(__file__).with_name("seeds.py")
    subprocess.run([sys.executable, str(script), str(folder)], check=True)
    found = sorted(path for path in folder.rglob("*") if path.is_file())
    for path in found:  # imports what reading needs
        with contextlib.suppress(Vox2FaceError):
            read_all(path)
    return found


def main() -> int:
    """Run for some minutes and report."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--minutes", type=float, default=1)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--failures", type=Path, default=Path("fuzz-failures"))
    options = parser.parse_args()
    rng, counts = random.Random(options.seed), Counter[str]()
    end = time.monotonic() + 60 * options.minutes
    with tempfile.TemporaryDirectory() as name:
        seeds = Path(name) / "seeds"
        seeds.mkdir()
        paths = prepare(seeds)
        contents = {path: path.read_bytes() for path in paths}
        while time.monotonic() < end:
            case = Path(name) / "case"
            chosen = rng.choice(paths)
            alone = chosen.parent == seeds
            case.mkdir()
            for path in [chosen] if alone else [p for p in paths if p.parent == chosen.parent]:
                (case / path.name).write_bytes(contents[path])
            new = damaged(chosen.name, contents[chosen], [*contents.values()], rng)
            (case / chosen.name).write_bytes(new)
            given = case / chosen.name if alone else next(case.glob("*.json"))
            size = sum(path.stat().st_size for path in case.iterdir())
            code, words = in_child(given, size)
            counts[["ok", "refused", "failed"][code]] += 1
            if code == FAILED:
                kept = options.failures / f"{options.seed}-{sum(counts.values())}"
                shutil.copytree(case, kept)
                print(f"{kept / given.name}: {words}", flush=True)
            shutil.rmtree(case)
            if sum(counts.values()) % 5000 == 0:
                print(dict(counts), flush=True)
    print(dict(counts))
    return 1 if counts["failed"] else 0


if __name__ == "__main__":
    sys.exit(main())
