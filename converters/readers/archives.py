"""Open a zip archive that holds weights: of Keras or of PyTorch."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from vox2face.converters.readers.base import WeightFile, explained
from vox2face.converters.readers.zips import Member, directory
from vox2face.errors import WeightFileError
from vox2face.files import ACCEPTED
from vox2face.spec import resolve

# Name of a member, or its end -> the reader of such archives.
READERS = {
    "model.weights.h5": "vox2face.converters.readers.keras_archive:opened",
    "data.pkl": "vox2face.converters.readers.torch_archive:opened",
}


@contextmanager
def opened(path: Path) -> Iterator[WeightFile]:
    """Open a `.keras` archive or a PyTorch state dict.

    Raises `WeightFileError` if an archive is damaged, ambiguous or neither of the two.
    """
    with path.open("rb") as file:
        with explained(path):
            members = directory(file)
            reader = resolve(reader_of(path, members))
        with reader(path, file, members) as weights:
            yield weights


def reader_of(path: Path, members: dict[str, Member]) -> str:
    """Return the reader for an archive with these members."""
    for ending, reader in READERS.items():
        if any(name == ending or name.endswith(f"/{ending}") for name in members):
            return reader
    if "model.weights.npz" in members:
        raise WeightFileError(
            f"{path} is a Keras archive with weights in NumPy's format (model.weights.npz): "
            "load it in Keras and save it with weights_format='h5'."
        )
    if "config.json" in members:
        raise WeightFileError(
            f"{path} is a zip archive like a Keras one, but its member model.weights.h5 is "
            "missing: get the file again."
        )
    raise WeightFileError(f"{path} is a zip archive without weights: expected is {ACCEPTED}.")
