"""Thresholds of distances between two embeddings, up to which they count as one person's.

Published ones are tables of others, and hold for the presets and weights that they were made for.
Measured ones, with their errors, are of synthetic people: they tell nothing about real persons.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import NamedTuple

METRICS = ("cosine", "euclidean", "euclidean_l2", "angular")


@dataclass(frozen=True)
class Published:
    """The thresholds that somebody published for a network, by metric.

    `name` is the owner's name of the network, `presets` the preprocessings they hold for, `note`
    what differs here from what they were made with. `unit` says that the owner divides embeddings
    by their length before any distance.
    """

    name: str
    presets: tuple[str, ...]
    unit: bool
    thresholds: Mapping[str, float]
    cite: str
    note: str = ""


class Estimate(NamedTuple):
    """A value and its 95 % interval."""

    value: float
    low: float
    high: float


@dataclass(frozen=True)
class Measured:
    """Two thresholds of a metric and the errors there, parts of 1, on so many synthetic people.

    At `equal` false accepts and misses are as frequent, `equal_error`; at `strict` 1 % of the pairs
    of two people are accepted, and `missed` of those of one person are not. At the threshold that
    is published for the network these are `published_accepted` and `published_missed`.
    """

    metric: str
    people: int
    equal: Estimate
    equal_error: Estimate
    strict: Estimate
    missed: Estimate
    published_accepted: Estimate | None = None
    published_missed: Estimate | None = None


@dataclass(frozen=True)
class Evaluation:
    """What `command` measured of a model: synthetic people whose faces vox2face cut out.

    `align` says whether they were turned upright.
    """

    model: str
    preset: str
    align: bool
    command: str
    rows: tuple[Measured, ...]


DEEPFACE = "deepface 0.0.103, config/threshold.py"
# fmt: off
PUBLISHED: dict[str, Published] = {
    "vggface.serengil": Published("VGG-Face", ("deepface", "deepface-skip"), True,
        {"cosine": 0.68, "euclidean": 1.17, "euclidean_l2": 1.17, "angular": 0.39}, DEEPFACE),
    "dlib_resnet128.dlib": Published("Dlib", ("dlib",), False,
        {"cosine": 0.07, "euclidean": 0.6, "euclidean_l2": 0.4, "angular": 0.12}, DEEPFACE,
        "It was made for dlib's own weights on pictures fitted in by deepface; these weights are "
        "rounded to 8 bits, which moves a descriptor by 0.04."),
}
# fmt: on

# Makes the rows below: 883 photographs with one face, 17 without, 330 s of one core
MEASURE = "python scripts/measure_thresholds.py --people 300 --seed 2031"
# fmt: off
EVALUATIONS: tuple[Evaluation, ...] = (
    Evaluation("dlib_resnet128.dlib", "dlib", False, MEASURE, (
        Measured("cosine", 300,
            Estimate(0.0563, 0.0541, 0.0580), Estimate(0.1016, 0.0873, 0.1148),
            Estimate(0.0360, 0.0350, 0.0371), Estimate(0.4111, 0.3584, 0.4510),
            Estimate(0.2435, 0.2246, 0.2641), Estimate(0.0254, 0.0149, 0.0361)),
        Measured("euclidean", 300,
            Estimate(0.4571, 0.4481, 0.4643), Estimate(0.1051, 0.0913, 0.1192),
            Estimate(0.3644, 0.3585, 0.3699), Estimate(0.4122, 0.3644, 0.4513),
            Estimate(0.6241, 0.5957, 0.6576), Estimate(0.0023, 0.0000, 0.0069)),
        Measured("euclidean_l2", 300,
            Estimate(0.3355, 0.3290, 0.3406), Estimate(0.1016, 0.0873, 0.1148),
            Estimate(0.2683, 0.2645, 0.2724), Estimate(0.4111, 0.3584, 0.4510),
            Estimate(0.3779, 0.3525, 0.4066), Estimate(0.0127, 0.0047, 0.0210)),
        Measured("angular", 300,
            Estimate(0.1073, 0.1052, 0.1089), Estimate(0.1016, 0.0873, 0.1148),
            Estimate(0.0857, 0.0844, 0.0870), Estimate(0.4111, 0.3584, 0.4510),
            Estimate(0.2462, 0.2271, 0.2671), Estimate(0.0254, 0.0149, 0.0361)),
    )),
    Evaluation("dlib_resnet128.dlib", "dlib", True, MEASURE, (
        Measured("cosine", 300,
            Estimate(0.0551, 0.0528, 0.0566), Estimate(0.0901, 0.0771, 0.0997),
            Estimate(0.0355, 0.0343, 0.0367), Estimate(0.3868, 0.3414, 0.4242),
            Estimate(0.2301, 0.2118, 0.2501), Estimate(0.0242, 0.0127, 0.0367)),
        Measured("euclidean", 300,
            Estimate(0.4517, 0.4448, 0.4571), Estimate(0.0904, 0.0795, 0.1005),
            Estimate(0.3622, 0.3560, 0.3687), Estimate(0.3880, 0.3470, 0.4297),
            Estimate(0.5934, 0.5648, 0.6263), Estimate(0.0035, 0.0000, 0.0087)),
        Measured("euclidean_l2", 300,
            Estimate(0.3320, 0.3251, 0.3365), Estimate(0.0901, 0.0771, 0.0997),
            Estimate(0.2663, 0.2618, 0.2709), Estimate(0.3868, 0.3414, 0.4242),
            Estimate(0.3569, 0.3339, 0.3836), Estimate(0.0104, 0.0034, 0.0185)),
        Measured("angular", 300,
            Estimate(0.1062, 0.1039, 0.1076), Estimate(0.0901, 0.0771, 0.0997),
            Estimate(0.0850, 0.0836, 0.0865), Estimate(0.3868, 0.3414, 0.4242),
            Estimate(0.2328, 0.2144, 0.2527), Estimate(0.0242, 0.0127, 0.0367)),
    )),
)
# fmt: on


def measured(model: str, preset: str, align: bool, metric: str) -> Measured | None:
    """Return what was measured of a model on synthetic people, None if nothing was."""
    for evaluation in EVALUATIONS:
        if (evaluation.model, evaluation.preset, evaluation.align) == (model, preset, align):
            return next((row for row in evaluation.rows if row.metric == metric), None)
    return None
