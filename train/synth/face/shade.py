"""Compiled kernels: the light of head, clothes and background, pixel by pixel."""

from __future__ import annotations

import math

import numpy as np
from numpy.typing import NDArray

from vox2face.train.synth.face.raster import Image32, kernel
from vox2face.train.synth.face.skin import (
    BACK,
    CLOTH,
    COLUMNS,
    GARMENT,
    INSIDE,
    LAMP,
    LIPS,
    NORMAL,
    OPEN,
    PLACE,
    SCALP,
    SHADE,
    SKY,
    bell,
    between,
    creases,
    eye_colour,
    noise,
    skin_colour,
)

SHADOWS = 256  # pixels of the depth map seen from the lamp
SHADOW_REACH = 2.3  # dm: half of what it covers


@kernel
def _lit_part(depth: Image32, x: float, y: float, z: float) -> float:
    """Return the visible part of the lamp at a point, 0..1, averaged over neighbours."""
    seen = 0.0
    for row in range(-2, 3, 2):
        for column in range(-2, 3, 2):
            r = min(SHADOWS - 1, max(0, int(y) + row))
            c = min(SHADOWS - 1, max(0, int(x) + column))
            seen += between((z - depth[r, c] + 0.10) / 0.06)
    return seen / 9


@kernel
def backdrop(pixel: Image32, colours: Image32, column: float, row: float) -> None:
    """Write the background at a place (0..1): a gradient and two soft blobs."""
    first = 1 / (1 + ((column - 0.15) ** 2 + (row - 0.3) ** 2) / 0.05)
    second = 1 / (1 + ((column - 0.9) ** 2 + (row - 0.15) ** 2) / 0.04)
    for k in range(3):
        value = colours[BACK, k] * (1 - row) + colours[BACK + 1, k] * row
        value += (colours[BACK + 2, k] - value) * first
        pixel[k] = value + (colours[BACK + 3, k] - value) * second


@kernel
def shade(
    number: NDArray[np.int32],
    shares: Image32,
    depth: Image32,
    triangles: NDArray[np.int32],
    material: NDArray[np.int8],
    attributes: Image32,
    lattice: Image32,
    shadows: Image32,
    eyes: Image32,
    colours: Image32,
    knobs: Image32,
    lamp: Image32,
) -> Image32:
    """Return the linear picture (size, size, 3) from the results of `raster.rasterise`.

    `attributes` (V, COLUMNS) belong to vertices; `shadows` is the depth seen from the lamp; `eyes`
    (2, 3) their centres on the canonical head; `lamp` the direction of the light.
    """
    size = len(number)
    image = np.empty((size, size, 3), np.float32)
    at = np.empty(COLUMNS, np.float32)
    half = np.array([lamp[0], lamp[1], lamp[2] + 1.0])
    half /= math.sqrt(half[0] ** 2 + half[1] ** 2 + half[2] ** 2)
    for top in range(0, size, 2):
        for left in range(0, size, 2):
            step = 2 if alike(number, depth, material, top, left) else 1
            for row in range(top, top + 2, step):
                for column in range(left, left + 2, step):
                    t, pixel = number[row, column], image[row, column]
                    if t < 0:
                        backdrop(pixel, colours, column / size, row / size)
                        continue
                    first, second = shares[row, column]
                    a, b, c = triangles[t]
                    for k in range(COLUMNS):
                        at[k] = (
                            first * attributes[a, k]
                            + second * attributes[b, k]
                            + (1 - first - second) * attributes[c, k]
                        )
                    _surface(
                        pixel, at, material[t], lattice, shadows, eyes, colours, knobs, lamp, half
                    )
            if step == 2:
                image[top, left + 1] = image[top, left]
                image[top + 1, left] = image[top, left]
                image[top + 1, left + 1] = image[top, left]
    return image


@kernel
def alike(
    number: NDArray[np.int32], depth: Image32, material: NDArray[np.int8], top: int, left: int
) -> bool:
    """Whether the four pixels of a block show the same thing: then one of them is enough."""
    t = number[top, left]
    low = high = depth[top, left]
    for row in range(top, top + 2):
        for column in range(left, left + 2):
            other = number[row, column]
            if (other < 0) != (t < 0):
                return False
            if t >= 0 and material[other] != material[t]:
                return False
            low, high = min(low, depth[row, column]), max(high, depth[row, column])
    return bool(t < 0 or (material[t] == 0 and high - low < 0.04))


