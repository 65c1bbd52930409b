"""Check embeddings and measure their similarity. NumPy only.

All functions take and return plain arrays, so they can be tested against closed formulas.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import ArrayLike, NDArray

from vox2face.core.errors import CorpusError, UsageError

Array = NDArray[np.float64]
Indices = NDArray[np.intp]


def check_embeddings(values: ArrayLike, what: str = "embeddings") -> Array:
    """Return embeddings as float64 (n, width).

    Raises `CorpusError` unless they are a table of finite rows, none of them zero.
    """
    table = np.asarray(values, np.float64)
    if table.ndim != 2 or not table.size:
        raise CorpusError(
            f"The {what} have the shape {table.shape}: expected one or more rows, (n, width)."
        )
    if not np.isfinite(table).all():
        broken = int((~np.isfinite(table).all(1)).sum())
        raise CorpusError(
            f"{broken} of {len(table)} {what} are not finite: make them again, and look for NaN in "
            "the network that made them."
        )
    if (zero := ~table.any(1)).any():
        raise CorpusError(
            f"{int(zero.sum())} of {len(table)} {what} are zero, and zero has no direction: leave "
            "those recordings or pictures out, or make their embeddings again."
        )
    return table


def unit(values: ArrayLike, what: str = "embeddings") -> Array:
    """Return embeddings (n, width) divided by their lengths; raises as `check_embeddings` does."""
    table = check_embeddings(values, what)
    table = table / np.abs(table).max(1, keepdims=True)  # squares of tiny values would underflow
    result: Array = table / np.linalg.norm(table, axis=1, keepdims=True)
    return result


def similarity(first: ArrayLike, second: ArrayLike) -> dict[str, Array]:
    """Return the cosine, degrees, l1 and l2 of the rows of two tables (n, width), (n,) each.

    L1 and L2 are distances between **unit** vectors, so that L2 = sqrt(2 - 2 cosine) and networks
    of any scale are comparable; they cannot be compared with figures on vectors of another scale.
    """
    a, b = unit(first), unit(second)
    if a.shape != b.shape:
        raise UsageError(
            f"Embeddings of the shapes {a.shape} and {b.shape} are not pairs: compare as many of "
            "the same width."
        )
    difference = a - b
    l2 = np.linalg.norm(difference, axis=1)
    # Of two unit vectors; arccos would lose half the digits where they are nearly the same
    degrees = np.degrees(2 * np.arcsin(np.clip(l2 / 2, 0, 1)))
    return {
        "cosine": (a * b).sum(1),
        "degrees": degrees,
        "l1": np.abs(difference).sum(1),
        "l2": l2,
    }
