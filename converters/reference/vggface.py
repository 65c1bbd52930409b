"""VGG-Face in NumPy; deepface VGGFace.py, base_model(); keras_vggface/models.py, VGG16()."""

from __future__ import annotations

from collections.abc import Iterator, Mapping

from vox2face.converters.ops import Array
from vox2face.converters.reference.layers import conv, max_pool, pad, relu

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
    vectors as (n, width); ReLU is included in every tap but fc8, which may be missing.
    """
    for number, stage in enumerate(STAGES, start=1):
        for layer in stage:
            x = relu(conv(pad(x, 1, 1), arrays[f"{layer}/kernel"]) + arrays[f"{layer}/bias"])
            yield layer, x
        x = max_pool(x)
        yield f"pool{number}", x
    for layer in ("fc6", "fc7"):
        x = relu(full(x, arrays[f"{layer}/kernel"]) + arrays[f"{layer}/bias"])
        yield layer, x.reshape(len(x), -1)
    if "fc8/kernel" in arrays:
        yield "fc8", (full(x, arrays["fc8/kernel"]) + arrays["fc8/bias"]).reshape(len(x), -1)


def full(x: Array, kernel: Array) -> Array:
    """A layer that sees its whole input: Dense behind Flatten, or a valid convolution."""
    if kernel.ndim == 2:
        return x.reshape(len(x), -1) @ kernel
    return conv(x, kernel)
