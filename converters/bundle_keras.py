"""The way back: a bundle's weights as a Keras HDF5 file that the owner's own code loads."""

from __future__ import annotations

import os
from pathlib import Path

from vox2face.converters.keras.writer import layers_of, write_layers
from vox2face.converters.maps import weight_map
from vox2face.converters.verify_bundle import compare_with, stored
from vox2face.core.errors import UsageError
from vox2face.core.files import atomic_file, require_space
from vox2face.store.bundle import WEIGHTS, Bundle, place_for_export

SUFFIXES = (".h5", ".hdf5")


def export_keras(target: Bundle, path: Path) -> int:
    """Write a bundle's weights as legacy Keras HDF5; return the number of arrays.

    The arrays come back through the inverse of the entry's weight map, under the names and in the
    order of the owner's graph. The finished file is read again and compared with the bundle bit
    for bit before it is kept. Raises `UsageError`
    for a network that has no graph in Keras, or none without the classifier that the weights lack;
    `BundleError` if the weights were altered.
    """
    path = require_writable(path)
    entry = target.entry
    if weight_map(entry).original is None:
        raise UsageError(
            f"{entry.name} has no graph in Keras that could load the file: use --format onnx."
        )
    target.require_unaltered([WEIGHTS])
    table = weight_map(entry)
    arrays = table.invert(stored(target.weights))
    if len(arrays) < len(table.rules) and not entry.notop:
        raise UsageError(
            f"These weights of {entry.name} lack {entry.classifier}, and its owner's code builds "
            "no such network: use --format onnx."
        )
    total = sum(array.nbytes for array in arrays.values())
    require_space(path.resolve().parent, total, "The Keras file")
    with atomic_file(path) as unfinished:
        _try_space(unfinished, total)
        write_layers(unfinished, layers_of(arrays), total)
        compare_with(target, unfinished)
    return len(arrays)


def _try_space(path: Path, count: int) -> None:
    """Raise the system's own error if a file of `count` bytes cannot be had at a place.

    The HDF5 library may crash when it runs into a full disk, a quota or a limit.
    """
    if hasattr(os, "posix_fallocate"):
        with path.open("wb") as file:
            os.posix_fallocate(file.fileno(), 0, count)


def require_writable(path: Path) -> Path:
    """Return where a Keras file goes; raise `UsageError` for a place where none can go."""
    if path.suffix not in SUFFIXES or path.name.endswith(".weights.h5"):
        raise UsageError(
            f"{path} is no name of a legacy Keras file, which Keras knows by .h5 or .hdf5 (not by "
            ".weights.h5, which means another format): name the file to write, as FILE.h5."
        )
    if path.is_dir():
        raise UsageError(f"{path} is a folder: name the file to write, as FILE.h5.")
    return place_for_export(path)
