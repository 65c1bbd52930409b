"""The view of one picture of a person: pose, expression, light, background, drawn at random."""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np

from vox2face.train.synth.face.palette import Colour, Rng, inside, triple


@dataclass(frozen=True)
class View:
    """The view of one picture of a person.

    Angles in radians (positive yaw turns to the picture's right, positive pitch looks down),
    `distance` of the camera in dm, `shift` in parts of the picture; `light` points to the lamp in
    the camera's frame, `expression` names targets and weights, `gaze` turns the eyes (radians),
    `blur` in pixels of a picture of 224, `noise` in grey levels.
    """

    yaw: float
    pitch: float
    roll: float
    distance: float
    zoom: float
    shift: tuple[float, float]
    light: Colour
    light_colour: Colour
    ambient: Colour
    backdrop: tuple[Colour, ...]
    expression: tuple[tuple[str, float], ...]
    gaze: tuple[float, float]
    blur: float
    noise: float
    seed: int


def sample_view(rng: Rng) -> View:
    """Draw a pose, an expression, a light and a background, independently of the person."""
    warm = rng.normal(0, 0.05)
    strength = rng.uniform(0.85, 1.15)
    fill = rng.uniform(0.32, 0.55)
    cool = rng.normal(0, 0.03)
    light = np.array([rng.normal(0, 0.55), rng.normal(0.5, 0.25), 1.0])
    return View(
        yaw=inside(rng.normal(0, 0.19), -0.44, 0.44),
        pitch=inside(rng.normal(0, 0.085), -0.21, 0.21),
        roll=inside(rng.normal(0, 0.06), -0.17, 0.17),
        distance=float(rng.uniform(7, 13)),
        zoom=float(rng.uniform(0.96, 1.10)),
        shift=(float(rng.normal(0, 0.012)), float(rng.normal(0, 0.012))),
        light=triple(light / np.linalg.norm(light)),
        light_colour=triple(strength * np.array([1 + warm, 1.0, 1 - 1.2 * warm])),
        ambient=triple(fill * np.array([1 - cool, 1.0, 1 + 1.2 * cool])),
        backdrop=_sample_backdrop(rng),
        expression=_sample_expression(rng),
        gaze=(float(rng.normal(0, 0.07)), float(rng.normal(0, 0.04))),
        blur=float(rng.uniform(0.0, 0.6)),
        noise=float(rng.uniform(0.3, 2.0)),
        seed=int(rng.integers(1 << 30)),
    )


def _sample_expression(rng: Rng) -> tuple[tuple[str, float], ...]:
    """Draw the weights of the expression targets: calm, smiling, speaking or frowning."""
    weights = {
        "smile": rng.uniform(0, 0.2),
        "brows-up": max(0.0, rng.normal(0, 0.12)),
        "blink": max(0.0, rng.normal(0.0, 0.06)),
    }
    mood = rng.random()
    if mood < 0.32:
        weights["smile"], weights["squint"] = rng.uniform(0.3, 0.85), rng.uniform(0, 0.35)
        weights["part"] = rng.uniform(0, 0.5) * float(rng.random() < 0.5)
    elif mood < 0.58:
        weights["open"] = rng.uniform(0.03, 0.25)
        weights["brows-up"] = max(0.0, rng.normal(0.1, 0.25))
    elif mood < 0.68:
        weights["brows-down"] = rng.uniform(0.1, 0.45)
    elif mood < 0.74:
        weights["pout"] = rng.uniform(0.1, 0.35)
    return tuple((name, float(min(value, 1.0))) for name, value in weights.items() if value > 0.01)


def _sample_backdrop(rng: Rng) -> tuple[Colour, ...]:
    """Draw two muted colours of a gradient and two of soft blobs, sRGB."""
    colours = []
    grey = rng.uniform(0.18, 0.75)
    hue = rng.uniform(0, 2 * math.pi)
    for _ in range(4):
        angle = hue + rng.normal(0, 0.6)
        level = inside(grey + rng.normal(0, 0.13), 0.04, 0.92)
        tint = 0.22 * rng.beta(1.5, 2.5) * level
        wave = np.cos(angle - np.array([0, 2.094, 4.189]))
        colours.append(triple(np.clip(level + tint * wave, 0, 1)))
    return tuple(colours)
