"""Open an HDF5 weight file of any generation of Keras."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any, BinaryIO

import h5py

from vox2face.converters.readers.base import LEGACY, Opened
from vox2face.converters.readers.keras.hdf5 import Walk, blocks


@contextmanager
def opened(
    path: Path,
    source: BinaryIO | None = None,
    size: int | None = None,
    config: Mapping[str, Any] | None = None,
) -> Iterator[Opened]:
    """Open a file, or `source` of `size` bytes that stands for it; `config` is the model's.

    Raises `WeightFileError` for a damaged file and for what a weight file has no business using:
    links, external or virtual storage, foreign filters.
    """
    from vox2face.converters.readers.keras import legacy, v3

    held = path.stat().st_size if size is None else size
    with h5py.File(source or path, "r") as file:
        root = legacy.weights_group(file)
        if root is not None:
            walk = Walk(root, held)
            arrays, named = legacy.declared(walk)
        else:
            walk = Walk(file, held)
            arrays, named = v3.declared(walk, config)
        walk.require_apart()
        yield Opened(
            format=v3.FORMAT if root is None else LEGACY,
            arrays=arrays,
            blocks=lambda number: blocks(walk.root[arrays[number].path]),
            named=named,
        )
