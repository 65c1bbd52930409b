"""A training run from its arguments to a bundle; voice encoders and face decoders set it up.

The folder of a run holds recipe.toml, run.json, a folder for each phase (checkpoints, history,
curves; see `vox2face.train.trainer.loop`), grids/ with pictures of some people after each
evaluation, and at the end bundle/, which `vox2face.load` takes.
"""

from __future__ import annotations

import math
import signal
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, Generic, TypeVar

import torch
from filelock import FileLock, Timeout
from torch import Tensor, nn

from vox2face.core.entry import Space
from vox2face.core.errors import UsageError
from vox2face.train.datasets.loader import Items
from vox2face.train.trainer import checkpoint, loop, run_folder
from vox2face.train.trainer.recipe import facts as recipe_facts
from vox2face.train.trainer.run_folder import LOCK, RunSpec
from vox2face.train.trainer.settings import BUNDLE, Recipe
from vox2face.train.trainer.task import Task

if TYPE_CHECKING:
    from accelerate import Accelerator

    from vox2face.train.corpus.manifest import Manifest
    from vox2face.train.prepare.reader import Prepared
    from vox2face.train.trainer.checkpoint import State
    from vox2face.train.trainer.validation import ValidationSet

R = TypeVar("R", bound=Recipe[Any])
Log = Callable[[str], None]


@dataclass(frozen=True)
class Arguments(Generic[R]):
    """What a run is given, with the names of its networks resolved.

    `networks` has those given beside the recipe: "face", and "decoder" or "voice". `any_space` lets
    networks of other embeddings pass. `log` prints in the first process only.
    """

    kind: str
    manifest: Manifest
    prepared: Prepared
    recipe: R
    folder: Path
    networks: Mapping[str, str]
    any_space: bool
    resume: bool
    accelerator: Accelerator
    log: Log
    deadline: float

    @property
    def space(self) -> Space:
        """The space of the embeddings that are trained on."""
        return self.prepared.space(self.networks["face"])

    @property
    def accepted_space(self) -> Space:
        """The space that other networks must have; a run that goes on was let pass."""
        return Space() if self.any_space or self.resume else self.space


@dataclass(frozen=True)
class PhaseRun:
    """What the loop runs in a phase."""

    task: Task
    dataset: Items
    validation: ValidationSet | None


class SetUp:
    """What a kind of network adds: everything is built and checked before anything is written.

    `facts` go into checkpoints and the bundle.
    """

    network: nn.Module
    dataset: Items
    facts: Mapping[str, Any]
    preset: str

    def digests(self) -> dict[str, str]:
        """Return digests that tell the data of one run from another's, by what they are of."""
        raise NotImplementedError

    def phase(self, name: str) -> PhaseRun:
        """Return what a phase runs; the network has the best weights of the phase before."""
        raise NotImplementedError


def arguments(
    kind: str,
    manifest: Manifest,
    prepared: Prepared,
    recipe: R,
    folder: Path,
    networks: Mapping[str, str],
    *,
    any_space: bool,
    resume: bool,
    minutes: float,
    log: Log,
) -> Arguments[R]:
    """Return the arguments of a run; one that goes on has the networks that it began with.

    Raises `UsageError` if the folder is not free for a new run, or holds none to go on with.
    """
    if math.isnan(minutes):
        raise UsageError(f"--minutes {minutes}: give a number of minutes.")
    loop.check_precision(recipe.loop)
    accelerator = loop.create_accelerator()
    main = accelerator.is_main_process
    default = {"face": prepared.encoders[0]}
    names = run_folder.chosen(folder, kind, dict(networks), default, resume, main)
    return Arguments(
        kind=kind,
        manifest=manifest,
        prepared=prepared,
        recipe=recipe,
        folder=folder,
        networks=names,
        any_space=any_space,
        resume=resume,
        accelerator=accelerator,
        log=log if main else lambda line: None,
        deadline=time.monotonic() + 60 * minutes,
    )


