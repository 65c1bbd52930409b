"""The folder of a training run: who may write into it, and what stays the same when it goes on.

Beside the phases' folders it holds recipe.toml and run.json: what is trained, "voice" or "decoder",
the names of the networks that were given with it, and digests of what it is trained on.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import asdict, dataclass
from fnmatch import fnmatch
from pathlib import Path
from typing import Any

from vox2face.core.errors import UsageError, Vox2FaceError, WeightFileError
from vox2face.core.files import BUNDLE_FILES, atomic_file
from vox2face.train.datasets.loader import BatchSampler
from vox2face.train.trainer import checkpoint, recipe
from vox2face.train.trainer.settings import BUNDLE, Recipe

RUN, LOCK = "run.json", ".lock"
Names = dict[str, str]

# What may be another when a run goes on; anything else would make its checkpoints mean another run.
FREE = (
    "about",
    "loop.grad_accum_steps",
    "loop.num_workers",
    "loop.channels_last",
    "loop.compile",
    "loop.log_every",
    "loop.save_every",
    "loop.patience",
    "loop.max_failures",
    "optimizer.eps",
    "optimizer.weight_decay",
    "optimizer.max_grad_norm",
    "schedule.*",
    "phases.*.epochs",
    "phases.*.steps",
    "phases.*.lr",
    "phases.*.backbone_lr",
)


@dataclass(frozen=True)
class RunFacts:
    """What run.json holds: what is trained, with which networks, on which data."""

    kind: str
    names: Names
    data: Mapping[str, str]
    output_activation: str | None = None  # vox2face 0.1.0 did not note it


@dataclass(frozen=True)
class RunSpec:
    """A run as it is asked for: what it trains, with which networks, how, and on what.

    `items` is how many there are to train on, `data` has digests of them (see
    `vox2face.train.datasets.fingerprint`) by what they are of; `processes` share each step;
    `output_activation` is what the network ends in.
    """

    kind: str
    networks: Names
    recipe: Recipe[Any]
    items: int
    data: Mapping[str, str]
    processes: int = 1
    output_activation: str = ""

    def sampler(self, plan: Any) -> BatchSampler:
        """Return how the items become batches in the first process.

        Raises `UsageError` where a batch does not divide.
        """
        loop = plan.loop
        return BatchSampler(
            self.items, loop.batch_size, loop.seed, self.processes, 0, loop.grad_accum_steps
        )


def require_free(folder: Path) -> None:
    """Raise `UsageError` unless a new run may be written into a folder: an empty one, or none."""
    if folder.exists() and not folder.is_dir():
        raise UsageError(f"{folder} is a file: choose a folder for the run.")
    found = sorted(path.name for path in folder.iterdir()) if folder.exists() else []
    found = [name for name in found if name != LOCK]
    if RUN in found:
        raise UsageError(
            f"{folder} holds a run already: add --resume to go on with it, or choose another "
            "folder."
        )
    if found:
        raise UsageError(
            f"{folder} holds other files, such as {found[0]}: choose an empty folder for the run, "
            "or a new one."
        )


def recipe_file(folder: Path, kind: str) -> Path:
    """Return the recipe of a run that goes on.

    Raises `UsageError` if there is no such run, `Vox2FaceError` if a file of it is lost.
    """
    _facts_of(folder, kind)
    path = folder / recipe.FILE
    if not path.is_file():
        raise Vox2FaceError(
            f"{path} is missing, the recipe of the run: put it back, or start again in another "
            "folder, without --resume."
        )
    return path


def _facts_of(folder: Path, kind: str) -> RunFacts:
    """Return what run.json holds. Raises `UsageError` if there is no run of that kind."""
    try:
        facts = RunFacts(**json.loads((folder / RUN).read_text(encoding="utf-8")))
    except (FileNotFoundError, NotADirectoryError):
        raise UsageError(
            f"{folder} holds no run to go on with (no {RUN}): check the folder, or start a run in "
            "an empty one, without --resume."
        ) from None
    except (ValueError, TypeError) as error:
        raise Vox2FaceError(
            f"{folder / RUN} is damaged: start again in another folder, without --resume."
        ) from error
    if facts.kind != kind:
        raise UsageError(
            f"The run in {folder} trains a {facts.kind}: go on with it by vox2face train "
            f"{facts.kind}, or choose another folder."
        )
    return facts


def chosen(
    folder: Path, kind: str, given: Names, default: Names, resume: bool, main: bool
) -> Names:
    """Return the names of a run's networks: those it began with, or those given, or the default.

    Raises `UsageError` if a new run may not be written into the folder, of which several processes
    leave the look to the first, `main`.
    """
    if resume:
        return remembered(folder, kind, given)
    if main:
        require_free(folder)
    return {option: name or default.get(option, "") for option, name in given.items()}


def remembered(folder: Path, kind: str, given: Names) -> Names:
    """Return the names of the networks that a run began with; what is given must be the same."""
    names = _facts_of(folder, kind).names
    for option, name in given.items():
        if name and name != names.get(option):
            began = names.get(option)
            raise UsageError(
                f"The run in {folder} began with {f'--{option} {began}' if began else 'none'}, and "
                f"--{option} {name} is given: leave it out to go on, or choose another folder."
            )
    return names


def begin(folder: Path, run: RunSpec, resume: bool) -> None:
    """Write run.json and recipe.toml for a run.

    Raises `UsageError` if the folder is not free or, with `resume`, if the run in it is another:
    then it stays as it was.
    """
    plans = {name: run.recipe.plan(phase) for name, phase in run.recipe.phases.items()}
    per_epoch = {name: run.sampler(plan).per_epoch for name, plan in plans.items()}  # or raises
    if resume:
        require_same(folder, run.recipe)
        _require_same_data(folder, run)
        _require_same_ending(folder, run)
        _require_own_bundle(folder)
        for name, plan in plans.items():
            path = folder / name / checkpoint.LAST
            if path.exists():
                facts = checkpoint.facts_of(path)
                checkpoint.require_fitting(path, facts, run.items, plan.total(per_epoch[name]))
        _require_whole(folder, per_epoch)
    else:
        require_free(folder)
    folder.mkdir(parents=True, exist_ok=True)
    recipe.write(run.recipe, folder / recipe.FILE)
    known = RunFacts(run.kind, run.networks, run.data, run.output_activation)
    with atomic_file(folder / RUN) as partial:
        partial.write_text(json.dumps(asdict(known), indent=1), encoding="utf-8")


def _require_same_data(folder: Path, run: RunSpec) -> None:
    """Raise `UsageError` naming what of the data is other than when a run began."""
    before = _facts_of(folder, run.kind).data
    other = [what for what in {**before, **run.data} if before.get(what) != run.data.get(what)]
    if other:
        raise UsageError(
            f"The run in {folder} began with other data ({', '.join(other)}): resume with the same "
            "manifest and --prepared, or start in another folder."
        )


def _require_same_ending(folder: Path, run: RunSpec) -> None:
    """Raise `UsageError` if a run's network ends otherwise than when it began."""
    found = _facts_of(folder, run.kind).output_activation
    if found not in (None, run.output_activation):
        raise UsageError(
            f"The run in {folder} trains a network with the output activation {found}, and that of "
            f"network.init_from is {run.output_activation} now: put back what it began with."
        )
    if found is None and run.output_activation == "sigmoid":
        raise UsageError(
            f"The run in {folder} was begun by vox2face 0.1.0, whose network lacked its sigmoid: "
            "start again in another folder, without --resume."
        )


