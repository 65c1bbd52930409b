"""Write legacy Keras HDF5 weight files, the format `read` reads, without Keras.

Layout: keras/src/legacy/saving/legacy_h5_format.py; contiguous, uncompressed float32.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from itertools import groupby
from pathlib import Path

import h5py
import numpy as np

from vox2face.converters.ops import Array
from vox2face.converters.readers.base import row_blocks
from vox2face.converters.weight_map import Rule
from vox2face.core import progress
from vox2face.core.files import atomic_file

KERAS_VERSION = "2.2.4"
BLOCK = 1 << 24  # bytes
Layers = Iterable[tuple[str, Mapping[str, Array]]]

# Middle and spread of random weights
SPREADS = {"gamma": (1.0, 0.1), "weights": (1.0, 0.1), "moving_variance": (3.0, 0.2)}


def write_keras(path: Path, layers: Layers) -> None:
    """Write layers, each a name and its arrays by weight name such as "kernel", in their order."""
    with atomic_file(path) as partial:
        write_layers(partial, layers)


def write_layers(path: Path, layers: Layers, total: int = 0) -> None:
    """Write layers, of so many bytes, to a new file in place.

    Arrays may be views in any order of memory: they are copied block by block.
    """
    names, done = [], 0
    with h5py.File(path, "w") as file:
        for layer, arrays in layers:
            names.append(layer.encode())
            group = file.require_group(layer)
            paths = [f"{layer}/{weight}:0" for weight in arrays]
            group.attrs["weight_names"] = np.array([p.encode() for p in paths])
            for name, array in zip(paths, arrays.values(), strict=True):
                dataset = group.create_dataset(name, array.shape, dtype="<f4")
                for index in row_blocks(array.shape, BLOCK):
                    dataset[index] = array[index]
                    done += array[index].nbytes
                    progress.advance("write", done, total)
        file.attrs["layer_names"] = np.array(names)
        file.attrs["backend"] = b"tensorflow"
        file.attrs["keras_version"] = KERAS_VERSION.encode()
    progress.close()


def layers_of(arrays: Mapping[str, Array]) -> Layers:
    """Group arrays by "layer/weight" to layers, in their order."""
    for layer, names in groupby(arrays, key=lambda name: name.rsplit("/", 1)[0]):
        yield layer, {name.rsplit("/", 1)[1]: arrays[name] for name in names}


def random_layers(rules: Iterable[Rule], seed: int) -> Layers:
    """Yield layers of the shapes of a weight map with random values that keep signals in range.

    Kernels have the variance 2 / fan-in (He et al., 2015), so that activations neither vanish
    nor explode on the way through the network; the variances of a batch normalisation lie around
    3, so that residual branches stay smaller than their shortcuts.
    """
    rng = np.random.default_rng(seed)
    for layer, group in groupby(rules, key=lambda rule: rule.source.rsplit("/", 1)[0]):
        yield layer, {r.source.rsplit("/", 1)[1]: _random_array(rng, r) for r in group}


def _random_array(rng: np.random.Generator, rule: Rule) -> Array:
    """Return normally distributed values around a middle, both by the kind of weight."""
    weight = rule.source.rsplit("/", 1)[1]
    middle, spread = SPREADS.get(weight, ((0.0, 0.05)))
    if len(rule.shape) > 1:
        middle, spread = 0.0, float(2 / np.prod(rule.shape[:-1])) ** 0.5
    values = rng.standard_normal(rule.shape, np.float32)
    values *= np.float32(spread)
    values += np.float32(middle)
    return values
