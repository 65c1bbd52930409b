"""The Keras 3 layout of HDF5: `layers/<class>[_N]/vars/<i>`.

TF 2.12 and 2.13 wrote `_layer_checkpoint_dependencies` in place of `layers`; nested models and
lists of layers add steps to a path. Since Keras 3.6 the group `vars` has the layer's name as an
attribute (keras/src/saving/saving_lib.py).
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import h5py

from vox2face.converters.readers.keras.hdf5 import Walk, child, text_attribute
from vox2face.converters.readers.keras.names import layer_names, natural, weight_names
from vox2face.converters.weight_map import StoredArray
from vox2face.core.errors import WeightFileError

FORMAT = "Keras 3 weights"
ROOTS = ("layers", "_layer_checkpoint_dependencies")

# The state of training and of random numbers is no part of a network.
NO_WEIGHTS_AT_ROOT = {"optimizer", "metrics"}
NO_WEIGHTS = {"seed_generator"}
MAX_GROUPS = 50_000
MAX_DEPTH = 50
MODEL = "model"  # the layer of variables that belong to the model as a whole


@dataclass
class Saved:
    """What is saved of one layer: its name, if the file knows it, and its arrays."""

    name: str | None = None
    arrays: list[str] = field(default_factory=list)


def declared(walk: Walk, config: Mapping[str, Any] | None = None) -> tuple[list[StoredArray], bool]:
    """Return (arrays, whether layers have names) of a file; `config` is the model's, if known."""
    saved = {
        path: Saved(text_attribute(group, "name"), members(group))
        for path, group in variables(walk.root)
    }
    order = sorted((path for path in saved if saved[path].arrays), key=_path_key)
    if not order:
        raise WeightFileError(
            "it has neither layer_names, as legacy Keras weight files have, nor groups of vars, "
            "as those of Keras 3 have, so it holds no weights of Keras"
        )
    labels, named = _labelled(saved, order, config)
    arrays = [
        walk.array(layer, name, place)
        for path, layer in labels.items()
        for name, place in places(path, saved[path])
    ]
    return arrays, named


def variables(root: h5py.Group) -> Iterator[tuple[str, h5py.Group]]:
    """Yield (path, its group `vars`) of everything that is saved, in no order."""
    waiting: list[tuple[tuple[str, ...], h5py.Group]] = [((), root)]
    seen = set()
    while waiting:
        steps, group = waiting.pop()
        address = h5py.h5o.get_info(group.id).addr
        if address in seen:
            raise WeightFileError(f"{'/'.join(steps)} is a second name of another group")
        seen.add(address)
        if len(steps) > MAX_DEPTH or len(seen) > MAX_GROUPS:
            raise WeightFileError("it has too many groups")
        for name in members(group):
            if name in NO_WEIGHTS or (not steps and name in NO_WEIGHTS_AT_ROOT):
                continue
            node = child(group, name)
            if not isinstance(node, h5py.Group):
                continue
            if name == "vars":
                yield "/".join(steps), node
            else:
                waiting.append(((*steps, name), node))


def members(group: h5py.Group) -> list[str]:
    """Return the names in a group, those of numbers in the order of numbers."""
    names = list(group)
    if not all(isinstance(name, str) for name in names):
        raise WeightFileError(f"{group.name} has a name that is not text")
    return sorted(names, key=natural)


def _path_key(path: str) -> list[tuple[str, int]]:
    """Return the sorting key of a path; see `natural`."""
    return [natural(step) for step in path.split("/")]


def _labelled(
    saved: Mapping[str, Saved], order: Sequence[str], config: Mapping[str, Any] | None
) -> tuple[dict[str, str], bool]:
    """Return (path -> layer name, whether these are the model's own names), in order.

    Names come from the file, else from the configuration, else from the paths; the order comes
    from the configuration, else from the paths.
    """
    plain = {short(path): path for path in order}
    if len(plain) < len(order):
        plain = {path: path for path in order}
    known = None if config is None else layer_names(config, plain)
    names = {path: _full_name(path, saved) for path in map(plain.__getitem__, known or plain)}
    if all(names.values()):
        return {path: str(name) for path, name in names.items()}, True
    if known is None:
        return {path: group for group, path in plain.items()}, False
    return {plain[group]: name for group, name in known.items()}, True


def _full_name(path: str, saved: Mapping[str, Saved]) -> str | None:
    """Return a layer's name, below those of the models and layers it is part of."""
    if saved[path].name is None:
        return None
    steps = path.split("/")
    above = ["/".join(steps[:end]) for end in range(1, len(steps) + 1)]
    names = [saved[part].name for part in above if part and part in saved]
    return "/".join(name for name in names if name) or saved[path].name


def short(path: str) -> str:
    """Return a path without the step that all layers share."""
    first, _, rest = path.partition("/")
    return (rest if first in ROOTS else path) or MODEL


def places(path: str, layer: Saved) -> Iterator[tuple[str, str]]:
    """Yield (weight name, path in the file) of the arrays of one layer."""
    keys = sorted(layer.arrays, key=natural)
    for name, key in zip(weight_names(path.rsplit("/", 1)[-1], keys), keys, strict=True):
        yield name, f"{path}/vars/{key}".lstrip("/")
