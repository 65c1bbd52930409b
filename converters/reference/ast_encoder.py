"""The Audio Spectrogram Transformer in NumPy, on the arrays of a Speech-to-face checkpoint.

Source: transformers, models/audio_spectrogram_transformer; names of transformers 4.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping

import numpy as np

from vox2face.converters.ops import Array
from vox2face.converters.reference.layers import conv
from vox2face.converters.reference.torch_layers import (
    activated,
    gelu,
    hwio,
    layer_normalized,
    linear,
    normalized,
    softmax,
)

BODY = "audio_spectrogram_transformer"
HEAD_SIZE = 64
SIZE, STRIDE, STEP = 16, 10, 8  # of patches; from one to the next, of squares and of deltas


def ast(
    arrays: Mapping[str, Array], x: Array, output_activation: str
) -> Iterator[tuple[str, Array]]:
    """Yield (tap, activation) for filter banks `x`, float32 (n, frames, bins)."""
    x = tokens(arrays, x)
    yield "tokens", x
    count = sum(name.endswith("intermediate.dense/weight") for name in arrays)
    for number in range(count):
        x = block(arrays, f"{BODY}.encoder.layer.{number}", x)
        yield f"block{number}", x
    x = layer_normalized(arrays, f"{BODY}.layernorm", x)
    x = (x[:, 0] + x[:, 1]) * np.float32(0.5)
    yield "pooled", x
    x = layer_normalized(arrays, "classifier.0.layernorm", x)
    x = linear(arrays, "classifier.0.dense", x)
    yield "head", activated(x, output_activation)


def tokens(arrays: Mapping[str, Array], x: Array) -> Array:
    """Return the patches with their positions, two tokens in front."""
    name = f"{BODY}.embeddings"
    kernel = arrays[f"{name}.patch_embeddings.projection/weight"]
    bias = arrays[f"{name}.patch_embeddings.projection/bias"]
    if kernel.ndim == 4:
        y = conv(x.transpose(0, 2, 1)[..., None], hwio(kernel), STRIDE) + bias
        y = y.reshape(len(y), -1, y.shape[3])
    else:
        y = deltas(arrays, x) @ kernel[..., 0].T + bias
    first = [
        np.broadcast_to(arrays[f"{name}/{token}"], (len(y), 1, y.shape[2]))
        for token in ("cls_token", "distillation_token")
    ]
    result: Array = np.concatenate([*first, y], axis=1) + arrays[f"{name}/position_embeddings"]
    return result


def deltas(arrays: Mapping[str, Array], x: Array) -> Array:
    """Return the mean levels and sizes of differences in each patch, normalised: (n, count, 768).

    At the ends every frame and bin has itself as its neighbour.
    """
    time, bins = (np.diff(x, axis=axis, append=last(x, axis)) for axis in (1, 2))
    second = [
        np.diff(y, axis=axis, prepend=np.zeros_like(last(y, axis)))
        for y, axis in ((time, 1), (bins, 2))
    ]
    both = np.diff(time, axis=2, append=last(time, 2))
    maps = (x, *map(np.abs, (time, second[0], bins, second[1], both)))
    starts = range(0, x.shape[1] - SIZE + 1, STEP)
    y = np.stack([np.concatenate([m[:, i : i + SIZE].mean(1) for m in maps], 1) for i in starts], 1)
    return normalized(arrays, f"{BODY}.embeddings.patch_embeddings.norm", y)


def last(x: Array, axis: int) -> Array:
    """Return the last slice along an axis, which is kept."""
    return x.take([-1], axis=axis)


def block(arrays: Mapping[str, Array], name: str, x: Array) -> Array:
    """Return the tokens behind one transformer layer."""
    y = layer_normalized(arrays, f"{name}.layernorm_before", x)
    query, key, value = (
        linear(arrays, f"{name}.attention.attention.{part}", y)
        for part in ("query", "key", "value")
    )
    mixed = np.empty_like(query)
    for start in range(0, query.shape[2], HEAD_SIZE):
        head = np.s_[:, :, start : start + HEAD_SIZE]
        scores = query[head] @ key[head].transpose(0, 2, 1) / np.float32(HEAD_SIZE**0.5)
        mixed[head] = softmax(scores) @ value[head]
    x = x + linear(arrays, f"{name}.attention.output.dense", mixed)
    y = layer_normalized(arrays, f"{name}.layernorm_after", x)
    y = gelu(linear(arrays, f"{name}.intermediate.dense", y))
    return x + linear(arrays, f"{name}.output.dense", y)
