"""The head: a mesh, its shape targets, and their weights for a person's traits.

The mesh and targets are those of MakeHuman / MPFB2 (CC0), cut by `build_head.py`. Lengths are in
decimetres; x points to the picture's right, y up, z to the viewer.
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import cache
from importlib.resources import files
from typing import Any

import numpy as np
from numpy.typing import NDArray

Floats = NDArray[np.floating[Any]]
Ints = NDArray[np.integer[Any]]

BODY, TEETH = 0, 3
EYES = (1, 2)
OPPOSITES = (
    ("decr", "incr"),
    ("down", "up"),
    ("in", "out"),
    ("backward", "forward"),
    ("concave", "convex"),
    ("compress", "uncompress"),
)
OUTLINES = ("oval", "round", "square", "rectangular", "triangular", "diamond", "invertedtriangular")
ANCESTRIES = ("african", "asian", "caucasian")

# The age parameter of the mesh at these years.
AGE_YEARS, AGE_VALUES = (10.0, 25.0, 90.0), (0.1875, 0.5, 1.0)


def floats(values: Any) -> NDArray[np.float32]:
    """Return numbers as an array of single precision."""
    return np.asarray(values, np.float32)


def times(points: Floats, matrix: Floats) -> NDArray[np.float32]:
    """Return points (..., 3) times a matrix (3, K).

    The bits do not depend on the number of threads, as those of a matrix product may.
    """
    rows = floats(matrix)
    first, second, third = (points[..., k, None] * rows[k] for k in range(3))
    return floats(first + second + third)


@dataclass(frozen=True, eq=False)
class Head:
    """The mesh and its targets.

    `vertices` (V, 3) dm; `triangles` (T, 3); `material` (T,): `BODY`, `EYES` or `TEETH`; `targets`
    name -> number; target k moves vertices `index[start[k]:start[k + 1]]` by `offset`.
    `masks` (V, 5): lips, eyelids, ears, inside of the mouth, openness to the sky, 0..1.
    `marks` (68, 6, 3) are vertices and `shares` their weights: landmarks, those of the jaw with
    five more places each towards the nose.
    """

    vertices: NDArray[np.float32]
    triangles: NDArray[np.int32]
    material: NDArray[np.int8]
    targets: dict[str, int]
    start: NDArray[np.int32]
    index: NDArray[np.int32]
    offset: NDArray[np.float32]
    masks: NDArray[np.float32]
    marks: NDArray[np.int32]
    shares: NDArray[np.float32]
    canonical: NDArray[np.float32]

    @classmethod
    def of(cls, arrays: Any) -> Head:
        """Make a head of the arrays of the file; the last built ones may be missing."""
        vertices = np.asarray(arrays["vertices"], np.float32)
        empty = np.zeros(len(vertices), np.uint8)
        names = ("lips", "eyelids", "ears", "inside_mouth", "open")
        masks = [arrays.get(name, empty) for name in names]
        marks = arrays["marks"] if "marks" in arrays else np.zeros((68, 6, 3))
        shares = arrays["shares"] if "shares" in arrays else np.zeros((68, 6, 3))
        head = cls(
            vertices,
            np.ascontiguousarray(arrays["triangles"], np.int32),
            np.asarray(arrays["material"], np.int8),
            {str(name): k for k, name in enumerate(arrays["names"])},
            np.asarray(arrays["start"], np.int32),
            np.asarray(arrays["index"], np.int32),
            np.asarray(arrays["offset"], np.float32),
            floats(np.stack(masks, 1) / 255),
            np.asarray(marks, np.int32),
            np.asarray(shares, np.float32),
            vertices,
        )
        average = macro_weights(0.5, 0.5, 0.5, 0.5, (1 / 3, 1 / 3, 1 / 3))
        canonical = head.shaped(average)
        object.__setattr__(head, "canonical", canonical - head.between_eyes(canonical))
        return head

    def shaped(self, weights: dict[str, float]) -> NDArray[np.float32]:
        """Return the vertices (V, 3) with targets added by weight; unknown names raise KeyError."""
        points = self.vertices.copy()
        for name, weight in weights.items():
            part = slice(*self.start[self.targets[name] : self.targets[name] + 2])
            points[self.index[part]] += np.float32(weight) * self.offset[part]
        return points

    def move(self, points: NDArray[np.float32], weights: tuple[tuple[str, float], ...]) -> None:
        """Add expressions, such as ("smile", 0.4), to vertices in place."""
        for name, weight in weights:
            k = self.targets[f"expression/{name}"]
            part = slice(*self.start[k : k + 2])
            points[self.index[part]] += np.float32(weight) * self.offset[part]

    def eye_centres(self, points: Floats) -> NDArray[np.float32]:
        """Return the centres of the two eyes, (2, 3)."""
        both = [points[np.unique(self.triangles[self.material == eye])] for eye in EYES]
        return np.array([(eye.max(0) + eye.min(0)) / 2 for eye in both], np.float32)

    def between_eyes(self, points: Floats) -> NDArray[np.float32]:
        """Return the point between the eyes, the origin of the canonical head."""
        return np.asarray(self.eye_centres(points).mean(0), np.float32)

    def normals(self, points: Floats) -> NDArray[np.float32]:
        """Return the unit normals at the vertices (V, 3)."""
        a, b, c = points[self.triangles.T]
        faces = np.cross(b - a, c - a)
        corners = self.triangles.T.ravel()
        sums = [np.bincount(corners, np.tile(faces[:, k], 3), len(points)) for k in range(3)]
        normals = np.stack(sums, 1)
        return floats(normals / (np.linalg.norm(normals, axis=1, keepdims=True) + 1e-12))


@cache
def head() -> Head:
    """Return the head that comes with vox2face."""
    path = files("vox2face.assets").joinpath("head.npz")
    with path.open("rb") as file, np.load(file) as arrays:
        return Head.of({name: arrays[name] for name in arrays.files})


@cache
def axes() -> tuple[tuple[tuple[str, ...], tuple[str, ...]], ...]:
    """Return the shape axes: the targets of the low end and of the high end, both sides in one."""
    names = set(head().targets)
    found: list[tuple[tuple[str, ...], tuple[str, ...]]] = []
    for name in sorted(names):
        if name.startswith(("macro", "asym", "neck", "expression")) or "/r-" in name:
            continue
        for low, high in OPPOSITES:
            other = name.removesuffix(f"-{low}") + f"-{high}"
            if name.endswith(f"-{low}") and other in names:
                found.append((_both_sides(name), _both_sides(other)))
    return (*found, *(((), (f"head/head-{shape}",)) for shape in OUTLINES))


@cache
def axis_names() -> tuple[str, ...]:
    """Return the names of the axes, such as "chin/chin-width" or "head/head-oval"."""
    return tuple(high[0].rpartition("-")[0] if low else high[0] for low, high in axes())


def _both_sides(name: str) -> tuple[str, ...]:
    """Return a target and, if it is of the left side, that of the right side."""
    return (name, name.replace("/l-", "/r-")) if "/l-" in name else (name,)


def macro_weights(
    sex: float, age: float, weight: float, muscle: float, ancestry: tuple[float, ...]
) -> dict[str, float]:
    """Return the weights of the targets for sex (0 female .. 1 male), age, weight and muscle.

    Age, weight and muscle are 0..1 with 0.5 in the middle; ancestry is a mixture that sums to 1.
    """
    child, old = max(0.0, (0.5 - age) / (0.5 - AGE_VALUES[0])), max(0.0, 2 * age - 1)
    ages = {"child": child, "old": old, "young": 1 - child - old}
    weights: dict[str, float] = {}
    for sex_name, sex_share in (("female", 1 - sex), ("male", sex)):
        for age_name, age_share in ages.items():
            share = sex_share * age_share
            for origin, part in zip(ANCESTRIES, ancestry, strict=True):
                weights[f"macro/{origin}-{sex_name}-{age_name}"] = share * part
            for muscles, muscle_share in _thirds(muscle, "muscle"):
                for weight_name, weight_share in _thirds(weight, "weight"):
                    name = f"macro/universal-{sex_name}-{age_name}-{muscles}-{weight_name}"
                    weights[name] = share * muscle_share * weight_share
    return {name: value for name, value in weights.items() if value > 0}


def _thirds(value: float, what: str) -> tuple[tuple[str, float], ...]:
    """Return the shares of the least, average and greatest of a trait in a value of 0..1."""
    return (
        (f"min{what}", max(0.0, 1 - 2 * value)),
        (f"average{what}", 1 - abs(2 * value - 1)),
        (f"max{what}", max(0.0, 2 * value - 1)),
    )
