"""keras-vggface's RESNET50 and SENET50 in NumPy; source: keras_vggface/models.py.

resnet_conv_block, resnet_identity_block, senet_conv_block, senet_identity_block, senet_se_block.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping

import numpy as np

from vox2face.converters.ops import Array
from vox2face.converters.reference.layers import conv, max_pool, pad, relu, sigmoid

# Stage and how many blocks it has; its first block projects the shortcut.
STAGES = ((2, 3), (3, 4), (4, 6), (5, 3))
Arrays = Mapping[str, Array]


def resnet50(arrays: Arrays, x: Array) -> Iterator[tuple[str, Array]]:
    """Yield (tap, activation) of the stem, every block, the average and the classifier.

    `arrays` are the file's own, by "layer/weight"; `x` is float32 (n, 224, 224, 3).
    """
    yield from taps(arrays, x, epsilon=1e-3)  # the default of Keras


def senet50(arrays: Arrays, x: Array) -> Iterator[tuple[str, Array]]:
    """Yield the same taps of the network with squeeze and excitation."""
    yield from taps(arrays, x, epsilon=1e-4)  # bn_eps


def taps(arrays: Arrays, x: Array, epsilon: float) -> Iterator[tuple[str, Array]]:
    """Yield (tap, activation); the squeeze is there if its weights are."""

    def layer(name: str, x: Array, stride: int = 1) -> Array:
        y = conv(x, arrays[f"{name}/kernel"], stride)
        return batch_norm(arrays, f"{name}/bn", y, epsilon)

    x = relu(layer("conv1/7x7_s2", pad(x, 2, 3), 2))  # 'same' of Keras: 2 before, 3 after
    yield "conv1", x
    x = max_pool(x, 3)
    yield "pool1", x
    for stage, depth in STAGES:
        for number in range(1, depth + 1):
            name = f"conv{stage}_{number}"
            stride = 2 if stage > 2 and number == 1 else 1
            y = relu(layer(f"{name}_1x1_reduce", x, stride))
            y = relu(layer(f"{name}_3x3", pad(y, 1, 1)))
            y = layer(f"{name}_1x1_increase", y)
            if f"{name}_1x1_down/kernel" in arrays:
                y = y * excitation(arrays, name, y)
            x = relu(y + (layer(f"{name}_1x1_proj", x, stride) if number == 1 else x))
            yield name, x
    x = x.mean(axis=(1, 2))
    yield "avg_pool", x
    if "classifier/kernel" in arrays:
        yield "classifier", x @ arrays["classifier/kernel"] + arrays["classifier/bias"]


def batch_norm(arrays: Arrays, name: str, x: Array, epsilon: float) -> Array:
    """Normalise with the stored statistics, then scale and shift."""
    deviation = np.sqrt(arrays[f"{name}/moving_variance"] + np.float32(epsilon))
    normal = (x - arrays[f"{name}/moving_mean"]) / deviation
    y: Array = normal * arrays[f"{name}/gamma"] + arrays[f"{name}/beta"]
    return y


def excitation(arrays: Arrays, name: str, x: Array) -> Array:
    """Return a factor for each channel from the means of all channels, (n, 1, 1, channels)."""
    means = x.mean(axis=(1, 2), keepdims=True)
    down = conv(means, arrays[f"{name}_1x1_down/kernel"]) + arrays[f"{name}_1x1_down/bias"]
    up = conv(relu(down), arrays[f"{name}_1x1_up/kernel"]) + arrays[f"{name}_1x1_up/bias"]
    return sigmoid(up)