def execute(given: Arguments[Any], setup: SetUp) -> Path | None:
    """Run all phases; return the bundle, or None if the run was interrupted."""
    recipe, folder, main = given.recipe, given.folder, given.accelerator.is_main_process
    facts = {"recipe": recipe_facts(recipe), "face_encoder": given.networks["face"], **setup.facts}
    with run_lock(folder, main):
        if main:
            spec = RunSpec(
                given.kind,
                dict(given.networks),
                recipe,
                len(setup.dataset),
                setup.digests(),
                given.accelerator.num_processes,
                getattr(setup.network, "output_activation", ""),
            )
            run_folder.begin(folder, spec, given.resume)
        for name in recipe.phases:
            state = _run_phase(given, setup, name, facts)
            facts[name] = {"steps": state.step, recipe.loop.monitor: state.best.best}
            if not _goes_on(name, state, given):
                return None
            if not state.finished:
                break
        return _save_bundle(given, setup, facts)


def _run_phase(given: Arguments[Any], setup: SetUp, name: str, facts: Mapping[str, Any]) -> State:
    """Run one phase to its end and leave its best weights in the network."""
    recipe, folder = given.recipe, given.folder / name
    phase = recipe.phases[name]
    begun = {}
    if phase.mix < 1:
        begun = {key: value.cpu().clone() for key, value in setup.network.state_dict().items()}
    run = setup.phase(name)
    if run.validation is not None:
        given.log(run.validation.about)
    state = loop.train(
        given.accelerator,
        run.task,
        run.dataset,
        recipe.plan(phase),
        folder,
        run.validation,
        facts={**facts, "phase": name},
        resume=given.resume,
        deadline=given.deadline,
        log=given.log,
    )
    if run.validation is not None and run.validation.warning and not state.signal:
        given.log(run.validation.warning)
    best = folder / checkpoint.BEST
    path = best if best.exists() else folder / checkpoint.LAST  # the last where none was measured
    checkpoint.load_model(run.task.trained(), checkpoint.read(path)[0], path)
    if begun:
        mix(setup.network, begun, phase.mix)
    return state


def mix(network: nn.Module, begun: Mapping[str, Tensor], part: float) -> None:
    """Put the weights of a network on the line from others to its own, a part of the way.

    Whole numbers, as counters of batches are, stay.
    """
    with torch.no_grad():
        for key, value in network.state_dict().items():
            if not value.is_floating_point():
                continue
            value.copy_(torch.lerp(begun[key].to(value), value, part))


def _goes_on(phase: str, state: State, given: Arguments[Any]) -> bool:
    """Return False if a phase was interrupted before its time.

    SIGTERM, which waited for the last checkpoint, is then left to whoever answered it before.
    """
    if state.finished:
        return True
    if not state.signal and time.monotonic() >= given.deadline:
        given.log(
            f"The time is over at step {state.step} of {phase}: the best weights so far become the "
            "bundle, --resume goes on."
        )
        return True
    given.log(f"Interrupted at step {state.step} of {phase}: --resume goes on from there.")
    if state.signal == signal.SIGTERM:
        signal.raise_signal(state.signal)
    return False


def _save_bundle(given: Arguments[Any], setup: SetUp, facts: Mapping[str, Any]) -> Path:
    """Write the bundle into the folder of the run, in the first process; return its path."""
    from vox2face.converters.save_trained import save

    target = given.folder / BUNDLE
    if given.accelerator.is_main_process:
        save(
            given.recipe.network.entry,
            setup.network,
            target,
            preset=setup.preset,
            space=given.space,
            training=facts,
            force=target.exists(),
        )
        given.log(f"Bundle: {target}")
    return target


@contextmanager
def run_lock(folder: Path, main: bool) -> Iterator[None]:
    """Hold the folder of a run, in its first process, so that no other run writes into it.

    A folder that was made for it and is empty at the end is taken away again. Raises `UsageError`
    if another run does.
    """
    if not main:
        yield
        return
    new = not folder.exists()
    folder.mkdir(parents=True, exist_ok=True)
    lock = FileLock(folder / LOCK, blocking=False)
    try:
        lock.acquire()
    except Timeout:
        raise UsageError(
            f"{folder} is being trained by another process: wait for its end, or choose another "
            "folder."
        ) from None
    try:
        yield
    finally:
        lock.release()
        if new and [path.name for path in folder.iterdir()] == [LOCK]:
            (folder / LOCK).unlink()
            folder.rmdir()
