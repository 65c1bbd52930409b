"""Checkpoints: one safetensors file each, complete or absent, without a pickle.

The tensors are those of the trained modules ("model/...") and of the optimizer ("optimizer/...");
the file's metadata holds everything else as JSON: step, best value, precision scaler, recipe.
All randomness of a step follows from the seed and the step's number (see `loop`), so that nothing
else is needed for a resumed run to end with the weights of one never stopped.
"""

from __future__ import annotations

import errno
import json
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import asdict, dataclass, field, fields
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

import torch
from safetensors import SafetensorError, safe_open
from safetensors.torch import save_file
from torch import Tensor, nn

from vox2face.core.errors import UsageError, Vox2FaceError, WeightFileError
from vox2face.core.files import atomic_file
from vox2face.train.outputs import FAILURES, write_failures
from vox2face.train.trainer.settings import EarlyStopping

if TYPE_CHECKING:
    from accelerate import Accelerator

VERSION = 1
LAST, BEST = "last.safetensors", "best.safetensors"
MODEL, OPTIMIZER, FACTS = "model/", "optimizer/", "vox2face_checkpoint"
NO_SPACE = "os error 28"  # in what the safetensors library says of a full disk


@dataclass(frozen=True)
class Facts:
    """What a checkpoint holds beside tensors, as JSON in the file's metadata."""

    step: int  # steps done
    items: int = 0  # that are trained on
    best: float | None = None  # value of the monitored metric
    since: int = 0  # evaluations without a better one
    failed: Mapping[str, str] = field(default_factory=dict)  # why items could not be read
    scaler: Mapping[str, Any] | None = None  # of gradients in half precision
    run: Mapping[str, Any] = field(default_factory=dict)  # recipe, networks and phase


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
class CheckpointManager:
    """Writes and reads the checkpoints of a run; the first of several processes writes."""

    folder: Path
    accelerator: Accelerator
    modules: Mapping[str, nn.Module]
    optimizer: torch.optim.Optimizer
    scaler: torch.amp.GradScaler
    items: int
    run: Mapping[str, Any]
    unmeasured: Callable[[], Mapping[int, str]] = dict  # items that the evaluation could not read

    def restore(
        self,
        mode: Literal["min", "max"],
        total: int,
        resume: bool,
        log: Callable[[str], None] = print,
    ) -> State:
        """Return where a run of `total` steps stands, after putting its tensors in place.

        Raises `UsageError` if the folder holds a run and `resume` is False, or if the checkpoint
        is one of another architecture, of other data or beyond the last step.
        """
        path = self.folder / LAST
        if path.exists() and not resume:
            raise UsageError(
                f"{self.folder} holds a run already: add --resume to go on with it, or choose "
                "another folder."
            )
        if not path.exists():
            if resume:
                log(f"The phase {self.folder.name} has no checkpoint yet: it starts at step 0.")
            return State(EarlyStopping(mode), self.items)
        tensors, facts = read(path)
        require_fitting(path, facts, self.items, total)
        load_model(self.modules, tensors, path)
        _load_optimizer(self.optimizer, tensors)
        if facts.scaler:
            self.scaler.load_state_dict(dict(facts.scaler))
        failed = {int(index): reason for index, reason in facts.failed.items()}
        best = EarlyStopping(mode, facts.best, facts.since)
        return State(best, facts.items, facts.step, failed=failed)

    def contents(self, name: str, state: State) -> tuple[dict[str, Tensor], Facts]:
        """Return all that a checkpoint holds: tensors by name, and facts."""
        tensors = _model_tensors(self.modules)
        if name == LAST:  # the best one needs no state of the optimizer
            tensors |= _optimizer_tensors(self.optimizer)
        failed = {str(index): reason for index, reason in state.failed.items()}
        best, since, scaler = state.best.best, state.best.since, self.scaler.state_dict() or None
        return tensors, Facts(state.step, self.items, best, since, failed, scaler, self.run)

    def save(self, name: str, state: State) -> None:
        """Write a checkpoint as a whole, in the first process.

        Raises `Vox2FaceError` if a weight is not finite.
        """
        from accelerate.utils import gather_object

        state.failed = dict(gather_object(sorted(state.failed.items())))
        tensors, facts = self.contents(name, state)
        if not all(_finite(value) for key, value in tensors.items() if key.startswith(MODEL)):
            raise self.diverged("weights are", state.step)
        if self.accelerator.is_main_process:
            write(self.folder / name, tensors, facts)
            write_failures(
                self.folder / FAILURES, {"train": state.failed, "val": self.unmeasured()}
            )
        self.accelerator.wait_for_everyone()

    def log_failures(self, state: State, log: Callable[[str], None]) -> None:
        """Say how many items could not be read, and where they are listed."""
        for split, failed in (("trained on", state.failed), ("measured on", self.unmeasured())):
            if failed:
                log(
                    f"{len(failed):,} of the items that are {split} could not be read, such as: "
                    f"{next(iter(failed.values()))} All are listed in {self.folder / FAILURES}."
                )

    def diverged(self, what: str, step: int) -> Vox2FaceError:
        """Return the error for numbers that are none any more, naming what can be gone on with."""
        last = self.folder / LAST
        advice = (
            f"--resume from step {facts_of(last).step}"
            if last.exists()
            else "start again in another folder"
        )
        return Vox2FaceError(
            f"The {what} no number any more at step {step}: lower the learning rate or clip the "
            f"gradients, and {advice}."
        )


