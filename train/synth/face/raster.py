"""Compiled kernels: triangles and strands drawn into a depth buffer."""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import Any, TypeVar, cast

import numba
import numpy as np
from numpy.typing import NDArray

Kernel = TypeVar("Kernel", bound=Callable[..., Any])
Image32 = NDArray[np.float32]
FAR = -1e9


def kernel(function: Kernel) -> Kernel:
    """Compile a function at its first call, and keep the machine code on the disk if possible.

    Numba looks at the time of a function's own file only: who changes a kernel that others call
    has to remove the `*.nbi` files of `__pycache__`.
    """
    try:
        return cast(Kernel, numba.njit(cache=True, fastmath=True, nogil=True)(function))
    except RuntimeError:  # no writable folder for the cache
        return cast(Kernel, numba.njit(fastmath=True, nogil=True)(function))


@kernel
def rasterise(
    screen: Image32, triangles: NDArray[np.int32], size: int, cull: bool
) -> tuple[NDArray[np.int32], Image32, Image32]:
    """Draw triangles, and return the triangle (-1: none), shares and depth of every pixel.

    `screen` (V, 3) holds column, row and depth, larger being nearer. Shares are those of the first
    two corners, (size, size, 2). `cull` leaves out triangles that face away.
    """
    number = np.full((size, size), -1, np.int32)
    shares = np.zeros((size, size, 2), np.float32)
    depth = np.full((size, size), np.float32(FAR), np.float32)
    for t in range(len(triangles)):
        a, b, c = triangles[t]
        ax, ay, az = screen[a]
        bx, by, bz = screen[b]
        cx, cy, cz = screen[c]
        area = (bx - ax) * (cy - ay) - (by - ay) * (cx - ax)
        if abs(area) < 1e-6 or (cull and area > 0):
            continue
        left = max(0, math.ceil(min(ax, bx, cx) - 0.5))
        right = min(size - 1, math.floor(max(ax, bx, cx) - 0.5))
        top = max(0, math.ceil(min(ay, by, cy) - 0.5))
        bottom = min(size - 1, math.floor(max(ay, by, cy) - 0.5))
        for row in range(top, bottom + 1):
            y = row + 0.5
            for column in range(left, right + 1):
                x = column + 0.5
                first = ((bx - x) * (cy - y) - (by - y) * (cx - x)) / area
                second = ((cx - x) * (ay - y) - (cy - y) * (ax - x)) / area
                third = 1 - first - second
                if first < -1e-5 or second < -1e-5 or third < -1e-5:
                    continue
                z = first * az + second * bz + third * cz
                if z > depth[row, column]:
                    depth[row, column] = z
                    number[row, column] = t
                    shares[row, column, 0] = first
                    shares[row, column, 1] = second
    return number, shares, depth


@kernel
def hidden(depth: Image32, x: float, y: float, z: float) -> bool:
    """Whether a point is well behind the depth drawn so far."""
    row = min(len(depth) - 1, max(0, int(y)))
    column = min(len(depth) - 1, max(0, int(x)))
    return bool(z < depth[row, column] - 0.1)


@kernel
def draw_strands(
    image: Image32,
    depth: Image32,
    points: Image32,
    screen: Image32,
    centre: Image32,
    colour: Image32,
    widths: Image32,
    looks: Image32,
    light: Image32,
    glow: Image32,
    ambient: Image32,
) -> None:
    """Draw strands into the linear picture and its depth, both in place.

    `points` (N, S, 3) and `centre`, of the head, are in the camera's frame, `screen` (N, S, 3)
    holds column, row and depth; `colour` (N, 3); `widths` (N, 2) pixels at root and tip; `looks`
    (N, 3): opacity, gloss and how much the light passes to it. Shading is Kajiya and Kay's (1989).
    """
    size = image.shape[0]
    half = np.array([light[0], light[1], light[2] + 1.0])
    half /= math.sqrt(half[0] ** 2 + half[1] ** 2 + half[2] ** 2)
    count = points.shape[1]
    for n in range(len(points)):
        for s in range(count - 1):
            x, y, z = screen[n, s]
            dx, dy, dz = screen[n, s + 1] - screen[n, s]
            if max(x, x + dx) < 0 or min(x, x + dx) >= size:
                continue
            if max(y, y + dy) < 0 or min(y, y + dy) >= size:
                continue
            if hidden(depth, x, y, z) and hidden(depth, x + dx, y + dy, z + dz):
                continue
            tx, ty, tz = points[n, s + 1] - points[n, s]
            length = math.sqrt(tx * tx + ty * ty + tz * tz) + 1e-9
            along = (tx * light[0] + ty * light[1] + tz * light[2]) / length
            across = math.sqrt(max(0.0, 1 - along * along))
            along_half = (tx * half[0] + ty * half[1] + tz * half[2]) / length
            spark = max(0.0, 1 - along_half * along_half) ** 14
            nx, ny, nz = points[n, s] - centre
            ny = max(ny, 0.0) * 0.8
            reach = math.sqrt(nx * nx + ny * ny + nz * nz) + 1e-9
            facing = (nx * light[0] + ny * light[1] + nz * light[2]) / reach
            lit = min(1.0, max(0.0, 0.35 + 0.65 * facing)) * looks[n, 2]
            up = 0.75 + 0.25 * ny / reach
            strength = lit * (0.25 + 0.75 * across)
            shine = looks[n, 1] * spark * lit
            part = (s + 0.5) / (count - 1)
            width = widths[n, 0] * (1 - part) + widths[n, 1] * part
            steps = int(max(abs(dx), abs(dy))) + 1
            wide = math.ceil(width)
            steep = abs(dy) > abs(dx)
            red = colour[n, 0] * (strength * glow[0] + up * ambient[0] * looks[n, 2])
            green = colour[n, 1] * (strength * glow[1] + up * ambient[1] * looks[n, 2])
            blue = colour[n, 2] * (strength * glow[2] + up * ambient[2] * looks[n, 2])
            red += shine * glow[0] * (0.3 * colour[n, 0] + 0.04)
            green += shine * glow[1] * (0.3 * colour[n, 1] + 0.04)
            blue += shine * glow[2] * (0.3 * colour[n, 2] + 0.04)
            for k in range(steps):
                share = (k + 0.5) / steps
                px, py, pz = x + dx * share, y + dy * share, z + dz * share
                for w in range(wide):
                    shift = w - 0.5 * (wide - 1)
                    column = math.floor(px + shift) if steep else math.floor(px)
                    row = math.floor(py) if steep else math.floor(py + shift)
                    if column < 0 or column >= size or row < 0 or row >= size:
                        continue
                    if pz < depth[row, column]:
                        continue
                    solid = looks[n, 0] * min(1.0, width / wide)
                    image[row, column, 0] += (red - image[row, column, 0]) * solid
                    image[row, column, 1] += (green - image[row, column, 1]) * solid
                    image[row, column, 2] += (blue - image[row, column, 2]) * solid
                    if solid > 0.6:
                        depth[row, column] = pz
