"""Arrays that a network computed from a corpus, cached in files with a stamp of their inputs."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray
from safetensors import SafetensorError, safe_open
from safetensors.numpy import save

from vox2face.core.files import atomic_file

ENDING = ".safetensors"
VALUES, METADATA = "values", "vox2face_values"  # the array; in the metadata: its stamp and failures


@dataclass(frozen=True)
class CachedArray:
    """A cached array: its number of rows, and the reasons of rows that failed."""

    path: Path
    rows: int
    failed: Mapping[int, str]

    def values(self) -> NDArray[np.float32]:
        """Read the array (rows, ...)."""
        with safe_open(self.path, framework="numpy") as file:
            array: NDArray[np.float32] = file.get_tensor(VALUES)
            return array


def stamp_of(facts: Any) -> str:
    """Return a sha256 of the facts that an array depends on, as JSON."""
    return hashlib.sha256(json.dumps(facts, sort_keys=True).encode()).hexdigest()


def save_array(path: Path, stamp: str, values: NDArray[Any], failed: Mapping[int, str]) -> None:
    """Write an array (rows, ...) as a whole or not at all, with the reasons of failed rows."""
    metadata = json.dumps({"stamp": stamp, "failed": failed})  # one entry: several have no order
    with atomic_file(path) as partial:
        partial.write_bytes(save({VALUES: np.ascontiguousarray(values)}, {METADATA: metadata}))


def load_array(path: Path, stamp: str) -> CachedArray | None:
    """Open a cached array; None if it is missing, damaged or has another stamp."""
    try:
        with safe_open(path, framework="numpy") as file:
            metadata = json.loads(file.metadata()[METADATA])
            rows = file.get_slice(VALUES).get_shape()[0]
            failed = {int(row): str(reason) for row, reason in metadata["failed"].items()}
            return CachedArray(path, rows, failed) if metadata["stamp"] == stamp else None
    except (OSError, SafetensorError, KeyError, TypeError, ValueError, AttributeError):
        return None
