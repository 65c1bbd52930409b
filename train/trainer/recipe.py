"""Recipes: the numbers of a training run as a TOML file, checked against pydantic models.

A file states what it changes; everything else has the default of its field. `--set
loop.batch_size=16` overrides one value. The resolved recipe is written beside the checkpoints and
into the bundle.
"""

from __future__ import annotations

import difflib
import json
import tomllib
import warnings
from collections.abc import Iterator, Mapping, Sequence
from importlib import resources
from pathlib import Path
from typing import Any, TypeVar, get_args, get_origin

import tomli_w
from pydantic import ValidationError

from vox2face.core.errors import UsageError, Vox2FaceWarning
from vox2face.core.files import atomic_file
from vox2face.train.trainer.settings import Recipe, Table

R = TypeVar("R", bound=Recipe[Any])
FILE = "recipe.toml"  # in the folder of a run
SUFFIX = ".toml"

# What pydantic finds, as the end of "loop.batch_size is 3.5: it must be ..."
EXPECTED = {
    "int_type": "a whole number",
    "float_type": "a number",
    "finite_number": "a number",
    "string_type": "a text",
    "bool_type": "true or false",
    "tuple_type": "a list, such as [0.9, 0.999]",
    "too_short": "a list of {min_length} values",
    "too_long": "a list of {max_length} values",
    "model_type": "a table of the recipe",
    "dict_type": "a table of the recipe",
    "literal_error": "one of {expected}",
    "greater_than": "above {gt:.15g}",
    "greater_than_equal": "at least {ge:.15g}",
    "less_than": "below {lt:.15g}",
    "less_than_equal": "at most {le:.15g}",
}

# Keys of vox2face 0.2, which the version after 0.3 refuses; "" for what is not needed any more.
RENAMED = {
    "network.start": "init_from",
    "network.mean_bias": "init_to_mean",
    "loss.value_weight": "mse_weight",
    "loss.ranking": "contrastive",
    "loss.ranking_weight": "contrastive_weight",
    "loss.ranking_temperature": "contrastive_temperature",
    "loss.ranking_centred": "contrastive_centered",
    "optimizer.clip": "max_grad_norm",
    "schedule.decay": "gamma",
    "schedule.every": "step_size",
    "schedule.floor": "min_lr_ratio",
    "loop.batch": "batch_size",
    "loop.accumulate": "grad_accum_steps",
    "loop.workers": "num_workers",
    "loop.better": "",
    "phases.*.trains": "trainable",
    "phases.*.body_lr": "backbone_lr",
}


def names() -> list[str]:
    """Return the names of the recipes that come with vox2face."""
    files = (path.name for path in resources.files("vox2face.train.recipes").iterdir())
    return sorted(name.removesuffix(SUFFIX) for name in files if name.endswith(SUFFIX))


def text_of(source: str | Path) -> str:
    """Return the TOML text of a recipe by its name or its file."""
    if isinstance(source, str) and source in names():
        file = resources.files("vox2face.train.recipes") / f"{source}{SUFFIX}"
        return file.read_text(encoding="utf-8")
    path = Path(source)
    if not path.is_file():
        near = difflib.get_close_matches(str(source), names(), n=1)
        hint = f" Did you mean {near[0]}?" if near else f" There are: {', '.join(names())}."
        raise UsageError(f"There is no recipe and no file {str(source)!r}.{hint}")
    return path.read_text(encoding="utf-8")


def read(source: str | Path, kind: type[R], overrides: Sequence[str] = ()) -> R:
    """Return a recipe of a kind by name or file, after overrides such as "loop.seed=3".

    Raises `UsageError` naming the key, and the nearest one where there is no such key.
    """
    try:
        table = tomllib.loads(text_of(source))
    except (tomllib.TOMLDecodeError, UnicodeDecodeError) as error:
        raise UsageError(
            f"{source} is not a TOML file ({error}): correct it, or name another recipe."
        ) from error
    _rename(table, source)
    for text in overrides:
        _override(table, text)
    _check_kind(table, source, kind)
    try:  # as JSON, where pydantic takes a list for a tuple and still no text for a number
        return kind.model_validate_json(json.dumps(table, default=str))
    except ValidationError as error:
        raise UsageError(_sentence(error.errors()[0], kind)) from None


def _new_name(*path: str) -> str | None:
    """Return the new name of an old key, "" for one that is not needed; None for any other."""
    return RENAMED.get(".".join(["phases", "*", *path[2:]] if path[0] == "phases" else path))


def _rename(table: dict[str, Any], source: str | Path) -> None:
    """Give old keys of a file their new names, with a warning unless a run wrote it."""
    renamed = {}
    phases = table.get("phases")
    nested = phases.items() if isinstance(phases, dict) else ()
    tables: list[tuple[Any, ...]] = [*table.items(), *(("phases", *item) for item in nested)]
    for *path, inner in tables:
        for name in list(inner) if isinstance(inner, dict) else ():
            new = _new_name(*path, name)
            if new is not None:
                renamed[name] = new
                value = inner.pop(name)
                if new:
                    inner.setdefault(new, value)
    if renamed and Path(source).name != FILE:
        _warn(source, renamed)


