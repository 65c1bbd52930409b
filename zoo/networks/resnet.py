"""ResNet-50 and SE-ResNet-50 for faces, as keras-vggface builds them.

Cao, Shen, Xie, Parkhi, Zisserman: VGGFace2, FG 2018; graph: keras_vggface/models.py. It differs
from torchvision's ResNet-50: the stride sits in the first 1x1 convolution of a stage, the 7x7
convolution pads 2 before and 3 after, the pool behind it pads nothing (112 -> 55), and the epsilon
of the batch normalisation is 1e-3, or 1e-4 in the SE network.
"""

from __future__ import annotations

from collections.abc import Iterator

import torch
from torch import Tensor, nn
from torch.nn import functional

from vox2face.core.entry import Architecture
from vox2face.zoo.networks.base import Tapped

DEPTHS = (3, 4, 6, 3)
CHANNELS = (64, 128, 256, 512)
EXPANSION = 4
REDUCTION = 16  # of the channels, in the squeeze


class VGGFaceResNet(Tapped):
    """Face pictures float32 (n, 3, 224, 224) to the averaged features, float32 (n, 2048).

    The pictures are BGR, 0..255, minus the means of VGGFace2. `classes=0` leaves the classifier
    out; `stem` and `channels` allow narrow twins for tests.
    """

    embedding, scores = "avg_pool", "classifier"

    def __init__(
        self,
        squeeze: bool,
        epsilon: float,
        stem: int = 64,
        channels: tuple[int, ...] = CHANNELS,
        classes: int = 8631,
    ) -> None:
        super().__init__()
        self.classes, self.squeeze, self.epsilon = classes, squeeze, epsilon
        self.strides: dict[str, int] = {}
        self.add_convolution("conv1_7x7_s2", 3, stem, 7)
        width = stem
        for stage, (inner, depth) in enumerate(zip(channels, DEPTHS, strict=True), start=2):
            for number in range(1, depth + 1):
                block, first = f"conv{stage}_{number}", number == 1
                self.strides[block] = 2 if first and stage > 2 else 1
                self.add_block(block, width, inner, project=first)
                width = EXPANSION * inner
        if classes:
            self.classifier = nn.Linear(width, classes)

    def add_convolution(self, name: str, width: int, out: int, size: int) -> None:
        """Add a convolution without bias and the batch normalisation behind it."""
        self.add_module(name, nn.Conv2d(width, out, size, bias=False))
        self.add_module(f"{name}_bn", nn.BatchNorm2d(out, eps=self.epsilon))

    def add_block(self, block: str, width: int, inner: int, project: bool) -> None:
        """Add the layers of one residual block."""
        out = EXPANSION * inner
        self.add_convolution(f"{block}_1x1_reduce", width, inner, 1)
        self.add_convolution(f"{block}_3x3", inner, inner, 3)
        self.add_convolution(f"{block}_1x1_increase", inner, out, 1)
        if self.squeeze:
            self.add_module(f"{block}_1x1_down", nn.Conv2d(out, out // REDUCTION, 1))
            self.add_module(f"{block}_1x1_up", nn.Conv2d(out // REDUCTION, out, 1))
        if project:
            self.add_convolution(f"{block}_1x1_proj", width, out, 1)

    def taps(self, x: Tensor) -> Iterator[tuple[str, Tensor]]:
        """Yield (tap, activation) of the stem, every block, the average and the classifier."""
        x = self.normalized("conv1_7x7_s2", functional.pad(x, (2, 3, 2, 3)), stride=2)
        x = functional.relu(x)
        yield "conv1", x
        x = functional.max_pool2d(x, 3, 2)
        yield "pool1", x
        for block, stride in self.strides.items():
            x = self.block(block, x, stride)
            yield block, x
        x = x.mean((2, 3))
        yield "avg_pool", x
        if self.classes:
            yield "classifier", self.classifier(x)

    def block(self, name: str, x: Tensor, stride: int) -> Tensor:
        """Return relu(residual + shortcut) of one block."""
        y = functional.relu(self.normalized(f"{name}_1x1_reduce", x, stride))
        y = functional.relu(self.normalized(f"{name}_3x3", y, padding=1))
        y = self.normalized(f"{name}_1x1_increase", y)
        if self.squeeze:
            scale = y.mean((2, 3), keepdim=True)
            scale = functional.relu(self.get_submodule(f"{name}_1x1_down")(scale))
            y = y * torch.sigmoid(self.get_submodule(f"{name}_1x1_up")(scale))
        projected = hasattr(self, f"{name}_1x1_proj")
        return functional.relu(
            y + (self.normalized(f"{name}_1x1_proj", x, stride) if projected else x)
        )

    def normalized(self, name: str, x: Tensor, stride: int = 1, padding: int = 0) -> Tensor:
        """Run a convolution and its batch normalisation."""
        kernel = self.get_submodule(name).weight
        assert isinstance(kernel, Tensor)
        y: Tensor = self.get_submodule(f"{name}_bn")(
            functional.conv2d(x, kernel, stride=stride, padding=padding)
        )
        return y


ARCHITECTURE = Architecture(VGGFaceResNet)
