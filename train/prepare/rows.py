"""An array of a prepared corpus, row by row of its manifest."""

from __future__ import annotations

import functools
from collections.abc import Iterator
from typing import Any

import numpy as np
from numpy.typing import NDArray

from vox2face.core.errors import CorpusError
from vox2face.train import storage
from vox2face.train.prepare import shards

FAILURES = "failures.csv"


class Rows:
    """An array of one stage, row by row of the manifest: `rows[17]` takes constant time.

    `numbers` (n,) are the rows that the stage has, those of one kind. Of these some may have
    failed, or hold values that are not finite, which counts as failed unless NaN means something
    (`gaps`); `row in rows` tells. Copies of it may be used in several processes.
    """

    def __init__(
        self,
        folder: str,
        name: str,
        numbers: NDArray[np.int64],
        size: int,
        listed: frozenset[int],
        gaps: bool = False,
    ) -> None:
        self.folder, self.name, self.numbers, self.size = folder, name, numbers, size
        self.listed, self.gaps = listed, gaps
        self._open: dict[int, tuple[shards.Shard, Any]] = {}

    def __getstate__(self) -> dict[str, Any]:
        """Leave what is mapped into memory behind: a copy opens it itself."""
        return {**self.__dict__, "_open": {}}

    @functools.cached_property
    def bad(self) -> frozenset[int]:
        """The rows that failed, and those whose values are not finite."""
        if self.gaps or not len(self.numbers):
            return self.listed
        if not np.issubdtype(self.opened(0).layout[self.name][0], np.floating):
            return self.listed
        finite = [np.isfinite(part).reshape(len(part), -1).all(1) for part in self.chunks()]
        return self.listed.union(self.numbers[~np.concatenate(finite)].tolist())

    def __contains__(self, row: object) -> bool:
        """Whether the stage has this row, and it did not fail."""
        if not isinstance(row, int | np.integer) or int(row) in self.bad:
            return False
        place = int(np.searchsorted(self.numbers, row))
        return place < len(self.numbers) and int(self.numbers[place]) == row

    def __getitem__(self, row: int) -> NDArray[Any]:
        """Return a row's array. Raises `CorpusError` for a row that is not there or failed."""
        shard, place = self.find(row)
        if shard not in self._open:
            opened = self.opened(shard)
            near = not storage.is_remote(opened.place)
            self._open[shard] = opened, opened.array(self.name) if near else None
        opened, mapped = self._open[shard]
        if mapped is not None:
            return np.asarray(mapped[place])
        return np.asarray(opened.part(self.name, place, place + 1)[0])

    def find(self, row: int) -> tuple[int, int]:
        """Return the number of a row's shard, and its place there."""
        if row not in self:
            why = "its values are not finite" if row in self.bad else "it is no row of that kind"
            why = f"see {FAILURES}" if row in self.listed else why
            raise CorpusError(f"Row {row} of the manifest has no {self.name}: {why}.")
        return divmod(int(np.searchsorted(self.numbers, row)), self.size)

    def opened(self, shard: int) -> shards.Shard:
        """Open a shard."""
        return shards.whole(storage.join(self.folder, shards.file_name(shard)))

    def good(self) -> NDArray[np.int64]:
        """Return the rows that are not bad, ascending."""
        return self.numbers[~np.isin(self.numbers, list(self.bad))]

    def all(self) -> tuple[NDArray[np.int64], NDArray[Any]]:
        """Return the rows (n,) that are not bad, ascending, and their arrays (n, ...)."""
        parts = [np.asarray(part) for part in self.chunks()]
        values = np.concatenate(parts) if parts else np.empty((0,), np.float32)
        return self.good(), values[~np.isin(self.numbers, list(self.bad))]

    def chunks(self) -> Iterator[NDArray[Any]]:
        """Yield the arrays shard by shard, failed rows included (NaN or 0)."""
        for shard in range(-(-len(self.numbers) // self.size)):
            yield self.opened(shard).array(self.name)
