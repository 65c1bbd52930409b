"""Open the weights in a `.keras` archive; the model in it is never built."""

from __future__ import annotations

import dataclasses
import tempfile
from collections.abc import Iterator, Mapping
from contextlib import ExitStack, contextmanager
from functools import partial
from pathlib import Path
from typing import Any, BinaryIO

import h5py

from vox2face.converters.mapping import StoredArray
from vox2face.converters.readers.base import Values, WeightFile, explained, mapped, weight_file
from vox2face.converters.readers.h5 import opened_h5, unpacked
from vox2face.converters.readers.hdf5 import declared
from vox2face.converters.readers.texts import MAX_BYTES, parsed
from vox2face.converters.readers.window import Window
from vox2face.converters.readers.zips import STORED, Member, content_of, start_of
from vox2face.converters.readers.zips import unpacked as inflated
from vox2face.converters.rehearse import rehearse
from vox2face.errors import WeightFileError
from vox2face.files import full_disk_explained, require_space

FORMAT = "Keras archive"
WEIGHTS, CONFIG = "model.weights.h5", "config.json"


@contextmanager
def opened(path: Path, file: BinaryIO, members: Mapping[str, Member]) -> Iterator[WeightFile]:
    """Open an archive for reading.

    Weights that are stored as they are get read in place, deflated ones go through a temporary
    file. Raises `WeightFileError` if anything in the archive is damaged or hostile.
    """
    with ExitStack() as stack:
        with explained(path):
            if WEIGHTS not in members:
                raise WeightFileError(f"it has no member {WEIGHTS}")
            config = configuration(file, members)
            weights = members[WEIGHTS]
            plain = weights.method == STORED
            source = file if plain else stack.enter_context(tempfile.TemporaryFile())
            if not plain:
                extract(file, weights, source)
            start = start_of(file, weights) if plain else 0
        window = Window(source, start, weights.size)
        rehearse(path, lambda _: structure(window, config))
        inner = stack.enter_context(opened_h5(path, window))
        with explained(path):
            root, _, arrays, named = declared(inner, weights.size, config)
            if plain:
                arrays = [moved(array, start) for array in arrays]
                unpack = partial(unpacked, root)
            else:
                places = {array.path: array.offset for array in arrays}
                arrays = [dataclasses.replace(array, offset=None) for array in arrays]
                unpack = partial(extracted, root, source, places)
            result = weight_file(path, FORMAT, arrays, (), named, unpack)
        yield result


def configuration(file: BinaryIO, members: Mapping[str, Member]) -> dict[str, Any] | None:
    """Return the model's configuration as plain data, or None if there is none of modest size."""
    if CONFIG not in members or members[CONFIG].size > MAX_BYTES:
        return None
    config = parsed(content_of(file, members[CONFIG], MAX_BYTES), CONFIG)
    return config if isinstance(config, dict) else None


def extract(file: BinaryIO, member: Member, target: BinaryIO) -> None:
    """Unpack a member into an open temporary file."""
    folder = Path(tempfile.gettempdir())
    blocks = inflated(file, member)
    first = next(blocks, b"")  # raises before anything is written if the sizes are implausible
    require_space(folder, member.size, "Unpacking the weights")
    with full_disk_explained(folder):
        target.write(first)
        for block in blocks:
            target.write(block)
        target.flush()


def structure(window: Window, config: Mapping[str, Any] | None) -> None:
    """Read everything about the weights but their values."""
    with h5py.File(window, "r") as file:
        declared(file, window.size, config)


def moved(array: StoredArray, start: int) -> StoredArray:
    """Return an array with its place in the archive."""
    offset = None if array.offset is None else array.offset + start
    return dataclasses.replace(array, offset=offset)


def extracted(
    root: h5py.Group,
    source: BinaryIO,
    places: Mapping[str, int | None],
    array: StoredArray,
    spool: BinaryIO,
) -> Values:
    """Return values from the temporary file that deflated weights were unpacked to."""
    place = places[array.path]
    return unpacked(root, array, spool) if place is None else mapped(source, place, array.shape)
