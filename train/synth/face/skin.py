"""Compiled kernels: the colours of skin, lips, lids, beards and eyes, point by point.

Patterns are functions of the place on the canonical head, so that they move with the face; there
is no texture.
"""

from __future__ import annotations

import math

import numpy as np

from vox2face.train.synth.face.raster import Image32, kernel

# Columns of the attributes of vertices.
PLACE, NORMAL, LIPS, LIDS, EARS, INSIDE, OPEN, SCALP, BEARD, CLOTH, SHADE, COLUMNS = (
    0, 3, 6, 7, 8, 9, 10, 11, 12, 13, 14, 17,
)  # fmt: skip

# Rows of the colours, and places of the knobs.
SKIN, LIP, HAIR, IRIS, GARMENT, LAMP, SKY, BACK = 0, 1, 2, 3, 4, 5, 6, 7
LINES, SPOTS, RUDDY, MAKEUP, STUBBLE, FURROW, GAZE_X, GAZE_Y, OFFSET, KNOBS = (
    0, 1, 2, 3, 4, 5, 6, 7, 8, 11,
)  # fmt: skip
LATTICE = 32  # of the noise, periodic


def noise_lattice() -> Image32:
    """Return random values -1..1 on a periodic lattice, from a fixed seed."""
    return np.random.default_rng(31).uniform(-1, 1, (LATTICE,) * 3).astype(np.float32)


@kernel
def noise(lattice: Image32, x: float, y: float, z: float) -> float:
    """Return smooth noise, -1..1, at a point; its grain is one unit wide."""
    i, j, k = math.floor(x), math.floor(y), math.floor(z)
    u, v, w = x - i, y - j, z - k
    u, v, w = u * u * (3 - 2 * u), v * v * (3 - 2 * v), w * w * (3 - 2 * w)
    a, b, c = i & 31, j & 31, k & 31
    d, e, f = (a + 1) & 31, (b + 1) & 31, (c + 1) & 31
    low = lattice[a, b, c] * (1 - u) + lattice[d, b, c] * u
    high = lattice[a, e, c] * (1 - u) + lattice[d, e, c] * u
    near = low * (1 - v) + high * v
    low = lattice[a, b, f] * (1 - u) + lattice[d, b, f] * u
    high = lattice[a, e, f] * (1 - u) + lattice[d, e, f] * u
    return float(near * (1 - w) + (low * (1 - v) + high * v) * w)


@kernel
def bell(x: float, y: float, wide: float, high: float) -> float:
    """Return a soft spot: 1 in the middle, falling off over the widths."""
    return math.exp(-((x / wide) ** 2) - (y / high) ** 2)


@kernel
def between(value: float) -> float:
    """Return a value cut to 0..1."""
    return min(1.0, max(0.0, value))


@kernel
def creases(
    lattice: Image32, knobs: Image32, x: float, y: float, z: float
) -> tuple[float, float, float]:
    """Return the tilt of the normal in x and y by lines and folds of a face, and their darkness."""
    ax, old = abs(x), knobs[LINES]
    side = 1.0 if x > 0 else -1.0
    dx, dy, dark = 0.0, 0.0, 0.0
    brow = old * bell(x, y - 0.57, 0.50, 0.17)
    if brow > 0.01:
        phase = y * 50 + 2.4 * noise(lattice, 3 * x, 3 * y + knobs[OFFSET], 7.0)
        dy += 0.34 * brow * math.sin(phase)
        dark += 0.16 * brow * (0.5 + 0.5 * math.cos(phase)) ** 3
    # from the wings of the nose to beside the corners of the mouth
    off = ax - 0.215 - 0.34 * between((-0.38 - y) / 0.5) * 0.5
    reach = between((-0.36 - y) / 0.10) * between((y + 0.84) / 0.14) * between((z + 0.4) * 5)
    fold = (0.10 + 0.65 * old + knobs[FURROW]) * math.exp(-((off / 0.045) ** 2)) * reach
    dx -= side * fold * (off / 0.045) * 0.55
    dark += 0.14 * fold
    # under the eyes
    off = y + 0.185 + 0.05 * math.cos((ax - 0.30) * 5)
    bag = (0.10 + 0.6 * old) * math.exp(-((off / 0.030) ** 2)) * bell(ax - 0.29, 0.0, 0.16, 1.0)
    dy -= bag * (off / 0.030) * 0.35
    dark += 0.08 * bag
    feet = old * bell(ax - 0.60, y - 0.01, 0.09, 0.14)
    if feet > 0.01:
        phase = math.atan2(y + 0.02, ax - 0.34) * 15 + noise(lattice, 6 * x, 6 * y, 3.0)
        dy += 0.30 * feet * math.sin(phase)
        dark += 0.10 * feet * (0.5 + 0.5 * math.cos(phase)) ** 3
    down = old * bell(ax - 0.31, y + 0.90, 0.028, 0.11)
    dark += 0.10 * down
    fine = (0.035 + 0.10 * old) * noise(lattice, 8 * x + knobs[OFFSET], 24 * y, 11 * z)
    return dx, dy + fine, dark


