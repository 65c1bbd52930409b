"""The face decoder: an embedding becomes landmarks and a texture of 224 x 224 pixels.

After Cole et al., Synthesizing Normalized Faces from Facial Identity Features, CVPR 2017; sizes and
names of the layers, and the sigmoid at the end, are those of Kacper-Pietkun/Speech-to-face, whose
checkpoints fit as they are. It had no sigmoid until 21 December 2023.
"""

from __future__ import annotations

import itertools
from collections.abc import Iterable, Iterator, Mapping, Sequence
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn import functional

from vox2face.core.entry import Architecture
from vox2face.zoo.networks.base import Tapped, output_layer

TRUNK = (3072, 2048)
LANDMARKS = (1024, 512, 256)
TEXTURE = (256, 128, 64, 32, 32)
START = 14  # pixels of the first map; every layer doubles them
MEAN = "mean_landmarks"


class FaceDecoder(Tapped):
    """Embeddings (n, width) to landmarks (n, 2 points) and textures (n, 3, 224, 224).

    Landmarks are x, y, x, y, ... in pixels of the picture, textures RGB: in 0..1 behind a
    sigmoid, in about 0..1 where `output_activation` is "linear". A decoder with a
    warp has the mean landmarks, to which its textures belong, as the buffer `mean_landmarks`
    (68, 2); where there is none, the texture is the picture.
    """

    embedding = "texture"
    mean_landmarks: Tensor | None

    def __init__(
        self,
        width: int = 4096,
        trunk: Sequence[int] = TRUNK,
        landmarks: Sequence[int] = LANDMARKS,
        texture: Sequence[int] = TEXTURE,
        points: int = 72,
        warp: bool = False,
        output_activation: str = "sigmoid",
    ) -> None:
        super().__init__()
        sizes = (width, *trunk)
        self.pre_layers = nn.ModuleList(map(dense, sizes, sizes[1:]))
        sizes = (trunk[-1], *landmarks)
        last = nn.Sequential(nn.Linear(sizes[-1], 2 * points))
        self.landmark_layers = nn.ModuleList([*map(dense, sizes, sizes[1:]), last])
        first = nn.Sequential(nn.Linear(trunk[-1], texture[0] * START * START), nn.ReLU())
        shape = nn.Unflatten(1, (texture[0], START, START))
        doubled = [
            nn.Sequential(*([shape] if i == 0 else []), Doubling(a, b), nn.ReLU())
            for i, (a, b) in enumerate(itertools.pairwise(texture))
        ]
        last = nn.Sequential(nn.Conv2d(texture[-1], 3, 1), output_layer(output_activation))
        self.output_activation = output_activation
        self.texture_layers = nn.ModuleList([first, *doubled, last])
        self.register_buffer(MEAN, torch.zeros(68, 2) if warp else None)

    def forward(self, x: Tensor) -> tuple[Tensor, Tensor]:  # type: ignore[override]
        """Return landmarks (n, 2 points) and textures (n, 3, 224, 224)."""
        found = dict(self.taps(x))
        return found["landmarks"], found["texture"]

    def taps(self, x: Tensor) -> Iterator[tuple[str, Tensor]]:
        """Yield (tap, activation): trunk0, ..., landmarks, texture0, ..., texture."""
        for number, layer in enumerate(self.pre_layers):
            x = layer(x)
            yield f"trunk{number}", x
        yield "landmarks", run(self.landmark_layers, x)
        if torch.onnx.is_in_onnx_export():
            yield "texture", self.exported_texture(x)
            return
        for number, layer in enumerate(self.texture_layers):
            x = layer(x)
            yield "texture" if number == len(self.texture_layers) - 1 else f"texture{number}", x

    def exported_texture(self, x: Tensor) -> Tensor:
        """Return the texture by convolutions that runtimes are faster at than at transposed ones.

        The last layer comes before the pixels of its squares are spread, which are then fewer.
        """
        first, *doubling, last = self.texture_layers
        x = first(x)
        for layer in doubling:
            *shape, transposed, relu = layer.children()
            assert isinstance(transposed, Doubling)
            pixels = [relu(pixel) for pixel in transposed.pixels(run(shape, x))]
            x = spread(pixels)
        return spread([last(pixel) for pixel in pixels])


def dense(before: int, after: int) -> nn.Sequential:
    """Return a dense layer with batch normalisation and ReLU."""
    return nn.Sequential(nn.Linear(before, after), nn.BatchNorm1d(after), nn.ReLU())


class Doubling(nn.ConvTranspose2d):
    """The layer that doubles height and width: 5 x 5, stride 2."""

    def __init__(self, before: int, after: int) -> None:
        super().__init__(before, after, 5, stride=2, padding=2, output_padding=1)

    def pixels(self, x: Tensor) -> list[Tensor]:
        """Return each of the four pixels of every output square as a map of its own.

        They are plain convolutions: a transposed one runs over its kernel backwards, 4 2 0 of a row
        reach an even pixel, 3 1 an odd one.
        """
        maps = []
        for row, column in itertools.product((0, 1), (0, 1)):
            kernel = self.weight[:, :, row::2, column::2].flip(2, 3).transpose(0, 1)
            around = functional.pad(x, (1 - column, 1, 1 - row, 1))
            maps.append(functional.conv2d(around, kernel, self.bias))
        return maps


def spread(pixels: Sequence[Tensor]) -> Tensor:
    """Return the map (n, channels, 2 height, 2 width) of four, in an exported graph."""
    n, channels, height, width = pixels[0].shape
    return torch.onnx.ops.symbolic(
        "DepthToSpace",
        (torch.cat(list(pixels), 1),),
        {"blocksize": 2, "mode": "DCR"},
        dtype=pixels[0].dtype,
        shape=(n, channels, 2 * height, 2 * width),
    )


def run(layers: Iterable[nn.Module], x: Tensor) -> Tensor:
    """Return what layers make of a value one after the other."""
    for layer in layers:
        x = layer(x)
    return x


def infer_config(shapes: Mapping[str, Sequence[int]]) -> dict[str, Any]:
    """Return what `FaceDecoder` was built with, from the shapes of its tensors."""
    trunk = [shapes[f"pre_layers.{n}.0.weight"] for n in range(count(shapes, "pre_layers"))]
    marks = [
        shapes[f"landmark_layers.{n}.0.weight"] for n in range(count(shapes, "landmark_layers"))
    ]
    texture = [
        shapes[f"texture_layers.{n}.{int(n == 1)}.weight"]
        for n in range(1, count(shapes, "texture_layers"))
    ]
    return {
        "width": trunk[0][1],
        "trunk": tuple(shape[0] for shape in trunk),
        "landmarks": tuple(shape[0] for shape in marks[:-1]),
        # transposed convolutions have the axes in, out
        "texture": (texture[0][0], *(shape[1] for shape in texture[:-1])),
        "points": marks[-1][0] // 2,
        "warp": MEAN in shapes,
    }


def count(shapes: Mapping[str, Sequence[int]], layers: str) -> int:
    """Return how many layers of a list have weights."""
    return len({name.split(".")[1] for name in shapes if name.startswith(f"{layers}.")})


ARCHITECTURE = Architecture(FaceDecoder, infer_config)
