"""dlib's face recognition network: 29 convolutions, 128 values, no bias in the last matrix.

Davis King: dlib_face_recognition_resnet_model_v1; the graph is that of dlib's
dnn_face_recognition_ex.cpp. Its training pulled pictures of one person to within a distance of
0.6 of each other, and those of two people further apart.
"""

from __future__ import annotations

from collections.abc import Iterator

import torch
from torch import Tensor, nn
from torch.nn import functional

from vox2face.core.entry import Architecture
from vox2face.zoo.networks.base import Tapped

# Block, channels, whether it halves the map
BLOCKS = (
    ("conv32_1", 32, False),
    ("conv32_2", 32, False),
    ("conv32_3", 32, False),
    ("conv64_down", 64, True),
    ("conv64_1", 64, False),
    ("conv64_2", 64, False),
    ("conv64_3", 64, False),
    ("conv128_down", 128, True),
    ("conv128_1", 128, False),
    ("conv128_2", 128, False),
    ("conv256_down", 256, True),
    ("conv256_1", 256, False),
    ("conv256_2", 256, False),
    ("conv256_down_out", 256, True),
)


class Scale(nn.Module):
    """A factor and a shift for each channel."""

    def __init__(self, channels: int) -> None:
        super().__init__()
        self.weight = nn.Parameter(torch.ones(channels))
        self.bias = nn.Parameter(torch.zeros(channels))

    def forward(self, x: Tensor) -> Tensor:
        """Return x * weight + bias, channel by channel."""
        return x * self.weight[:, None, None] + self.bias[:, None, None]


class ScaledConv(nn.Sequential):
    """A convolution with bias, then a scale."""

    def __init__(self, width: int, out: int, size: int, stride: int) -> None:
        super().__init__()
        padding = size // 2 if stride == 1 else 0
        self.conv = nn.Conv2d(width, out, size, stride, padding)
        self.scale = Scale(out)


class Block(nn.Module):
    """Two 3x3 convolutions beside a shortcut; a halving block averages its shortcut 2x2."""

    def __init__(self, width: int, out: int, halve: bool) -> None:
        super().__init__()
        self.halve = halve
        self.conv1 = ScaledConv(width, out, 3, 2 if halve else 1)
        self.conv2 = ScaledConv(out, out, 3, 1)

    def forward(self, x: Tensor) -> Tensor:
        """Return relu(residual + shortcut), zeros standing in for what either lacks."""
        y = self.conv2(functional.relu(self.conv1(x)))
        if self.halve:
            x = functional.avg_pool2d(x, 2)
            x = functional.pad(x, (0, 0, 0, 0, 0, y.shape[1] - x.shape[1]))
            y = functional.pad(y, (0, x.shape[3] - y.shape[3], 0, x.shape[2] - y.shape[2]))
        return functional.relu(y + x)


class DlibResNet(Tapped):
    """Aligned faces float32 (n, 3, 150, 150) to float32 (n, 128), RGB minus means over 256."""

    embedding, scores = "fc", ""

    def __init__(
        self, blocks: tuple[tuple[str, int, bool], ...] = BLOCKS, width: int = 128
    ) -> None:
        super().__init__()
        self.names = [name for name, _, _ in blocks]
        channels = blocks[0][1]
        self.conv32_down = ScaledConv(3, channels, 7, 2)
        for name, out, halve in blocks:
            self.add_module(name, Block(channels, out, halve))
            channels = out
        self.fc = nn.Linear(channels, width, bias=False)

    def taps(self, x: Tensor) -> Iterator[tuple[str, Tensor]]:
        """Yield (tap, activation) of the stem, every block, the average and the embedding."""
        x = functional.relu(self.conv32_down(x))
        yield "conv32_down", x
        x = functional.max_pool2d(x, 3, 2)
        yield "pool1", x
        for name in self.names:
            x = self.get_submodule(name)(x)
            yield name, x
        x = x.mean((2, 3))
        yield "avg_pool", x
        yield "fc", self.fc(x)


ARCHITECTURE = Architecture(DlibResNet)
