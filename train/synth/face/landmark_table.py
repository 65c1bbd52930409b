"""The positions of the 68 landmarks of iBUG on the canonical head.

The places were measured: dlib's predictor on frontal renders of 60 people, carried back to the
canonical head through the mesh; medians, made symmetric. They deviate by 0.01 dm at the eyes and
the mouth and by 0.03 dm at the jaw. The brows are where they are painted.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from vox2face.train.synth.face.head import BODY, Floats, Head, Ints

INWARD = np.array([0.0, 0.08, 0.16, 0.24, 0.32, 0.40])  # of the way from the jaw to the nose's tip
DEPTH_COUNTS = 0.3  # places are sought in x and y first
GRID = 6  # points a side on each triangle

# x, y, z (dm) of the landmarks of the head's right side (the picture's left) and the middle.
PLACES: dict[int, tuple[float, float, float]] = {
    0: (-0.695, 0.018, -0.597),
    1: (-0.695, -0.171, -0.589),
    2: (-0.663, -0.362, -0.540),
    3: (-0.598, -0.523, -0.332),
    4: (-0.544, -0.686, -0.249),
    5: (-0.456, -0.835, -0.161),
    6: (-0.327, -0.958, -0.043),
    7: (-0.183, -1.066, -0.122),
    8: (0.000, -1.094, -0.005),
    17: (-0.535, 0.142, 0.010),
    18: (-0.436, 0.198, 0.140),
    19: (-0.322, 0.205, 0.212),
    20: (-0.211, 0.190, 0.240),
    21: (-0.103, 0.155, 0.250),
    27: (0.000, 0.000, 0.234),
    28: (0.000, -0.122, 0.272),
    29: (0.000, -0.228, 0.343),
    30: (0.000, -0.342, 0.413),
    31: (-0.125, -0.436, 0.258),
    32: (-0.064, -0.454, 0.298),
    33: (0.000, -0.475, 0.315),
    36: (-0.411, -0.017, 0.096),
    37: (-0.335, 0.017, 0.150),
    38: (-0.247, 0.013, 0.149),
    39: (-0.175, -0.036, 0.132),
    40: (-0.252, -0.056, 0.152),
    41: (-0.340, -0.056, 0.146),
    48: (-0.217, -0.685, 0.207),
    49: (-0.146, -0.611, 0.296),
    50: (-0.064, -0.578, 0.340),
    51: (0.000, -0.599, 0.351),
    57: (0.000, -0.790, 0.299),
    58: (-0.068, -0.783, 0.291),
    59: (-0.151, -0.755, 0.259),
    60: (-0.177, -0.679, 0.225),
    61: (-0.064, -0.659, 0.284),
    62: (0.000, -0.665, 0.291),
    66: (0.000, -0.681, 0.299),
    67: (-0.065, -0.676, 0.284),
}

# The landmarks of the other side, by number.
TWINS = {
    **{k: 16 - k for k in range(8)},
    **{k: 43 - k for k in range(17, 22)},
    31: 35, 32: 34, 36: 45, 37: 44, 38: 43, 39: 42, 40: 47, 41: 46,
    48: 54, 49: 53, 50: 52, 58: 56, 59: 55, 60: 64, 61: 63, 67: 65,
}  # fmt: skip


def all_places() -> Floats:
    """Return the positions of all landmarks (68, 3) in dm."""
    places = np.zeros((68, 3))
    for number, place in PLACES.items():
        places[number] = place
        places[TWINS.get(number, number)] = np.array(place) * [(-1, 1)[number not in TWINS], 1, 1]
    return places


def place_landmarks(head: Head) -> dict[str, NDArray[np.generic]]:
    """Return the vertices and weights (68, 6, 3) of the landmarks; see `Head`."""
    skin = head.triangles[head.material == BODY]
    step = np.arange(GRID) / (GRID - 1)
    grid = np.array([(a, b, 1 - a - b) for a in step for b in step if a + b <= 1 + 1e-9])
    points = np.einsum("gc,tcx->tgx", grid, head.canonical[skin])
    places = all_places()
    tip = places[30]
    marks = np.zeros((68, len(INWARD), 3), np.int16)
    shares = np.zeros((68, len(INWARD), 3), np.float32)
    for number, place in enumerate(places):
        for k, part in enumerate(INWARD):
            inner = place + part * (tip - place) if number < 17 else place
            triangle, corner = nearest(points, inner)
            marks[number, k], shares[number, k] = skin[triangle], grid[corner]
    return {"marks": marks, "shares": shares}


def nearest(points: Floats, place: Floats) -> Ints:
    """Return the triangle and the point of its grid nearest to a position."""
    away = ((points - place) ** 2 * [1, 1, DEPTH_COUNTS]).sum(2)
    return np.array(np.unravel_index(int(away.argmin()), away.shape))
