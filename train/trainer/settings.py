"""The tables that all recipes have: fields with units, bounds, defaults and a line of help.

A recipe is a TOML file that states what it changes. `vox2face.train.voice.recipe` and
`vox2face.train.decoder.recipe` add what only their networks have.
"""

from __future__ import annotations

import math
import re
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Annotated, Any, ClassVar, Generic, Literal, TypeVar

from annotated_types import Len
from pydantic import AfterValidator, BaseModel, ConfigDict, Field, model_validator

from vox2face.core.errors import UsageError

# The folders in that of a run beside those of its phases
FOLDERS = BUNDLE, FEATURES, GRIDS = "bundle", "features", "grids"
LARGEST = 10**6  # size of a layer
WARMUP_SHARE = 10  # a warm-up is at most a tenth of its phase

Weight = Annotated[float, Field(ge=0)]
Fraction = Annotated[float, Field(ge=0, le=1)]
Rate = Annotated[float, Field(ge=0, le=1000)]
Count = Annotated[int, Field(ge=0, le=10**9)]
Interval = Annotated[int, Field(ge=1, le=10**9)]


class Table(BaseModel):
    """A table of a recipe: no other keys, no values of another type."""

    model_config = ConfigDict(
        extra="forbid",
        frozen=True,
        strict=True,
        allow_inf_nan=False,
        use_attribute_docstrings=True,
    )


class Optimizer(Table):
    """How gradients change the weights."""

    name: Literal["adam", "adamw", "sgd"] = "adam"
    """Which optimizer of torch.optim; the momentum of "sgd" is the first of `betas`."""
    betas: Annotated[tuple[Annotated[float, Field(ge=0, lt=1)], ...], Len(2, 2)] = (0.9, 0.999)
    """How much of the running means of gradients and of their squares a step keeps."""
    eps: float = Field(default=1e-8, ge=1e-12, le=1)
    """Added to what gradients are divided by."""
    weight_decay: float = Field(default=0.0, ge=0, le=100)
    """Decay of the weights."""
    max_grad_norm: Weight = 0.0
    """The largest norm of all gradients together; 0 leaves them as they are."""


class Schedule(Table):
    """How the learning rate changes: a warm-up, then a shape."""

    shape: Literal["constant", "decay", "cosine"] = "constant"
    """ "decay" multiplies by `gamma` every `step_size` steps; "cosine" falls to the last step."""
    gamma: Fraction = 0.95
    """What "decay" multiplies the rate by."""
    step_size: Interval = 10_000
    """Steps from one such multiplication to the next."""
    warmup: Count = 0
    """Steps in which the rate rises from almost nothing; cut to a tenth of the phase."""
    min_lr_ratio: Fraction = 0.0
    """What is left of the rate at the end of "cosine"."""


class Loop(Table):
    """How the training loop runs."""

    seed: int = Field(default=0, ge=0, le=2**63 - 1)
    """All randomness follows from it and from the number of the step."""
    batch_size: int = Field(default=32, ge=1, le=2**20)
    """Items of one step, over all processes."""
    grad_accum_steps: int = Field(default=1, ge=1, le=2**20)
    """Parts into which each process cuts its share of a batch, to save memory."""
    num_workers: int = Field(default=0, ge=0, le=256)
    """Processes that load data; 0 loads in the training process."""
    precision: Literal["no", "bf16", "fp16"] = "no"
    """Mixed precision; "no" is float32."""
    channels_last: bool = False
    """Whether convolutions keep their channels last in memory."""
    compile: bool = False
    """Whether networks go through torch.compile."""
    log_every: Interval = 50
    """Steps between two rows of history.csv."""
    save_every: Interval = 1000
    """Steps between two checkpoints."""
    evaluate_every: Interval = 1
    """Epochs between two evaluations."""
    monitor: str = "loss"
    """The value of an evaluation by which the best weights are chosen."""
    patience: int = Field(default=0, ge=0)
    """The run stops after so many evaluations without a better value; 0 for never."""
    max_failures: Fraction = 0.05
    """The largest part of the items that may be unreadable."""


class Phase(Table):
    """One run of the loop: how long and how fast."""

    epochs: Count = 0
    """Its length in epochs, unless `steps` is given."""
    steps: Count = 0
    """Its length in steps; 0 counts epochs."""
    lr: Rate
    """The learning rate, of the head where a network has one."""
    mix: Fraction = 1.0
    """How far the weights go from those of the phase's beginning to its best ones."""


