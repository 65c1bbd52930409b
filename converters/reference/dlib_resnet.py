"""dlib's face recognition network in NumPy, on face-api's arrays.

Source: dlib's dnn_face_recognition_ex.cpp (anet_type: residual and residual_down blocks) and
face-api's faceRecognitionNet, which names the arrays.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping

import numpy as np

from vox2face.converters.ops import Array
from vox2face.converters.reference.layers import average_pool, conv, max_pool, pad, relu

BLOCKS = (
    *("conv32_1", "conv32_2", "conv32_3"),
    *("conv64_down", "conv64_1", "conv64_2", "conv64_3"),
    *("conv128_down", "conv128_1", "conv128_2"),
    *("conv256_down", "conv256_1", "conv256_2", "conv256_down_out"),
)


def dlib_resnet(arrays: Mapping[str, Array], x: Array) -> Iterator[tuple[str, Array]]:
    """Yield (tap, activation) for aligned faces `x`, float32 (n, 150, 150, 3)."""

    def layer(name: str, x: Array, stride: int = 1) -> Array:
        y = conv(x, arrays[f"{name}/conv/filters"], stride) + arrays[f"{name}/conv/bias"]
        return y * arrays[f"{name}/scale/weights"] + arrays[f"{name}/scale/biases"]

    x = relu(layer("conv32_down", x, 2))
    yield "conv32_down", x
    x = max_pool(x, 3)
    yield "pool1", x
    for name in BLOCKS:
        down = "_down" in name
        y = relu(layer(f"{name}/conv1", x if down else pad(x, 1, 1), 2 if down else 1))
        y = layer(f"{name}/conv2", pad(y, 1, 1))
        x = relu(added(y, average_pool(x)) if down else y + x)
        yield name, x
    x = x.mean(axis=(1, 2))
    yield "avg_pool", x
    yield "fc", x @ arrays["fc/weights"]


def added(a: Array, b: Array) -> Array:
    """Add two maps of different size as dlib's add_prev does: what is missing counts as zero."""
    shape = tuple(max(pair) for pair in zip(a.shape, b.shape, strict=True))
    total = np.zeros(shape, np.float32)
    for part in (a, b):
        total[tuple(slice(n) for n in part.shape)] += part
    return total
