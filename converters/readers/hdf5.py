"""Open an HDF5 weight file of any generation of Keras."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from contextlib import ExitStack, contextmanager
from functools import cache
from pathlib import Path
from typing import Any, BinaryIO

import h5py

from vox2face.converters.mapping import StoredArray
from vox2face.converters.readers import keras3, legacy
from vox2face.converters.readers.base import LEGACY, Values, WeightFile, explained, weight_file
from vox2face.converters.readers.h5 import opened_h5, unpacked
from vox2face.converters.rehearse import rehearse


@contextmanager
def opened(path: Path) -> Iterator[WeightFile]:
    """Open a legacy or Keras 3 weight file; a child process reads its structure first.

    Raises `WeightFileError` for a damaged file and for what a weight file has no business using:
    links, external or virtual storage, foreign filters.
    """
    found = rehearse(path, structure)
    arrays = [
        StoredArray(layer, name, place, tuple(shape), offset)
        for layer, name, place, shape, offset in found["arrays"]
    ]
    with ExitStack() as stack:

        @cache
        def root() -> h5py.Group:  # only packed arrays need the HDF5 library here
            return stack.enter_context(opened_h5(path))[found["root"]]

        def unpack(array: StoredArray, spool: BinaryIO) -> Values:
            return unpacked(root(), array, spool)

        with explained(path):
            weights = weight_file(path, found["format"], arrays, (), found["named"], unpack)
        yield weights


def structure(path: Path) -> dict[str, Any]:
    """Return everything about a weight file but its weights, as plain data."""
    with h5py.File(path, "r") as file:
        root, format, arrays, named = declared(file, path.stat().st_size)
        rows = [(a.layer, a.name, a.path, a.shape, a.offset) for a in arrays]
        return {"root": root.name, "format": format, "named": named, "arrays": rows}


def declared(
    file: h5py.File, size: int, config: Mapping[str, Any] | None = None
) -> tuple[h5py.Group, str, list[StoredArray], bool]:
    """Return (group that array paths start from, format, arrays, whether layers have names).

    `config` is the configuration of the model, where an archive has it.
    """
    root = legacy.weights_group(file)
    if root is not None:
        arrays, named = legacy.declared(root, size)
        return root, LEGACY, arrays, named
    arrays, named = keras3.declared(file, size, config)
    return file, keras3.FORMAT, arrays, named
