"""Load a weight file into its owner's graph by Keras itself, and see what every layer computes."""

from __future__ import annotations

import os
from collections.abc import Iterator
from importlib import import_module
from importlib.util import find_spec
from pathlib import Path
from typing import Any

from vox2face.converters.maps import weight_map
from vox2face.converters.ops import Array
from vox2face.converters.readers.open import open_weights
from vox2face.core.entry import Entry
from vox2face.core.errors import UsageError


def keras() -> Any:
    """Import the Keras that reads legacy files as their owners do: tf-keras, else Keras 3."""
    os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "3")
    return import_module("tf_keras" if find_spec("tf_keras") else "keras")


def taps(entry: Entry, path: Path, x: Array) -> Iterator[tuple[str, Array]]:
    """Yield (tap, activation) of the owner's graph, loaded by Keras itself from the file.

    `x` is float32 (n, height, width, 3); maps come as NHWC. Raises `UsageError` where Keras cannot
    load the file or build the graph.
    """
    k = keras()
    table = weight_map(entry)
    original = table.original
    assert original is not None, f"{entry.name} has no graph in Keras"
    with open_weights(path) as file:
        whole = len(table.pair(file.arrays, file.named)) == len(table.rules)
    try:
        model, outputs = original(k, **({} if whole else {"classes": 0}))
        model.load_weights(str(path), **({"by_name": True} if table.match == "name" else {}))
    except ValueError as error:
        reason = str(error).splitlines()[0]
        raise UsageError(
            f"{k.__name__} {k.__version__} cannot load {path} into its owner's graph ({reason}): "
            "use --verify reference."
        ) from error
    tapped = k.Model(model.inputs, list(outputs.values()))
    for tap, value in zip(outputs, tapped.predict_on_batch(x), strict=True):
        yield tap, value.reshape(len(x), -1) if tap.startswith("fc") else value
