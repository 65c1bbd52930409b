"""Recipes: the numbers of a training run as a TOML file, checked against frozen dataclasses.

A recipe states every value that has no default; none is inherited from another recipe.
`--set loop.batch=16` overrides one of them. The resolved recipe is written beside the checkpoints
and into the bundle.
"""

from __future__ import annotations

import dataclasses
import difflib
import json
import math
import re
import tomllib
from collections.abc import Mapping, Sequence
from importlib import resources
from pathlib import Path
from typing import Any, TypeVar, get_args, get_origin, get_type_hints

from vox2face.core.errors import UsageError
from vox2face.core.files import atomic_file

R = TypeVar("R")
FILE = "recipe.toml"  # in the folder of a run
ENDING = ".toml"
WORDS = {int: "a whole number", float: "a number", str: "a text", bool: "true or false"}


def names() -> list[str]:
    """Return the names of the recipes that come with vox2face."""
    folder = resources.files("vox2face.train.recipes")
    found = (path.name for path in folder.iterdir())
    return sorted(name.removesuffix(ENDING) for name in found if name.endswith(ENDING))


def text_of(source: str | Path) -> str:
    """Return the TOML text of a recipe by its name or its file."""
    if isinstance(source, str) and source in names():
        file = resources.files("vox2face.train.recipes") / f"{source}{ENDING}"
        return file.read_text(encoding="utf-8")
    path = Path(source)
    if not path.is_file():
        near = difflib.get_close_matches(str(source), names(), n=1)
        hint = f" Did you mean {near[0]}?" if near else f" There are: {', '.join(names())}."
        raise UsageError(f"There is no recipe and no file {str(source)!r}.{hint}")
    return path.read_text(encoding="utf-8")


def read(source: str | Path, schema: type[R], overrides: Sequence[str] = ()) -> R:
    """Return a recipe by name or file, as an object of `schema`, after "key.sub=value" overrides.

    Raises `UsageError` naming the key, and the nearest one where there is no such key.
    """
    try:
        table = tomllib.loads(text_of(source))
    except (tomllib.TOMLDecodeError, UnicodeDecodeError) as error:
        raise UsageError(
            f"{source} is no TOML file ({error}): correct it, or name another recipe."
        ) from error
    complete(table, schema)
    for override in overrides:
        override_value(table, override)
    require_kind(table, source, schema)
    recipe: R = built(schema, table, "")
    return recipe


def complete(table: dict[str, Any], schema: Any) -> None:
    """Add to a recipe what was not yet there when it was written: the fields with a default.

    The default changes nothing, so that older files mean what they meant.
    """
    hints = get_type_hints(schema)
    for field in dataclasses.fields(schema):
        inner, default, hint = table.get(field.name), field.default, hints[field.name]
        if dataclasses.is_dataclass(hint) and isinstance(inner, dict):
            complete(inner, hint)
        elif get_origin(hint) is dict and isinstance(inner, dict):
            for each in inner.values():
                if dataclasses.is_dataclass(get_args(hint)[1]) and isinstance(each, dict):
                    complete(each, get_args(hint)[1])
        elif default is not dataclasses.MISSING:
            plain_default = list(default) if isinstance(default, tuple) else default
            table.setdefault(field.name, plain_default)


def require_kind(table: Mapping[str, Any], source: str | Path, schema: Any) -> None:
    """Raise `UsageError` if a table is a recipe for another kind of network than the schema's."""
    from vox2face.zoo import registry

    network = table.get("network")
    name = network.get("entry") if isinstance(network, dict) else None
    if not isinstance(name, str) or not hasattr(schema, "kind"):
        return
    kind = registry.entry(name).kind
    if kind != schema.kind:
        raise UsageError(
            f"{source} is a recipe for {name}, which is a {kind}, and a {schema.kind} is to be "
            "trained: vox2face train voice --help and decoder --help name their recipes."
        )


def override_value(table: dict[str, Any], override: str) -> None:
    """Set one value of a table of tables: "loop.batch=16"; a bare word counts as a text."""
    key, equals, text = override.partition("=")
    *path, last = key.strip().split(".")
    if not equals or not key.strip():
        raise UsageError(f"--set {override} is no KEY=VALUE: write --set loop.batch=16.")
    inner: Any = table
    for step, name in enumerate(path):
        here = ".".join(path[: step + 1])
        if name not in inner:
            raise unknown(here, inner, path[:step])
        if not isinstance(inner[name], dict):
            raise UsageError(f"--set {override}: {here} is a value, nothing is below it.")
        inner = inner[name]
    if last not in inner and "options" not in path:
        raise unknown(key.strip(), inner, path)
    try:
        inner[last] = tomllib.loads(f"value = {text.strip()}")["value"]
    except tomllib.TOMLDecodeError:
        inner[last] = text.strip()


