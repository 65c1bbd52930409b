"""Arrays that a network made of a corpus, kept in files beside what they were made of."""

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
VALUES, MADE = "values", "vox2face_values"  # the array; in the metadata: its stamp and failures


@dataclass(frozen=True)
class Kept:
    """An array that is there: how many rows it has, and why some of them could not be made."""

    path: Path
    rows: int
    failed: Mapping[int, str]

    def values(self) -> NDArray[np.float32]:
        """Read the array, (rows, ...)."""
        with safe_open(self.path, framework="numpy") as file:
            array: NDArray[np.float32] = file.get_tensor(VALUES)
            return array


def stamp_of(facts: Any) -> str:
    """Return a sha256 of everything that an array is made of, which JSON can hold."""
    return hashlib.sha256(json.dumps(facts, sort_keys=True).encode()).hexdigest()


def keep(path: Path, stamp: str, values: NDArray[Any], failed: Mapping[int, str]) -> None:
    """Write an array (rows, ...) as a whole or not at all, and why some of its rows failed."""
    made = json.dumps({"stamp": stamp, "failed": failed})  # one entry: several have no order
    with atomic_file(path) as partial:
        partial.write_bytes(save({VALUES: np.ascontiguousarray(values)}, {MADE: made}))


def find(path: Path, stamp: str) -> Kept | None:
    """Return the array in a file; None if it is missing, damaged or made of anything else."""
    try:
        with safe_open(path, framework="numpy") as file:
            made = json.loads(file.metadata()[MADE])
            rows = file.get_slice(VALUES).get_shape()[0]
            failed = {int(row): str(reason) for row, reason in made["failed"].items()}
            return Kept(path, rows, failed) if made["stamp"] == stamp else None
    except (OSError, SafetensorError, KeyError, TypeError, ValueError, AttributeError):
        return None
