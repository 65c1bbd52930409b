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
from collections.abc import Sequence
from contextlib import AbstractContextManager
from io import FileIO
from pathlib import Path
from typing import Any, TextIO

import numpy as np
from numpy.typing import NDArray

from vox2face.converters.mapping import StoredArray
from vox2face.converters.readers.base import EXPANSION, GREEDY, Opened, Range, Tick, explained
from vox2face.errors import Vox2FaceError, WeightFileError
from vox2face.files import FULL_DISK, copy_range, identify, signature

SECONDS, RATE = 5, 20 << 20  # of computing: for any file, and bytes declared for each one more
MEMORY = 400 << 20  # bytes, beside twice the declared ones
MOST: list[int] = []  # the bytes that this process may take, where it has to look itself
EVERY = 0.5  # seconds between two signs of life


class Voice:
    """Says messages to the process that asked; `tick` is a sign of life, now and then."""

    def __init__(self, out: TextIO) -> None:
        self.out, self.last = out, 0.0

    def say(self, **message: Any) -> None:
        """Say one message."""
        self.out.write(json.dumps(message) + "\n")
        self.out.flush()

    def tick(self) -> None:
        """Say that work goes on, if that has not been said for a while."""
        if time.monotonic() - self.last > EVERY:
            self.last = time.monotonic()
            self.say(kind="tick")


def main(arguments: Sequence[str]) -> None:
    """Read the file that is named, answer, and write values as long as they are asked for."""
    voice = Voice(os.fdopen(os.dup(1), "w"))
    os.dup2(2, 1)  # what a library prints is no answer
    path, state = Path(arguments[0]), arguments[1]
    try:
        with explained(path):
            voice.tick()
            reader = reader_of(path, voice.tick, state)  # imports before the limits
            before = signature(path)
            limit(held(path))
            with reader as file:
                size = sum(p.stat().st_size for p in (path, *file.parts))
                file.checked(size)
                limit(sum(array.nbytes for array in file.arrays))
                voice.say(**described(file, size), signature=before)
                for line in sys.stdin:
                    asked = json.loads(line)
                    write(file, asked["arrays"], Path(asked["spool"]), voice.tick)
                    if signature(path) != before:
                        raise WeightFileError("it has changed while it was read: try again")
                    voice.say(kind="written")
    except Vox2FaceError as error:
        voice.say(kind="refused", words=str(error))
    except OSError as error:
        if error.errno not in FULL_DISK:
            raise
        voice.say(kind="disk", number=error.errno)


def reader_of(path: Path, tick: Tick, state: str) -> AbstractContextManager[Opened]:
    """Return the reader of a file by its kind."""
    kind = identify(path)
    pytorch_kind = kind == "a PyTorch file" or (kind == "a zip archive" and is_pytorch(path))
    if state and not pytorch_kind:
        raise WeightFileError("it has no state dicts: --state chooses among those of PyTorch")
    if kind == "HDF5":
        from vox2face.converters.readers import hdf5

        return hdf5.opened(path, tick)
    if kind == "a zip archive" and not pytorch_kind:
        from vox2face.converters.readers import archives

        return archives.opened(path, tick)
    if pytorch_kind:
        from vox2face.converters.readers import pytorch

        return pytorch.opened(path, tick, state)
    if kind == "a safetensors file":
        from vox2face.converters.readers import safetensors_file

        return safetensors_file.opened(path, tick)
    from vox2face.converters.readers import tfjs

    return tfjs.opened(path, tick)


def is_pytorch(path: Path) -> bool:
    """Whether a zip archive is one that torch.save writes."""
    import zipfile

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
        threading.Thread(target=watch, daemon=True).start()


def watch() -> None:
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


def described(file: Opened, size: int) -> dict[str, Any]:
    """Return everything about a file but its values, as plain data."""
    return {
        "kind": "opened",
        "format": file.format,
        "named": file.named,
        "size": size,
        "parts": [str(path) for path in file.parts],
        "facts": file.facts,
        "stamp": file.stamp,
        "told": list(file.told),
        "arrays": [(a.layer, a.name, a.path, a.shape) for a in file.arrays],
    }


def write(file: Opened, numbers: Sequence[int], target: Path, tick: Tick) -> None:
    """Write arrays as a safetensors file in which each is named by its number."""
    arrays = [file.arrays[number] for number in numbers]
    with target.open("xb", buffering=0) as spool:
        spool.write(header(numbers, arrays))
        for number, array in zip(numbers, arrays, strict=True):
            start = spool.tell()
            for block in file.blocks(number):
                append(block, spool)
                tick()
            if spool.tell() - start != array.nbytes:
                raise WeightFileError(f"{array.path} holds other values than it declares")


def append(block: NDArray[Any] | Range, spool: FileIO) -> None:
    """Write values at the end of a file."""
    if isinstance(block, Range):
        with block.path.open("rb", buffering=0) as source:
            copy_range(source, spool, block.start, block.length)
        return
    rest = memoryview(np.ascontiguousarray(block, "<f4").data).cast("B")
    while rest:
        rest = rest[spool.write(rest) or 0 :]


def header(numbers: Sequence[int], arrays: Sequence[StoredArray]) -> bytes:
    """Return the length and the JSON header of a safetensors file."""
    content, end = {}, 0
    for number, array in zip(numbers, arrays, strict=True):
        start, end = end, end + array.nbytes
        places = {"dtype": "F32", "shape": array.shape, "data_offsets": [start, end]}
        content[str(number)] = places
    text = json.dumps(content).encode()
    text += b" " * (-(len(text) + 8) % 64)
    return len(text).to_bytes(8, "little") + text


if __name__ == "__main__":
    main(sys.argv[1:])
