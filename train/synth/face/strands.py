"""Strands and where they grow: the scalp, brows, beard and lashes of a person."""

from __future__ import annotations

from dataclasses import dataclass
from functools import cache

import numpy as np
from numpy.typing import NDArray

from vox2face.train.synth.face.head import BODY, Floats, floats, head, times
from vox2face.train.synth.face.looks import Look
from vox2face.train.synth.face.palette import GREY

Array = NDArray[np.float32]
LASHES = 28  # of an eye
FACIAL_GREY, FACIAL_LIGHT = 0.75, 0.68
CANDIDATES = 60_000  # places on the skin where a hair may grow


@dataclass(frozen=True, eq=False)
class Strands:
    """Polylines in the head's frame (dm): points (N, S, 3), linear colour (N, 3), widths (N, 2).

    `corners` and `shares` (N, 3) tie each root to the skin, so that it moves with expressions;
    `looks` (N, 3) are opacity, gloss and how much light reaches it.
    """

    points: Array
    colour: Array
    widths: Array
    looks: Array
    corners: NDArray[np.int32]
    shares: Array


@dataclass(frozen=True, eq=False)
class Places:
    """Places on the skin: triangle corners and shares (C, 3), canonical (C, 3), ear mask (C,)."""

    corners: NDArray[np.int32]
    shares: Array
    canonical: Array
    ears: Array
    lips: Array
    order: Array  # a random number 0..1 for every place

    def chosen(self, density: Floats, count: int) -> NDArray[np.int64]:
        """Return up to `count` places, with a probability of the density 0..1."""
        return np.flatnonzero(self.order < density)[:count]


@cache
def places() -> Places:
    """Return random places on the skin, the same ones for all people."""
    mesh = head()
    skin = mesh.triangles[mesh.material == BODY]
    a, b, c = mesh.canonical[skin.T]
    area = np.linalg.norm(np.cross(b - a, c - a), axis=1)
    middle = (a + b + c) / 3
    area *= (middle[:, 1] > -1.25) & (np.abs(middle[:, 0]) < 1)
    area *= mesh.masks[skin, 3].mean(1) < 0.3
    area *= 1 + 7 * brow(middle, 1.8)  # many for the brows, which are small
    rng = np.random.default_rng(68)
    corners = skin[rng.choice(len(skin), CANDIDATES, p=area / area.sum())]
    u, v = rng.random((2, CANDIDATES))
    shares = np.stack([1 - np.sqrt(u), np.sqrt(u) * (1 - v), np.sqrt(u) * v], 1).astype(np.float32)
    canonical = (mesh.canonical[corners] * shares[..., None]).sum(1)
    masks = (mesh.masks[corners] * shares[..., None]).sum(1)
    order = rng.random(CANDIDATES).astype(np.float32)
    return Places(corners, shares, canonical, masks[:, 2], masks[:, 0], order)


def scalp(at: Floats, bald: float) -> Array:
    """Return the density of hair, 0..1, at canonical points (N, 3)."""
    x, y, z = np.abs(at[:, 0]), at[:, 1], at[:, 2]
    temple = bald * 0.55 * np.exp(-((x - 0.35) ** 2) / 0.15)
    line = 0.60 + 0.10 * np.cos(at[:, 0] * 2.2) + temple
    front = np.minimum((y - line) / 0.14, (y + 0.1) / 0.1)
    side = np.minimum((-0.57 - z) / 0.16, (y + 0.45) / 0.15)
    dense = np.clip(np.maximum(front, side), 0, 1)
    if bald > 0.45:
        crown = np.clip((bald * 1.6 - np.hypot(x, z + 0.75) / 0.75) * 4, 0, 1)
        dense *= 1 - crown * (y > 0.6)
    nape = np.clip((y + 0.72 + 0.25 * np.clip(-1.1 - z, 0, 1)) / 0.1, 0, 1)
    return floats(dense * nape)


def beard(at: Floats) -> Array:
    """Return the density of a beard, 0..1, at canonical points (N, 3)."""
    x, y, z = np.abs(at[:, 0]), at[:, 1], at[:, 2]
    chin = 1.5 - (np.hypot(x / 0.66, (y + 0.95) / 0.40)) ** 3
    chin = np.minimum(chin, (-0.60 - y + 0.35 * np.clip(x - 0.30, 0, 1)) / 0.10)
    cheek = np.minimum((x - 0.46) / 0.08, np.minimum((-0.28 - y) / 0.15, (z + 0.72) / 0.1))
    lip = np.exp(-((x / 0.27) ** 4) - ((y + 0.57) / 0.055) ** 2) * 1.1 - 0.1
    patch = np.exp(-((x / 0.09) ** 2) - ((y + 0.82) / 0.06) ** 2)
    dense = np.maximum(np.maximum(chin, np.minimum(cheek, 1)), np.maximum(lip, patch))
    dense *= (z > -0.75) & (y > -1.22)
    return floats(np.clip(dense, 0, 1))


def brow(at: Floats, strength: float, height: float = 0.19) -> Array:
    """Return the density of the brows, 0..1, at canonical points (N, 3); `height` is in dm."""
    x, y, z = np.abs(at[:, 0]), at[:, 1], at[:, 2]
    along = np.clip((x - 0.10) / 0.42, 0, 1)
    middle = height + 0.036 * np.sin(along * np.pi * 0.85) + 0.015 * (1 - along)
    thick = 0.034 * strength * np.clip(1.15 - 0.75 * along, 0.25, 1)
    dense = np.exp(-(((y - middle) / thick) ** 4))
    dense *= np.clip((x - 0.07) / 0.05, 0, 1) * np.clip((0.48 - x) / 0.12, 0, 1) * (z > -0.5)
    return floats(dense)


