"""Where a training run stands, and how that is kept: checkpoints and the list of failures."""

from __future__ import annotations

import csv
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any

import torch
from torch import nn

from vox2face.errors import UsageError
from vox2face.files import atomic_file
from vox2face.train import checkpoint
from vox2face.train.schedule import Best

if TYPE_CHECKING:
    from accelerate import Accelerator

FAILURES = "failures.csv"


@dataclass
class State:
    """Where a run stands beside its tensors: how many items there are, steps done, ...."""

    best: Best
    items: int
    step: int = 0
    finished: bool = False
    failed: dict[int, str] = field(default_factory=dict)


@dataclass(frozen=True, eq=False)
class Keeper:
    """Writes and reads the checkpoints of a run; the first of several processes writes."""

    run: Path
    machine: Accelerator
    modules: Mapping[str, nn.Module]
    optimizer: torch.optim.Optimizer
    facts: Mapping[str, Any]

    def restored(self, sign: int, resume: bool) -> State:
        """Return where the run stands, after putting its tensors in place.

        Raises `UsageError` if the folder holds a run and `resume` is False, or if the checkpoint
        is one of another architecture or of other data.
        """
        path = self.run / checkpoint.LAST
        if path.exists() and not resume:
            raise UsageError(
                f"{self.run} holds a run already: add --resume to go on with it, or choose another "
                "folder."
            )
        if not path.exists():
            return State(Best(sign), self.facts["items"])
        tensors, facts = checkpoint.read(path)
        if facts["items"] != self.facts["items"]:
            raise UsageError(
                f"{path} was trained on {facts['items']} items and these are "
                f"{self.facts['items']}: resume with the same data, or start in another folder."
            )
        checkpoint.load_model(self.modules, tensors, path)
        checkpoint.load_optimizer(self.optimizer, tensors)
        if self.machine.scaler is not None and facts["scaler"]:
            self.machine.scaler.load_state_dict(facts["scaler"])
        failed = {int(index): reason for index, reason in facts["failed"].items()}
        best = Best(sign, facts["best"], facts["since"])
        return State(best, facts["items"], facts["step"], failed=failed)

    def save(self, name: str, state: State) -> None:
        """Write a checkpoint as a whole; the best one needs no state of the optimizer."""
        from accelerate.utils import gather_object

        rows = gather_object(sorted(state.failed.items()))
        state.failed = dict(rows)
        if self.machine.is_main_process:
            scaler = self.machine.scaler
            facts = {
                **self.facts,
                "step": state.step,
                "best": state.best.value,
                "since": state.best.since,
                "failed": state.failed,
                "scaler": None if scaler is None else scaler.state_dict(),
            }
            tensors = checkpoint.model_tensors(self.modules)
            if name == checkpoint.LAST:
                tensors |= checkpoint.optimizer_tensors(self.optimizer)
            checkpoint.write(self.run / name, tensors, facts)
            write_failures(self.run / FAILURES, state.failed)
        self.machine.wait_for_everyone()


def write_failures(path: Path, failed: Mapping[int, str]) -> None:
    """List the items that could not be read, and why; nothing is written where none failed."""
    if not failed:
        return
    with atomic_file(path) as partial, partial.open("w", newline="", encoding="utf-8") as file:
        writer = csv.writer(file, lineterminator="\n")
        writer.writerows([("item", "reason"), *sorted(failed.items())])
