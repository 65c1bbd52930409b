"""Models of one's own, and those that installed packages bring."""

from __future__ import annotations

import contextlib
import re
import sys
import warnings
from collections.abc import Iterator
from functools import cache
from importlib.metadata import entry_points
from importlib.util import find_spec

from vox2face.core.entry import Entry
from vox2face.core.errors import UsageError, Vox2FaceWarning
from vox2face.core.typed import misfits
from vox2face.zoo.catalog import ENTRIES
from vox2face.zoo.presets import require_preset

GROUP = "vox2face.models"  # the entry points of packages that bring models
KINDS = ("face-encoder", "voice-encoder", "face-decoder")
SIGNALS = range(129, 160)  # exit codes of a process that a signal ends
WORD = r"\w[\w-]{0,63}"
NAME = re.compile(rf"{WORD}\.{WORD}", re.ASCII)
ALIAS = re.compile(rf"{WORD}(\.{WORD})?", re.ASCII)
# What `vox2face convert` knows as published, and what its option --face has a word for
RESERVED = {"unknown", *(entry.command.split()[2].lower() for entry in ENTRIES if entry.command)}
REGISTERED: dict[str, Entry] = {}
PACKAGES: dict[str, str] = {}  # model -> the installed package that brings it


def register(*models: Entry) -> None:
    """Add models of one's own, which every function and command then knows by name.

    A package adds its models for all processes by an entry point of the group "vox2face.models"
    that names an `Entry` or a list of them. Raises `UsageError`, and adds none, for a name that is
    none or that another model has, for fields of another type, and for a kind, a preset, a network
    or a table that there is not.
    """
    add(models)


def add(models: Iterator[Entry] | tuple[Entry, ...], package: str = "") -> None:
    """Register all models or none; what a package brings never replaces what is there."""
    new: dict[str, Entry] = {}
    for model in models:
        _require_usable(model)
        require_free(model, [*ENTRIES, *(REGISTERED | new).values()], package)
        new[model.name] = model
    REGISTERED.update(new if not package else {k: v for k, v in new.items() if k not in REGISTERED})
    if package:
        PACKAGES.update(dict.fromkeys(new, package))


def _require_usable(model: Entry) -> None:
    """Raise `UsageError`, with all that is wrong, unless an entry can be used."""
    if not isinstance(model, Entry):
        raise UsageError(f"{model!r:.80} is not a model: give an Entry of vox2face.core.entry.")
    problems = list(misfits(model, Entry)) or list(_mistakes(model))
    if problems:
        raise UsageError(f"{model.name!r:.80} cannot be a model: {'; '.join(problems)}.")
    require_preset(model, model.preprocess)


def _mistakes(model: Entry) -> Iterator[str]:
    """Yield what is wrong in an entry whose fields are all of their types."""
    if not NAME.fullmatch(model.name):
        yield "name it architecture.tag, of letters, digits, _ and -"
    for alias in model.aliases:
        if not ALIAS.fullmatch(alias):
            yield f"the alias {alias!r:.80} may have letters, digits, _, - and one dot"
    if model.kind not in KINDS:
        yield f"it is a {model.kind!r}: use {' or '.join(KINDS)}"
    for spec in (model.input, *(model.outputs or [model.input])):
        if not spec.shape or not isinstance(spec.shape[-1], int):
            yield f"the last axis of {spec.name} needs a size, and its shape is {spec.shape}"
    if [spec.name for spec in model.outputs[:1]] != ["embedding"] and "encoder" in model.kind:
        yield "the first output of an encoder is named embedding"
    if isinstance(model.architecture, str):
        if not _is_module("vox2face.zoo.networks", model.architecture):
            yield f"there is no network {model.architecture!r}: give an Architecture"
    elif model.any_size and model.architecture.infer_config is None:
        yield "it is of any size, which its Architecture has to tell with an infer_config"
    table = model.weight_map
    if not (_is_module("vox2face.converters.maps", table) or hasattr(table, "rules")):
        yield f"its weight_map is {table!r:.60}: give a WeightMap"


def _is_module(package: str, name: object) -> bool:
    """Whether a package of vox2face has a module of a name; it is not imported."""
    known = isinstance(name, str) and name.isidentifier()
    return known and find_spec(f"{package}.{name}") is not None


def require_free(model: Entry, others: list[Entry], package: str) -> None:
    """Raise `UsageError` if another model has a name, which case alone does not tell apart.

    Who registers a model again, as in a notebook, replaces it; a package never that of another.
    """
    names = {name.lower(): name for name in (model.name, *model.aliases)}
    if reserved := sorted(names.keys() & RESERVED):
        raise UsageError(f"{names[reserved[0]]} has a meaning of its own: choose another name.")
    for other in others:
        owner = PACKAGES.get(other.name, "")
        same = other.name == model.name and other not in ENTRIES
        if same and (not package or owner in ("", package)):
            continue
        for name in (other.name, *other.aliases):
            if name.lower() in names:
                whose = f" of the package {owner}" if owner else ""
                raise UsageError(f"There is a model {name}{whose} already: choose another name.")


@cache
def register_packages() -> None:
    """Register the models that installed packages bring; one that fails costs a warning.

    What a package prints on import goes to standard error, since standard output may be read by
    another program.
    """
    for point in entry_points(group=GROUP):
        package = point.dist.name if point.dist else point.name
        try:
            with contextlib.redirect_stdout(sys.stderr):
                models = point.load()
                add((models,) if isinstance(models, Entry) else tuple(models), package)
        except KeyboardInterrupt:
            raise
        except BaseException as error:  # whatever foreign code raises, sys.exit() included
            if isinstance(error, SystemExit) and error.code in SIGNALS:  # it was not the package
                raise
            reason = f"{type(error).__name__}: {error}"
            warnings.warn(
                f"The models {point.value} of the installed package {package} cannot be used "
                f"({reason}).",
                Vox2FaceWarning,
                stacklevel=2,
            )
