"""Open TensorFlow.js weights: a manifest (JSON) and binary files beside it.

The files of a group are concatenated and hold its weights one after another. Quantised values are
numbers of 8 or 16 bits that stand for q * scale + min.
"""

from __future__ import annotations

import dataclasses
import math
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from functools import partial
from math import prod
from pathlib import Path
from typing import Any, BinaryIO

import numpy as np

from vox2face.converters.mapping import StoredArray
from vox2face.converters.readers.base import (
    BLOCK,
    Values,
    WeightFile,
    checked_shape,
    explained,
    mapped,
    split_name,
    weight_file,
)
from vox2face.converters.readers.texts import part
from vox2face.errors import WeightFileError

FORMAT = "TensorFlow.js weights"
MAX_PARTS = 1000
QUANTISED: dict[str, np.dtype[Any]] = {"uint8": np.dtype("<u1"), "uint16": np.dtype("<u2")}
FLOAT32 = np.dtype("<f4")
NO_WEIGHT = "int32"  # shapes and indices of a graph; 4 bytes each, like float32


@dataclass(frozen=True)
class Packed:
    """Where and how values are stored: (file, first byte, bytes) in turn, and what they mean."""

    pieces: tuple[tuple[Path, int, int], ...]
    dtype: np.dtype[Any]
    scale: float = 1.0
    minimum: float = 0.0


@contextmanager
def opened(path: Path, groups: Sequence[Any]) -> Iterator[WeightFile]:
    """Open the weights of a manifest, given as parsed JSON.

    Raises `WeightFileError` if its files are not exactly as large as their weights.
    """
    with explained(path):
        packed: dict[str, Packed] = {}
        arrays: list[StoredArray] = []
        parts: dict[Path, None] = {}
        for group in groups:
            files = [part(path, name) for name in items(group, "paths")]
            if len(parts) + len(files) > MAX_PARTS or parts.keys() & {*files}:
                raise WeightFileError("it lists a file twice, or very many files")
            parts |= dict.fromkeys(files)
            for array, how in declared(items(group, "weights"), files):
                if packed.setdefault(array.path, how) is not how:
                    raise WeightFileError(f"{array.path} is listed twice")
                arrays.append(array)
        weights = weight_file(path, FORMAT, arrays, tuple(parts), True, partial(unpacked, packed))
    yield weights


def items(group: Any, key: str) -> list[Any]:
    """Return a list from a group of the manifest."""
    found = group.get(key) if isinstance(group, dict) else None
    if not isinstance(found, list):
        raise WeightFileError(f"it lists no {key}, so it is no TensorFlow.js weights manifest")
    return found


def declared(weights: Sequence[Any], files: Sequence[Path]) -> Iterator[tuple[StoredArray, Packed]]:
    """Yield the weights of one group with their places in its files."""
    sizes = [file.stat().st_size for file in files]
    at = 0
    for weight in weights:
        name = weight.get("name") if isinstance(weight, dict) else None
        if not isinstance(name, str) or not name:
            raise WeightFileError("it lists a weight without a name")
        shape = checked_shape(weight.get("shape"), name)
        how = encoding(name, weight)
        length = how.dtype.itemsize * prod(shape)
        if at + length > sum(sizes):
            raise WeightFileError(f"{name} declares {length} bytes that its files do not hold")
        how = dataclasses.replace(how, pieces=tuple(pieces(files, sizes, at, length)))
        if weight["dtype"] != NO_WEIGHT:
            yield placed(name, shape, how), how
        at += length
    if at != sum(sizes):
        raise WeightFileError(f"its files have {sum(sizes)} bytes, its weights {at}")


def encoding(name: str, weight: Mapping[str, Any]) -> Packed:
    """Return how the values of a weight are encoded."""
    if weight.get("dtype") not in ("float32", NO_WEIGHT):
        found = str(weight.get("dtype"))[:50]
        raise WeightFileError(f"{name} holds {found} values: expected is float32")
    facts: Any = weight.get("quantization")
    if facts is None:
        return Packed((), FLOAT32)
    if isinstance(facts, dict) and finite(facts.get("scale")) and finite(facts.get("min")):
        dtype = QUANTISED.get(str(facts.get("dtype")))
        if dtype is not None:
            return Packed((), dtype, float(facts["scale"]), float(facts["min"]))
    raise WeightFileError(f"{name} is quantised in an unknown way")


def finite(number: Any) -> bool:
    """Whether something is an ordinary number."""
    return type(number) in (int, float) and math.isfinite(number)


def pieces(
    files: Sequence[Path], sizes: Sequence[int], at: int, length: int
) -> Iterator[tuple[Path, int, int]]:
    """Yield (file, first byte, bytes) of a range of the concatenated files."""
    start = 0
    for file, size in zip(files, sizes, strict=True):
        first, last = max(at, start), min(at + length, start + size)
        if first < last:
            yield file, first - start, last - first
        start += size


def placed(name: str, shape: tuple[int, ...], how: Packed) -> StoredArray:
    """Return the declaration of a weight, with its place if it lies as float32 in one file."""
    layer, weight = split_name(name, "/")
    if how.dtype != FLOAT32 or len(how.pieces) > 1:
        return StoredArray(layer, weight, name, shape)
    file, offset, _ = how.pieces[0]
    return StoredArray(layer, weight, name, shape, offset, file)


def unpacked(packed: Mapping[str, Packed], array: StoredArray, spool: BinaryIO) -> Values:
    """Write a weight as float32 into `spool` and map it there."""
    how, start = packed[array.path], spool.seek(0, 2)
    rest = b""
    for file, offset, length in how.pieces:
        with file.open("rb") as source:
            source.seek(offset)
            for done in range(0, length, BLOCK):
                block = rest + source.read(min(BLOCK, length - done))
                whole = len(block) - len(block) % how.dtype.itemsize
                spool.write(floats(block[:whole], how).data)
                rest = block[whole:]
    spool.flush()
    if spool.seek(0, 2) != start + array.nbytes:
        raise WeightFileError(f"the files of {array.path} changed while they were read")
    return mapped(spool, start, array.shape)


def floats(block: bytes, how: Packed) -> Values:
    """Return stored values as float32, computed in float64."""
    values = np.frombuffer(block, how.dtype)
    if how.dtype == FLOAT32:
        return values
    with np.errstate(over="ignore"):
        return (values.astype(np.float64) * how.scale + how.minimum).astype(FLOAT32)
