"""What every reader shares: the opened file, its limits, its errors and its memory maps."""

from __future__ import annotations

import math
import mmap
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager, nullcontext
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, BinaryIO

import numpy as np
from numpy.typing import NDArray

from vox2face.converters.mapping import StoredArray
from vox2face.errors import Vox2FaceError, WeightFileError
from vox2face.files import FULL_DISK, size_text

Values = NDArray[np.float32]
Unpack = Callable[[StoredArray, BinaryIO], Values]

LEGACY = "legacy Keras HDF5"  # the format that every Keras reads
MAX_NAME = 1000  # characters
MAX_AXES = 32
# Packed values may take 4 times the file (8-bit numbers do), and this much for small files.
EXPANSION, ALLOWANCE = 4, 16 << 20
BLOCK = 1 << 20
# Arrays that count batches in training and are no weights.
COUNTERS = {"num_batches_tracked"}


@dataclass(frozen=True)
class WeightFile:
    """An open weight file: `arrays` in its own order, checked but not read; values on demand.

    `format` names the format for people. `parts` are further files that belong to it. `named` is
    False if the file does not know its layers' names, so that only their order can pair them.
    `facts` are the numbers that a training checkpoint has beside its weights, `stamp` is the text
    that a file has about itself.
    """

    path: Path
    format: str
    arrays: tuple[StoredArray, ...]
    parts: tuple[Path, ...] = ()
    named: bool = True
    unpack: Unpack | None = None
    facts: Mapping[str, Any] = field(default_factory=dict)
    stamp: Mapping[str, str] = field(default_factory=dict)
    maps: dict[Path, mmap.mmap] = field(default_factory=dict)

    @property
    def size(self) -> int:
        """The bytes of the file and its parts."""
        return sum(path.stat().st_size for path in (self.path, *self.parts))

    def open(self, array: StoredArray, spool: BinaryIO) -> Values:
        """Return the values as a read-only memory map.

        Values that lie in a file as they are get mapped there; others are unpacked into `spool`,
        an open temporary file, and mapped there. Raises `WeightFileError` if they are damaged.
        """
        with explained(self.path):
            if array.offset is not None:
                return view(self.map(array.file or self.path), array.offset, array.shape)
            if self.unpack is None:
                raise WeightFileError(f"{array.path} cannot be read")
            return self.unpack(array, spool)

    def map(self, path: Path) -> mmap.mmap:
        """Return the memory map of one of the files, which all its arrays share."""
        if path not in self.maps:
            self.maps[path] = whole(path)
        return self.maps[path]


def weight_file(
    path: Path,
    format: str,
    arrays: Sequence[StoredArray],
    parts: Sequence[Path] = (),
    named: bool = True,
    unpack: Unpack | None = None,
    facts: Mapping[str, Any] | None = None,
    stamp: Mapping[str, str] | None = None,
) -> WeightFile:
    """Return an opened file whose declarations are plausible as a whole, or raise."""
    file = WeightFile(
        path, format, tuple(arrays), tuple(parts), named, unpack, facts or {}, stamp or {}
    )
    paths = set()
    for array in file.arrays:
        if max(len(array.path), len(array.layer) + len(array.name)) > 2 * MAX_NAME:
            raise WeightFileError(f"it has a name of more than {MAX_NAME} characters")
        if array.path in paths:
            raise WeightFileError(f"{array.path} is listed twice")
        paths.add(array.path)
    require_held(sum(array.nbytes for array in file.arrays), file.size)
    return file


def require_held(wanted: int, size: int) -> None:
    """Raise if `size` bytes of a file cannot honestly hold `wanted` bytes of values."""
    if wanted > EXPANSION * size + ALLOWANCE:
        raise WeightFileError(
            f"it declares {size_text(wanted)} of values, which {size_text(size)} do not hold"
        )


