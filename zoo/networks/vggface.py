"""VGG-Face: 13 convolutions, fc6 as a 7x7 convolution, fc7 and fc8 as matrices.

Parkhi, Vedaldi, Zisserman: Deep Face Recognition, BMVC 2015. One module serves the weights of
deepface and of keras-vggface; they differ in their files' layout and in preprocessing.
"""

from __future__ import annotations

from collections.abc import Iterator

from torch import Tensor, nn
from torch.nn import functional

from vox2face.core.entry import Architecture
from vox2face.zoo.networks.base import Tapped

CHANNELS = (64, 128, 256, 512, 512)
DEPTHS = (2, 2, 3, 3, 3)


class VGGFace(Tapped):
    """Face pictures float32 (n, 3, 224, 224) to fc7 after ReLU, float32 (n, 4096).

    The colour order and value range of the input belong to the preset the weights were trained
    with. `classes=0` leaves fc8 out; `channels` and `hidden` allow narrow twins for tests.
    """

    embedding, scores = "fc7", "fc8"

    def __init__(
        self,
        channels: tuple[int, ...] = CHANNELS,
        hidden: int = 4096,
        classes: int = 2622,
    ) -> None:
        super().__init__()
        self.classes = classes
        self.stages: list[tuple[str, ...]] = []
        width = 3
        for stage, (out, depth) in enumerate(zip(channels, DEPTHS, strict=True), start=1):
            names = tuple(f"conv{stage}_{i}" for i in range(1, depth + 1))
            for name in names:
                self.add_module(name, nn.Conv2d(width, out, 3, padding=1))
                width = out
            self.stages.append(names)
        self.fc6 = nn.Conv2d(width, hidden, 7)
        self.fc7 = nn.Linear(hidden, hidden)
        if classes:
            self.fc8 = nn.Linear(hidden, classes)

    def taps(self, x: Tensor) -> Iterator[tuple[str, Tensor]]:
        """Yield (layer name, activation after its ReLU) in order; fc8, if there is one, last."""
        for number, names in enumerate(self.stages, start=1):
            for name in names:
                x = functional.relu(self.get_submodule(name)(x))
                yield name, x
            x = functional.max_pool2d(x, 2)
            yield f"pool{number}", x
        # The 7x7 convolution meets a 7x7 map: one matrix product, faster than a convolution.
        x = functional.linear(x.flatten(1), self.fc6.weight.flatten(1), self.fc6.bias)
        x = functional.relu(x)
        yield "fc6", x
        x = functional.relu(self.fc7(x))
        yield "fc7", x
        if self.classes:
            yield "fc8", self.fc8(x)


ARCHITECTURE = Architecture(VGGFace)
