"""One person at rest: the shaped mesh, its colours, and the strands that grow on it."""

from __future__ import annotations

from dataclasses import dataclass
from functools import lru_cache

import numpy as np

from vox2face.train.synth.face import skin
from vox2face.train.synth.face.glasses import glasses
from vox2face.train.synth.face.hair import grow_hair
from vox2face.train.synth.face.head import axes, head, macro_weights
from vox2face.train.synth.face.looks import Look
from vox2face.train.synth.face.palette import GREY
from vox2face.train.synth.face.strands import (
    Array,
    Strands,
    beard,
    brow,
    grow_short,
    lashes,
    linear,
    places,
    scalp,
)

OPEN_EYES = {False: 0.45, True: 0.05}  # the mesh at rest looks tired

# sRGB of skin from fair to dark, evenly spaced
SKINS = np.array(
    [
        (0.93, 0.78, 0.70), (0.88, 0.69, 0.58), (0.78, 0.57, 0.44),
        (0.62, 0.42, 0.30), (0.49, 0.325, 0.235), (0.37, 0.245, 0.175),
    ]
)  # fmt: skip
CROOKED = ("brown-1", "brown-2", "cheek-1", "eye-1", "eye-3", "jaw-1", "jaw-2", "mouth-1",
           "mouth-2", "nose-1", "nose-2", "temple-1")  # fmt: skip


@dataclass(frozen=True, eq=False)
class Body:
    """The parts that all pictures of a person share: mesh at rest, attributes, and strands."""

    points: Array
    attributes: Array
    strands: tuple[Strands, ...]
    colours: Array
    knobs: Array


@lru_cache(maxsize=4)
def body(look: Look) -> Body:
    """Shape a person's head and grow its hair."""
    mesh = head()
    points = mesh.shaped(shape_weights(look))
    points -= mesh.between_eyes(points)
    normals = mesh.normals(points)
    attributes = np.zeros((len(points), skin.COLUMNS), np.float32)
    at = mesh.canonical
    attributes[:, :3] = at
    attributes[:, skin.LIPS : skin.OPEN + 1] = mesh.masks
    bushy = 0.3 * brow(at, look.brows, look.brow_height)
    attributes[:, skin.SCALP] = np.maximum(scalp(at, look.bald) * (1 - mesh.masks[:, 2]), bushy)
    attributes[:, skin.BEARD] = beard(at)
    cloth = _clothing(at, look.neckline)
    attributes[:, skin.CLOTH] = cloth
    points += normals * (0.05 * np.clip(cloth, 0, 1))[:, None]
    strands = grow(look, points, normals)
    return Body(points, attributes, strands, _person_colours(look), _person_knobs(look))


def shape_weights(look: Look) -> dict[str, float]:
    """Return the weights of all targets that shape a person at rest."""
    weights = macro_weights(look.sex, look.age, look.weight, look.muscle, look.ancestry)
    for value, (low, high) in zip(look.shape, axes(), strict=True):
        for name in high if value > 0 else low:
            weights[name] = abs(value)
    for value, name in zip(look.crooked, CROOKED, strict=True):
        weights[f"asym/asym-{name}-{'r' if value > 0 else 'l'}"] = abs(value)
    weights["expression/smile"] = look.mouth_rest
    weights["expression/wide"] = OPEN_EYES[look.male]
    weights["mouth/mouth-laugh-lines-in"] = max(
        weights.get("mouth/mouth-laugh-lines-in", 0.0), 0.6 * look.lines
    )
    return weights


def _clothing(at: Array, neckline: str) -> Array:
    """Return the cover of the canonical head's vertices by clothes; above 0.5 is covered."""
    x, y, z = np.abs(at[:, 0]), at[:, 1], at[:, 2]
    around = np.hypot(x, 0.9 * (z + 0.85))
    edge = {"crew": 0.62, "v": 0.68, "collar": 0.56, "wide": 0.95}[neckline]
    cover = (around - edge) / 0.10
    if neckline == "v":
        cover = np.where(z > -0.75, np.minimum(cover, (x - 0.62 * (y + 2.05)) / 0.10), cover)
    return np.asarray(np.clip(np.minimum(cover, (-1.22 - y) / 0.1), -3, 3), np.float32)


def _person_colours(look: Look) -> Array:
    """Return the linear colours (rows of `shade`) that belong to the person."""
    tone = np.array([np.interp(look.tone * 5, range(6), SKINS[:, k]) for k in range(3)])
    bare = tone * ([0.93, 0.79, 0.78] if look.male else [0.92, 0.66, 0.66])
    painted = np.array([0.60, 0.20, 0.22])
    lip = bare + (painted - bare) * 0.75 * look.makeup
    greying = np.array(look.hair_colour) * (1 - look.grey) + np.array(GREY) * look.grey
    rows = np.zeros((skin.BACK + 4, 3), np.float32)
    for row, colour in (
        (skin.SKIN, tone), (skin.LIP, lip), (skin.HAIR, greying * 0.8),
        (skin.IRIS, np.array(look.iris)), (skin.GARMENT, np.array(look.clothes)),
    ):  # fmt: skip
        rows[row] = linear(colour)
    return rows


def _person_knobs(look: Look) -> Array:
    """Return the numbers of `shade` that belong to the person."""
    knobs = np.zeros(skin.KNOBS, np.float32)
    knobs[skin.LINES], knobs[skin.SPOTS] = look.lines, look.spots
    knobs[skin.RUDDY], knobs[skin.MAKEUP] = look.ruddy * (1 - 0.6 * look.tone), look.makeup
    knobs[skin.STUBBLE] = max(0.75 * look.stubble, 0.8 * look.beard)
    knobs[skin.OFFSET :] = np.random.default_rng(look.seed).uniform(0, skin.LATTICE, 3)
    return knobs


def grow(look: Look, points: Array, normals: Array) -> tuple[Strands, ...]:
    """Grow hair, brows and beard, and put glasses on."""
    rng = np.random.default_rng([look.seed, 1])
    at = places().canonical
    grown = [grow_hair(look, points, normals, rng)]
    if not look.male:  # on men, they read as make-up
        grown += lashes(look, points)
    dense = brow(at, look.brows, look.brow_height)
    grown.append(grow_short(look, points, normals, dense, 1500, 0.065, (0.7, 0.15, 0.1), rng))
    if look.beard:
        dense = beard(at) * (1 - places().lips) * look.beard
        count, length, lean = int(4500 * look.beard), look.beard_length, (0.15, -0.8, 0.1)
        grown.append(grow_short(look, points, normals, dense, count, length, lean, rng))
    if look.glasses:
        grown.append(glasses(look, points))
    return tuple(grown)
