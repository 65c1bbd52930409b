"""The rows of a manifest in a data set, and their files."""

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

    def path(self, position: int) -> str:
        """Return the path or address of the file at a position."""
        return storage.join(self.roots[self.root[position]], self.paths[position].as_py())

    def load(self, position: int, read: Callable[[int, str], Loaded]) -> Loaded:
        """Return `read(row, path)` of a file. Raises `CorpusError` that names the file."""
        path = self.path(position)
        try:
            return read(int(self.rows[position]), path)
        except (Vox2FaceError, OSError) as error:
            reason = str(error).removeprefix(path).strip()
            raise CorpusError(f"{path} cannot be used: {reason}") from error


def left_out(manifest: Manifest, split: str | None, bad: NDArray[np.int64]) -> int:
    """Return how many of the bad rows are in a split; None is the whole manifest."""
    import pyarrow.compute as pc

    if split is None:
        return len(bad)
    splits = manifest.table["split"].cast("string").take(bad)
    return int(pc.sum(pc.equal(splits, split)).as_py() or 0)


def require_choice(name: str, value: str, choices: Collection[str]) -> None:
    """Raise `UsageError` unless an argument has one of its choices."""
    if value not in choices:
        raise UsageError(f"There is no {name}={value!r}: use one of {', '.join(choices)}.")


Item = dict[str, Any]


def unusable(prepared: Prepared, manifest: Manifest, *stages: Rows) -> NDArray[np.int64]:
    """Return the rows of recordings that failed, and of pictures that a stage lacks, ascending.

    Raises `CorpusError` if another manifest was prepared; the splits may differ.
    """
    require_same(manifest, prepared.manifest, prepared.folder)
    pictures = prepared.numbers("face")
    good = functools.reduce(np.intersect1d, [stage.good() for stage in stages], pictures)
    failed = np.array(sorted(prepared.failed_rows), np.int64)
    return np.union1d(np.setdiff1d(failed, pictures), np.setdiff1d(pictures, good))


def as_float(array: NDArray[Any]) -> Tensor:
    """Copy an array into a float32 tensor."""
    return torch.from_numpy(np.array(array, np.float32))


def as_picture(pixels: NDArray[np.uint8]) -> Tensor:
    """Copy a picture (height, width, 3) into a uint8 tensor (3, height, width)."""
    return torch.from_numpy(np.array(pixels.transpose(2, 0, 1), np.uint8))
