"""The legacy Keras layout of HDF5: lists of names in attributes.

Understood are weights-only files and whole models (weights below `model_weights`) of Keras 1,
Keras 2, tf-keras and Keras 3's legacy format, with chunked name attributes. The model config is
never looked at.
"""

from __future__ import annotations

import itertools
from collections.abc import Iterator
from typing import Any

import h5py
import numpy as np

from vox2face.converters.readers.keras.hdf5 import Walk, child, text, text_attribute
from vox2face.converters.weight_map import StoredArray
from vox2face.core.errors import WeightFileError

MAX_NAMES = 100_000
MAX_ATTRIBUTE_BYTES = 1 << 24


def weights_group(file: h5py.File) -> h5py.Group | None:
    """Return the group that lists layers: the root, or `model_weights` of a whole model."""
    for group in (file, child(file, "model_weights")):
        if group is not None and (_has_names(group, "layer_names") or "nb_layers" in group.attrs):
            return group
    return None


def declared(walk: Walk) -> tuple[list[StoredArray], bool]:
    """Return (arrays of every layer in the model's order, whether layers have names)."""
    if text_attribute(walk.root, "backend") == "theano":
        raise WeightFileError(
            "it was written by the Theano backend, whose kernels are flipped: "
            "load and save it once under Keras 2 with TensorFlow, then convert that file."
        )
    arrays = [
        walk.array(layer, name, f"{layer}/{name}")
        for layer, names in layers(walk)
        for name in names
    ]
    return arrays, _has_names(walk.root, "layer_names")


def layers(walk: Walk) -> Iterator[tuple[str, list[str]]]:
    """Yield (layer name, its array names) in the order of the attributes, empty layers left out."""
    root = walk.root
    if not _has_names(root, "layer_names"):  # Keras 0.x: numbered groups of numbered arrays
        for number in range(_bounded(root.attrs["nb_layers"])):
            layer = f"layer_{number}"
            count = _bounded(walk.group(layer).attrs.get("nb_params", 0))
            yield layer, [f"param_{i}" for i in range(count)]
        return
    seen = set()
    for layer in _names_attribute(root, "layer_names"):
        if layer in seen:
            raise WeightFileError(f"the layer {layer!r} is listed twice")
        seen.add(layer)
        names = _names_attribute(walk.group(layer), "weight_names")
        if names:
            yield layer, names


def _bounded(count: Any) -> int:
    """Return a declared count if it is a plausible one."""
    if not 0 <= int(count) <= MAX_NAMES:
        raise WeightFileError(f"it declares {count} items in one list")
    return int(count)


def _has_names(group: h5py.Group, attribute: str) -> bool:
    """Whether a list attribute is there, whole or split in numbered parts."""
    return attribute in group.attrs or f"{attribute}0" in group.attrs


def _names_attribute(group: h5py.Group, attribute: str) -> list[str]:
    """Return a list of names; Keras splits a long one into attribute0, attribute1, ..."""
    if attribute in group.attrs:
        return _name_list(group, attribute)
    names: list[str] = []
    for part in itertools.count():
        if f"{attribute}{part}" not in group.attrs:
            break
        names += _name_list(group, f"{attribute}{part}")
    return names


def _name_list(group: h5py.Group, attribute: str) -> list[str]:
    """Return one attribute as strings, after checking that it is a list of modest size."""
    facts = group.attrs.get_id(attribute)
    if facts.shape is None or not _bounded(int(np.prod(facts.shape, dtype=np.float64))):
        return []
    if facts.get_storage_size() > MAX_ATTRIBUTE_BYTES:
        raise WeightFileError(f"the attribute {attribute} of {group.name} is oversized")
    values = np.atleast_1d(group.attrs[attribute])
    if values.ndim != 1 or not all(isinstance(value, (bytes, str)) for value in values):
        raise WeightFileError(f"the attribute {attribute} of {group.name} is not a list of names")
    return [text(value) for value in values]
