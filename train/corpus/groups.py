"""Rows of a manifest grouped by person."""

from __future__ import annotations

from collections.abc import Collection
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from vox2face.core.errors import CorpusError
from vox2face.train.corpus.manifest import KINDS, Manifest, normalized


def people(
    manifest: Manifest,
    split: str | None,
    bad: Collection[int] | NDArray[np.int64],
    voices: bool = True,
) -> tuple[list[str], Groups]:
    """Return the names of a split's people, sorted, and their rows except those in `bad`.

    Rows are sorted by path within a name. Normalised pictures are left out of people who have
    photographs. With `voices` only people with both clips and pictures count, else all with
    pictures. Raises `CorpusError` if nobody is left.
    """
    import pyarrow as pa
    import pyarrow.compute as pc

    table = manifest.table.append_column("row", pa.array(np.arange(len(manifest))))
    table = table.append_column("normal", pa.array(normalized(manifest)))
    if split is not None:
        splits = sorted(name for name in table["split"].unique().to_pylist() if name)
        table = table.filter(pc.equal(table["split"].cast("string"), split))
        if not len(table):
            raise CorpusError(
                f"The manifest has no rows of the split {split!r}; there are: "
                f"{', '.join(splits) or 'none'}. Make other splits with vox2face data index, "
                "or choose one of these."
            )
    table = table.filter(pa.array(~np.isin(table["row"].to_numpy(), np.asarray(bad, np.int64))))
    names, who = ranked(table["identity"])
    order = table.select(["path", "row"])
    order = order.append_column("root", pa.array(ranked(table["root"])[1]))
    order = order.append_column("who", pa.array(who))
    keys = [("who", "ascending"), ("path", "ascending"), ("root", "ascending")]
    sorting = pc.sort_indices(order, sort_keys=keys).to_numpy()
    rows, who = table["row"].to_numpy()[sorting], who[sorting]
    normal = table["normal"].to_numpy()[sorting]
    voice, face = (
        pc.equal(table["kind"].cast("string"), kind).to_numpy()[sorting] for kind in KINDS
    )
    face = face & ~(normal & np.isin(who, who[face & ~normal]))
    with_files = np.unique(who[face])
    if voices:
        with_files = np.intersect1d(with_files, who[voice])
    if not len(with_files):
        missing = "both a usable clip and a usable picture" if voices else "a usable picture"
        raise CorpusError(
            f"Nobody of the split {split!r} has {missing}: look at the summary of "
            "vox2face data index and at the failures of vox2face data prepare."
        )
    voice, face = (kind & np.isin(who, with_files) for kind in (voice & voices, face))
    number = np.searchsorted(with_files, who)
    groups = group(rows[voice], number[voice], rows[face], number[face])
    return [names[i] for i in with_files], groups


def ranked(column: Any) -> tuple[list[str], NDArray[np.int64]]:
    """Return a column's distinct strings, sorted, and each row's index among them (rows,)."""
    import pyarrow.compute as pc

    encoded = pc.dictionary_encode(column.cast("string")).combine_chunks()
    words: list[str] = encoded.dictionary.to_pylist()
    rank = np.empty(len(words), np.int64)
    rank[sorted(range(len(words)), key=words.__getitem__)] = np.arange(len(words))
    return sorted(words), rank[encoded.indices.to_numpy()]


Numbers = NDArray[np.int64]


@dataclass(frozen=True, eq=False)
class Groups:
    """Clips and pictures, one identity after the other.

    `clips` and `pictures` are row numbers of a manifest. Those of identity i are from
    `first_clip[i]` to `first_clip[i + 1]`, and likewise the pictures.
    """

    clips: Numbers
    pictures: Numbers
    first_clip: Numbers
    first_picture: Numbers

    def __len__(self) -> int:
        return len(self.first_clip) - 1

    def clips_of(self, identity: int) -> Numbers:
        """Return the row numbers of an identity's clips (clips of it,)."""
        return self.clips[self.first_clip[identity] : self.first_clip[identity + 1]]

    def pictures_of(self, identity: int) -> Numbers:
        """Return the row numbers of an identity's pictures (pictures of it,)."""
        return self.pictures[self.first_picture[identity] : self.first_picture[identity + 1]]


def group(clips: Numbers, speakers: Numbers, pictures: Numbers, sitters: Numbers) -> Groups:
    """Group rows by identity: `speakers` and `sitters` give the identity of each, from 0.

    Within an identity, rows keep the order they come in. An identity may lack one kind or both.
    """
    identities = 1 + max(int(speakers.max(initial=-1)), int(sitters.max(initial=-1)))
    return Groups(
        clips[np.argsort(speakers, kind="stable")],
        pictures[np.argsort(sitters, kind="stable")],
        starts(np.bincount(speakers, minlength=identities)),
        starts(np.bincount(sitters, minlength=identities)),
    )


def starts(counts: Numbers) -> Numbers:
    """Return the start of each group, and the end of the last one: (groups + 1,)."""
    return np.concatenate(([0], np.cumsum(counts, dtype=np.int64)))
