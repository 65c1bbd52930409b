"""Shards: files of arrays in which each stage of a prepared corpus keeps some rows of it.

A shard is a safetensors file. Its metadata has one entry, a JSON object: what the arrays were made
from and how (`facts`), and which of its rows failed. Files have no dates in them, so equal content
is equal bytes. Arrays are read where they are needed: mapped into memory from a disk, by range
from an object store.
"""

from __future__ import annotations

import json
import math
import os
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, BinaryIO

import numpy as np
from numpy.typing import NDArray

from vox2face.core.errors import CorpusError
from vox2face.train import storage

MARK = "vox2face"
ENDING = ".safetensors"
LONGEST_HEADER = 100_000_000  # bytes, as safetensors itself limits it
TYPES = {
    "F64": np.float64,
    "F32": np.float32,
    "I64": np.int64,
    "I32": np.int32,
    "I16": np.int16,
    "U8": np.uint8,
}
Arrays = Mapping[str, NDArray[Any]]
Facts = Mapping[str, Any]


class Damaged(Exception):
    """What lies there is no whole shard."""


def file_name(number: int) -> str:
    """Return the name of a shard: "00012.safetensors"."""
    return f"{number:05d}{ENDING}"


def write(place: str, arrays: Arrays, facts: Facts) -> None:
    """Write a shard as a whole or not at all; equal content gives equal bytes."""
    from safetensors.numpy import save

    ready = {name: np.ascontiguousarray(array) for name, array in arrays.items()}
    # bytes first: what Python writes tells of a full disk in words that we know
    storage.write_bytes(place, save(ready, {MARK: json.dumps(facts, sort_keys=True)}))


@dataclass(frozen=True, eq=False)
class Shard:
    """An open shard: its `facts`, and where in it the arrays are."""

    place: str
    facts: Facts
    layout: Mapping[str, tuple[type, tuple[int, ...], int]]

    def array(self, name: str) -> NDArray[Any]:
        """Return a whole array, mapped into memory if the shard lies on a disk."""
        dtype, shape, start = self.layout[name]
        if not storage.is_remote(self.place):
            if not math.prod(shape):  # nothing can be mapped
                return np.empty(shape, dtype)
            return np.memmap(self.place, dtype, "r", start, shape)
        return self.part(name, 0, shape[0])

    def part(self, name: str, first: int, end: int) -> NDArray[Any]:
        """Return rows `first` to `end` - 1 of an array; nothing else is read."""
        dtype, shape, start = self.layout[name]
        if not storage.is_remote(self.place):
            return np.array(self.array(name)[first:end])
        size = math.prod(shape[1:]) * np.dtype(dtype).itemsize
        with storage.open_binary(self.place) as file, storage.explained(self.place):
            file.seek(start + first * size)
            data = file.read((end - first) * size)
        return np.frombuffer(data, dtype).reshape(-1, *shape[1:]).copy()


def read(place: str) -> Shard:
    """Open a shard, reading its header only.

    Raises `Damaged` if it is cut off or something else, `CorpusError` if it cannot be read.
    """
    with storage.open_binary(place) as file, storage.explained(place):
        return parsed(place, file)


def parsed(place: str, file: BinaryIO) -> Shard:
    """Return the shard in an open file."""
    size = int.from_bytes(file.read(8), "little")
    if size > LONGEST_HEADER:
        raise Damaged(place)
    try:
        header = json.loads(file.read(size))
        facts = json.loads(header.pop("__metadata__")[MARK])
        layout = {
            name: (
                TYPES[about["dtype"]],
                tuple(about["shape"]),
                8 + size + about["data_offsets"][0],
            )
            for name, about in header.items()
        }
        ends = [8 + size, *(8 + size + about["data_offsets"][1] for about in header.values())]
    except (ValueError, KeyError, TypeError) as error:
        raise Damaged(place) from error
    if file.seek(0, 2) != max(ends):
        raise Damaged(place)
    return Shard(place, facts, layout)


def whole(place: str) -> Shard:
    """Open a shard that has to be there. Raises `CorpusError` if it is damaged or missing."""
    try:
        return read(place)
    except Damaged as error:
        raise CorpusError(
            f"{place} is damaged: run vox2face data prepare again, which makes it anew."
        ) from error


def remove(place: str) -> None:
    """Remove a file."""
    if storage.is_remote(place):
        store, path = storage.filesystem(place)
        store.rm_file(path)
    else:
        os.unlink(place)
