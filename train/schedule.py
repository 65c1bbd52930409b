"""The learning rate as a pure function of the step, and when to stop."""

from __future__ import annotations

import math
from dataclasses import dataclass

from vox2face.train.limits import one_of, within

SHAPES = ("constant", "decay", "cosine")


@dataclass(frozen=True)
class Schedule:
    """How the learning rate changes: `shape` "constant", "decay" or "cosine", after a warm-up.

    "decay" multiplies by `decay` every `every` steps; "cosine" falls to `floor` times the rate at
    the last step. `warmup` is how many steps the rate rises from almost nothing, in a line.
    """

    shape: str
    decay: float
    every: int
    warmup: int
    floor: float

    def __post_init__(self) -> None:
        one_of("schedule", self, shape=SHAPES)
        within("schedule", self, decay=(0, 1), every=(1, 10**9), warmup=(0, 10**9), floor=(0, 1))


def factor(schedule: Schedule, step: int, total: int) -> float:
    """Return what the learning rate is multiplied by at a step (0 is the first) of `total`."""
    rising = min(1.0, (step + 1) / (schedule.warmup + 1))
    if schedule.shape == "decay":
        return rising * schedule.decay ** (step // schedule.every)
    if schedule.shape == "cosine":
        progress = max(0, step - schedule.warmup) / max(1, total - 1 - schedule.warmup)
        wave = 0.5 * (1 + math.cos(math.pi * min(1.0, progress)))
        return rising * (schedule.floor + (1 - schedule.floor) * wave)
    return rising


@dataclass
class Best:
    """The best value of the watched metric so far, and how many evaluations ago it was.

    `sign` is 1 where less is better, -1 where more is. A value that is no number is never best.
    """

    sign: int
    value: float | None = None
    since: int = 0

    def improved(self, value: float) -> bool:
        """Take in one evaluation; return whether it is better than all before."""
        better = math.isfinite(value) and (
            self.value is None or self.sign * value < self.sign * self.value
        )
        self.value, self.since = (value, 0) if better else (self.value, self.since + 1)
        return better

    def exhausted(self, patience: int) -> bool:
        """Whether `patience` evaluations in a row brought nothing better; 0 is endless patience."""
        return patience > 0 and self.since >= patience
