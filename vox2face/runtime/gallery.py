"""The gallery of synthetic people that comes with vox2face: their files, and who is nearest.

| file           | what                                                                  |
|----------------|-----------------------------------------------------------------------|
| people.npz     | `names` (n,); `embeddings`, float32 (n, width); `space`, its 3 fields |
| NAME.photo.jpg | a photograph                                                          |
| NAME.face.jpg  | the normalised face, whose crop the embedding is of                   |
| NAME.mp3       | a clip of the voice                                                   |

They are people of a corpus of `vox2face data synth` that no model of vox2face was trained on.
`scripts/make_gallery.py` makes the folder.
"""

from __future__ import annotations

import zipfile
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from vox2face.core.entry import Space
from vox2face.core.errors import UsageError, Vox2FaceError
from vox2face.runtime.base import Embeddings

FOLDER = Path(__file__).parents[1] / "assets" / "gallery"
TABLE = "people.npz"


@dataclass(frozen=True)
class Person:
    """One person of the gallery and the files about them."""

    name: str
    folder: Path

    @property
    def photograph(self) -> Path:
        """A photograph, JPEG."""
        return self.folder / f"{self.name}.photo.jpg"

    @property
    def face(self) -> Path:
        """The normalised face, JPEG."""
        return self.folder / f"{self.name}.face.jpg"

    @property
    def clip(self) -> Path:
        """A clip of the voice, MP3."""
        return self.folder / f"{self.name}.mp3"


@dataclass(frozen=True, eq=False)
class Gallery:
    """People and the embeddings of their normalised faces, float32 (n, width), in one order."""

    people: tuple[Person, ...]
    embeddings: Embeddings
    space: Space

    def __len__(self) -> int:
        return len(self.people)

    def distances(self, embeddings: Embeddings) -> NDArray[np.float64]:
        """Return how far embeddings (m, width) are from everybody, (m, n).

        It is 1 - cosine after the mean of the gallery is subtracted from both, as `vox2face
        evaluate --distance centred` has it. Raises `UsageError` for another width.
        """
        values = np.atleast_2d(embeddings).astype(np.float64)
        if values.shape[1] != self.embeddings.shape[1]:
            raise UsageError(
                f"The gallery has embeddings of {self.embeddings.shape[1]} values, and these have "
                f"{values.shape[1]}: use a model of {self.space}."
            )
        middle = self.embeddings.mean(0, dtype=np.float64)
        return 1 - directions(values - middle) @ directions(self.embeddings - middle).T

    def nearest(self, embedding: Embeddings, count: int) -> list[Person]:
        """Return the people nearest to an embedding, (width,), the nearest first."""
        order = np.argsort(self.distances(embedding)[0], kind="stable")
        return [self.people[number] for number in order[:count].tolist()]

    def place(self, embedding: Embeddings, name: str) -> int:
        """Return the place of a person for an embedding, 1 for the nearest of all."""
        names = [person.name for person in self.people]
        if name not in names:
            raise UsageError(f"The gallery has nobody called {name}: it has {', '.join(names)}.")
        far = self.distances(embedding)[0]
        return 1 + int((far < far[names.index(name)]).sum())


def directions(values: NDArray[np.float64]) -> NDArray[np.float64]:
    """Return rows divided by their lengths; zeros stay."""
    lengths = np.linalg.norm(values, axis=1, keepdims=True)
    result: NDArray[np.float64] = values / np.where(lengths > 0, lengths, 1)
    return result


def read(folder: Path = FOLDER) -> Gallery:
    """Return a gallery, by default the one that comes with vox2face.

    Raises `Vox2FaceError` if files are missing or damaged.
    """
    try:
        with np.load(folder / TABLE, allow_pickle=False) as table:
            names, embeddings = table["names"].tolist(), table["embeddings"]
            space = Space(*table["space"].tolist())
        people = tuple(Person(name, folder) for name in names)
        if embeddings.dtype != np.float32 or embeddings.shape[:-1] != (len(people),):
            raise ValueError(f"the embeddings are {embeddings.dtype} {embeddings.shape}")
    except (OSError, ValueError, KeyError, TypeError, zipfile.BadZipFile) as error:
        raise Vox2FaceError(
            f"{folder / TABLE} is missing or damaged ({error}): install vox2face again."
        ) from error
    _require_files(people)
    return Gallery(people, embeddings, space)


def _require_files(people: Sequence[Person]) -> None:
    """Raise `Vox2FaceError` if a file of the gallery is missing."""
    for person in people:
        for path in (person.photograph, person.face, person.clip):
            if not path.is_file():
                raise Vox2FaceError(f"{path} of the gallery is missing: install vox2face again.")
