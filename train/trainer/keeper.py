"""Where a training run stands, and how that is kept: checkpoints and the list of failures."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

import torch
from torch import nn

from vox2face.core.errors import UsageError, Vox2FaceError
from vox2face.train.outputs import FAILURES, write_failures
from vox2face.train.trainer import checkpoint
from vox2face.train.trainer.settings import EarlyStopping

if TYPE_CHECKING:
    from accelerate import Accelerator


@dataclass
class State:
    """Where a run stands beside its tensors: how many items there are, steps done, ...."""

    best: EarlyStopping
    items: int
    step: int = 0
    finished: bool = False
    failed: dict[int, str] = field(default_factory=dict)
    signal: int = 0  # that stopped it


@dataclass(frozen=True, eq=False)
class Keeper:
    """Writes and reads the checkpoints of a run; the first of several processes writes."""

    run: Path
    machine: Accelerator
    modules: Mapping[str, nn.Module]
    optimizer: torch.optim.Optimizer
    facts: Mapping[str, Any]
    unmeasured: Callable[[], Mapping[int, str]] = dict  # items that the evaluation could not read

    def restored(
        self,
        mode: Literal["min", "max"],
        total: int,
        resume: bool,
        say: Callable[[str], None] = print,
    ) -> State:
        """Return where a run of `total` steps stands, after putting its tensors in place.

        Raises `UsageError` if the folder holds a run and `resume` is False, or if the checkpoint
        is one of another architecture, of other data or beyond the last step.
        """
        path = self.run / checkpoint.LAST
        if path.exists() and not resume:
            raise UsageError(
                f"{self.run} holds a run already: add --resume to go on with it, or choose another "
                "folder."
            )
        if not path.exists():
            if resume:
                say(f"The phase {self.run.name} has no checkpoint yet: it starts at step 0.")
            return State(EarlyStopping(mode), self.facts["items"])
        tensors, facts = checkpoint.read(path)
        require_fitting(path, facts, self.facts["items"], total)
        checkpoint.load_model(self.modules, tensors, path)
        checkpoint.load_optimizer(self.optimizer, tensors)
        if self.machine.scaler is not None and facts["scaler"]:
            self.machine.scaler.load_state_dict(facts["scaler"])
        failed = {int(index): reason for index, reason in facts["failed"].items()}
        best = EarlyStopping(mode, facts["best"], facts["since"])
        return State(best, facts["items"], facts["step"], failed=failed)

    def save(self, name: str, state: State) -> None:
        """Write a checkpoint as a whole; the best one needs no state of the optimizer."""
        from accelerate.utils import gather_object

        rows = gather_object(sorted(state.failed.items()))
        state.failed = dict(rows)
        tensors = checkpoint.model_tensors(self.modules)
        if not all(map(finite, tensors.values())):
            raise self.diverged("weights are", state.step)
        if self.machine.is_main_process:
            scaler = self.machine.scaler
            facts = {
                **self.facts,
                "step": state.step,
                "best": state.best.best,
                "since": state.best.since,
                "failed": state.failed,
                "scaler": None if scaler is None else scaler.state_dict(),
            }
            if name == checkpoint.LAST:
                tensors |= checkpoint.optimizer_tensors(self.optimizer)
            checkpoint.write(self.run / name, tensors, facts)
            write_failures(self.run / FAILURES, {"train": state.failed, "val": self.unmeasured()})
        self.machine.wait_for_everyone()

    def tell(self, state: State, say: Callable[[str], None]) -> None:
        """Say how many items could not be read, and where they are listed."""
        for split, failed in (("trained on", state.failed), ("measured on", self.unmeasured())):
            if failed:
                say(
                    f"{len(failed):,} of the items that are {split} could not be read, such as: "
                    f"{next(iter(failed.values()))} All are listed in {self.run / FAILURES}."
                )

    def diverged(self, what: str, step: int) -> Vox2FaceError:
        """Return the error for numbers that are none any more, naming what can be gone on with."""
        last = self.run / checkpoint.LAST
        advice = (
            f"--resume from step {checkpoint.facts_of(last)['step']}"
            if last.exists()
            else "start again in another folder"
        )
        return Vox2FaceError(
            f"The {what} no number any more at step {step}: lower the learning rate or clip the "
            f"gradients, and {advice}."
        )


def finite(tensor: torch.Tensor) -> bool:
    """Whether all numbers of a tensor are finite."""
    return not tensor.is_floating_point() or bool(tensor.isfinite().all())


def require_fitting(path: Path, facts: Mapping[str, Any], items: int, total: int) -> None:
    """Raise `UsageError` if the facts of a checkpoint are not those of this run."""
    if facts["items"] != items:
        raise UsageError(
            f"{path} was trained on {facts['items']} items and these are {items}: resume with the "
            "same data, or start in another folder."
        )
    if facts["step"] > total:
        raise UsageError(
            f"{path} has done {facts['step']} steps and {total} are asked for: ask for as many or "
            "more, or start in another folder."
        )
