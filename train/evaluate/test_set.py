"""The test set of an evaluation: the people of a split, their clips and face embeddings."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Protocol

import numpy as np
from numpy.typing import NDArray

from vox2face.core.entry import Space
from vox2face.core.errors import CorpusError, UsageError
from vox2face.train.corpus.manifest import Manifest, normalized
from vox2face.train.metrics.similarity import Indices

if TYPE_CHECKING:
    from vox2face.runtime.face_encoder import FaceEncoder

Rows = NDArray[np.float32]


class Arrays(Protocol):
    """The prepared arrays of a manifest's pictures: a row for each row of the manifest."""

    def faces(self, name: str) -> Rows:
        """Return a network's embeddings (rows, width), NaN where there is none."""

    def space(self, name: str) -> Space:
        """Return the space of a network's embeddings."""

    def landmarks(self) -> Rows | None:
        """Return landmarks (rows, 68, 2), NaN where there are none."""

    def picture(self, row: int) -> NDArray[np.uint8]:
        """Return the picture of a row as the decoder is trained on it, RGB uint8 (224, 224, 3)."""

    def encoder(self, name: str, device: str) -> FaceEncoder:
        """Load a network with the preprocessing of the prepared embeddings."""


@dataclass(frozen=True, eq=False)
class Corpus:
    """People with voice and face: `speakers` and `sitters` are positions in `names`.

    `rows` (pictures,) are those of the manifest. `faces` (pictures, width) are embeddings,
    `landmarks` (pictures, 68, 2) or None. `lost` are lines about what was left out.
    """

    names: tuple[str, ...]
    genders: tuple[str | None, ...]
    clips: tuple[str, ...]
    speakers: Indices
    pictures: tuple[str, ...]
    sitters: Indices
    rows: Indices
    faces: Rows
    landmarks: Rows | None = None
    lost: tuple[str, ...] = ()

    def __len__(self) -> int:
        return len(self.names)


def read_corpus(
    manifest: Manifest,
    split: str,
    faces: Rows,
    landmarks: Rows | None = None,
    voices_too: bool = True,
) -> Corpus:
    """Read the people of a split who have both clips and embedded pictures.

    Without `voices_too`, clips are ignored and all people with a picture count.

    `faces` (rows, width) and `landmarks` (rows, 68, 2) have a row for each of the manifest; rows
    that are not finite are pictures that failed in preparation. People are in the order of
    SF2F's pools: by the corpus of their voice (VoxCeleb1 first), then by name, as code points sort.
    """
    columns = {name: manifest.column(name) for name in ("identity", "kind", "split", "gender")}
    kinds, splits = np.array(columns["kind"]), np.array([s or "" for s in columns["split"]])
    if not (splits == split).any():
        others = ", ".join(sorted({s for s in columns["split"] if s})) or "none"
        raise UsageError(
            f"The manifest has no rows of the split {split!r}; there are: {others}. Choose one "
            "with --split, or make splits with vox2face data index."
        )
    voices = np.flatnonzero((splits == split) & (kinds == "voice"))
    pictures = np.flatnonzero((splits == split) & (kinds == "face"))
    usable, files = np.isfinite(faces[pictures]).all(1), manifest.files()
    lost = [f"{files[i]}: it has no embedding" for i in pictures[~usable]]
    pictures = pictures[usable]
    name_of = np.array(columns["identity"], object)
    is_normalized = normalized(manifest)[pictures]
    photographed = set(name_of[pictures[~is_normalized]])  # whose normalised pictures are left out
    pictures = pictures[
        [
            not n or name_of[i] not in photographed
            for i, n in zip(pictures, is_normalized, strict=True)
        ]
    ]
    with_face, with_voice = set(name_of[pictures]), set(name_of[voices])
    if not voices_too:
        voices, with_voice = voices[:0], with_face
    names = ordered(manifest, voices if voices_too else pictures, with_face & with_voice)
    if not names:
        missing = "both a recording and a prepared picture" if voices_too else "a prepared picture"
        raise CorpusError(
            f"Nobody of the split {split!r} has {missing}: look at the join that "
            "vox2face data index reports."
        )
    unpaired = (with_face | with_voice) - set(names)
    lost += [f"{name}: voice or face is missing" for name in sorted(unpaired)]
    position = {name: number for number, name in enumerate(names)}
    voices = voices[[name in position for name in name_of[voices]]]
    pictures = pictures[[name in position for name in name_of[pictures]]]
    gender = {
        name_of[i]: columns["gender"][i] for i in (*pictures, *voices) if columns["gender"][i]
    }
    return Corpus(
        names,
        tuple(gender.get(name) for name in names),
        tuple(files[i] for i in voices),
        np.array([position[name] for name in name_of[voices]], np.intp),
        tuple(files[i] for i in pictures),
        np.array([position[name] for name in name_of[pictures]], np.intp),
        pictures,
        faces[pictures],
        None if landmarks is None else landmarks[pictures],
        tuple(lost),
    )


def ordered(manifest: Manifest, rows: Indices, names: set[str]) -> tuple[str, ...]:
    """Return names by the first source of their rows, then by name."""
    sources, identities = manifest.column("source"), manifest.column("identity")
    first: dict[str, str] = {}
    for row in rows:
        source = sources[row] or ""
        first[identities[row]] = min(first.get(identities[row], source), source)
    return tuple(sorted(names, key=lambda name: (first[name], name)))


def without_clips(corpus: Corpus, usable: NDArray[np.bool_], lost: Sequence[str]) -> Corpus:
    """Return the corpus without unusable clips, and without people who then have none."""
    people = np.unique(corpus.speakers[usable])
    without_voice = sorted(set(range(len(corpus))) - set(people.tolist()))
    if not len(people):
        raise CorpusError("No clip could be read: look at the first lines of the failures.")
    position = np.full(len(corpus), -1)
    position[people] = np.arange(len(people))
    with_speaker = position[corpus.sitters] >= 0
    landmarks = corpus.landmarks
    return replace(
        corpus,
        names=tuple(corpus.names[i] for i in people),
        genders=tuple(corpus.genders[i] for i in people),
        clips=tuple(c for c, ok in zip(corpus.clips, usable, strict=True) if ok),
        speakers=position[corpus.speakers[usable]],
        pictures=tuple(p for p, ok in zip(corpus.pictures, with_speaker, strict=True) if ok),
        sitters=position[corpus.sitters[with_speaker]],
        rows=corpus.rows[with_speaker],
        faces=corpus.faces[with_speaker],
        landmarks=None if landmarks is None else landmarks[with_speaker],
        lost=(*corpus.lost, *lost, *(f"{corpus.names[i]}: no clip is left" for i in without_voice)),
    )
