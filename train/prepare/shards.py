"""Shards: files of arrays, each with some rows of one stage of a prepared corpus.

A shard is a safetensors file. Its metadata has one entry, a JSON object: what the arrays were made
from and how (`facts`), and which of its rows failed. Files have no dates in them, so equal content
is equal bytes. Arrays are read on demand: mapped into memory from a disk, by range from an object
store.
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
    """The file is not a complete shard."""


def file_name(number: int) -> str:
    """Return the name of a shard: "00012.safetensors"."""
    return f"{number:05d}{ENDING}"


def write(path: str, arrays: Arrays, facts: Facts) -> None:
    """Write a shard as a whole or not at all; equal content gives equal bytes."""
    from safetensors.numpy import save

    contiguous = {name: np.ascontiguousarray(array) for name, array in arrays.items()}
    # not safetensors' own writer: an error of Python's shows that the disk is full
    storage.write_bytes(path, save(contiguous, {MARK: json.dumps(facts, sort_keys=True)}))


@dataclass(frozen=True, eq=False)
class Shard:
    """An open shard: its `facts`, and the type, shape and offset of each array."""

    path: str
    facts: Facts
    layout: Mapping[str, tuple[type, tuple[int, ...], int]]

    def array(self, name: str) -> NDArray[Any]:
        """Return a whole array, mapped into memory if the shard is on a disk."""
        dtype, shape, start = self.layout[name]
        if not storage.is_remote(self.path):
            if not math.prod(shape):  # an empty array cannot be mapped
                return np.empty(shape, dtype)
            return np.memmap(self.path, dtype, "r", start, shape)
        return self.part(name, 0, shape[0])

    def part(self, name: str, first: int, end: int) -> NDArray[Any]:
        """Read rows `first` to `end` - 1 of an array, and nothing else."""
        dtype, shape, start = self.layout[name]
        if not storage.is_remote(self.path):
            return np.array(self.array(name)[first:end])
        size = math.prod(shape[1:]) * np.dtype(dtype).itemsize
        with storage.open_binary(self.path) as file, storage.explained(self.path):
            file.seek(start + first * size)
            data = file.read((end - first) * size)
        return np.frombuffer(data, dtype).reshape(-1, *shape[1:]).copy()


def read(path: str) -> Shard:
    """Open a shard, reading its header only.

    Raises `Damaged` if it is not a complete shard, `CorpusError` if it cannot be read.
    """
    with storage.open_binary(path) as file, storage.explained(path):
        return parse(path, file)


def parse(path: str, file: BinaryIO) -> Shard:
    """Parse the header of an open file. Raises `Damaged` if it is not a complete shard."""
    size = int.from_bytes(file.read(8), "little")
    if size > LONGEST_HEADER:
        raise Damaged(path)
    try:
        header = json.loads(file.read(size))
        facts = json.loads(header.pop("__metadata__")[MARK])
        layout = {
            name: (
                TYPES[entry["dtype"]],
                tuple(entry["shape"]),
                8 + size + entry["data_offsets"][0],
            )
            for name, entry in header.items()
        }
        ends = [8 + size, *(8 + size + entry["data_offsets"][1] for entry in header.values())]
    except (ValueError, KeyError, TypeError) as error:
        raise Damaged(path) from error
    if file.seek(0, 2) != max(ends):
        raise Damaged(path)
    return Shard(path, facts, layout)


def open_shard(path: str) -> Shard:
    """Open a shard that must exist. Raises `CorpusError` if it is damaged or missing."""
    try:
        return read(path)
    except Damaged as error:
        raise CorpusError(
            f"{path} is damaged: run vox2face data prepare again, which rebuilds it."
        ) from error


def remove(path: str) -> None:
    """Remove a file at a path or an address."""
    if storage.is_remote(path):
        store, path_in_store = storage.filesystem(path)
        store.rm_file(path_in_store)
    else:
        os.unlink(path)
