"""Values of other floating-point types as float32."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

import numpy as np
from numpy.typing import NDArray

from vox2face.core.errors import WeightFileError

# bfloat16, which NumPy does not know, is the upper half of a float32
KINDS: dict[str, np.dtype[Any]] = {
    "float32": np.dtype("<f4"),
    "float64": np.dtype("<f8"),
    "float16": np.dtype("<f2"),
    "bfloat16": np.dtype("<u2"),
}


def checked_kind(name: str, kind: str) -> str:
    """Return the type of a tensor's values if they can become float32, or raise."""
    if kind not in KINDS:
        raise WeightFileError(
            f"{name} holds {kind} values: expected is float32, float64, float16 or bfloat16"
        )
    return kind


def widened(values: NDArray[Any]) -> NDArray[Any]:
    """Return values as float32; 16-bit integers are bfloat16."""
    if values.dtype == KINDS["bfloat16"]:
        return (values.astype("<u4") << 16).view("<f4")
    with np.errstate(over="ignore"):
        return values.astype("<f4", copy=False)


def words(kinds: Iterable[str]) -> tuple[str, ...]:
    """Return the sentence that says which values become float32, if any do."""
    other = sorted({*kinds} - {"float32"})
    return (f"Its values of {', '.join(other)} are converted to float32.",) if other else ()
