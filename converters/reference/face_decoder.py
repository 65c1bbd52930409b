"""The face decoder in NumPy, on the arrays of a Speech-to-face checkpoint.

Source: Kacper-Pietkun/Speech-to-face, src/models/face_decoder.py.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping

import numpy as np

from vox2face.converters.ops import Array
from vox2face.converters.reference.layers import conv, relu
from vox2face.converters.reference.torch_layers import activated, hwio, linear, normalized

START = 14


def face_decoder(
    arrays: Mapping[str, Array], x: Array, output_activation: str
) -> Iterator[tuple[str, Array]]:
    """Yield (tap, activation) for embeddings `x`, float32 (n, width); maps are channels last."""
    for number in range(count(arrays, "pre_layers")):
        x = dense(arrays, f"pre_layers.{number}", x)
        yield f"trunk{number}", x
    marks, last = x, count(arrays, "landmark_layers") - 1
    for number in range(last):
        marks = dense(arrays, f"landmark_layers.{number}", marks)
    yield "landmarks", linear(arrays, f"landmark_layers.{last}.0", marks)
    x = relu(linear(arrays, "texture_layers.0.0", x))
    yield "texture0", x
    x = x.reshape(len(x), -1, START, START).transpose(0, 2, 3, 1)
    last = count(arrays, "texture_layers") - 1
    for number in range(1, last):
        x = relu(doubled(arrays, f"texture_layers.{number}.{int(number == 1)}", x))
        yield f"texture{number}", x
    name = f"texture_layers.{last}.0"
    x = conv(x, hwio(arrays[f"{name}/weight"])) + arrays[f"{name}/bias"]
    yield "texture", activated(x, output_activation)


def count(arrays: Mapping[str, Array], layers: str) -> int:
    """Return how many layers of a list have weights."""
    return len({name.split(".")[1] for name in arrays if name.startswith(f"{layers}.")})


def dense(arrays: Mapping[str, Array], name: str, x: Array) -> Array:
    """A dense layer, batch normalisation, ReLU."""
    return relu(normalized(arrays, f"{name}.1", linear(arrays, f"{name}.0", x)))


def doubled(arrays: Mapping[str, Array], name: str, x: Array) -> Array:
    """A transposed convolution of stride 2, written as its definition: zeros between the pixels."""
    n, height, width, channels = x.shape
    spread = np.zeros((n, 2 * height + 4, 2 * width + 4, channels), np.float32)
    spread[:, 2 : 2 + 2 * height : 2, 2 : 2 + 2 * width : 2] = x
    kernel = arrays[f"{name}/weight"].transpose(2, 3, 0, 1)[::-1, ::-1]
    return conv(spread, np.ascontiguousarray(kernel)) + arrays[f"{name}/bias"]
