"""The child process: reads one foreign file within limits, and answers in lines of JSON.

It first says what the file declares, then writes the values it is asked for as float32 into a
safetensors file. Whatever breaks here is not the process that asked.
"""

from __future__ import annotations

import json
import os
import sys
import threading
import time
import zipfile
from collections.abc import Sequence
from contextlib import AbstractContextManager
from dataclasses import astuple, fields
from importlib import import_module
from pathlib import Path
from typing import Any

import numpy as np

from vox2face.converters.readers.base import EXPANSION, GREEDY, Declared, Opened, explained
from vox2face.core.errors import Vox2FaceError, WeightFileError
from vox2face.core.files import FULL_DISK, ONNX, identify, signature
from vox2face.core.safetensors_header import header

SECONDS, RATE = 5, 20 << 20  # of computing: for any file, and bytes declared for each one more
MEMORY = 400 << 20  # bytes, beside twice the declared ones
MOST: list[int] = []  # the bytes that this process may take, where it has to look itself
PYTORCH = "a PyTorch file"
READERS = {  # by what `identify` says; tfjs for all others
    "HDF5": "keras.reader",
    "a zip archive": "zip_archive",
    PYTORCH: "pytorch",
    "a safetensors file": "safetensors_file",
    ONNX: "onnx_file",
}


def main(arguments: Sequence[str]) -> None:
    """Read the file that is named, answer, and write values as long as they are asked for."""
    answers = os.fdopen(os.dup(1), "w")
    os.dup2(2, 1)  # what a library prints is no answer

    def say(**message: Any) -> None:
        print(json.dumps(message), file=answers, flush=True)

    path, state = Path(arguments[0]), arguments[1]
    try:
        with explained(path):
            reader = reader_of(path, state)  # imports before the limits
            before = signature(path)
            limit(held(path))
            with reader as file:
                size = sum(p.stat().st_size for p in (path, *file.parts))
                file.checked(size)
                limit(sum(array.nbytes for array in file.arrays))
                say(**described(file), kind="opened", size=size, signature=before)
                for line in sys.stdin:
                    asked = json.loads(line)
                    write(file, asked["arrays"], Path(asked["spool"]))
                    if signature(path) != before:
                        raise WeightFileError("it has changed while it was read: try again")
                    say(kind="written")
    except Vox2FaceError as error:
        say(kind="refused", words=str(error))
    except OSError as error:
        if error.errno not in FULL_DISK:
            raise
        say(kind="disk", number=error.errno)


def reader_of(path: Path, state: str) -> AbstractContextManager[Opened]:
    """Return the reader of a file by its kind; those that are not needed are not imported."""
    kind = identify(path)
    if kind == "a zip archive" and is_pytorch(path):
        kind = PYTORCH
    if state and kind != PYTORCH:
        raise WeightFileError("it has no state dicts: --state chooses among those of PyTorch")
    module = import_module(f"vox2face.converters.readers.{READERS.get(kind, 'tfjs')}")
    reader: AbstractContextManager[Opened] = module.opened(path, *([state] if state else []))
    return reader


def is_pytorch(path: Path) -> bool:
    """Whether a zip archive is one that torch.save writes."""
    with zipfile.ZipFile(path) as archive:
        names = archive.namelist()
    inside = any(name.partition("/")[2] == "data.pkl" or name == "data.pkl" for name in names)
    return inside and "model.weights.h5" not in names


def held(path: Path) -> int:
    """Return the bytes of a file that it has on its disk: holes do not count."""
    facts = path.stat()
    blocks = getattr(facts, "st_blocks", None)  # which file systems that compress have fewer of
    return facts.st_size if blocks is None else min(facts.st_size, EXPANSION * 512 * blocks)


def limit(declared: int) -> None:
    """Let this process end that computes or takes much more than `declared` bytes need."""
    try:
        import resource
    except ImportError:  # Windows has no such limits; the time without an answer is limited
        return

    def bound(kind: int, most: int) -> None:
        hard = resource.getrlimit(kind)[1]
        resource.setrlimit(
            kind, (most if hard == resource.RLIM_INFINITY else min(most, hard), hard)
        )

    bound(resource.RLIMIT_CORE, 0)
    bound(resource.RLIMIT_CPU, int(time.process_time()) + 1 + SECONDS + declared // RATE)
    taken, allowed = data(), MEMORY + 2 * declared
    if taken is not None:
        bound(resource.RLIMIT_DATA, taken + allowed)  # maps of files do not count
        return
    watched = bool(MOST)  # macOS, which does not keep to such a limit either
    MOST[:] = [resident() + allowed]
    if not watched:
        threading.Thread(target=_watch, daemon=True).start()


def _watch() -> None:
    """End this process once it takes more memory than it may."""
    while resident() <= MOST[0]:
        time.sleep(0.05)
    os._exit(GREEDY)


def resident() -> int:
    """Return the most bytes that this process ever had in memory."""
    import resource

    unit = 1 if sys.platform == "darwin" else 1024
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * unit


def data() -> int | None:
    """Return the bytes of memory this process has asked for; None where nobody tells."""
    try:
        return int(Path("/proc/self/statm").read_text().split()[5]) * os.sysconf("SC_PAGE_SIZE")
    except OSError:
        return None


def described(file: Opened) -> dict[str, Any]:
    """Return everything about a file but its values, as plain data."""
    return {
        **{field.name: getattr(file, field.name) for field in fields(Declared)},
        "parts": [str(path) for path in file.parts],
        "arrays": [astuple(array) for array in file.arrays],
    }


def write(file: Opened, numbers: Sequence[int], target: Path) -> None:
    """Write arrays as a safetensors file in which each is named by its number."""
    with target.open("xb") as spool:
        spool.write(header((str(n), file.arrays[n].shape) for n in numbers))
        for number in numbers:
            array, start = file.arrays[number], spool.tell()
            for block in file.blocks(number):
                spool.write(np.ascontiguousarray(block, "<f4").data)
            if spool.tell() - start != array.nbytes:
                raise WeightFileError(f"{array.path} holds other values than it declares")


if __name__ == "__main__":
    main(sys.argv[1:])
