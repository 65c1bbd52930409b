"""The rows of a manifest that a data set is made of, and their files."""

from __future__ import annotations

import functools
from collections.abc import Callable, Collection
from typing import TYPE_CHECKING, Any, TypeVar

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from vox2face.core.errors import CorpusError, UsageError, Vox2FaceError
from vox2face.train import storage
from vox2face.train.corpus.groups import ranked
from vox2face.train.corpus.manifest import Manifest, require_same

if TYPE_CHECKING:
    from vox2face.train.prepare.reader import Prepared
    from vox2face.train.prepare.rows import Rows

Loaded = TypeVar("Loaded")


class Files:
    """The files of some rows of a manifest."""

    def __init__(self, manifest: Manifest, rows: NDArray[np.int64]) -> None:
        self.roots, root = ranked(manifest.table["root"].take(rows))
        self.root, self.rows = root.astype(np.int32), rows
        self.paths = manifest.table["path"].take(rows).combine_chunks()

    def place(self, position: int) -> str:
        """Return where the file of a position is."""
        return storage.join(self.roots[self.root[position]], self.paths[position].as_py())

    def load(self, position: int, read: Callable[[int, str], Loaded]) -> Loaded:
        """Return what `read(row, place)` makes of a file. Raises `CorpusError` naming it."""
        place = self.place(position)
        try:
            return read(int(self.rows[position]), place)
        except (Vox2FaceError, OSError) as error:
            reason = str(error).removeprefix(place).strip()
            raise CorpusError(f"{place} cannot be used: {reason}") from error


def left_out(manifest: Manifest, split: str | None, bad: NDArray[np.int64]) -> int:
    """Return how many of some bad rows are of a split."""
    import pyarrow.compute as pc

    if split is None:
        return len(bad)
    splits = manifest.table["split"].cast("string").take(bad)
    return int(pc.sum(pc.equal(splits, split)).as_py() or 0)


def require_choice(name: str, value: str, known: Collection[str]) -> None:
    """Raise `UsageError` unless an argument has one of the values there are."""
    if value not in known:
        raise UsageError(f"There is no {name}={value!r}: use one of {', '.join(known)}.")


Item = dict[str, Any]


def unusable(prepared: Prepared, manifest: Manifest, *stages: Rows) -> NDArray[np.int64]:
    """Return the rows of recordings that failed, and of pictures that a stage lacks, ascending.

    Raises `CorpusError` if another manifest was prepared; its splits may differ.
    """
    require_same(manifest, prepared.manifest, prepared.folder)
    pictures = prepared.numbers("face")
    good = functools.reduce(np.intersect1d, [stage.good() for stage in stages], pictures)
    failed = np.array(sorted(prepared.failed_rows), np.int64)
    return np.union1d(np.setdiff1d(failed, pictures), np.setdiff1d(pictures, good))


def as_float(array: NDArray[Any]) -> Tensor:
    """Return an array as a float32 tensor of its own."""
    return torch.from_numpy(np.array(array, np.float32))


def as_picture(pixels: NDArray[np.uint8]) -> Tensor:
    """Return a picture (height, width, 3) as a uint8 tensor (3, height, width) of its own."""
    return torch.from_numpy(np.array(pixels.transpose(2, 0, 1), np.uint8))