def unknown(key: str, table: Mapping[str, Any], path: Sequence[str]) -> UsageError:
    """Return the error for a key that does not exist, naming the nearest one."""
    known = [".".join([*path, name]) for name in table]
    begun = [name for name in known if name.startswith(key)]
    near = begun or difflib.get_close_matches(key, known, n=1, cutoff=0.4)
    hint = f"did you mean {near[0]}?" if near else f"there are {', '.join(known)}."
    return UsageError(f"The recipe has no key {key!r}: {hint}")


def built(schema: Any, value: Any, key: str) -> Any:
    """Return a value as the type it must have: a dataclass, a dict of them, or a plain value."""
    if dataclasses.is_dataclass(schema):
        return built_table(schema, value, key)
    origin, arguments = get_origin(schema), get_args(schema)
    if origin is dict:
        if not isinstance(value, dict):
            raise UsageError(f"{key} must be a table of the recipe.")
        return {name: built(arguments[1], inner, f"{key}.{name}") for name, inner in value.items()}
    if origin is tuple:
        if not isinstance(value, list):
            raise UsageError(f"{key} is {value!r}: it must be a list, such as [0.9, 0.999].")
        return tuple(built(arguments[0], inner, key) for inner in value)
    if schema is Any:
        return value
    return plain(schema, value, key)


def built_table(schema: Any, value: Any, key: str) -> Any:
    """Return a dataclass filled from a table with exactly its fields."""
    if not isinstance(value, dict):
        raise UsageError(f"{key} is {value!r}: it must be a table of the recipe.")
    known = get_type_hints(schema)
    hints = {field.name: known[field.name] for field in dataclasses.fields(schema)}
    path = key.split(".") if key else []
    for name in value:
        if name not in hints:
            raise unknown(".".join([*path, name]), hints, path)
    missing = [name for name in hints if name not in value]
    if missing:
        raise UsageError(
            f"The recipe lacks {'.'.join([*path, missing[0]])}: every value has to be stated."
        )
    return schema(**{n: built(hints[n], value[n], ".".join([*path, n])) for n in hints})


def plain(schema: Any, value: Any, key: str) -> Any:
    """Return a number, text or truth value if it is of the right type; 1 counts as 1.0."""
    if schema is float and isinstance(value, int) and not isinstance(value, bool):
        value = float(value)
    if type(value) is not schema or (schema is float and not math.isfinite(value)):
        raise UsageError(f"{key} is {value!r}: it must be {WORDS[schema]}.")
    if schema in (int, float) and value < 0:
        raise UsageError(f"{key} is {value!r}: no number of a recipe is below 0.")
    return value


def shortened(settings: R, epochs: int | None, steps: int | None) -> R:
    """Return a recipe with another number of epochs or of steps in every phase.

    Raises `UsageError` if both are given.
    """
    if epochs is not None and steps is not None:
        raise UsageError(
            f"--epochs {epochs} and --steps {steps} are both given: a phase is as long as one of "
            "them says, so leave the other one out."
        )
    if epochs is None and steps is None:
        return settings
    given: Any = settings
    phases = {
        name: dataclasses.replace(phase, epochs=epochs or phase.epochs, steps=steps or 0)
        for name, phase in given.phases.items()
    }
    shorter: R = dataclasses.replace(given, phases=phases)
    return shorter


def facts(recipe: Any) -> dict[str, Any]:
    """Return a recipe as tables that JSON can hold."""
    table: dict[str, Any] = json.loads(json.dumps(dataclasses.asdict(recipe)))
    return table


def dump(recipe: Any) -> str:
    """Return a recipe as TOML text that reads back as the same recipe."""
    return "".join(lines(facts(recipe), ""))


def lines(table: Mapping[str, Any], key: str) -> list[str]:
    """Return the lines of a table: plain values first, then the tables inside it."""
    inner = {name: value for name, value in table.items() if isinstance(value, dict)}
    plain_values = [(name, value) for name, value in table.items() if name not in inner]
    head = [f"\n[{key}]\n"] if key and (plain_values or not inner) else []
    own = [
        f"{quoted(name)} = {json.dumps(value, ensure_ascii=False)}\n"
        for name, value in plain_values
    ]
    below = (
        lines(value, f"{key}.{quoted(name)}" if key else quoted(name))
        for name, value in inner.items()
    )
    return [*head, *own, *(line for each in below for line in each)]


def quoted(name: str) -> str:
    """Return a key as TOML has it."""
    return name if re.fullmatch(r"[A-Za-z0-9_-]+", name) else json.dumps(name, ensure_ascii=False)


def write(recipe: Any, path: Path) -> None:
    """Write a recipe as TOML, as a whole or not at all."""
    with atomic_file(path) as partial:
        partial.write_text(dump(recipe), encoding="utf-8")
