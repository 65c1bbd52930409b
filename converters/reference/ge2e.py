"""The speaker encoder of Resemblyzer in NumPy, on the arrays of its pretrained.pt.

Source: resemble-ai/Resemblyzer, resemblyzer/voice_encoder.py; the order of the gates (input,
forget, cell, output) is that of PyTorch's LSTM.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping

import numpy as np

from vox2face.converters.ops import Array
from vox2face.converters.reference.layers import relu, sigmoid
from vox2face.converters.reference.torch_layers import linear


def ge2e(arrays: Mapping[str, Array], x: Array) -> Iterator[tuple[str, Array]]:
    """Yield (tap, activation) for partial utterances `x`, float32 (n, partials, frames, bands)."""
    n, partials = x.shape[:2]
    x = x.reshape(n * partials, *x.shape[2:])
    for layer in range(sum(name.startswith("lstm/weight_ih") for name in arrays)):
        x = lstm(arrays, layer, x)
    last = x[:, -1].reshape(n, partials, -1)
    yield "hidden", last
    y = unit(relu(linear(arrays, "linear", last)))
    yield "linear", y
    yield "mean", unit(y.mean(axis=1))


def lstm(arrays: Mapping[str, Array], layer: int, x: Array) -> Array:
    """Return the hidden states of one layer, (n, frames, hidden)."""
    recurrent = arrays[f"lstm/weight_hh_l{layer}"]
    driven = x @ arrays[f"lstm/weight_ih_l{layer}"].T
    driven += arrays[f"lstm/bias_ih_l{layer}"] + arrays[f"lstm/bias_hh_l{layer}"]
    hidden = cell = np.zeros((len(x), recurrent.shape[1]), np.float32)
    states = []
    for frame in range(x.shape[1]):
        enter, forget, value, leave = np.split(driven[:, frame] + hidden @ recurrent.T, 4, axis=1)
        cell = sigmoid(forget) * cell + sigmoid(enter) * np.tanh(value)
        hidden = sigmoid(leave) * np.tanh(cell)
        states.append(hidden)
    return np.stack(states, axis=1)


def unit(x: Array) -> Array:
    """Divide by the length along the last axis."""
    y: Array = x / np.maximum(np.linalg.norm(x, axis=-1, keepdims=True), 1e-12)
    return y.astype(np.float32)