def write(path: Path, tensors: Mapping[str, Tensor], facts: Facts) -> None:
    """Write a checkpoint as a whole or not at all. Raises `Vox2FaceError` on a full disk."""
    here = {name: tensor.detach().cpu().contiguous() for name, tensor in tensors.items()}
    text = json.dumps({"version": VERSION, **asdict(facts)}, sort_keys=True)
    with atomic_file(path) as partial:
        try:
            save_file(here, partial, {FACTS: text})
        except SafetensorError as error:
            if NO_SPACE in str(error):
                raise OSError(errno.ENOSPC, str(error)) from error
            raise


def read(path: Path) -> tuple[dict[str, Tensor], Facts]:
    """Return the tensors and the facts of a checkpoint; `WeightFileError` if it is none."""
    with _opened(path) as (file, facts):
        return {name: file.get_tensor(name) for name in file.keys()}, facts


def facts_of(path: Path) -> Facts:
    """Return the facts of a checkpoint without reading its tensors; errors as `read`."""
    with _opened(path) as (_, facts):
        return facts


@contextmanager
def _opened(path: Path) -> Iterator[tuple[Any, Facts]]:
    """Yield the open file and the facts of a checkpoint."""
    if not path.is_file():
        raise WeightFileError(f"There is no checkpoint {path}: start without --resume.")
    try:
        with safe_open(path, framework="pt") as file:
            facts: dict[str, Any] = json.loads((file.metadata() or {})[FACTS])
            if facts.get("version") != VERSION:
                raise WeightFileError(
                    f"{path} has version {facts.get('version')}, this vox2face reads {VERSION}: "
                    "install the version that wrote it."
                )
            known = {one.name for one in fields(Facts)}
            yield file, Facts(**{name: facts[name] for name in known & facts.keys()})
    except (SafetensorError, KeyError, ValueError, TypeError) as error:
        raise WeightFileError(
            f"{path} is not a checkpoint or is damaged: start again without --resume, in another "
            "folder."
        ) from error


def _model_tensors(modules: Mapping[str, nn.Module]) -> dict[str, Tensor]:
    """Return all tensors of the trained modules by their names in a checkpoint."""
    return {
        f"{MODEL}{name}/{key}": value
        for name, module in modules.items()
        for key, value in module.state_dict().items()
    }


def load_model(modules: Mapping[str, nn.Module], tensors: Mapping[str, Tensor], path: Path) -> None:
    """Put the tensors of a checkpoint into the modules; nothing changes if they do not fit.

    Raises `UsageError` naming a tensor of another architecture.
    """
    wanted = {name: tuple(tensor.shape) for name, tensor in _model_tensors(modules).items()}
    given = {k: tuple(v.shape) for k, v in tensors.items() if k.startswith(MODEL)}
    if wanted != given:
        odd = next(k for k in sorted({*wanted, *given}) if wanted.get(k) != given.get(k))
        raise UsageError(
            f"{path} is a checkpoint of another architecture: {odd} has the shape "
            f"{given.get(odd, 'of nothing')} there and {wanted.get(odd, 'of nothing')} here. Give "
            "the recipe it was trained with."
        )
    for name, module in modules.items():
        start = f"{MODEL}{name}/"
        own = {k.removeprefix(start): v for k, v in tensors.items() if k.startswith(start)}
        module.load_state_dict(own)


def _optimizer_tensors(optimizer: torch.optim.Optimizer) -> dict[str, Tensor]:
    """Return the state of an optimizer as tensors, by "optimizer/parameter/name"."""
    state: dict[int, dict[str, Any]] = optimizer.state_dict()["state"]
    return {
        f"{OPTIMIZER}{number}/{key}": torch.as_tensor(value)
        for number, values in state.items()
        for key, value in values.items()
        if value is not None
    }


def _load_optimizer(optimizer: torch.optim.Optimizer, tensors: Mapping[str, Tensor]) -> None:
    """Put the state of a checkpoint into an optimizer over the same parameters."""
    parameters = [p for group in optimizer.param_groups for p in group["params"]]
    state: dict[int, dict[str, Any]] = {}
    for name, tensor in tensors.items():
        if name.startswith(OPTIMIZER):
            number, key = name.removeprefix(OPTIMIZER).split("/")
            state.setdefault(int(number), {})[key] = _laid_out(tensor, parameters[int(number)])
    groups = optimizer.state_dict()["param_groups"]
    optimizer.load_state_dict({"state": state, "param_groups": groups})


def _laid_out(tensor: Tensor, parameter: Tensor) -> Tensor:
    """Return a tensor in the order in memory of a parameter, if it has its shape.

    Fused optimizers take for granted that both have the same.
    """
    if tensor.shape != parameter.shape:
        return tensor
    return torch.empty_like(parameter, dtype=tensor.dtype, device=tensor.device).copy_(tensor)


def _finite(tensor: Tensor) -> bool:
    """Whether all numbers of a tensor are finite."""
    return not tensor.is_floating_point() or bool(tensor.isfinite().all())


def require_fitting(path: Path, facts: Facts, items: int, total: int) -> None:
    """Raise `UsageError` if the facts of a checkpoint are not those of this run."""
    if facts.items != items:
        raise UsageError(
            f"{path} was trained on {facts.items} items and these are {items}: resume with the "
            "same data, or start in another folder."
        )
    if facts.step > total:
        raise UsageError(
            f"{path} has done {facts.step} steps and {total} are asked for: ask for as many or "
            "more, or start in another folder."
        )
