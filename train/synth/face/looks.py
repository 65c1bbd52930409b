"""The traits of one person's face, drawn at random.

A face depends on sex, age and body size as `TIES` says. These strengths are invented, and were
chosen before anything was trained on the pictures. How sex shows (lashes, brows, lips, stubble,
`SEX_AXES`) was chosen with a gender network in view; the ties of age and body size were tuned to no
network. Ancestry, skin, iris and hair colour depend on none of the three.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Any

import numpy as np

from vox2face.train.synth.face.head import AGE_VALUES, AGE_YEARS, ANCESTRIES, axis_names
from vox2face.train.synth.face.palette import (
    CLOTHES,
    FRAMES,
    HAIR_COLOURS,
    HAIR_OF,
    IRIS_COLOURS,
    IRIS_OF,
    LENGTHS,
    NECKLINES,
    STYLES,
    TONE_OF,
    Colour,
    Rng,
    inside,
    triple,
)
from vox2face.train.synth.face.views import View, sample_view

__all__ = ["TIES", "Look", "View", "sample_look", "sample_view"]

SEX_MEAN, SEX_DEVIATION = {False: 0.06, True: 0.97}, 0.05  # mesh parameter, 0 female .. 1 male
WEIGHT_MEAN, WEIGHT_DEVIATION = 0.5, 0.17
MUSCLE_MEAN, MUSCLE_DEVIATION = {False: 0.42, True: 0.68}, 0.11
AXIS_DEVIATION, AXIS_LIMIT = 0.28, 0.8

# Of the deviation of an axis, the share that is body size; the rest is chance.
SHARE_WEIGHT, SHARE_MUSCLE, SHARE_AXIS = 0.60, 0.60, 0.75
TIED_AXES = {
    "chin/chin-width": 0.35,
    "chin/chin-height": 0.25,
    "head/head-fat": 0.22,
    "nose/nose-scale-vert": 0.20,
}

# What the mesh's own women and men leave out, as means of axes (women, men): women have relatively
# larger eyes and fuller lips, men a broader nose and jaw.
SEX_AXES = {
    "eyes/l-eye-scale": (0.40, -0.10),
    "mouth/mouth-upperlip-volume": (0.25, -0.10),
    "mouth/mouth-lowerlip-volume": (0.25, -0.10),
    "nose/nose-scale-horiz": (-0.40, 0.10),
    "chin/chin-width": (-0.25, 0.10),
}

# The range used of the axes of each part of the head, as a part of the mesh's range.
AXIS_RANGE = {"eyes": 0.5, "mouth": 0.38, "head": 0.6, "ears": 0.4}
OTHER_RANGE = 0.75
GREY_BEGINS, GREY_TAKES = 38.0, 35.0  # years
LINES_BEGIN, LINES_TAKE = 32.0, 45.0
BALD_BEGINS, BALD_TAKES = 35.0, 60.0

# The ties of a face to the three latent values, for the card of a corpus.
TIES: dict[str, float | str] = {
    "sex: mesh parameter of women (0 female .. 1 male)": SEX_MEAN[False],
    "sex: mesh parameter of men": SEX_MEAN[True],
    "sex: deviation of the mesh parameter": SEX_DEVIATION,
    **{f"sex: mean of {name} (women)": women for name, (women, _) in SEX_AXES.items()},
    **{f"sex: mean of {name} (men)": men for name, (_, men) in SEX_AXES.items()},
    "sex: hair, beard, brows, lips, lashes": "differ; chosen so that a gender network reads them",
    "age: shape": "the mesh's own interpolation between 10, 25 and 90 years",
    "age: grey hair begins (years)": GREY_BEGINS,
    "age: grey hair is complete after another (years)": GREY_TAKES,
    "age: wrinkles begin (years)": LINES_BEGIN,
    "age: wrinkles are complete after another (years)": LINES_TAKE,
    "age: baldness of men begins (years)": BALD_BEGINS,
    "size: share of the deviation of weight": SHARE_WEIGHT,
    "size: share of the deviation of muscle": SHARE_MUSCLE,
    **{f"size: share of the deviation of {name}": SHARE_AXIS for name in TIED_AXES},
    "ancestry, skin, iris, hair colour, glasses, clothes": "independent of sex, age and size",
    "pose, expression, light, background": "independent of the person",
}


@dataclass(frozen=True)
class Look:
    """The traits of one person's face. Colours are sRGB 0..1.

    `sex`, `age`, `weight`, `muscle` are parameters of the mesh (0..1), `ancestry` is a mixture of
    African, Asian and Caucasian, `shape` holds one weight in -1..1 for every axis of
    `head.axis_names()`. `tone` is 0 fair .. 1 dark, `grey`, `bald`, `beard`, `stubble`, `lines`,
    `spots`, `makeup` and `curl` are 0..1. `hair_length` is in dm, `brow_height` in dm
    above the eyes, `parting` in dm to the right.
    """

    male: bool
    years: float
    sex: float
    age: float
    weight: float
    muscle: float
    ancestry: Colour
    shape: tuple[float, ...]
    crooked: tuple[float, ...]
    tone: float
    ruddy: float
    hair_style: str
    hair_length: float
    hair_volume: float
    hair_colour: Colour
    curl: float
    parting: float
    fringe: float
    grey: float
    bald: float
    beard: float
    beard_length: float
    stubble: float
    brows: float
    brow_height: float
    iris: Colour
    lines: float
    spots: float
    makeup: float
    mouth_rest: float
    glasses: int
    glasses_colour: Colour
    clothes: Colour
    neckline: str
    seed: int


def sample_look(
    rng: Rng, male: bool, years: float, size: float, ancestry: int | None = None
) -> Look:
    """Draw a face for a person.

    `years` of age; `size` of body and head in standard deviations within a sex; `ancestry` is 0, 1
    or 2 for mostly African, Asian, Caucasian, or None to draw it.
    """
    origin = int(rng.integers(len(ANCESTRIES))) if ancestry is None else ancestry
    concentration = np.full(len(ANCESTRIES), 0.2)
    concentration[origin] = 8
    mixture = rng.dirichlet(concentration)
    old = float(np.clip((years - LINES_BEGIN) / LINES_TAKE, 0, 1))
    return Look(
        male=male,
        years=float(years),
        sex=inside(rng.normal(SEX_MEAN[male], SEX_DEVIATION)),
        age=float(np.interp(years, AGE_YEARS, AGE_VALUES)),
        weight=inside(tied(rng, size, SHARE_WEIGHT, WEIGHT_MEAN, WEIGHT_DEVIATION), 0.05, 0.95),
        muscle=inside(
            tied(rng, size, SHARE_MUSCLE, MUSCLE_MEAN[male], MUSCLE_DEVIATION), 0.05, 0.95
        ),
        ancestry=(float(mixture[0]), float(mixture[1]), float(mixture[2])),
        shape=_sample_shape(rng, male, size),
        crooked=tuple(float(value) for value in np.clip(rng.normal(0, 0.22, 12), -0.6, 0.6)),
        **_sample_skin(rng, male, years, old, origin),
        **_sample_hair(rng, male, years, origin),
        **_sample_things(rng),
        seed=int(rng.integers(1 << 30)),
    )


def tied(rng: Rng, size: float, share: float, mean: float, deviation: float) -> float:
    """Draw a value; body size is a share of its deviation, and chance the rest."""
    return mean + deviation * (share * size + math.sqrt(1 - share**2) * rng.normal())


def _sample_shape(rng: Rng, male: bool, size: float) -> tuple[float, ...]:
    """Draw the weight of every shape axis."""
    weights = []
    for name in axis_names():
        part = name.partition("/")[0]
        if name in TIED_AXES:
            value, reach = tied(rng, size, SHARE_AXIS, 0, TIED_AXES[name]), 1.0
        else:
            value, reach = rng.normal(0, AXIS_DEVIATION), AXIS_RANGE.get(part, OTHER_RANGE)
        mean = SEX_AXES.get(name, (0.0, 0.0))[male]
        weights.append(inside(value * reach + mean, -AXIS_LIMIT, AXIS_LIMIT))
    return tuple(weights)


def _sample_skin(rng: Rng, male: bool, years: float, old: float, origin: int) -> dict[str, Any]:
    """Draw skin, brows, lips, eyes and lines."""
    mean, deviation = TONE_OF[origin]
    names, chances = IRIS_OF[origin]
    iris = np.array(IRIS_COLOURS[str(rng.choice(names, p=chances))]) * rng.uniform(0.85, 1.15)
    return {
        "tone": inside(rng.normal(mean, deviation)),
        "ruddy": inside(rng.normal(0.5, 0.2)),
        "brows": inside(rng.normal(1.08 if male else 0.58, 0.13), 0.35, 1.5),
        "brow_height": float(rng.normal(0.175 if male else 0.205, 0.012)),
        "iris": triple(iris),
        "lines": inside((1 if male else 0.75) * old + 0.12 * rng.normal()),
        "spots": inside(old * rng.uniform(0.3, 1.2)),
        "makeup": 0.0 if male else inside(rng.normal(0.72, 0.16)),
        "mouth_rest": inside(rng.normal(0.14, 0.08), 0.0, 0.35),
    }


def _sample_hair(rng: Rng, male: bool, years: float, origin: int) -> dict[str, Any]:
    """Draw hair and beard."""
    styles = STYLES[male]
    style = str(rng.choice(list(styles), p=list(styles.values())))
    names, chances = HAIR_OF[origin]
    colour = np.array(HAIR_COLOURS[str(rng.choice(names, p=chances))]) * rng.uniform(0.85, 1.2)
    wavy = rng.beta(1.2, 2.6)
    curl = wavy if origin != 0 else 0.55 + 0.4 * rng.random()
    low, high = LENGTHS[style]
    bearded = male and rng.random() < 0.42
    grey = inside((years - GREY_BEGINS) / GREY_TAKES + 0.15 * rng.normal())
    dyed = rng.random() < (0.08 if male else 0.65)
    return {
        "hair_style": style,
        "hair_length": float(rng.uniform(low, high) * (0.65 if male and style == "curls" else 1)),
        "hair_volume": float(rng.uniform(0.6, 1.4)),
        "hair_colour": triple(colour),
        "curl": inside(max(curl, 0.55) if style == "curls" else curl),
        "parting": float(rng.choice([-0.3, 0.0, 0.3]) + rng.normal(0, 0.06)),
        "fringe": float(rng.random() < (0.3 if male else 0.28)) * float(rng.uniform(0.5, 1)),
        "grey": 0.15 * grey if dyed else grey,
        "bald": inside((years - BALD_BEGINS) / BALD_TAKES + 0.25 * rng.normal()) if male else 0.0,
        "beard": float(rng.uniform(0.35, 1)) if bearded else 0.0,
        "beard_length": float(rng.uniform(0.05, 0.25)),
        "stubble": inside(rng.normal(0.58, 0.2), 0.25, 0.95) if male else 0.0,
    }


def _sample_things(rng: Rng) -> dict[str, Any]:
    """Draw glasses and clothes."""
    return {
        "glasses": int(rng.integers(1, 4)) if rng.random() < 0.18 else 0,
        "glasses_colour": triple(np.array(FRAMES[int(rng.integers(len(FRAMES)))])),
        "clothes": triple(
            np.clip(
                np.array(CLOTHES[int(rng.integers(len(CLOTHES)))]) + rng.normal(0, 0.03, 3), 0, 1
            )
        ),
        "neckline": NECKLINES[int(rng.integers(len(NECKLINES)))],
    }
