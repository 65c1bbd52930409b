"""The folder layout of the Speech-to-face repo, which its scripts write and its data sets read.

| for      | PERSON/audios                               | PERSON/images                          |
|----------|---------------------------------------------|----------------------------------------|
| media    | N.m4a or N.wav                              | N.jpg                                  |
| voice    | N.npy, float32 (2, 257, 601) for VE_conv,   | N_embedding.npy, float32 (width,)      |
|          | (1, 1024, 128) for AST                      |                                        |
| decoder  |                                             | N.jpg, N_embedding.npy, N_landmarks.npy|

Landmarks are 144 numbers: x, y of 72 points in pixels of the picture at 224 x 224, the lips' common
points twice. Sources: Kacper-Pietkun/Speech-to-face src/datasets and src/data_preprocessing. Its
folders have names in ASCII; `names.csv` beside them lists the identities.
"""

from __future__ import annotations

import csv
import io
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from vox2face.core.errors import CorpusError
from vox2face.train import storage
from vox2face.train.corpus.names import exact

MAPPING = "names.csv"
COLUMNS = ["folder", "identity"]
AUDIOS, IMAGES = "audios", "images"
EMBEDDING, LANDMARKS = "_embedding.npy", "_landmarks.npy"


def read_names(root: storage.PathOrUri) -> dict[str, str]:
    """Return the identity of each folder that names.csv lists; without that file, none.

    Raises `CorpusError` for one with other columns.
    """
    path = storage.join(root, MAPPING)
    if not storage.exists(path):
        return {}
    text = storage.read_bytes(path).decode("utf-8-sig", errors="replace")
    rows = list(csv.reader(io.StringIO(text, newline="")))
    if not rows or rows[0] != COLUMNS or any(len(row) != 2 for row in rows):
        raise CorpusError(f"{path} must have the columns {','.join(COLUMNS)}: export it again.")
    return {row[0]: row[1] for row in rows[1:]}


@dataclass
class Person:
    """The prepared files of one person, sorted: spectrograms, embeddings, pictures (.jpg)."""

    identity: str
    spectrograms: list[Path] = field(default_factory=list)
    embeddings: list[Path] = field(default_factory=list)
    pictures: list[Path] = field(default_factory=list)


def read_folder(root: Path) -> list[Person]:
    """Read a folder that Speech-to-face's scripts or our export have prepared.

    Pictures are those with an embedding and landmarks beside them. Raises `CorpusError` if
    there are no spectrograms and no embeddings.
    """
    with storage.explained(root):
        homes = sorted(path for path in root.iterdir() if path.is_dir())
    identity_of = read_names(root)
    people = [read_person(home, identity_of.get(home.name, exact(home.name))) for home in homes]
    prepared = [person for person in people if person.spectrograms or person.embeddings]
    if not prepared:
        raise CorpusError(
            f"There are no spectrograms or embeddings (.npy) in {root}: expected PERSON/"
            f"{AUDIOS} and PERSON/{IMAGES}. Recordings and pictures are indexed with vox2face data "
            "index --speech-to-face."
        )
    return prepared


def read_person(folder: Path, identity: str) -> Person:
    """Read the prepared files of one person's folder."""
    images = sorted((folder / IMAGES).rglob("*")) or sorted(folder.glob("*"))
    return Person(
        identity,
        sorted((folder / AUDIOS).rglob("*.npy")),
        [p for p in images if p.suffix == ".npy" and not p.name.endswith(LANDMARKS)],
        [p for p in images if p.suffix == ".jpg" and beside(p, EMBEDDING) and beside(p, LANDMARKS)],
    )


def beside(picture: Path, ending: str) -> bool:
    """Whether a picture has the file NAME + `ending` beside it."""
    return companion(picture, ending).is_file()


def companion(picture: Path, ending: str) -> Path:
    """Return the path of a file that belongs to a picture: NAME + `ending` beside it."""
    return picture.with_name(picture.stem + ending)


def load_array(path: Path) -> NDArray[np.float32]:
    """Return an array as float32. Raises `CorpusError` for what is not a plain array of numbers."""
    try:
        array = np.load(path, allow_pickle=False)
        return np.asarray(array, np.float32)
    except (OSError, ValueError, EOFError) as error:
        raise CorpusError(f"{path} is not an array of numbers ({error}): make it again.") from error
