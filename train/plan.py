"""The numbers of a training run that are the same for all networks; parts of a recipe."""

from __future__ import annotations

from dataclasses import dataclass

from vox2face.errors import UsageError
from vox2face.train.schedule import Schedule

PRECISIONS = ("no", "bf16", "fp16")
OPTIMIZERS = ("adam", "adamw", "sgd")
AT_LEAST_ONE = ("batch", "accumulate", "log_every", "save_every", "evaluate_every")


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
        if self.name not in OPTIMIZERS or len(self.betas) != 2:
            raise UsageError(
                f"optimizer.name is one of {', '.join(OPTIMIZERS)}, and optimizer.betas are two."
            )
        if max(self.betas) >= 1:
            raise UsageError(f"optimizer.betas are {list(self.betas)}: both must be below 1.")


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
        for name in AT_LEAST_ONE:
            if getattr(self, name) < 1:
                raise UsageError(f"loop.{name} is {getattr(self, name)}: it must be 1 or more.")
        if self.max_failures > 1:
            raise UsageError(f"loop.max_failures is {self.max_failures}: it is a part, 0 to 1.")
        if self.better not in ("lower", "higher") or self.precision not in PRECISIONS:
            raise UsageError(
                f"loop.better is lower or higher, and loop.precision {', '.join(PRECISIONS)}."
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
