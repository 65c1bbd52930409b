"""VE_conv in NumPy, on the arrays of a Speech-to-face checkpoint.

Source: Kacper-Pietkun/Speech-to-face, src/models/voice_encoder.py.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping

import numpy as np

from vox2face.converters.ops import Array
from vox2face.converters.reference.layers import conv, relu
from vox2face.converters.reference.torch_layers import activated, hwio, linear, normalized

POOLED = (3, 4, 5, 6)


def ve_conv(
    arrays: Mapping[str, Array], x: Array, output_activation: str
) -> Iterator[tuple[str, Array]]:
    """Yield (tap, activation) for spectrograms `x`, float32 (n, bins, frames, 2)."""
    for number in range(1, 10):
        name = f"layer{number}"
        kernel = hwio(arrays[f"{name}.0/weight"])
        x = conv(x, kernel, 2 if number in (8, 9) else 1) + arrays[f"{name}.0/bias"]
        if number == 9:
            x = x.mean(axis=2, keepdims=True)
        x = normalized(arrays, f"{name}.{3 if number == 9 else 2}", relu(x))
        if number in POOLED:
            even = x.shape[2] // 2 * 2
            x = np.maximum(x[:, :, 0:even:2], x[:, :, 1:even:2])
        yield name, x
    x = x.transpose(0, 3, 1, 2).reshape(len(x), -1)  # channels before bins
    x = relu(linear(arrays, "layer10.1", x))
    yield "layer10", x
    x = linear(arrays, "layer11.0", x)
    yield "layer11", activated(x, output_activation)
