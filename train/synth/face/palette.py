"""The colours and styles of faces, and their frequencies."""

from __future__ import annotations

import numpy as np

from vox2face.train.synth.face.head import Floats

Colour = tuple[float, float, float]
Rng = np.random.Generator

# sRGB, 0..1
HAIR_COLOURS: dict[str, Colour] = {
    "black": (0.07, 0.06, 0.06),
    "dark": (0.16, 0.11, 0.09),
    "brown": (0.30, 0.20, 0.13),
    "light": (0.45, 0.33, 0.21),
    "blond": (0.68, 0.53, 0.34),
    "red": (0.45, 0.21, 0.10),
}
GREY: Colour = (0.66, 0.65, 0.64)
IRIS_COLOURS: dict[str, Colour] = {
    "dark": (0.16, 0.09, 0.06),
    "brown": (0.30, 0.17, 0.09),
    "hazel": (0.42, 0.32, 0.16),
    "green": (0.29, 0.33, 0.24),
    "blue": (0.29, 0.36, 0.43),
    "grey": (0.34, 0.37, 0.39),
}

# by ancestry: names and frequencies
HAIR_OF = (
    (("black", "dark"), (0.8, 0.2)),
    (("black", "dark"), (0.6, 0.4)),
    (("black", "dark", "brown", "light", "blond", "red"), (0.06, 0.24, 0.30, 0.18, 0.15, 0.07)),
)
IRIS_OF = (
    (("dark", "brown"), (0.6, 0.4)),
    (("dark", "brown"), (0.5, 0.5)),
    (("brown", "hazel", "green", "blue", "grey"), (0.3, 0.15, 0.12, 0.3, 0.13)),
)
TONE_OF = ((0.68, 0.13), (0.32, 0.09), (0.14, 0.09))  # mean and deviation, 0 fair .. 1 dark
STYLES = {  # name and frequency
    False: {"long": 0.42, "bob": 0.24, "tied": 0.14, "pixie": 0.10, "curls": 0.10},
    True: {"crop": 0.44, "side": 0.26, "back": 0.14, "curls": 0.12, "long": 0.04},
}
LENGTHS = {  # dm, from and to
    "long": (2.2, 3.6), "bob": (1.3, 1.9), "tied": (1.1, 1.3), "pixie": (0.4, 0.75),
    "curls": (0.45, 0.95), "crop": (0.10, 0.32), "side": (0.5, 0.8), "back": (0.5, 0.9),
}  # fmt: skip
FRAMES: tuple[Colour, ...] = (  # of glasses
    (0.04, 0.04, 0.04), (0.12, 0.12, 0.13), (0.30, 0.18, 0.10), (0.55, 0.50, 0.42),
    (0.35, 0.10, 0.12),
)  # fmt: skip
CLOTHES: tuple[Colour, ...] = (
    (0.10, 0.10, 0.12), (0.16, 0.20, 0.30), (0.42, 0.44, 0.47), (0.88, 0.87, 0.84),
    (0.62, 0.72, 0.82), (0.42, 0.16, 0.17), (0.25, 0.33, 0.26), (0.72, 0.64, 0.52),
    (0.30, 0.24, 0.34), (0.78, 0.56, 0.54), (0.20, 0.36, 0.42), (0.93, 0.92, 0.91),
)  # fmt: skip
NECKLINES = ("crew", "v", "collar", "wide")


def inside(value: float, low: float = 0.0, high: float = 1.0) -> float:
    """Return a value within limits."""
    return float(min(max(value, low), high))


def triple(values: Floats) -> Colour:
    """Return three numbers as a tuple of floats."""
    red, green, blue = (float(value) for value in values)
    return red, green, blue