def _require_own_bundle(folder: Path) -> None:
    """Raise `UsageError` if a run's bundle could not be replaced in the end."""
    bundle = folder / BUNDLE
    if not bundle.exists():
        return
    strange = (
        [bundle]
        if bundle.is_file()
        else [path for path in sorted(bundle.iterdir()) if path.name not in BUNDLE_FILES]
    )
    if strange:
        raise UsageError(
            f"{strange[0]} is not of the run, which will replace {bundle} as a whole: move it away "
            "and go on."
        )


def _require_whole(folder: Path, per_epoch: Mapping[str, int]) -> None:
    """Raise `WeightFileError` if a checkpoint is damaged, or gone though it must have been there.

    A phase that was killed early may have none. The last one must be there if another phase
    followed, its weights became the bundle, or the best ones are of a later step than the end of
    the first epoch, which is saved; the best one, if the last one knows of it.
    """
    names = list(per_epoch)
    for number, name in enumerate(names):
        last, best = (folder / name / file for file in (checkpoint.LAST, checkpoint.BEST))
        known = checkpoint.facts_of(best) if best.exists() else None
        if last.exists():
            if known is None and checkpoint.facts_of(last).best is not None:
                raise lost(best)
            continue
        later = [folder / other / checkpoint.LAST for other in names[number + 1 :]]
        made = [*later, *([] if number else [folder / BUNDLE])]
        reached = known is not None and known.step > per_epoch[name]
        if reached or any(path.exists() for path in made):
            raise lost(last)


def lost(path: Path) -> WeightFileError:
    """Return the error for a checkpoint that is gone."""
    return WeightFileError(
        f"{path} is missing, without which the run cannot go on where it stopped: put it back, or "
        "start again in another folder, without --resume."
    )


def require_same(folder: Path, asked: Recipe[Any]) -> None:
    """Raise `UsageError` naming a value that may not change when a run goes on, if one did."""
    before = dict(recipe.flat(recipe.facts(recipe.read(folder / recipe.FILE, type(asked)))))
    now = dict(recipe.flat(recipe.facts(asked)))
    for key in [*before, *(key for key in now if key not in before)]:
        free = any(fnmatch(key, pattern) for pattern in FREE)
        if before.get(key) != now.get(key) and not (free and key in before and key in now):
            raise UsageError(
                f"The run in {folder} has {key} = {shown(before.get(key))} and "
                f"{shown(now.get(key))} is asked for: leave that out to go on, or choose another "
                "folder for another run."
            )


def shown(value: Any) -> str:
    """Return a value as a recipe writes it; "nothing" for none."""
    return "nothing" if value is None else json.dumps(value, ensure_ascii=False)
