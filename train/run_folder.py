"""The folder of a training run: who may write into it, and what stays the same when it goes on.

Beside the phases' folders it holds recipe.toml and run.json: what is trained, "voice" or "decoder",
and the names of the networks that were given with it.
"""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping
from fnmatch import fnmatch
from pathlib import Path
from typing import Any

from vox2face.errors import UsageError
from vox2face.files import atomic_file
from vox2face.train import checkpoint, recipe
from vox2face.train.keeper import require_fitting
from vox2face.train.loader import Shares

RUN, LOCK = "run.json", ".lock"
Names = dict[str, str]
# What may be another when a run goes on; anything else would make its checkpoints mean another run.
FREE = (
    "about",
    "loop.accumulate",
    "loop.workers",
    "loop.precision",
    "loop.channels_last",
    "loop.compile",
    "loop.log_every",
    "loop.save_every",
    "loop.evaluate_every",
    "loop.patience",
    "loop.max_failures",
    "optimizer.eps",
    "optimizer.weight_decay",
    "optimizer.clip",
    "schedule.*",
    "phases.*.epochs",
    "phases.*.steps",
    "phases.*.lr",
    "phases.*.body_lr",
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
    """Return the recipe of a run that goes on. Raises `UsageError` if there is no such run."""
    names_in(folder, kind)
    return folder / recipe.FILE


def names_in(folder: Path, kind: str) -> Names:
    """Return the names that run.json holds. Raises `UsageError` if there is no run of that kind."""
    try:
        found = json.loads((folder / RUN).read_text(encoding="utf-8"))
        known, names = str(found["kind"]), dict(found["names"])
    except (FileNotFoundError, NotADirectoryError):
        raise UsageError(
            f"{folder} holds no run to go on with: check the folder, or leave out --resume to "
            "start one."
        ) from None
    except (ValueError, KeyError, TypeError) as error:
        raise UsageError(
            f"{folder / RUN} is damaged: start again in another folder, without --resume."
        ) from error
    if known != kind:
        raise UsageError(
            f"The run in {folder} trains a {known}: go on with it by vox2face train {known}, or "
            "choose another folder."
        )
    return names


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
    names = names_in(folder, kind)
    for option, name in given.items():
        if name and name != names.get(option):
            began = names.get(option)
            raise UsageError(
                f"The run in {folder} began with {f'--{option} {began}' if began else 'none'}, and "
                f"--{option} {name} is given: leave it out to go on, or choose another folder."
            )
    return names


def begin(folder: Path, kind: str, names: Names, settings: Any, items: int, resume: bool) -> None:
    """Write run.json and recipe.toml for a run on so many items.

    Raises `UsageError` if the folder is not free or, with `resume`, if the run in it is another:
    then it stays as it was.
    """
    if resume:
        require_same(folder, settings)
        for name, phase in settings.phases.items():
            path = folder / name / checkpoint.LAST
            if path.exists():
                plan = settings.plan(phase)
                total = plan.total(Shares(items, plan.loop.batch, plan.loop.seed).per_epoch)
                require_fitting(path, checkpoint.facts_of(path), items, total)
    else:
        require_free(folder)
    folder.mkdir(parents=True, exist_ok=True)
    recipe.write(settings, folder / recipe.FILE)
    with atomic_file(folder / RUN) as partial:
        partial.write_text(json.dumps({"kind": kind, "names": names}, indent=1), encoding="utf-8")


def require_same(folder: Path, settings: Any) -> None:
    """Raise `UsageError` naming a value that may not change when a run goes on, if one did."""
    before = dict(flat(recipe.facts(recipe.read(folder / recipe.FILE, type(settings)))))
    now = dict(flat(recipe.facts(settings)))
    for key in [*before, *(key for key in now if key not in before)]:
        free = any(fnmatch(key, pattern) for pattern in FREE)
        if before.get(key) != now.get(key) and not (free and key in before and key in now):
            raise UsageError(
                f"The run in {folder} has {key} = {shown(before.get(key))} and "
                f"{shown(now.get(key))} is asked for: leave that out to go on, or choose another "
                "folder for another run."
            )


def flat(table: Mapping[str, Any], start: str = "") -> Iterator[tuple[str, Any]]:
    """Yield the values of tables in tables by their dotted keys."""
    for name, value in table.items():
        if isinstance(value, Mapping) and value:
            yield from flat(value, f"{start}{name}.")
        else:
            yield f"{start}{name}", value


def shown(value: Any) -> str:
    """Return a value as a recipe writes it; "nothing" for none."""
    return "nothing" if value is None else json.dumps(value, ensure_ascii=False)