def linear(colour: Floats | tuple[float, ...]) -> Array:
    """Return colours 0..1 as linear light, with the exponent 2 for speed (sRGB has about 2.2)."""
    return floats(np.asarray(colour) ** 2)


def strand_colours(
    look: Look, rng: np.random.Generator, roots: Array, facial: bool = False
) -> Array:
    """Return a linear colour for each strand (N, 3): some grey, all slightly different.

    Hair of the face is darker than that of the head, and turns grey later.
    """
    share = look.grey * (FACIAL_GREY if facial else 1)
    locks = np.sin(times(roots, rng.normal(0, 6, (3, 3)))).sum(1)
    grey = 1.2 * share - 0.1 + 0.10 * locks + 0.12 * rng.normal(0, 1, len(roots))
    grey = np.clip(grey, 0, 1)[:, None] * (share > 0)
    own = np.array(look.hair_colour) * (FACIAL_LIGHT if facial else 1)
    base = own * (1 - grey) + np.array(GREY) * grey
    return floats(linear(base) * rng.lognormal(0, 0.18, (len(roots), 1)))


def unit(vectors: Floats) -> Array:
    """Return vectors (N, 3) of length 1."""
    lengths = np.sqrt((vectors * vectors).sum(1, keepdims=True)) + 1e-9
    return floats(vectors / lengths)


def grow_short(
    look: Look,
    points: Array,
    normals: Array,
    density: Floats,
    count: int,
    length: float,
    lean: tuple[float, float, float],
    rng: np.random.Generator,
) -> Strands:
    """Grow short hair, of beard or brows, leaning over the skin; `lean` x is away from the nose."""
    spot = places()
    mine = spot.chosen(density, count)
    corners, shares = spot.corners[mine], spot.shares[mine]
    roots = (points[corners] * shares[..., None]).sum(1)
    normal = unit((normals[corners] * shares[..., None]).sum(1))
    side = np.sign(roots[:, 0])
    ahead = np.stack([lean[0] * side, np.full(len(mine), lean[1]), np.full(len(mine), lean[2])], 1)
    heading = unit(0.35 * normal + ahead + rng.normal(0, 0.25, (len(mine), 3)))
    sizes = (length * rng.uniform(0.6, 1.2, len(mine)))[:, None].astype(np.float32)
    first = roots + 0.008 * normal
    second = first + heading * sizes * 0.5
    third = second + unit(heading + floats([0, -0.35, 0]) - 0.2 * normal) * sizes * 0.5
    path = np.stack([first, second, third], 1).astype(np.float32)
    colour = strand_colours(look, rng, roots, facial=True)
    looks = np.tile(floats([0.5, 0.2, 0.9]), (len(mine), 1))
    widths = np.tile(floats([1.1, 0.6]), (len(mine), 1))
    return Strands(path, colour, widths, looks, corners, shares)


def lashes(look: Look, points: Array) -> list[Strands]:
    """Return the upper lashes of both eyes and the dark edge of the lids."""
    mesh = head()
    edge, hairs = [], []
    corners, nearest = [], []
    eyes = mesh.eye_centres(points)
    at = np.linspace(0.0, 1.0, LASHES)
    powers = np.linalg.inv(np.vander([0, 1 / 3, 2 / 3, 1], increasing=True))
    for eye, marks in zip(eyes, ((42, 43, 44, 45), (36, 37, 38, 39)), strict=True):
        numbers = mesh.marks[list(marks), 0]
        knots = (points[numbers] * mesh.shares[list(marks), 0][..., None]).sum(1)
        root = np.vander(at, 4, increasing=True) @ (powers @ knots) + [0, 0.004, 0.02]
        outward = (root - eye) * [0.9, 1.0, 0.0]
        outward /= np.linalg.norm(outward, axis=1, keepdims=True)
        size = 0.085 * (0.6 + 0.4 * np.sin(at * 3.14))[:, None]
        tips = root + (0.75 * outward + [0, 0.25, 0.6]) * size
        curved = (root + tips) / 2 - [0, 0.12, 0] * size
        hairs.append(np.stack([root, curved, tips], 1))
        edge.append(root)
        close = np.minimum((at * 3.99).astype(int), 3)
        corners.append(numbers[close])
        nearest.append(mesh.shares[list(marks), 0][close])
    whole = np.concatenate(hairs).astype(np.float32)
    dark = np.tile(linear((0.06, 0.05, 0.05)), (len(whole), 1))
    looks = np.tile(floats([0.45 + 0.5 * look.makeup, 0.0, 1.0]), (len(whole), 1))
    widths = np.tile(floats([1.6, 0.8]), (len(whole), 1))
    tied_to, shares = np.concatenate(corners), np.concatenate(nearest)
    hairs_of_both = Strands(whole, dark, widths, looks, tied_to, shares)
    middle = [LASHES // 2, LASHES + LASHES // 2]
    lines = np.stack(edge).astype(np.float32)
    thick = floats([[1.2 + 2.2 * look.makeup] * 2] * 2)
    liner = np.tile(floats([0.45 + 0.45 * look.makeup, 0.0, 1.0]), (2, 1))
    return [
        hairs_of_both,
        Strands(lines, dark[:2], thick, liner, tied_to[middle], shares[middle]),
    ]
