"""The settings of a run that both kinds of training share: optimizer, loop, schedule, bounds."""

from __future__ import annotations

import math
import re
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from vox2face.core.errors import UsageError

PRECISIONS = ("no", "bf16", "fp16")
OPTIMIZERS = ("adam", "adamw", "sgd")
LEAST_EPS = 1e-12  # added to what gradients are divided by, which may be 0
OFTEN = 10**9  # steps or epochs

# The folders in that of a run beside those of its phases
FOLDERS = BUNDLE, FEATURES, GRIDS = "bundle", "features", "grids"


@dataclass(frozen=True)
class Optimizer:
    """Which optimizer: `name` "adam", "adamw" or "sgd" (whose momentum is `betas[0]`).

    `clip` is the largest norm of all gradients together; 0 leaves them as they are.
    """

    name: str
    betas: tuple[float, ...]
    eps: float
    weight_decay: float
    clip: float

    def __post_init__(self) -> None:
        one_of("optimizer", self, name=OPTIMIZERS)
        if len(self.betas) != 2 or max(self.betas) >= 1:
            raise UsageError(f"optimizer.betas are {list(self.betas)}: give two numbers below 1.")
        within("optimizer", self, eps=(LEAST_EPS, 1), weight_decay=(0, 100))


@dataclass(frozen=True)
class Loop:
    """How the loop runs.

    `batch` is the number of items of one step, over all processes; `accumulate` cuts each
    process's share into that many parts, to save memory. `evaluate_every` counts epochs,
    `log_every` and `save_every` steps. The run stops when `patience` evaluations (0: never) bring
    no better value of `monitor`, a name that the evaluation gives; `better` is "lower" or
    "higher". `max_failures` is the largest part of the items that may be unreadable. `precision`
    is "no" (float32), "bf16" or "fp16".
    """

    seed: int
    batch: int
    accumulate: int
    workers: int
    precision: str
    channels_last: bool
    compile: bool
    log_every: int
    save_every: int
    evaluate_every: int
    monitor: str
    better: str
    patience: int
    max_failures: float

    def __post_init__(self) -> None:
        every = dict.fromkeys(("log_every", "save_every", "evaluate_every"), (1, OFTEN))
        within("loop", self, seed=(0, 2**63 - 1), batch=(1, 2**20), accumulate=(1, 2**20), **every)
        within("loop", self, workers=(0, 256), max_failures=(0, 1))
        one_of("loop", self, better=("lower", "higher"), precision=PRECISIONS)

    def require_monitor(self, known: Mapping[str, str]) -> None:
        """Raise `UsageError` unless `monitor` is known and `better` says which way it is better."""
        one_of("loop", self, monitor=tuple(known))
        if self.better != known[self.monitor]:
            raise UsageError(
                f"loop.better is {self.better!r} and of {self.monitor} the {known[self.monitor]} "
                f"values are better: set loop.better to {known[self.monitor]}."
            )


def require_phases(phases: Iterable[str]) -> None:
    """Raise `UsageError` unless the names of phases can be those of folders in the run's."""
    names = list(phases)
    if not names:
        raise UsageError("The recipe has no phase: write a table such as [phases.train].")
    for name in names:
        if not re.fullmatch(r"[A-Za-z0-9_-]+", name) or name in FOLDERS:
            raise UsageError(
                f"phases.{name} is no name for a phase: use letters, digits, - and _, and none of "
                f"{', '.join(FOLDERS)}."
            )


@dataclass(frozen=True)
class Plan:
    """All numbers of one run of the loop.

    It ends after `epochs`, or after `steps` if that is not 0; `lr` is the learning rate of the
    groups that state none.
    """

    loop: Loop
    optimizer: Optimizer
    schedule: Schedule
    lr: float
    epochs: int
    steps: int = 0

    def __post_init__(self) -> None:
        if self.epochs < 1 and self.steps < 1:
            raise UsageError("The run has no epochs and no steps: set one of them to 1 or more.")

    def total(self, per_epoch: int) -> int:
        """Return the steps of the run, where an epoch has `per_epoch`."""
        return self.steps or self.epochs * per_epoch


HIGHEST_RATE = 1000.0  # of learning
LARGEST = 10**6  # size of a layer


def within(table: str, settings: Any, **limits: tuple[float, float]) -> None:
    """Raise `UsageError` unless these numbers of a table lie between the limits, these included."""
    for name, (least, most) in limits.items():
        value = getattr(settings, name)
        if not least <= value <= most:
            raise UsageError(f"{table}.{name} is {value}: it must be from {least} to {most}.")


def one_of(table: str, settings: Any, **known: Sequence[str]) -> None:
    """Raise `UsageError` unless these words of a table are known ones."""
    for name, words in known.items():
        value = getattr(settings, name)
        if value not in words:
            raise UsageError(f"{table}.{name} is {value!r}: use one of {', '.join(words)}.")


def require_sizes(options: Mapping[str, Any], key: str = "network.options") -> None:
    """Raise `UsageError` for options of a network that cannot be sizes of layers."""
    if "width" in options:
        raise UsageError(f"{key}.width follows from the face encoder: leave it out.")
    for name, value in options.items():
        if isinstance(value, Mapping):
            require_sizes(value, f"{key}.{name}")
        for size in value if isinstance(value, list | tuple) else [value]:
            if isinstance(size, int | float) and not 1 <= size <= LARGEST and size is not False:
                raise UsageError(f"{key}.{name} is {value}: sizes are from 1 to {LARGEST}.")


LONGEST_WARMUP = 10  # of a phase: its tenth part
SHAPES = ("constant", "decay", "cosine")


@dataclass(frozen=True)
class Schedule:
    """How the learning rate changes: `shape` "constant", "decay" or "cosine", after a warm-up.

    "decay" multiplies by `decay` every `every` steps; "cosine" falls to `floor` times the rate at
    the last step. `warmup` is how many steps the rate rises from almost nothing, in a line; it is
    cut to a tenth of the phase, so that a short one learns too.
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
    warmup = min(schedule.warmup, total // LONGEST_WARMUP)
    rising = min(1.0, (step + 1) / (warmup + 1))
    if schedule.shape == "decay":
        return rising * schedule.decay ** (step // schedule.every)
    if schedule.shape == "cosine":
        progress = max(0, step - warmup) / max(1, total - 1 - warmup)
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
