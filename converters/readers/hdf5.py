"""Open an HDF5 weight file of any generation of Keras."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from functools import partial
from pathlib import Path
from typing import Any

import h5py

from vox2face.converters.mapping import StoredArray
from vox2face.converters.readers import keras3, legacy
from vox2face.converters.readers.base import LEGACY, WeightFile, explained, weight_file
from vox2face.converters.readers.h5 import opened_h5, unpacked
from vox2face.converters.rehearse import rehearse


@contextmanager
def opened(path: Path) -> Iterator[WeightFile]:
    """Open a legacy or Keras 3 weight file; a child process reads its structure first.

    Raises `WeightFileError` for a damaged file and for what a weight file has no business using:
    links, external or virtual storage, foreign filters.
    """
    rehearse(path, structure)
    with opened_h5(path) as file:
        with explained(path):
            root, format, arrays, named = declared(file, path.stat().st_size)
            weights = weight_file(path, format, arrays, (), named, partial(unpacked, root))
        yield weights


def structure(path: Path) -> None:
    """Read everything about a weight file but its weights."""
    with h5py.File(path, "r") as file:
        declared(file, path.stat().st_size)


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
