"""What an evaluation reads: the people of a split, their clips, and their faces' embeddings."""

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
    """What was prepared of a manifest's pictures: a row for each row of the manifest."""

    def faces(self, name: str) -> Rows:
        """Return a network's embeddings (rows, width), NaN where there is none."""

    def space(self, name: str) -> Space:
        """Return the space of a network's embeddings."""

    def landmarks(self) -> Rows | None:
        """Return landmarks (rows, 68, 2), NaN where there are none."""

    def picture(self, row: int) -> NDArray[np.uint8]:
        """Return the picture of a row as the decoder learns it, RGB uint8."""

    def encoder(self, name: str, device: str) -> FaceEncoder:
        """Return the network, with the preprocessing that it was prepared with."""


@dataclass(frozen=True, eq=False)
class Corpus:
    """People who have voice and face: whose each clip and picture is, as a position in `names`.

    `rows` (pictures,) are those of the manifest. `faces` (pictures, width) are embeddings,
    `landmarks` (pictures, 68, 2) or None. `lost` says what was left out, a line each.
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
    """Return the people of a split who have both clips and embedded pictures.

    Without `voices_too`, clips are left alone and everybody with a picture counts.

    `faces` (rows, width) and `landmarks` (rows, 68, 2) have a row for each of the manifest; rows
    that are not finite stand for pictures that could not be prepared. People come in the order of
    SF2F's pools: by the corpus of their voice (VoxCeleb1 first), then by name, as code points sort.
    """
    columns = {name: manifest.column(name) for name in ("identity", "kind", "split", "gender")}
    kinds, splits = np.array(columns["kind"]), np.array([s or "" for s in columns["split"]])
    if not (splits == split).any():
        known = ", ".join(sorted({s for s in columns["split"] if s})) or "none"
        raise UsageError(
            f"The manifest has no rows of the split {split!r}; there are: {known}. Choose one "
            "with --split, or make splits with vox2face data index."
        )
    voices = np.flatnonzero((splits == split) & (kinds == "voice"))
    pictures = np.flatnonzero((splits == split) & (kinds == "face"))
    whole, files = np.isfinite(faces[pictures]).all(1), manifest.files()
    lost = [f"{files[i]}: it has no embedding" for i in pictures[~whole]]
    pictures = pictures[whole]
    name_of = np.array(columns["identity"], object)
    normal = normalized(manifest)[pictures]
    photographed = set(name_of[pictures[~normal]])  # their normalised pictures are no photographs
    pictures = pictures[
        [not n or name_of[i] not in photographed for i, n in zip(pictures, normal, strict=True)]
    ]
    seen, heard = set(name_of[pictures]), set(name_of[voices])
    if not voices_too:
        voices, heard = voices[:0], seen
    names = ordered(manifest, voices if voices_too else pictures, seen & heard)
    if not names:
        wanted = "both a recording and a prepared picture" if voices_too else "a prepared picture"
        raise CorpusError(
            f"Nobody of the split {split!r} has {wanted}: look at the join that "
            "vox2face data index reports."
        )
    alone = (seen | heard) - set(names)
    lost += [f"{name}: voice or face is missing" for name in sorted(alone)]
    place = {name: number for number, name in enumerate(names)}
    voices = voices[[name in place for name in name_of[voices]]]
    pictures = pictures[[name in place for name in name_of[pictures]]]
    gender = {
        name_of[i]: columns["gender"][i] for i in (*pictures, *voices) if columns["gender"][i]
    }
    return Corpus(
        names,
        tuple(gender.get(name) for name in names),
        tuple(files[i] for i in voices),
        np.array([place[name] for name in name_of[voices]], np.intp),
        tuple(files[i] for i in pictures),
        np.array([place[name] for name in name_of[pictures]], np.intp),
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


def without_clips(corpus: Corpus, heard: NDArray[np.bool_], lost: Sequence[str]) -> Corpus:
    """Return the corpus without clips that could not be embedded, and who then has none."""
    kept = np.unique(corpus.speakers[heard])
    mute = sorted(set(range(len(corpus))) - set(kept.tolist()))
    if not len(kept):
        raise CorpusError("Not one clip could be read: look at the first lines of the failures.")
    place = np.full(len(corpus), -1)
    place[kept] = np.arange(len(kept))
    seen = place[corpus.sitters] >= 0
    marks = corpus.landmarks
    return replace(
        corpus,
        names=tuple(corpus.names[i] for i in kept),
        genders=tuple(corpus.genders[i] for i in kept),
        clips=tuple(c for c, ok in zip(corpus.clips, heard, strict=True) if ok),
        speakers=place[corpus.speakers[heard]],
        pictures=tuple(p for p, ok in zip(corpus.pictures, seen, strict=True) if ok),
        sitters=place[corpus.sitters[seen]],
        rows=corpus.rows[seen],
        faces=corpus.faces[seen],
        landmarks=None if marks is None else marks[seen],
        lost=(*corpus.lost, *lost, *(f"{corpus.names[i]}: no clip is left" for i in mute)),
    )
