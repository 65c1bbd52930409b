"""The rows of a manifest that a data set is made of, and their files."""

from __future__ import annotations

from collections.abc import Callable, Collection
from typing import Any, TypeVar

import numpy as np
import torch
from numpy.typing import NDArray

from vox2face.errors import CorpusError, UsageError, Vox2FaceError
from vox2face.train import storage
from vox2face.train.manifest import KINDS, Manifest
from vox2face.train.pairs import Groups, following, group

Loaded = TypeVar("Loaded")
ON_ERROR = ("raise", "skip")


class Files:
    """The files of some rows of a manifest, and which of them turned out to be unreadable."""

    def __init__(self, manifest: Manifest, rows: NDArray[np.int64], on_error: str) -> None:
        require_choice("on_error", on_error, ON_ERROR)
        self.roots, root = ranked(manifest.table["root"].take(rows))
        self.root, self.rows, self.skip = root.astype(np.int32), rows, on_error == "skip"
        self.paths = manifest.table["path"].take(rows).combine_chunks()
        # one byte a file, which all workers see; they can only ever write the same
        self.bad = torch.zeros(len(rows), dtype=torch.uint8)
        self.bad.share_memory_()  # type: ignore[no-untyped-call]

    def place(self, position: int) -> str:
        """Return where the file of a position is."""
        return storage.join(self.roots[self.root[position]], self.paths[position].as_py())

    def failed(self) -> list[str]:
        """Return the files that could not be read so far."""
        return [self.place(int(position)) for position in self.bad.nonzero()]

    def usable(
        self, position: int, first: int, end: int, load: Callable[[int, str], Loaded]
    ) -> tuple[int, Loaded]:
        """Return a position and what `load(row, place)` makes of its file.

        Where that fails and failures are skipped, the next position from `first` to `end` - 1
        stands in, going round. Raises `CorpusError` where none is left.
        """
        reason = ""
        for step in range(end - first):
            at = following(first, end, position, step)
            if self.skip and self.bad[at]:
                continue
            try:
                return at, load(int(self.rows[at]), self.place(at))
            except (Vox2FaceError, OSError) as error:
                told = str(error).removeprefix(self.place(at)).strip()
                reason = f"{self.place(at)} cannot be used: {told}"
                self.bad[at] = 1
                if not self.skip:
                    raise CorpusError(reason) from error
        raise CorpusError(
            f"None of the {end - first} files like {self.place(position)} can be used. {reason}"
        )


def people(
    manifest: Manifest,
    split: str | None,
    bad: Collection[int] | NDArray[np.int64],
    voices: bool = True,
) -> tuple[list[str], Groups]:
    """Return the names of a split's people, sorted, and their rows without the bad ones.

    Rows go by path within a name. With `voices` only those who have both clips and pictures
    count, else all who have pictures. Raises `CorpusError` if nobody is left.
    """
    import pyarrow as pa
    import pyarrow.compute as pc

    table = manifest.table.append_column("row", pa.array(np.arange(len(manifest))))
    if split is not None:
        there = sorted(name for name in table["split"].unique().to_pylist() if name)
        table = table.filter(pc.equal(table["split"].cast("string"), split))
        if not len(table):
            raise CorpusError(
                f"The manifest has no rows of the split {split!r}; there are: "
                f"{', '.join(there) or 'none'}. Name one of these, or None for all rows."
            )
    table = table.filter(pa.array(~np.isin(table["row"].to_numpy(), np.asarray(bad, np.int64))))
    names, who = ranked(table["identity"])
    order = table.select(["path", "row"])
    order = order.append_column("root", pa.array(ranked(table["root"])[1]))
    order = order.append_column("who", pa.array(who))
    keys = [("who", "ascending"), ("path", "ascending"), ("root", "ascending")]
    sorting = pc.sort_indices(order, sort_keys=keys).to_numpy()
    rows, who = table["row"].to_numpy()[sorting], who[sorting]
    voice, face = (
        pc.equal(table["kind"].cast("string"), kind).to_numpy()[sorting] for kind in KINDS
    )
    kept = np.unique(who[face])
    if voices:
        kept = np.intersect1d(kept, who[voice])
    if not len(kept):
        wanted = "both a usable clip and a usable picture" if voices else "a usable picture"
        raise CorpusError(
            f"Nobody of the split {split!r} has {wanted}: look at the summary of "
            "vox2face data index and at the failures of vox2face data prepare."
        )
    voice, face = (kind & np.isin(who, kept) for kind in (voice & voices, face))
    number = np.searchsorted(kept, who)
    groups = group(rows[voice], number[voice], rows[face], number[face])
    return [names[i] for i in kept], groups


def left_out(manifest: Manifest, split: str | None, bad: NDArray[np.int64]) -> int:
    """Return how many of some bad rows are of a split."""
    import pyarrow.compute as pc

    if split is None:
        return len(bad)
    splits = manifest.table["split"].cast("string").take(bad)
    return int(pc.sum(pc.equal(splits, split)).as_py() or 0)


def ranked(column: Any) -> tuple[list[str], NDArray[np.int64]]:
    """Return the different words of a column, sorted, and each row's place among them."""
    import pyarrow.compute as pc

    coded = pc.dictionary_encode(column.cast("string")).combine_chunks()
    words: list[str] = coded.dictionary.to_pylist()
    rank = np.empty(len(words), np.int64)
    rank[sorted(range(len(words)), key=words.__getitem__)] = np.arange(len(words))
    return sorted(words), rank[coded.indices.to_numpy()]


def require_same(manifest: Manifest, theirs: Manifest, folder: str) -> None:
    """Raise `CorpusError` if a folder was prepared of other rows; their splits may differ."""
    for name in ("identity", "kind", "path"):
        ours, other = (m.table[name].cast("string") for m in (manifest, theirs))
        if not ours.equals(other):
            raise CorpusError(
                f"{folder} was prepared of another manifest ({len(theirs)} rows, given are "
                f"{len(manifest)}): use {folder}/manifest.parquet, or run vox2face data prepare "
                "again."
            )


def require_choice(name: str, value: str, known: Collection[str]) -> None:
    """Raise `UsageError` unless an argument has one of the values there are."""
    if value not in known:
        raise UsageError(f"There is no {name}={value!r}: use one of {', '.join(known)}.")
