"""The files found in one source of a corpus: a person and a path each, stored compactly."""

from __future__ import annotations

from array import array
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray

if TYPE_CHECKING:
    import pyarrow as pa

PENDING = 50_000  # paths kept as Python strings before they go into an Arrow array


@dataclass
class Scan:
    """Files of one kind in one source: person `keys[codes[i]]` has the file `paths[i]`.

    `part` is the metadata that explains the keys ("voxceleb1", "voxceleb2"), "" for names of no
    metadata. `role` is that of pictures. `splits` gives the splits of keys where the layout has
    any.
    """

    source: str
    kind: str
    root: str
    part: str = ""
    role: str | None = None
    keys: list[str] = field(default_factory=list)
    codes: array[int] = field(default_factory=lambda: array("i"))
    splits: dict[str, str] = field(default_factory=dict)
    _chunks: list[pa.Array] = field(default_factory=list)
    _pending: list[str] = field(default_factory=list)
    _number: dict[str, int] = field(default_factory=dict)

    def add(self, key: str, paths: list[str]) -> None:
        """Add the paths of a person's files."""
        if not paths:
            return
        code = self._number.setdefault(key, len(self.keys))
        if code == len(self.keys):
            self.keys.append(key)
        self.codes.extend([code] * len(paths))
        self._pending += paths
        if len(self._pending) >= PENDING:
            self.flush()

    def flush(self) -> None:
        """Move the pending paths into an Arrow array."""
        import pyarrow as pa

        if self._pending:
            self._chunks.append(pa.array(self._pending, pa.string()))
            self._pending.clear()

    def paths(self) -> pa.ChunkedArray:
        """Return all paths (files,), in the order in which they were added."""
        import pyarrow as pa

        self.flush()
        return pa.chunked_array(self._chunks, pa.string())

    def counts(self) -> list[int]:
        """Return the number of files of each key, in the order of `keys`."""
        counts: list[int] = np.bincount(self.people, minlength=len(self.keys)).tolist()
        return counts

    @property
    def people(self) -> NDArray[np.int32]:
        """The codes as an array (files,)."""
        return np.frombuffer(self.codes, np.int32) if self.codes else np.empty(0, np.int32)
