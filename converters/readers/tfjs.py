"""Open TensorFlow.js weights: a manifest (JSON) and binary files beside it.

The files of a group are concatenated and hold its weights one after another. Quantised values are
numbers of 8 or 16 bits that stand for q * scale + min.
"""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from functools import cache
from math import prod
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from vox2face.converters.readers.base import Blocks, Opened, checked_shape
from vox2face.converters.readers.safe_json import listing, part
from vox2face.converters.weight_map import StoredArray, split_name
from vox2face.core.errors import WeightFileError

FORMAT = "TensorFlow.js weights"
MAX_PARTS = 1000
QUANTISED: dict[str, np.dtype[Any]] = {"uint8": np.dtype("<u1"), "uint16": np.dtype("<u2")}
FLOAT32 = np.dtype("<f4")
NO_WEIGHT = "int32"  # shapes and indices of a graph; 4 bytes each, like float32


@dataclass(frozen=True)
class Packed:
    """Where in the files of its group a weight is, one after another, and how it is stored."""

    files: tuple[Path, ...]
    start: int
    dtype: np.dtype[Any]
    scale: float = 1.0
    minimum: float = 0.0


@contextmanager
def opened(path: Path) -> Iterator[Opened]:
    """Open the weights of a manifest.

    Raises `WeightFileError` if its files are not exactly as large as their weights.
    """
    packed: dict[str, Packed] = {}
    arrays: list[StoredArray] = []
    parts: dict[Path, None] = {}
    for group in listing(path):
        files = [part(path, name) for name in items(group, "paths")]
        if len(parts) + len(files) > MAX_PARTS or parts.keys() & {*files}:
            raise WeightFileError("it lists a file twice, or very many files")
        parts |= dict.fromkeys(files)
        for array, how in declared(items(group, "weights"), files):
            if packed.setdefault(array.path, how) is not how:
                raise WeightFileError(f"{array.path} is listed twice")
            arrays.append(array)

    def blocks(number: int) -> Blocks:
        array = arrays[number]
        yield floats(packed[array.path], array.shape)

    yield Opened(format=FORMAT, arrays=arrays, blocks=blocks, parts=tuple(parts))


def items(group: Any, key: str) -> list[Any]:
    """Return a list from a group of the manifest."""
    found = group.get(key) if isinstance(group, dict) else None
    if not isinstance(found, list):
        raise WeightFileError(f"it lists no {key}, so it is no TensorFlow.js weights manifest")
    return found


def declared(weights: Sequence[Any], files: Sequence[Path]) -> Iterator[tuple[StoredArray, Packed]]:
    """Yield the weights of one group with their places in its files."""
    held, at = sum(file.stat().st_size for file in files), 0
    for weight in weights:
        name = weight.get("name") if isinstance(weight, dict) else None
        if not isinstance(name, str) or not name:
            raise WeightFileError("it lists a weight without a name")
        shape = checked_shape(weight.get("shape"), name)
        how = encoding(name, weight, tuple(files), at)
        length = how.dtype.itemsize * prod(shape)
        if at + length > held:
            raise WeightFileError(f"{name} declares {length} bytes that its files do not hold")
        if weight["dtype"] != NO_WEIGHT:
            layer, own = split_name(name, "/")
            yield StoredArray(layer, own, name, shape), how
        at += length
    if at != held:
        raise WeightFileError(f"its files have {held} bytes, its weights {at}")


def encoding(name: str, weight: Mapping[str, Any], files: tuple[Path, ...], start: int) -> Packed:
    """Return how the values of a weight are encoded."""
    if weight.get("dtype") not in ("float32", NO_WEIGHT):
        found = str(weight.get("dtype"))[:50]
        raise WeightFileError(f"{name} holds {found} values: expected float32")
    facts: Any = weight.get("quantization")
    if facts is None:
        return Packed(files, start, FLOAT32)
    if isinstance(facts, dict) and finite(facts.get("scale")) and finite(facts.get("min")):
        dtype = QUANTISED.get(str(facts.get("dtype")))
        if dtype is not None:
            return Packed(files, start, dtype, float(facts["scale"]), float(facts["min"]))
    raise WeightFileError(f"{name} is quantised in an unknown way")


def finite(number: Any) -> bool:
    """Whether something is an ordinary number."""
    return type(number) in (int, float) and math.isfinite(number)


@cache
def content(files: tuple[Path, ...]) -> bytes:
    """Return what the files of a group hold."""
    return b"".join(file.read_bytes() for file in files)


def floats(how: Packed, shape: tuple[int, ...]) -> NDArray[Any]:
    """Return the values of a weight as float32; what is quantised is computed in float64."""
    values = np.frombuffer(content(how.files), how.dtype, prod(shape), how.start)
    if how.dtype == FLOAT32:
        return values
    with np.errstate(over="ignore"):
        return (values.astype(np.float64) * how.scale + how.minimum).astype(FLOAT32)