def sizes(options: dict[str, Any], key: str = "network.options") -> dict[str, Any]:
    """Return the options of a network. Raises `ValueError` for what cannot be a layer's size."""
    if "width" in options:
        raise ValueError(f"{key}.width follows from the face encoder: leave it out.")
    for name, value in options.items():
        if isinstance(value, dict):
            sizes(value, f"{key}.{name}")
        for size in value if isinstance(value, list | tuple) else [value]:
            if isinstance(size, int | float) and not 1 <= size <= LARGEST and size is not False:
                raise ValueError(f"{key}.{name} is {value}: sizes are from 1 to {LARGEST}.")
    return options


class Network(Table):
    """Which network is trained."""

    entry: str
    """Its name in the zoo."""
    init_from: str = ""
    """A bundle or registry name of weights to start from; "" draws all."""
    options: Annotated[dict[str, Any], AfterValidator(sizes)] = {}
    """What it is built with, beside the width, which the face encoder gives."""


P = TypeVar("P", bound=Phase)


class Recipe(Table, Generic[P]):
    """A whole recipe; its phases follow each other, each from the best weights of the last."""

    about: str = ""
    """What the recipe is for."""
    network: Network
    data: Table
    loss: Table
    optimizer: Optimizer = Optimizer()
    schedule: Schedule = Schedule()
    loop: Loop = Loop()
    phases: dict[str, P]

    kind: ClassVar[str]  # of the networks that it trains
    monitors: ClassVar[Mapping[str, Literal["min", "max"]]]  # what an evaluation gives

    @model_validator(mode="after")
    def _check_names(self) -> Recipe[P]:
        if self.loop.monitor not in self.monitors:
            known = ", ".join(self.monitors)
            raise ValueError(f"loop.monitor is {self.loop.monitor!r}: use one of {known}.")
        if not self.phases:
            raise ValueError("The recipe has no phase: write a table such as [phases.train].")
        for name in self.phases:
            if not re.fullmatch(r"[A-Za-z0-9_-]+", name) or name in FOLDERS:
                raise ValueError(
                    f"phases.{name} is not a valid name for a phase: use letters, digits, - and _, "
                    f"and none of {', '.join(FOLDERS)}."
                )
        return self

    def plan(self, phase: P) -> Plan:
        """Return what the loop needs to run a phase."""
        mode = self.monitors[self.loop.monitor]
        return Plan(
            self.loop, self.optimizer, self.schedule, phase.lr, phase.epochs, phase.steps, mode
        )


@dataclass(frozen=True)
class Plan:
    """All numbers of one run of the loop.

    It ends after `epochs`, or after `steps` if that is not 0; `lr` is the learning rate of the
    groups that state none. `mode` says whether the smallest or the largest value of the loop's
    `monitor` is the best.
    """

    loop: Loop
    optimizer: Optimizer
    schedule: Schedule
    lr: float
    epochs: int = 0
    steps: int = 0
    mode: Literal["min", "max"] = "min"

    def __post_init__(self) -> None:
        if self.epochs < 1 and self.steps < 1:
            raise UsageError("The run has no epochs and no steps: set one of them to 1 or more.")

    def total(self, per_epoch: int) -> int:
        """Return the steps of the run, where an epoch has `per_epoch`."""
        return self.steps or self.epochs * per_epoch


def warmup_steps(schedule: Schedule, total: int) -> int:
    """Return the steps of the warm-up of a phase of `total` steps: at most a tenth of them."""
    return min(schedule.warmup, total // WARMUP_SHARE)


def lr_multiplier(schedule: Schedule, step: int, total: int) -> float:
    """Return what the learning rate is multiplied by at a step (0 is the first) of `total`."""
    warmup = warmup_steps(schedule, total)
    rising = min(1.0, (step + 1) / (warmup + 1))
    if schedule.shape == "decay":
        return rising * schedule.gamma ** (step // schedule.step_size)
    if schedule.shape == "cosine":
        progress = max(0, step - warmup) / max(1, total - 1 - warmup)
        wave = 0.5 * (1 + math.cos(math.pi * min(1.0, progress)))
        return rising * (schedule.min_lr_ratio + (1 - schedule.min_lr_ratio) * wave)
    return rising


@dataclass
class EarlyStopping:
    """The best value of the monitored metric so far, and how many evaluations ago it was.

    A value that is not finite is never best.
    """

    mode: Literal["min", "max"]
    best: float | None = None
    since: int = 0

    def improved(self, value: float) -> bool:
        """Take in one evaluation; return whether it is better than all before."""
        sign = 1 if self.mode == "min" else -1
        better = math.isfinite(value) and (self.best is None or sign * value < sign * self.best)
        self.best, self.since = (value, 0) if better else (self.best, self.since + 1)
        return better

    def exhausted(self, patience: int) -> bool:
        """Whether `patience` evaluations in a row brought nothing better; 0 is endless patience."""
        return patience > 0 and self.since >= patience