def _warn(source: str | Path, renamed: Mapping[str, str]) -> None:
    changes = ", ".join(f"{old} is {new or 'not needed'}" for old, new in renamed.items())
    words = f"{source} has names of an older version, which the next will refuse: {changes} now."
    warnings.warn(words, Vox2FaceWarning, stacklevel=4)


def _override(table: dict[str, Any], override: str) -> None:
    """Set one value of a table of tables: "loop.seed=3"; a bare word counts as a text."""
    key, equals, text = override.partition("=")
    *path, last = key.strip().split(".")
    if not equals or not key.strip():
        raise UsageError(f"--set {override} is not KEY=VALUE: write --set loop.batch_size=16.")
    if path[:1] == ["phases"] and len(path) > 1 and path[1] not in table.get("phases", {}):
        known = ", ".join(table.get("phases", {}))
        raise UsageError(f"--set {override}: the recipe has no phase {path[1]!r}, but {known}.")
    inner: Any = table
    for step, name in enumerate(path, start=1):
        inner = inner.setdefault(name, {})
        if not isinstance(inner, dict):
            here = ".".join(path[:step])
            raise UsageError(f"--set {override}: {here} is a value, nothing is below it.")
    try:
        value = tomllib.loads(f"value = {text.strip()}")["value"]
    except tomllib.TOMLDecodeError:
        value = text.strip()
    new = _new_name(*path, last)
    if new is not None:
        _warn(f"--set {override}", {last: new})
    if new != "":
        inner[new or last] = value


def _check_kind(table: Mapping[str, Any], source: str | Path, kind: type[Recipe[Any]]) -> None:
    """Raise `UsageError` if a table is a recipe for another kind of network."""
    from vox2face.zoo import registry

    network = table.get("network")
    name = network.get("entry") if isinstance(network, dict) else None
    if isinstance(name, str) and registry.entry(name).kind != kind.kind:
        raise UsageError(
            f"{source} is a recipe for {name}, which is a {registry.entry(name).kind}, and a "
            f"{kind.kind} is to be trained: vox2face train voice --help and decoder --help name "
            "their recipes."
        )


def _sentence(error: Mapping[str, Any], kind: type[Table]) -> str:
    """Return what pydantic found as one sentence."""
    key = ".".join(map(str, error["loc"]))
    if error["type"] == "value_error":
        return str(error["ctx"]["error"])
    if error["type"] == "missing":
        return f"The recipe lacks {key}: add it."
    if error["type"] == "extra_forbidden":
        *path, _ = map(str, error["loc"])
        start = "".join(f"{name}." for name in path)
        known = [f"{start}{name}" for name in _keys(kind, path)]
        begun = [name for name in known if name.startswith(key)]
        near = begun or difflib.get_close_matches(key, known, n=1, cutoff=0.4)
        hint = f"did you mean {near[0]}?" if near else f"there are {', '.join(known)}."
        return f"The recipe has no key {key!r}: {hint}"
    expected = EXPECTED[error["type"]].format(**error.get("ctx", {})).replace("'", "")
    return f"{key} is {error['input']!r}: it must be {expected}."


def _keys(kind: Any, path: Sequence[str]) -> list[str]:
    """Return the keys of the table at a path of a recipe."""
    for name in path:
        kind = kind.model_fields[name].annotation if hasattr(kind, "model_fields") else kind
        if get_origin(kind) is dict:  # of phases: what follows is the name of one
            kind = get_args(kind)[1]
    return list(kind.model_fields)


def shortened(recipe: R, epochs: int | None, steps: int | None) -> R:
    """Return a recipe with another number of epochs or of steps in every phase.

    Raises `UsageError` if both are given.
    """
    if epochs is not None and steps is not None:
        raise UsageError(
            f"--epochs {epochs} and --steps {steps} are both given: a phase is as long as one of "
            "them says, so leave the other one out."
        )
    if epochs is None and steps is None:
        return recipe
    return recipe.model_copy(
        update={
            "phases": {
                name: phase.model_copy(
                    update={"epochs": epochs or phase.epochs, "steps": steps or 0}
                )
                for name, phase in recipe.phases.items()
            }
        }
    )


def facts(recipe: Recipe[Any]) -> dict[str, Any]:
    """Return a recipe as tables that JSON can hold."""
    return recipe.model_dump(mode="json")


def dump(recipe: Recipe[Any]) -> str:
    """Return a recipe, all of its values, as TOML text that reads back as the same recipe."""
    return tomli_w.dumps(facts(recipe))


def write(recipe: Recipe[Any], path: Path) -> None:
    """Write a recipe as TOML, as a whole or not at all."""
    with atomic_file(path) as partial:
        partial.write_text(dump(recipe), encoding="utf-8")


def flat(table: Mapping[str, Any], start: str = "") -> Iterator[tuple[str, Any]]:
    """Yield the values of tables in tables by their dotted keys."""
    for name, value in table.items():
        if isinstance(value, Mapping) and value:
            yield from flat(value, f"{start}{name}.")
        else:
            yield f"{start}{name}", value
