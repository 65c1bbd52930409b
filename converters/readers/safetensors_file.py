"""Open a plain safetensors file."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from vox2face.converters.mapping import StoredArray
from vox2face.converters.readers.base import (
    COUNTERS,
    WeightFile,
    checked_shape,
    explained,
    split_name,
    weight_file,
)
from vox2face.converters.readers.texts import MAX_BYTES, parsed
from vox2face.errors import WeightFileError

FORMAT = "safetensors"


@contextmanager
def opened(path: Path) -> Iterator[WeightFile]:
    """Open a safetensors file; its own library checks that the values fill it without gaps.

    Raises `WeightFileError` if it is damaged, has a name twice or holds other values than float32.
    """
    with explained(path):
        header, start = header_of(path)
        library_accepts(path)
        arrays = [
            declared(name, facts, start)
            for name, facts in header.items()
            if name != "__metadata__" and name.rsplit(".", 1)[-1] not in COUNTERS
        ]
        arrays.sort(key=lambda array: array.offset or 0)
        weights = weight_file(path, FORMAT, arrays, stamp=header.get("__metadata__"))
    yield weights


def header_of(path: Path) -> tuple[dict[str, Any], int]:
    """Return (name -> facts, where values begin)."""
    with path.open("rb") as file:
        length = int.from_bytes(file.read(8), "little")
        if length > min(MAX_BYTES, path.stat().st_size - 8):
            raise WeightFileError(f"its header of {length} bytes is oversized or cut short")
        header = parsed(file.read(length), "its header")
    if not isinstance(header, dict):
        raise WeightFileError("its header is no JSON object")
    return header, 8 + length


def library_accepts(path: Path) -> None:
    """Raise if the safetensors library finds a fault in the file."""
    from safetensors import SafetensorError, safe_open

    try:
        with safe_open(path, framework="numpy"):
            pass
    except SafetensorError as error:
        raise WeightFileError(f"the safetensors library refuses it ({error})") from error


def declared(name: str, facts: Any, start: int) -> StoredArray:
    """Return one array of the header."""
    if facts["dtype"] != "F32":
        raise WeightFileError(f"{name} holds {facts['dtype']} values: expected is float32 (F32)")
    shape = checked_shape(facts["shape"], name)
    layer, weight = split_name(name, "./")
    return StoredArray(layer, weight, name, shape, start + facts["data_offsets"][0])