def checked_shape(shape: object, path: str) -> tuple[int, ...]:
    """Return a declared shape if it is one of a real array: a few sizes of at least 1."""
    if not isinstance(shape, (list, tuple)) or len(shape) > MAX_AXES:
        raise WeightFileError(f"{path} has no shape")
    if not all(type(n) is int and 0 <= n < 1 << 62 for n in shape):
        raise WeightFileError(f"{path} has an impossible shape")
    if 0 in shape:
        raise WeightFileError(f"{path} is empty")
    return tuple(shape)


@contextmanager
def explained(path: Path) -> Iterator[None]:
    """Turn whatever goes wrong on a damaged or hostile file into one sentence."""
    try:
        yield
    except Vox2FaceError as error:
        if str(path) in str(error):
            raise
        raise WeightFileError(f"{path} is refused: {plain(error).rstrip('.')}.") from error
    except OSError as error:
        if error.errno in FULL_DISK:  # where values are unpacked to, not the file's fault
            raise
        raise damage(path, error) from error
    except Exception as error:  # libhdf5 reports damage as OSError, RuntimeError, KeyError, ...
        raise damage(path, error) from error


def damage(path: Path, error: Exception) -> WeightFileError:
    """Return the error that says how a file is damaged."""
    if "truncated file" in str(error):
        return WeightFileError(
            f"{path} is cut short ({path.stat().st_size} bytes are there): download it again."
        )
    reason = plain(error) or type(error).__name__
    return WeightFileError(f"{path} is damaged ({reason}): get the file again.")


def plain(error: Exception) -> str:
    """Return an error's words in one line of modest length."""
    words = " ".join(str(error).split())
    return words if len(words) < 500 else f"{words[:500]}..."


def row_blocks(shape: tuple[int, ...], limit: int) -> Iterator[tuple[slice, ...]]:
    """Yield index tuples that cut an array along its leading axes into blocks of <= limit bytes."""
    if not shape:
        yield ()
        return
    row = 4 * int(np.prod(shape[1:], dtype=np.int64))
    if row > limit and len(shape) > 1:
        for index in range(shape[0]):
            for rest in row_blocks(shape[1:], limit):
                yield (slice(index, index + 1), *rest)
        return
    step = max(1, limit // row)
    for start in range(0, shape[0], step):
        yield (slice(start, min(start + step, shape[0])), *(slice(None),) * (len(shape) - 1))


def mapped(file: Path | BinaryIO, offset: int, shape: tuple[int, ...]) -> Values:
    """Return float32 values of a file as a read-only memory map of their own.

    It does what np.memmap does, ten times faster: files have hundreds of arrays.
    """
    count = math.prod(shape)
    extra = offset % mmap.ALLOCATIONGRANULARITY
    with file.open("rb") if isinstance(file, Path) else nullcontext(file) as opened:
        memory = mmap.mmap(
            opened.fileno(), extra + 4 * count, access=mmap.ACCESS_READ, offset=offset - extra
        )
    return view(memory, extra, shape)


def whole(path: Path) -> mmap.mmap:
    """Return a read-only memory map of a whole file."""
    with path.open("rb") as file:
        return mmap.mmap(file.fileno(), 0, access=mmap.ACCESS_READ)


def view(memory: mmap.mmap, offset: int, shape: tuple[int, ...]) -> Values:
    """Return float32 values that lie somewhere in a memory map."""
    return np.frombuffer(memory, "<f4", math.prod(shape), offset).reshape(shape)


def reserved(spool: BinaryIO, count: int) -> int:
    """Append `count` zero bytes to an open file and return where they start.

    Writing them shows a full disk as an error; a map of missing blocks would end the process.
    """
    start = spool.seek(0, 2)
    for done in range(0, count, BLOCK):
        spool.write(bytes(min(BLOCK, count - done)))
    spool.flush()
    return start


def split_name(path: str, separators: str) -> tuple[str, str]:
    """Split a full name at its last separator: "a.b.weight" -> ("a.b", "weight").

    A name without one is a layer with one array, called "weights".
    """
    cut = max(path.rfind(separator) for separator in separators)
    return (path[:cut], path[cut + 1 :]) if cut > 0 else (path, "weights")
