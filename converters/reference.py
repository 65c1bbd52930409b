"""The independent forward pass that every conversion is measured against.

Plain NumPy on the arrays of the original file, in that file's own layout (pictures NHWC, kernels
HWIO). It shares no code, no layout and no library with the torch module or the ONNX graph.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from itertools import product

import numpy as np
from numpy.lib.stride_tricks import sliding_window_view

from vox2face.converters.ops import Array

# The graph as published: deepface VGGFace.py, base_model(); keras_vggface/models.py, VGG16().
STAGES = (
    ("conv1_1", "conv1_2"),
    ("conv2_1", "conv2_2"),
    ("conv3_1", "conv3_2", "conv3_3"),
    ("conv4_1", "conv4_2", "conv4_3"),
    ("conv5_1", "conv5_2", "conv5_3"),
)


def vggface(arrays: Mapping[str, Array], x: Array) -> Iterator[tuple[str, Array]]:
    """Yield (tap, activation) of every layer for pictures `x`, float32 (n, 224, 224, 3).

    `arrays` are the file's own, by "layer/kernel" and "layer/bias". Maps are yielded as NHWC,
    vectors as (n, width); ReLU is included in every tap but fc8.
    """
    for number, stage in enumerate(STAGES, start=1):
        for layer in stage:
            x = relu(conv(pad(x, 1), arrays[f"{layer}/kernel"]) + arrays[f"{layer}/bias"])
            yield layer, x
        x = max_pool(x)
        yield f"pool{number}", x
    for layer in ("fc6", "fc7"):
        x = relu(full(x, arrays[f"{layer}/kernel"]) + arrays[f"{layer}/bias"])
        yield layer, x.reshape(len(x), -1)
    yield "fc8", (full(x, arrays["fc8/kernel"]) + arrays["fc8/bias"]).reshape(len(x), -1)


def full(x: Array, kernel: Array) -> Array:
    """A layer that sees its whole input: Dense behind Flatten, or a valid convolution."""
    if kernel.ndim == 2:
        return x.reshape(len(x), -1) @ kernel
    return conv(x, kernel)


def conv(x: Array, kernel: Array) -> Array:
    """Valid cross-correlation: (n, h, w, in) with (kh, kw, in, out), one product a kernel place."""
    height, width = x.shape[1] - kernel.shape[0] + 1, x.shape[2] - kernel.shape[1] + 1
    result = np.zeros((len(x), height, width, kernel.shape[3]), np.float32)
    for i, j in product(range(kernel.shape[0]), range(kernel.shape[1])):
        result += x[:, i : i + height, j : j + width] @ kernel[i, j]
    return result


def pad(x: Array, amount: int) -> Array:
    """Surround every map with zeros."""
    return np.pad(x, ((0, 0), (amount, amount), (amount, amount), (0, 0)))


def max_pool(x: Array) -> Array:
    """The largest value of every 2x2 square."""
    windows = sliding_window_view(x, (2, 2), axis=(1, 2))[:, ::2, ::2]
    largest: Array = windows.max(axis=(-2, -1))
    return largest


def relu(x: Array) -> Array:
    """Negative values become zero."""
    return np.maximum(x, 0, out=x)
