"""What every reader shares: what it says of a file, limits, and errors in one sentence."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, TypeAlias

import numpy as np
from numpy.typing import NDArray

from vox2face.converters.weight_map import StoredArray
from vox2face.core.errors import Vox2FaceError, WeightFileError
from vox2face.core.files import FULL_DISK, size_text

Values = NDArray[np.float32]
Blocks: TypeAlias = Iterator[NDArray[Any]]

LEGACY = "legacy Keras HDF5"  # the format that every Keras reads
MAX_NAME = 1000  # characters
MAX_AXES = 32

# Compressed values may take 4 times the file (8-bit numbers do), and this much for small files.
EXPANSION, ALLOWANCE = 4, 16 << 20
BLOCK = 1 << 24  # bytes that are read at once
GREEDY = 3  # the exit code of a reader that takes too much memory

# Arrays that count batches in training and are no weights.
COUNTERS = {"num_batches_tracked"}

# bfloat16, which NumPy does not know, is the upper half of a float32
KINDS: dict[str, np.dtype[Any]] = {
    "float32": np.dtype("<f4"),
    "float64": np.dtype("<f8"),
    "float16": np.dtype("<f2"),
    "bfloat16": np.dtype("<u2"),
}


@dataclass(frozen=True, kw_only=True)
class Declared:
    """What a weight file says of itself: `arrays` in its own order, checked but not read.

    `format` names the format for people. `parts` are further files that belong to it. `named` is
    False if the file does not know its layers' names, so that only their order can pair them.
    `facts` are the numbers that a training checkpoint has beside its weights, `stamp` is the text
    that a file has about itself, `told` are sentences about what was chosen or changed.
    """

    format: str
    arrays: Sequence[StoredArray]
    named: bool = True
    parts: Sequence[Path] = ()
    facts: Mapping[str, Any] = field(default_factory=dict)
    stamp: Mapping[str, str] = field(default_factory=dict)
    told: Sequence[str] = ()


@dataclass(frozen=True, kw_only=True)
class Opened(Declared):
    """An open file.

    `blocks(number)` gives the values of an array from its first to its last, C order, as arrays of
    float32.
    """

    blocks: Callable[[int], Blocks]

    def checked(self, size: int) -> Opened:
        """Return this if its declarations are plausible as a whole for `size` bytes, or raise."""
        paths = set()
        for array in self.arrays:
            if max(len(array.path), len(array.layer) + len(array.name)) > 2 * MAX_NAME:
                raise WeightFileError(f"it has a name of more than {MAX_NAME} characters")
            if array.path in paths:
                raise WeightFileError(f"{array.path} is listed twice")
            paths.add(array.path)
        require_held(sum(array.nbytes for array in self.arrays), size)
        return self


def require_held(declared: int, size: int) -> None:
    """Raise if `size` bytes of a file cannot honestly hold `declared` bytes of values."""
    if declared > EXPANSION * size + ALLOWANCE:
        raise WeightFileError(
            f"it declares {size_text(declared)} of values, which {size_text(size)} do not hold"
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
    except WeightFileError as error:
        if str(path) in str(error):
            raise
        raise WeightFileError(f"{path} is refused: {plain(error).rstrip('.')}.") from error
    except Vox2FaceError:  # a full disk, say
        raise
    except MemoryError as error:
        raise WeightFileError(f"{path} is damaged: reading it takes too much memory.") from error
    except OSError as error:
        if error.errno in FULL_DISK:  # where values are written, not the file's fault
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
    if "unable to lock file" in str(error):
        return WeightFileError(
            f"{path} is locked by another process that has it open: close it there, and try again."
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
    row = 4 * math.prod(shape[1:])
    if row > limit and len(shape) > 1:
        for index in range(shape[0]):
            for rest in row_blocks(shape[1:], limit):
                yield (slice(index, index + 1), *rest)
        return
    step = max(1, limit // row)
    for start in range(0, shape[0], step):
        yield (slice(start, min(start + step, shape[0])), *(slice(None),) * (len(shape) - 1))


def checked_kind(name: str, kind: str) -> str:
    """Return the type of a tensor's values if they can become float32, or raise."""
    if kind not in KINDS:
        raise WeightFileError(
            f"{name} holds {kind} values: expected float32, float64, float16 or bfloat16"
        )
    return kind


def widened(values: NDArray[Any]) -> NDArray[Any]:
    """Return values as float32; 16-bit integers are bfloat16."""
    if values.dtype == KINDS["bfloat16"]:
        return (values.astype("<u4") << 16).view("<f4")
    with np.errstate(over="ignore"):
        return values.astype("<f4", copy=False)


def words(kinds: Iterable[str]) -> tuple[str, ...]:
    """Return the sentence that says which values become float32, if any do."""
    other = sorted({*kinds} - {"float32"})
    return (f"Its values of {', '.join(other)} are converted to float32.",) if other else ()
