"""Digests of the data that a run is trained on or measured with, to recognise other data."""

from __future__ import annotations

import hashlib
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Protocol

import numpy as np

from vox2face.train.corpus.groups import Groups
from vox2face.train.corpus.manifest import Manifest
from vox2face.train.datasets.pairing import spread_over

if TYPE_CHECKING:
    from vox2face.train.prepare.rows import Rows

MOST = 100  # people whose embedding is read: all those of a large or remote corpus take minutes


class Split(Protocol):
    """A data set with people and their files."""

    @property
    def identities(self) -> Sequence[str]:
        """The names of the people, in the order of their numbers."""

    @property
    def groups(self) -> Groups:
        """The rows of each person's clips and pictures."""


def fingerprints(
    manifest: Manifest, embeddings: Rows, splits: Mapping[str, Split | None]
) -> dict[str, str]:
    """Return the digests of all splits that are not None; see `fingerprint`."""
    return {
        what: digest
        for split, items in splits.items()
        if items is not None
        for what, digest in fingerprint(
            split, manifest, items.identities, items.groups, embeddings
        ).items()
    }


def fingerprint(
    split: str, manifest: Manifest, identities: Sequence[str], groups: Groups, embeddings: Rows
) -> dict[str, str]:
    """Return sha256 digests of a split's people, of their files and of their prepared faces.

    Files count by their paths below the corpus' folder, which may move, by their person and,
    where the manifest has it, by duration; faces by one embedding each of at most a hundred people
    spread over all. Keys name what differs when two are compared.
    """
    rows = np.concatenate([groups.clips, groups.pictures])
    paths = manifest.table["path"].take(rows).to_pylist()
    seconds = manifest.table["duration"].take(groups.clips).fill_null(-1).to_numpy()
    people = spread_over(len(groups), MOST)
    faces = [embeddings[int(row)] for row in groups.pictures[groups.first_picture[people]]]
    parts = {
        "people": ["\0".join(identities).encode()],
        "files": [
            "\0".join(paths).encode(),
            groups.first_clip.astype("<i8").tobytes(),
            groups.first_picture.astype("<i8").tobytes(),
            seconds.astype("<f4").tobytes(),
        ],
        "faces": [np.asarray(face, "<f4").tobytes() for face in faces],
    }
    return {f"{what} of the split {split}": digest(pieces) for what, pieces in parts.items()}


def manifest_digest(manifest: Manifest) -> str:
    """Return the hex sha256 of identities, kinds, splits and paths; folders do not count."""
    columns = (manifest.column(name) for name in ("identity", "kind", "split", "path"))
    return digest(["\0".join(value or "" for value in column).encode() for column in columns])


def digest(pieces: Sequence[bytes]) -> str:
    """Return the hex sha256 of some pieces, each preceded by its length."""
    sha256 = hashlib.sha256()
    for piece in pieces:
        sha256.update(len(piece).to_bytes(8, "little") + piece)
    return sha256.hexdigest()