@kernel
def skin_colour(
    lattice: Image32, colours: Image32, knobs: Image32, at: Image32
) -> tuple[float, float, float]:
    """Return the albedo of skin, lips, lids and shaved beard at a point with attributes `at`."""
    x, y, z = at[PLACE], at[PLACE + 1], at[PLACE + 2]
    ax = abs(x)
    u, v, w = x + knobs[OFFSET], y + knobs[OFFSET + 1], z + knobs[OFFSET + 2]
    coarse, middle = noise(lattice, 3 * u, 3 * v, 3 * w), noise(lattice, 17 * u, 17 * v, 17 * w)
    pores = noise(lattice, 40 * u, 40 * v, 40 * w)
    level = 1 + 0.06 * coarse + 0.05 * middle + 0.04 * pores
    flush = bell(ax - 0.42, y + 0.36, 0.22, 0.19) + bell(x, y + 0.36, 0.15, 0.15)
    flush += 0.6 * bell(x, y + 1.08, 0.2, 0.12) + 0.7 * at[EARS]
    flush = knobs[RUDDY] * (0.75 * flush + 0.25 * coarse) + 0.06 * middle
    red = colours[SKIN, 0] * level * (1 + 0.04 * flush)
    green = colours[SKIN, 1] * level * (1 - 0.24 * flush)
    blue = colours[SKIN, 2] * level * (1 - 0.22 * flush)
    around = (0.22 + 0.35 * knobs[LINES]) * bell(ax - 0.28, y + 0.13, 0.20, 0.09)
    freckle = between(noise(lattice, 24 * u, 24 * v, 24 * w) * 2.2 - 0.7 + 0.3 * coarse)
    darker = 1 - 0.22 * around - 0.13 * knobs[SPOTS] * freckle
    red, green, blue = red * darker, green * darker * (1 - 0.12 * around), blue * darker
    shadow = knobs[MAKEUP] * between(at[LIDS] * 1.3) * 0.45
    red, green, blue = red * (1 - shadow), green * (1 - 1.2 * shadow), blue * (1 - shadow)
    # hair under and on the skin: grains for stubble, an even tint for the scalp
    grains = 0.72 + 0.28 * noise(lattice, 50 * u, 50 * v, 50 * w) + 0.14 * middle
    dark = between(knobs[STUBBLE] * at[BEARD] * grains) * (1 - at[LIPS])
    red += (0.55 * colours[HAIR, 0] - red) * dark
    green += (0.55 * colours[HAIR, 1] - green) * dark
    blue += (0.55 * colours[HAIR, 2] - blue) * dark
    streaks = 0.75 + 0.25 * noise(lattice, 45 * math.atan2(x, z + 0.75), 6 * y, 3 * z)
    dark = between(at[SCALP] * 1.4 - 0.1) * streaks
    red += (colours[HAIR, 0] - red) * dark
    green += (colours[HAIR, 1] - green) * dark
    blue += (colours[HAIR, 2] - blue) * dark
    lips = between((at[LIPS] - 0.30) / 0.45) * 0.9
    grain = 1 + 0.10 * noise(lattice, 40 * x, 5 * y, 9.0)
    red += (colours[LIP, 0] * grain - red) * lips
    green += (colours[LIP, 1] * grain - green) * lips
    blue += (colours[LIP, 2] * grain - blue) * lips
    return red, green, blue


@kernel
def eye_colour(
    lattice: Image32, colours: Image32, knobs: Image32, x: float, y: float, z: float
) -> tuple[float, float, float]:
    """Return the albedo of an eye in the direction (x, y, z) from its centre."""
    length = math.sqrt(x * x + y * y + z * z) + 1e-9
    x, y, z = x / length - knobs[GAZE_X], y / length - 0.02 - knobs[GAZE_Y], z / length
    r = math.hypot(x, y) if z > 0 else 2.0
    white = 0.66 - 0.12 * between((r - 0.5) * 2)
    if r >= 0.47:
        return white, white * 0.93, white * 0.90
    ring = between((0.47 - r) / 0.05)
    fibre = 1 + 0.35 * noise(lattice, 9 * math.atan2(y, x), 4 * r, 5.0)
    shade = fibre * (0.45 + 0.9 * between((0.43 - r) / 0.10)) * (0.75 + 0.5 * between(-y / 0.4))
    pupil = between((r - 0.15) / 0.04)
    shade = 0.03 + shade * pupil
    red = white * (1 - ring) + colours[IRIS, 0] * shade * ring
    green = white * 0.93 * (1 - ring) + colours[IRIS, 1] * shade * ring
    return red, green, white * 0.90 * (1 - ring) + colours[IRIS, 2] * shade * ring
