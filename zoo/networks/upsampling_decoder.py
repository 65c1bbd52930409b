"""A face decoder without transposed convolutions, which draws normalised faces.

Every layer doubles its map by repeating pixels before it convolves, and the last one by bilinear
interpolation: a transposed convolution overlaps unevenly and leaves a lattice (Odena et al.,
Deconvolution and Checkerboard Artifacts, Distill 2016). What all faces share is no work of the
layers: the mean picture is a bias, and so is a map for every layer, which tells places apart.
Beside the layers, a linear map of the embedding draws the coarse picture, as eigenfaces do; it
keeps what little of age and build the embedding tells.
"""

from __future__ import annotations

import itertools
from collections.abc import Iterator, Mapping, Sequence
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn import functional

from vox2face.core.entry import Architecture
from vox2face.zoo.networks.base import Tapped

SIDE = 224
START = 7  # pixels of the first map; every layer doubles them
COARSE = 28  # pixels of the picture that is linear in the embedding
CHANNELS = (96, 64, 48, 32, 16)
GROUPS = 8


class UpsamplingDecoder(Tapped):
    """Embeddings (n, width) to landmarks (n, 2 points) and pictures (n, 3, 224, 224).

    Landmarks are x, y, x, y, ... in pixels of the picture, pictures RGB in about 0..1. Embeddings
    are standardised by the buffers `embedding_mean` and `embedding_std` (width,).
    """

    embedding = "texture"
    output_activation = ""  # linear, always
    mean_landmarks = None  # it does not warp: the texture is the picture
    embedding_mean: Tensor
    embedding_std: Tensor

    def __init__(
        self,
        width: int = 4096,
        hidden: int = 256,
        channels: Sequence[int] = CHANNELS,
        points: int = 68,
    ) -> None:
        super().__init__()
        self.register_buffer("embedding_mean", torch.zeros(width))
        self.register_buffer("embedding_std", torch.ones(width))
        self.trunk = nn.ModuleList([dense(width, hidden), dense(hidden, hidden)])
        self.start = nn.Linear(hidden, channels[0] * START * START)
        sizes = [START << i for i in range(1, len(channels))]
        self.layers = nn.ModuleList(
            Doubling(a, b, size)
            for (a, b), size in zip(itertools.pairwise(channels), sizes, strict=True)
        )
        self.last = nn.Conv2d(channels[-1], 3, 3, padding=1)
        self.coarse = nn.Linear(width, 3 * COARSE * COARSE, bias=False)
        self.mean_picture = nn.Parameter(torch.full((3, SIDE, SIDE), 0.5))
        self.landmarks = nn.Linear(hidden, 2 * points)
        self.linear_landmarks = nn.Linear(width, 2 * points, bias=False)
        for layer in (self.last, self.coarse, self.landmarks, self.linear_landmarks):
            nn.init.normal_(layer.weight, std=1e-3)  # so that it begins at the mean face
        nn.init.zeros_(self.get_parameter("last.bias"))

    def forward(self, x: Tensor) -> tuple[Tensor, Tensor]:  # type: ignore[override]
        """Return landmarks (n, 2 points) and pictures (n, 3, 224, 224)."""
        found = dict(self.taps(x))
        return found["landmarks"], found["texture"]

    def taps(self, x: Tensor) -> Iterator[tuple[str, Tensor]]:
        """Yield (tap, activation): trunk0, trunk1, landmarks, layer0, ..., coarse, texture."""
        x = (x - self.embedding_mean) / self.embedding_std
        y = x
        for number, layer in enumerate(self.trunk):
            y = layer(y)
            yield f"trunk{number}", y
        yield "landmarks", self.landmarks(y) + self.linear_landmarks(x)
        y = self.start(y).unflatten(1, (-1, START, START))
        for number, layer in enumerate(self.layers):
            y = layer(y)
            yield f"layer{number}", y
        coarse = self.coarse(x).unflatten(1, (3, COARSE, COARSE))
        yield "coarse", coarse
        yield "texture", self.mean_picture + _enlarged(coarse) + self.last(_enlarged(y))


def dense(before: int, after: int) -> nn.Sequential:
    """Return a dense layer with layer normalisation and leaky ReLU."""
    return nn.Sequential(nn.Linear(before, after), nn.LayerNorm(after), nn.LeakyReLU(0.2))


def _enlarged(x: Tensor) -> Tensor:
    """Return maps at the size of the picture, by bilinear interpolation."""
    return functional.interpolate(x, size=(SIDE, SIDE), mode="bilinear", align_corners=False)


class Doubling(nn.Module):
    """Twice the height and width: repeated pixels, convolution, a map of places, a residual."""

    def __init__(self, before: int, after: int, size: int) -> None:
        super().__init__()
        self.first = nn.Conv2d(before, after, 3, padding=1)
        self.second = nn.Conv2d(after, after, 3, padding=1)
        self.norms = nn.ModuleList(nn.GroupNorm(GROUPS, after) for _ in range(2))
        self.place = nn.Parameter(torch.zeros(after, size, size))

    def forward(self, x: Tensor) -> Tensor:
        """Return maps (n, after, size, size)."""
        x = self.first(functional.interpolate(x, scale_factor=2.0, mode="nearest"))
        x = functional.leaky_relu(self.norms[0](x) + self.place, 0.2)
        return x + functional.leaky_relu(self.norms[1](self.second(x)), 0.2)


def infer_config(shapes: Mapping[str, Sequence[int]]) -> dict[str, Any]:
    """Return what `UpsamplingDecoder` was built with, from the shapes of its tensors."""
    hidden, width = shapes["trunk.0.0.weight"]
    layers = sum(name.endswith(".place") for name in shapes)
    after = [shapes[f"layers.{n}.first.weight"][0] for n in range(layers)]
    return {
        "width": width,
        "hidden": hidden,
        "channels": (shapes["start.weight"][0] // START**2, *after),
        "points": shapes["landmarks.weight"][0] // 2,
    }


ARCHITECTURE = Architecture(UpsamplingDecoder, infer_config)
