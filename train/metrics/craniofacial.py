"""Measurements of faces from their 68 landmarks, and their agreement between two sets of faces.

Speech2Face (Oh et al., CVPR 2019) correlates such measurements between faces decoded from pictures
and from voices. The names are those of its table; the definitions here are ours, on the points of
iBUG 300-W, because the paper's are on those of another landmark finder. Compare figures of the same
definition only.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import ArrayLike, NDArray

from vox2face.core.errors import CorpusError
from vox2face.train.metrics.similarity import Array
from vox2face.train.metrics.statistics import (
    Correlation,
    correlation_table,
    correlations,
    derangement,
)

POINTS = 68
LEFT, RIGHT = slice(36, 42), slice(42, 48)  # the eyes, as the picture shows them

# Lengths in eye distances: from the mean of some points to the mean of others.
# fmt: off
LENGTHS: dict[str, tuple[tuple[int, ...], tuple[int, ...]]] = {
    "nose width":             ((31,), (35,)),          # alare to alare
    "nose height":            ((27,), (33,)),          # root of the nose to subnasale
    "upper-lip height":       ((33,), (62,)),          # subnasale to stomion
    "lateral upper lip":      ((31, 35), (49, 53)),    # wings of the nose to lip's edge
    "philtrum width":         ((50,), (52,)),          # between the peaks of the upper lip
    "labio-oral":             ((33,), (57,)),          # subnasale to the lower lip's edge
    "intercanthal width":     ((39,), (42,)),          # between the inner corners of the eyes
    "jaw width":              ((4,), (12,)),           # between the corners of the jaw
    "face width":             ((1,), (15,)),
    "biocular width":         ((36,), (45,)),          # between the outer corners of the eyes
    "mouth width":            ((48,), (54,)),
    "mandible height":        ((66,), (8,)),           # stomion to chin
    "upper vermilion height": ((51,), (62,)),
    "lower vermilion height": ((66,), (57,)),
}

# Ratios of two lengths
RATIOS: dict[str, tuple[str, str]] = {
    "nasal index":             ("nose width", "nose height"),
    "intercanthal index":      ("intercanthal width", "biocular width"),
    "mouth-face width":        ("mouth width", "face width"),
    "mandibular index":        ("mandible height", "jaw width"),
    "vermilion height":        ("upper vermilion height", "lower vermilion height"),
}

# fmt: on
REPORTED = (
    *("nasal index", "nose width", "vermilion height", "nose area", "lateral upper lip"),
    *("intercanthal index", "mouth-face width", "mandibular index", "labio-oral"),
    *("upper-lip height", "nose height", "jaw width", "philtrum width"),
)
LEAST = 0.02  # eye distances: the least divisor of a ratio


@dataclass(frozen=True)
class LandmarkAgreement:
    """The agreement of the landmarks of the same people between two sets of faces.

    `r` is the mean correlation over the aligned coordinates, `shuffled` that of shuffled pairs,
    `distance` the mean distance of points in eye distances.
    """

    r: float
    shuffled: float
    distance: float


def aligned(landmarks: ArrayLike) -> Array:
    """Align faces (n, 68, 2): the eyes are level, 1 apart and centred at 0.

    Raises `CorpusError` for another shape, values that are not finite, or both eyes at one point.
    """
    points = np.asarray(landmarks, np.float64)
    if points.ndim != 3 or points.shape[1:] != (POINTS, 2) or not np.isfinite(points).all():
        raise CorpusError(
            f"Landmarks are finite and (faces, 68, 2), not {points.shape}: detect them again."
        )
    left, right = points[:, LEFT].mean(1), points[:, RIGHT].mean(1)
    eye_vector = (right - left).view(np.complex128)[:, 0]
    if (np.abs(eye_vector) < 1e-6).any():
        raise CorpusError("A face has both eyes at one point: detect its landmarks again.")
    centred = points - ((left + right) / 2)[:, None]
    turned = np.ascontiguousarray(centred).view(np.complex128)[..., 0] / eye_vector[:, None]
    return np.stack([turned.real, turned.imag], -1)


def measurements(landmarks: ArrayLike) -> dict[str, Array]:
    """Return the measurements in `REPORTED` of faces (n, 68, 2), (n,) each.

    Lengths are in distances between the centres of the eyes, the area in their squares; indices
    are ratios.
    """
    points = aligned(landmarks)
    values = {
        name: np.linalg.norm(points[:, list(a)].mean(1) - points[:, list(b)].mean(1), axis=1)
        for name, (a, b) in LENGTHS.items()
    }
    values["nose area"] = values["nose width"] * values["nose height"] / 2
    for name, (above, below) in RATIOS.items():
        values[name] = values[above] / np.maximum(values[below], LEAST)
    return {name: values[name] for name in REPORTED}


def craniofacial_table(first: ArrayLike, second: ArrayLike, seed: int) -> dict[str, Correlation]:
    """Return the correlation of each measurement between two sets of faces of the same people.

    Both are (people, 68, 2).
    """
    a, b = measurements(first), measurements(second)
    columns = np.stack(list(a.values()), 1), np.stack(list(b.values()), 1)
    return correlation_table(*columns, list(a), seed)


def landmark_correlation(first: ArrayLike, second: ArrayLike, seed: int) -> LandmarkAgreement:
    """Return the mean over the 136 aligned coordinates of their correlation over people.

    Both are (people, 68, 2). Coordinates that are the same for all people are left out.
    """
    a, b = aligned(first), aligned(second)
    order = derangement(len(a), seed)
    distance = float(np.linalg.norm(a - b, axis=-1).mean())
    return LandmarkAgreement(_mean_r(a, b), _mean_r(a, b[order]), distance)


def _mean_r(a: NDArray[Any], b: NDArray[Any]) -> float:
    """Return the mean of the finite correlations, 0 without any."""
    r = correlations(a.reshape(len(a), -1), b.reshape(len(b), -1))
    r = r[np.isfinite(r)]
    return float(r.mean()) if r.size else 0.0
