"""Open a plain safetensors file."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import numpy as np
from safetensors import SafetensorError, safe_open

from vox2face.converters.readers import base
from vox2face.converters.readers.base import COUNTERS, Blocks, Opened, checked_shape
from vox2face.converters.readers.safe_json import MAX_BYTES, parsed
from vox2face.converters.weight_map import StoredArray, split_name
from vox2face.core.errors import WeightFileError

FORMAT = "safetensors"
DTYPES = {"F32": "float32", "F64": "float64", "F16": "float16", "BF16": "bfloat16"}


@contextmanager
def opened(path: Path) -> Iterator[Opened]:
    """Open a safetensors file; its own library checks that the values fill it without gaps.

    Raises `WeightFileError` if it is damaged, has a name twice or holds no floating-point values.
    """
    header, start = _header_of(path)
    try:
        with safe_open(path, framework="numpy"):
            pass
    except SafetensorError as error:
        raise WeightFileError(f"the safetensors library refuses it ({error})") from error
    stamp = header.pop("__metadata__", None) or {}
    names = [name for name in header if name.rsplit(".", 1)[-1] not in COUNTERS]
    names.sort(key=lambda name: int(header[name]["data_offsets"][0]))
    kinds = {}
    for name in names:
        dtype = str(header[name]["dtype"])
        kinds[name] = base.checked_kind(name, DTYPES.get(dtype, dtype))
    arrays = [
        StoredArray(*split_name(name, "./"), name, checked_shape(header[name]["shape"], name))
        for name in names
    ]

    def blocks(number: int) -> Blocks:
        place, dtype = start + header[names[number]]["data_offsets"][0], kinds[names[number]]
        shape = arrays[number].shape
        yield base.widened(np.memmap(path, base.KINDS[dtype], "r", place, shape))

    told = base.words(kinds.values())
    yield Opened(format=FORMAT, arrays=arrays, blocks=blocks, stamp=stamp, told=told)


def _header_of(path: Path) -> tuple[dict[str, Any], int]:
    """Return (name -> facts, where values begin)."""
    with path.open("rb") as file:
        length = int.from_bytes(file.read(8), "little")
        if length > min(MAX_BYTES, path.stat().st_size - 8):
            raise WeightFileError(f"its header of {length} bytes is oversized or cut short")
        header = parsed(file.read(length), "its header")
    if not isinstance(header, dict):
        raise WeightFileError("its header is no JSON object")
    return header, 8 + length
