"""The hair of the head: strands grown step by step over the skull, style by style."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from vox2face.train.synth.face.head import floats, times
from vox2face.train.synth.face.looks import Look
from vox2face.train.synth.face.strands import (
    CANDIDATES,
    Array,
    Strands,
    places,
    scalp,
    strand_colours,
    unit,
)


@dataclass(frozen=True, eq=False)
class Skull:
    """An ellipsoid around the scalp, which carries the hair."""

    centre: Array
    radii: Array

    @classmethod
    def around(cls, points: Array) -> Skull:
        """Fit to the points of the scalp (N, 3)."""
        high = points[points[:, 1] > 0.1]
        depth = (high[:, 2].max() + high[:, 2].min()) / 2
        width = np.abs(high[:, 0]).max()
        centre = np.array([0, 0.12, depth], np.float32)
        radii = np.array(
            [width, high[:, 1].max() - 0.12, (high[:, 2].max() - high[:, 2].min()) / 2]
        )
        reach = cls(centre, radii).reach(high)
        return cls(centre, floats(radii * np.quantile(reach, 0.9)))

    def reach(self, points: Array) -> Array:
        """Return the distance of points relative to the ellipsoid: 1 is on it."""
        return np.asarray(np.sqrt((((points - self.centre) / self.radii) ** 2).sum(1)) + 1e-6)

    def held(self, points: Array, layer: Array, hug: float, below: float) -> Array:
        """Push points below their layer (N,) out to it, and draw those above it nearer."""
        from_centre = points - self.centre
        reach = self.reach(points)
        pull = np.where(points[:, 1] > below, hug, 0) * (reach > 1 + layer)
        wanted = np.maximum(reach, 1 + layer) * (1 - pull) + (1 + layer) * pull
        return floats(self.centre + from_centre * (wanted / reach)[:, None])


@dataclass(frozen=True)
class Cut:
    """How hair of one style grows.

    `count` strands of `steps` segments; `lift` from the skin; `comb` sideways, down and back;
    `weight` bends it down; `spread` is the depth of the layers; `hug` holds it to the skull, and
    `below` (dm from the eyes) is where it begins to hang; `free` lets it fall over the face.
    """

    count: int
    steps: int
    lift: float
    comb: tuple[float, float, float]
    weight: float
    spread: float
    hug: float
    below: float = -9.0
    free: bool = False


CUTS = {
    "long": Cut(4600, 18, 0.2, (1.0, -0.25, 0.30), 1.0, 0.13, 0.7, 0.15),
    "bob": Cut(4400, 12, 0.2, (1.0, -0.25, 0.25), 1.0, 0.15, 0.7, 0.05),
    "tied": Cut(4600, 10, 0.05, (0.0, 0.0, 1.0), 0.0, 0.05, 1.0),
    "pixie": Cut(6500, 6, 0.3, (0.6, -0.4, -0.5), 0.3, 0.12, 0.6, free=True),
    "curls": Cut(4600, 20, 0.7, (0.2, 0.0, 0.2), 0.12, 0.16, 0.0),
    "crop": Cut(9000, 3, 0.45, (0.1, -0.1, -0.4), 0.0, 0.05, 0.4, free=True),
    "side": Cut(7000, 6, 0.35, (1.0, 0.0, 0.15), 0.25, 0.13, 0.6, free=True),
    "back": Cut(7000, 7, 0.3, (0.15, 0.0, 1.0), 0.1, 0.12, 0.7, free=True),
}
LOW_KNOT, HIGH_KNOT, KNOT_SIZE = (0.0, 0.15, -1.62), (0.0, 1.0, -1.25), 0.30  # dm


def grow_hair(look: Look, points: Array, normals: Array, rng: np.random.Generator) -> Strands:
    """Grow the hair of the head. `points` and `normals` (V, 3) are the skin, eyes at the origin."""
    spot, cut = places(), CUTS[look.hair_style]
    density = scalp(spot.canonical, look.bald) * (1 - spot.ears)
    mine = spot.chosen(density, CANDIDATES)
    mine = mine[:: max(1, len(mine) // cut.count)][: cut.count]
    corners, shares = spot.corners[mine], spot.shares[mine]
    roots = (points[corners] * shares[..., None]).sum(1)
    normal = unit((normals[corners] * shares[..., None]).sum(1))
    dense = density > 0.5
    skull = Skull.around((points[spot.corners[dense]] * spot.shares[dense, :, None]).sum(1))
    count = len(mine)
    layer = (rng.random(count) ** 1.5 * cut.spread * look.hair_volume + 0.02).astype(np.float32)
    length = look.hair_length * rng.normal(1, 0.08, count).clip(0.7, 1.2)
    if look.hair_style in ("crop", "side", "back", "pixie"):  # shorter at the sides and the nape
        length *= np.clip(0.25 + 0.75 * (roots[:, 1] + 0.1) / 0.75, 0.22, 1)
    path = grow(look, cut, skull, roots, normal, layer, floats(length / cut.steps))
    _curled(look, cut, path, rng, float(np.mean(length)))
    if look.hair_style == "tied":
        path[: count // 8] = _knot(look, cut.steps + 1, count // 8, rng)
    deep = 0.5 + 0.5 * np.clip(layer / (cut.spread * look.hair_volume + 0.02), 0, 1)
    looks = np.stack([np.full(count, 0.9), 0.6 + 0.5 * rng.random(count), deep], 1)
    widths = np.tile([2.2, 0.9] if cut.steps > 4 else [1.5, 0.8], (count, 1))
    widths[_fringed(look, roots)] *= 1.4
    colour = strand_colours(look, rng, roots)
    return Strands(path, colour, floats(widths), floats(looks), corners, shares)


def _knot(look: Look, steps: int, count: int, rng: np.random.Generator) -> Array:
    """Return strands wound into a ball, (count, steps, 3)."""
    axis = unit(rng.normal(0, 1, (count, 3)))
    start = unit(np.cross(axis, rng.normal(0, 1, (count, 3))))
    turn = np.linspace(0, 3.2, steps)[None, :, None]
    ball = start[:, None] * np.cos(turn) + np.cross(axis, start)[:, None] * np.sin(turn)
    radius = KNOT_SIZE * np.sqrt(rng.uniform(0.6, 1, (count, 1, 1)))
    return floats(_knot_place(look) + ball * radius * [1.1, 0.9, 0.9])


def _knot_place(look: Look) -> Array:
    """Return the point (3,) at which tied hair meets."""
    return floats(HIGH_KNOT if look.parting > 0.15 else LOW_KNOT)


def grow(
    look: Look, cut: Cut, skull: Skull, roots: Array, normal: Array, layer: Array, step: Array
) -> Array:
    """Let strands grow step by step over the skull, around the face and down; (N, S, 3)."""
    side, down, back = cut.comb
    count = len(roots)
    fringe = _fringed(look, roots)
    sign = np.where(roots[:, 0] < look.parting, -1.0, 1.0)
    comb = np.stack([side * sign, np.full(count, down), np.full(count, -back)], 1)
    comb[fringe] = [0.0, -0.1, 1.0]
    comb[fringe, 0] = 0.3 * sign[fringe]
    if look.hair_style == "tied":
        comb = _knot_place(look) - roots
    tangent = unit(comb - (comb * normal).sum(1, keepdims=True) * normal)
    lift = np.where(roots[:, 1] < 0.3, 0.4 * cut.lift, cut.lift)[:, None]
    heading = unit(lift * normal + (1 - lift) * tangent)
    layer = np.where(fringe, layer + 0.05, layer)
    layer = np.maximum(layer, skull.reach(roots) - 1 + 0.5 * layer)  # where the skin is above it
    path = [roots - 0.01 * normal]
    pull = np.array([0, -cut.weight, 0], np.float32)
    shorter = np.where(fringe, 0.58 / max(look.hair_length, 0.58), 1)
    step = (step * shorter)[:, None].astype(np.float32)
    for k in range(cut.steps):
        risen = layer * min(1.0, 2 * (k + 1) / cut.steps)
        ahead = skull.held(path[-1] + step * heading, risen, cut.hug, cut.below)
        if not cut.free and look.bald < 0.4:  # bald heads have none
            ahead = _beside_the_face(ahead, skull, layer, ~fringe)
        heading = unit(unit(ahead - path[-1]) + pull)
        if look.hair_style == "tied":
            heading = unit(heading + unit(_knot_place(look) - ahead))
        path.append(ahead)
    return np.stack(path, 1).astype(np.float32)


def _fringed(look: Look, roots: Array) -> NDArray[np.bool_]:
    """Return a mask of the strands that fall over the forehead."""
    has = look.fringe > 0 and look.hair_style not in ("tied", "back", "curls")
    return has & (roots[:, 2] > -0.5) & (np.abs(roots[:, 0]) < 0.5)


def _beside_the_face(points: Array, skull: Skull, layer: Array, bound: NDArray[np.bool_]) -> Array:
    """Push strands off the face to its sides."""
    width = skull.radii[0] * (0.93 + layer * 1.2)
    width = width * np.clip(1 - 1.1 * (points[:, 1] - 0.25), 0.0, 1)
    over = bound & (points[:, 2] > -0.72) & (points[:, 1] < 0.62) & (np.abs(points[:, 0]) < width)
    points[over, 0] = np.where(points[over, 0] < 0, -1, 1) * width[over]
    return points


def _curled(look: Look, cut: Cut, path: Array, rng: np.random.Generator, length: float) -> None:
    """Wind strands into waves and curls, neighbours alike, in place."""
    roots = path[:, 0]
    along = np.linspace(0, 1, path.shape[1], dtype=np.float32)
    locks = np.sin(times(roots, rng.normal(0, 9, (3, 4))) + rng.uniform(0, 6.3, 4))
    phase = locks.sum(1, keepdims=True) * 1.6 + rng.normal(0, 0.25, (len(path), 1))
    turns = min(length * (1.2 + 4.0 * look.curl), cut.steps / 4.5)
    wide = (0.008 + 0.075 * look.curl) * np.minimum(1, along * 3)[None] * min(1, length)
    if look.hair_style == "tied":
        wide = wide * 0.3
    wide = wide * np.where(_fringed(look, roots), 0.25, 1)[:, None]
    path[..., 0] += wide * np.sin(6.3 * turns * along + phase)
    path[..., 2] += wide * np.cos(6.3 * turns * along + phase)
    path[..., 1] += 0.6 * wide * np.sin(6.3 * turns * along + phase * 1.7)
    # locks gather towards their tips, which taper instead of ending in one line
    path += (0.05 * min(1, length) * along**2)[None, :, None] * rng.normal(0, 1, (len(path), 1, 3))
