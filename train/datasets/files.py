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
from vox2face.train.datasets.pairing import following

if TYPE_CHECKING:
    from vox2face.train.prepare.reader import Prepared
    from vox2face.train.prepare.rows import Rows

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
