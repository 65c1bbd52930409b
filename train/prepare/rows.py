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

    `numbers` (n,) are the rows of the stage, all of one kind, `size` of them in a shard. Those in
    `failed`, and unless `gaps` those with values that are not finite, are bad: `row in rows` is
    False. Copies may be used in several processes.
    """

    def __init__(
        self,
        folder: str,
        name: str,
        numbers: NDArray[np.int64],
        size: int,
        failed: frozenset[int],
        gaps: bool = False,
    ) -> None:
        self.folder, self.name, self.numbers, self.size = folder, name, numbers, size
        self.failed, self.gaps = failed, gaps
        self._open: dict[int, tuple[shards.Shard, Any]] = {}

    def __getstate__(self) -> dict[str, Any]:
        """Drop the open shards: a copy opens its own."""
        return {**self.__dict__, "_open": {}}

    @functools.cached_property
    def bad(self) -> frozenset[int]:
        """The rows that failed, and those whose values are not finite."""
        if self.gaps or not len(self.numbers):
            return self.failed
        if not np.issubdtype(self.shard(0).layout[self.name][0], np.floating):
            return self.failed
        finite = [np.isfinite(part).reshape(len(part), -1).all(1) for part in self.chunks()]
        return self.failed.union(self.numbers[~np.concatenate(finite)].tolist())

    def __contains__(self, row: object) -> bool:
        """Whether the stage has this row, and it did not fail."""
        if not isinstance(row, int | np.integer) or int(row) in self.bad:
            return False
        index = int(np.searchsorted(self.numbers, row))
        return index < len(self.numbers) and int(self.numbers[index]) == row

    def __getitem__(self, row: int) -> NDArray[Any]:
        """Return a row's array. Raises `CorpusError` for a row that failed or does not exist."""
        number, index = self.locate(row)
        if number not in self._open:
            shard = self.shard(number)
            on_disk = not storage.is_remote(shard.path)
            self._open[number] = shard, shard.array(self.name) if on_disk else None
        shard, mapped = self._open[number]
        if mapped is not None:
            return np.asarray(mapped[index])
        return np.asarray(shard.part(self.name, index, index + 1)[0])

    def locate(self, row: int) -> tuple[int, int]:
        """Return the number of a row's shard and the row's index in it."""
        if row not in self:
            why = "its values are not finite" if row in self.bad else "the row is of another kind"
            why = f"see {FAILURES}" if row in self.failed else why
            raise CorpusError(f"Row {row} of the manifest has no {self.name}: {why}.")
        return divmod(int(np.searchsorted(self.numbers, row)), self.size)

    def shard(self, number: int) -> shards.Shard:
        """Open a shard. Raises `CorpusError` if it is damaged or missing."""
        return shards.open_shard(storage.join(self.folder, shards.file_name(number)))

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
        for number in range(-(-len(self.numbers) // self.size)):
            yield self.shard(number).array(self.name)
