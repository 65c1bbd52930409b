"""Glasses: rims, bridge and temples as polylines in front of a person's eyes."""

from __future__ import annotations

import numpy as np

from vox2face.train.synth.face.head import floats, head
from vox2face.train.synth.face.looks import Look
from vox2face.train.synth.face.strands import Array, Strands, linear

POINTS = 29
FORWARD = 0.20  # dm from the front of the eyes

# half width, half height (dm), roundness of the corners (2: an ellipse), thickness (pixels of 448)
SHAPES = {1: (0.25, 0.23, 2.2, 2.2), 2: (0.285, 0.19, 3.6, 4.2), 3: (0.28, 0.21, 2.8, 3.0)}


def glasses(look: Look, points: Array) -> Strands:
    """Return the frame of a person's glasses; `points` (V, 3) is the skin."""
    mesh = head()
    wide, high, power, thick = SHAPES[look.glasses]
    eyes = mesh.eye_centres(points)
    front = float(eyes[:, 2].max()) + 0.15 + FORWARD
    turn = np.linspace(0, 2 * np.pi, POINTS)
    across = np.sign(np.cos(turn)) * np.abs(np.cos(turn)) ** (2 / power) * wide
    upward = np.sign(np.sin(turn)) * np.abs(np.sin(turn)) ** (2 / power) * high
    along = np.linspace(0, 1, POINTS)
    lines = []
    for eye in eyes:
        side = np.sign(eye[0])
        x = eye[0] + 0.015 * side + across
        lines.append(np.stack([x, eye[1] - 0.035 + upward, front - 0.35 * x**2], 1))
        hinge = np.array([eye[0] + side * (wide + 0.015), eye[1] + 0.05, 0.0])
        hinge[2] = front - 0.35 * hinge[0] ** 2
        ear = temple(points, side)
        lines.append(hinge + (ear - hinge) * along[:, None])
    inner = np.abs(eyes[:, 0]).min() - wide + 0.03
    x = (2 * along - 1) * inner
    lines.append(np.stack([x, 0.04 * (1 - (x / inner) ** 2) + 0.02, np.full(POINTS, front)], 1))
    path = np.stack(lines).astype(np.float32)
    count = len(path)
    bridge = int(np.abs(mesh.canonical - [0, -0.03, 0.25]).sum(1).argmin())
    return Strands(
        path,
        np.tile(linear(look.glasses_colour), (count, 1)),
        np.full((count, 2), thick, np.float32),
        np.tile(floats([0.95, 1.0, 1.0]), (count, 1)),
        np.full((count, 3), bridge, np.int32),
        np.tile(floats([1, 0, 0]), (count, 1)),
    )


def temple(points: Array, side: float) -> Array:
    """Return where a frame rests above the ear of one side."""
    near = int(np.abs(head().canonical - [0.66 * side, 0.06, -0.62]).sum(1).argmin())
    return floats(points[near] + [0.04 * side, 0.03, 0.0])
