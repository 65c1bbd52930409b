"""Layers of the reference for files whose arrays are in PyTorch's layout."""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np

from vox2face.converters.ops import Array
from vox2face.converters.reference.layers import relu

BATCH_NORM_EPSILON = 1e-5


def hwio(kernel: Array) -> Array:
    """Return a kernel (out, in, height, width) as (height, width, in, out)."""
    return np.ascontiguousarray(kernel.transpose(2, 3, 1, 0))


def linear(arrays: Mapping[str, Array], name: str, x: Array) -> Array:
    """A dense layer."""
    y: Array = x @ arrays[f"{name}/weight"].T + arrays[f"{name}/bias"]
    return y


def normalized(arrays: Mapping[str, Array], name: str, x: Array) -> Array:
    """Batch normalisation of the last axis with the stored statistics."""
    mean, variance = arrays[f"{name}/running_mean"], arrays[f"{name}/running_var"]
    y: Array = (x - mean) / np.sqrt(variance + np.float32(BATCH_NORM_EPSILON))
    return y * arrays[f"{name}/weight"] + arrays[f"{name}/bias"]


def layer_normalized(
    arrays: Mapping[str, Array], name: str, x: Array, epsilon: float = 1e-12
) -> Array:
    """Layer normalisation of the last axis."""
    centred = x - x.mean(axis=-1, keepdims=True)
    variance = (centred * centred).mean(axis=-1, keepdims=True)
    y: Array = centred / np.sqrt(variance + np.float32(epsilon))
    return y * arrays[f"{name}/weight"] + arrays[f"{name}/bias"]


def activated(x: Array, activation: str) -> Array:
    """What a network ends in: "linear", "relu" or "sigmoid"."""
    if activation == "sigmoid":
        half = np.float32(0.5)  # tanh does not overflow as exp does
        y: Array = half * np.tanh(half * x) + half
        return y
    return relu(x) if activation == "relu" else x


def softmax(x: Array) -> Array:
    """The softmax over the last axis."""
    y = np.exp(x - x.max(axis=-1, keepdims=True))
    result: Array = y / y.sum(axis=-1, keepdims=True)
    return result


def gelu(x: Array) -> Array:
    """x times the normal distribution up to x."""
    half = np.float32(0.5)
    return x * (1 + erf(x * np.sqrt(half))) * half


def erf(x: Array) -> Array:
    """The error function within 1.5e-7: Abramowitz and Stegun, formula 7.1.26."""
    t = 1 / (1 + 0.3275911 * np.abs(x))
    powers = np.full_like(t, 1.061405429)
    for factor in (-1.453152027, 1.421413741, -0.284496736, 0.254829592):
        powers = powers * t + factor
    far: Array = np.sign(x) * (1 - powers * t * np.exp(-x * x))
    return far.astype(np.float32)