@kernel
def _surface(
    pixel: Image32,
    at: Image32,
    kind: int,
    lattice: Image32,
    shadows: Image32,
    eyes: Image32,
    colours: Image32,
    knobs: Image32,
    lamp: Image32,
    half: Image32,
) -> None:
    """Write the light that one point of the head sends to the camera."""
    x, y, z = at[PLACE], at[PLACE + 1], at[PLACE + 2]
    nx, ny, nz = at[NORMAL], at[NORMAL + 1], at[NORMAL + 2]
    dark, gloss, sharp, wrap, open_ = 0.0, 0.10, 18.0, 1.0, between(at[OPEN] * 1.1)
    if kind == 0:
        red, green, blue = skin_colour(lattice, colours, knobs, at)
        cloth = between(at[CLOTH] * 4 - 1.5)
        bare = (1 - at[SCALP]) * (1 - cloth)
        dx, dy, dark = creases(lattice, knobs, x, y, z)
        nx, ny, dark = nx + dx * bare, ny + dy * bare, dark * bare
        gloss = (0.13 + 0.10 * bell(x, y + 0.2, 0.16, 0.7)) * bare + 0.25 * between(at[LIPS])
        inside = between(at[INSIDE] * 1.5)
        red, green, blue = (
            red * (1 - 0.6 * inside),
            green * (1 - 0.8 * inside),
            blue * (1 - 0.8 * inside),
        )
        weave = (
            1
            + 0.10 * noise(lattice, 40 * x, 40 * y, 40 * z)
            + 0.12 * noise(lattice, 3 * x, 5 * y, 3 * z)
        )
        red += (colours[GARMENT, 0] * weave - red) * cloth
        green += (colours[GARMENT, 1] * weave - green) * cloth
        blue += (colours[GARMENT, 2] * weave - blue) * cloth
        gloss, wrap = gloss * (1 - cloth), 1 - 0.6 * cloth
    elif kind == 3:
        red, green, blue = 0.72, 0.68, 0.58
        gloss, sharp, open_ = 0.3, 40.0, open_ * 0.8
    else:
        e = eyes[kind - 1]
        red, green, blue = eye_colour(lattice, colours, knobs, x - e[0], y - e[1], z - e[2])
        gloss, sharp, open_ = 1.6, 160.0, between(0.15 + 1.1 * at[OPEN])
        wrap = 0.5
    length = math.sqrt(nx * nx + ny * ny + nz * nz) + 1e-9
    nx, ny, nz = nx / length, ny / length, nz / length
    facing = nx * lamp[0] + ny * lamp[1] + nz * lamp[2]
    seen = _lit_part(shadows, at[SHADE], at[SHADE + 1], at[SHADE + 2])
    seen *= 0.55 + 0.45 * open_
    sky = open_ * (0.72 + 0.28 * ny) * (1 - dark)
    bounce = max(0.0, -ny) * 0.10 * open_
    shine = gloss * max(0.0, nx * half[0] + ny * half[1] + nz * half[2]) ** sharp * seen
    graze = (1 - max(0.0, nz)) ** 3
    shine += gloss * 0.25 * graze * open_
    seen *= 1 - 1.2 * dark
    # red light travels furthest below the skin, so shadows of skin end in red
    direct = max(0.0, facing + 0.34 * wrap) / (1 + 0.34 * wrap) * (seen + 0.10 * wrap * (1 - seen))
    pixel[0] = (
        red * (direct * colours[LAMP, 0] + (sky + bounce) * colours[SKY, 0])
        + shine * colours[LAMP, 0] * 0.5
    )
    direct = max(0.0, facing + 0.20 * wrap) / (1 + 0.20 * wrap) * seen
    pixel[1] = (
        green * (direct * colours[LAMP, 1] + (sky + 0.7 * bounce) * colours[SKY, 1])
        + shine * colours[LAMP, 1] * 0.5
    )
    direct = max(0.0, facing + 0.15 * wrap) / (1 + 0.15 * wrap) * seen
    pixel[2] = (
        blue * (direct * colours[LAMP, 2] + (sky + 0.6 * bounce) * colours[SKY, 2])
        + shine * colours[LAMP, 2] * 0.5
    )


@kernel
def develop(image: Image32, out: Image32) -> None:
    """Average blocks of 2 x 2 pixels of light into colours 0..255, with a soft shoulder."""
    for row in range(len(out)):
        for column in range(len(out)):
            for k in range(3):
                total = 0.0
                for r in range(2):
                    for c in range(2):
                        total += max(0.0, image[2 * row + r, 2 * column + c, k])
                value = total * 0.25
                value *= (1 + 0.15 * value) / (1 + 0.45 * value)
                out[row, column, k] = min(255.0, math.sqrt(value) * 270)
