"""A small network on Resemblyzer's speaker encoder in NumPy."""

from __future__ import annotations

from collections.abc import Iterator, Mapping

from vox2face.converters.ops import Array
from vox2face.converters.reference.ge2e import ge2e
from vox2face.converters.reference.layers import relu
from vox2face.converters.reference.torch_layers import linear

BASE = "base."


def resemblyzer(arrays: Mapping[str, Array], x: Array) -> Iterator[tuple[str, Array]]:
    """Yield (tap, activation) for partial utterances `x`, float32 (n, partials, frames, bands)."""
    inner = {k.removeprefix(BASE): v for k, v in arrays.items() if k.startswith(BASE)}
    for tap, value in ge2e(inner, x):
        yield f"base/{tap}", value
        x = value
    x = relu(linear(arrays, "fc1", x))
    yield "fc1", x
    yield "head", linear(arrays, "fc2", x)
