"""The header of a safetensors file: names, types, shapes, and where values begin."""

from __future__ import annotations

import json
import re
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from math import prod
from pathlib import Path
from typing import Any, BinaryIO

from vox2face.core.errors import BundleError

MAX_HEADER = 4_000_000  # bytes; that of a network of ours takes 100 for each tensor
FLOAT32 = "F32"
ALIGNMENT = 64  # bytes: where the values begin, so that a memory map of them is aligned
DTYPE = re.compile("[A-Z0-9_]{1,16}")


def header(
    tensors: Iterable[tuple[str, Sequence[int]]], metadata: Mapping[str, str] | None = None
) -> bytes:
    """Return the header, with its length in front, of float32 tensors that follow each other."""
    content: dict[str, object] = {"__metadata__": metadata} if metadata else {}
    end = 0
    for name, shape in tensors:
        start, end = end, end + 4 * prod(shape)
        content[name] = {"dtype": FLOAT32, "shape": list(shape), "data_offsets": [start, end]}
    text = json.dumps(content, separators=(",", ":")).encode()
    text += b" " * (-(len(text) + 8) % ALIGNMENT)
    return len(text).to_bytes(8, "little") + text


@dataclass(frozen=True)
class Stored:
    """A tensor of a safetensors file; `start` is the byte of the file where its values begin."""

    dtype: str
    shape: tuple[int, ...]
    start: int


def stored(file: BinaryIO) -> dict[str, Stored]:
    """Return what an open safetensors file holds, by name; it is read and not mapped.

    Raises `ValueError` unless values fill it without gaps, and those of float32 their shapes.
    """
    size = file.seek(0, 2)
    file.seek(0)
    length = int.from_bytes(file.read(8), "little")
    if not 2 <= length <= min(MAX_HEADER, size - 8):
        raise ValueError(f"its header of {length} bytes is oversized or cut short")
    try:
        content = json.loads(file.read(length))
        content.pop("__metadata__", None)
        ranges = {name: facts["data_offsets"] for name, facts in content.items()}
        found = {name: declared(facts, 8 + length) for name, facts in content.items()}
    except (AttributeError, LookupError, TypeError, RecursionError) as error:
        raise ValueError(f"its header is malformed ({error!s:.80})") from error
    end = 0
    for name in sorted(ranges, key=lambda name: list(ranges[name])):
        tensor, (begin, stop) = found[name], ranges[name]
        needed = 4 * prod(tensor.shape) if tensor.dtype == FLOAT32 else stop - begin
        if begin != end or stop - begin != needed or needed < 0:
            raise ValueError(f"the values of {name!r:.80} do not lie where they have to")
        end = stop
    if 8 + length + end != size:
        raise ValueError(f"it has {size} bytes, its header states {8 + length + end}")
    return found


def declared(facts: dict[str, Any], start: int) -> Stored:
    """Return one tensor of a header; `start` is where the values of all begin."""
    shape, (begin, stop), dtype = tuple(facts["shape"]), facts["data_offsets"], facts["dtype"]
    if any(type(number) is not int or number < 0 for number in (*shape, begin, stop)):
        raise ValueError("its header has numbers that are not valid")
    if not DTYPE.fullmatch(dtype):
        raise ValueError(f"its header has the type {dtype!r:.80}")
    return Stored(dtype, shape, start + begin)


def described(path: Path) -> dict[str, Stored]:
    """Return what a safetensors file holds, as `stored` does, or raise `BundleError`."""
    try:
        with path.open("rb") as file:
            return stored(file)
    except (ValueError, OSError) as error:
        raise damaged(path, error) from error


def damaged(path: Path, error: Exception) -> BundleError:
    """Return the error for a safetensors file that cannot be read."""
    reason = getattr(error, "strerror", None) or str(error)
    return BundleError(
        f"{path} is not a whole safetensors file ({reason}): convert again with --force."
    )


def layout(path: Path) -> dict[str, int]:
    """Return where in a safetensors file the values of each tensor begin."""
    return {name: tensor.start for name, tensor in described(path).items()}


def shapes(path: Path) -> dict[str, tuple[int, ...]]:
    """Return name -> shape of every tensor in a safetensors file."""
    return {name: tensor.shape for name, tensor in described(path).items()}
