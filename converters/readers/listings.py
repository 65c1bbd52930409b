"""Open weights that a JSON file lists and that lie in files beside it."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from vox2face.converters.readers.base import WeightFile, explained
from vox2face.converters.readers.texts import MAX_BYTES, parsed
from vox2face.errors import WeightFileError
from vox2face.files import ACCEPTED
from vox2face.spec import resolve

SHARDS = "vox2face.converters.readers.shards:opened"
TENSORFLOW_JS = "vox2face.converters.readers.tfjs:opened"


@contextmanager
def opened(path: Path) -> Iterator[WeightFile]:
    """Open a Keras index of shards (`.weights.json`) or a TensorFlow.js weights manifest.

    Raises `WeightFileError` if the list is neither, or a file it names is missing or damaged.
    """
    with explained(path):
        with path.open("rb") as file:
            listing = parsed(file.read(MAX_BYTES + 1), "it")
        reader, content = chosen(path, listing)
    with resolve(reader)(path, content) as weights:
        yield weights


def chosen(path: Path, listing: Any) -> tuple[str, Any]:
    """Return the reader for a listing and the part of it that lists weights."""
    if isinstance(listing, list):
        return TENSORFLOW_JS, listing
    if isinstance(listing, dict) and isinstance(listing.get("weightsManifest"), list):
        return TENSORFLOW_JS, listing["weightsManifest"]
    if isinstance(listing, dict) and isinstance(listing.get("weight_map"), dict):
        return SHARDS, listing["weight_map"]
    raise WeightFileError(f"{path} is a JSON file that lists no weights: expected is {ACCEPTED}.")
