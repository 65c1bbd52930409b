"""VE_conv, the convolutional voice encoder of Speech2Face, 148,062,976 trainable parameters.

Architecture: Oh et al., Speech2Face, CVPR 2019, table 1. Names of the layers and the ReLU at the
end: Kacper-Pietkun/Speech-to-face, whose checkpoints fit as they are. The paper has no last ReLU,
and that repository had none until 8 April 2024.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from typing import Any

from torch import Tensor, nn

from vox2face.core.entry import Architecture
from vox2face.zoo.networks.base import Tapped, output_layer

CHANNELS = (64, 64, 128, 128, 128, 256, 512, 512, 512)
POOLED = (3, 4, 5, 6)  # layers that end in a maximum over two frames
STRIDED = (8, 9)
BINS = 257


class TimeAverage(nn.Module):
    """The mean over all frames."""

    def forward(self, x: Tensor) -> Tensor:
        """Return (n, channels, bins, 1) from (n, channels, bins, frames)."""
        return x.mean(3, keepdim=True)


class VEConv(Tapped):
    """Spectrograms (n, 2, bins, frames) to embeddings (n, width).

    Frames are pooled over time only, so that any number of 259 or more will do.
    `output_activation="linear"` gives the network of the paper. The layers have the names of the
    Speech-to-face repo's checkpoints.
    """

    embedding = "layer11"

    def __init__(
        self,
        channels: Sequence[int] = CHANNELS,
        hidden: int = 4096,
        width: int = 4096,
        output_activation: str = "relu",
        bins: int = BINS,
    ) -> None:
        super().__init__()
        if len(channels) != len(CHANNELS):
            raise ValueError(
                f"channels are {len(CHANNELS)}, one for each layer, not {len(channels)}"
            )
        before, left = 2, bins
        for number, after in enumerate(channels, start=1):
            stride = 2 if number in STRIDED else 1
            conv, norm = nn.Conv2d(before, after, 4, stride), nn.BatchNorm2d(after)
            layers: list[nn.Module] = [conv, nn.ReLU(inplace=True), norm]
            if number in POOLED:
                layers.append(nn.MaxPool2d((1, 2)))
            if number == len(channels):  # average, then ReLU and normalisation
                layers = [conv, TimeAverage(), nn.ReLU(inplace=True), norm]
            self.add_module(f"layer{number}", nn.Sequential(*layers))
            before, left = after, (left - 4) // stride + 1
        self.layer10 = nn.Sequential(nn.Flatten(), nn.Linear(before * left, hidden), nn.ReLU())
        self.output_activation = output_activation
        self.layer11 = nn.Sequential(nn.Linear(hidden, width), output_layer(output_activation))

    def taps(self, x: Tensor) -> Iterator[tuple[str, Tensor]]:
        """Yield (tap, activation) for the layers 1 to 11."""
        for name, layer in self.named_children():
            x = layer(x)
            yield name, x


def infer_config(shapes: Mapping[str, Sequence[int]]) -> dict[str, Any]:
    """Return what `VEConv` was built with, from the shapes of its tensors."""
    channels = tuple(shapes[f"layer{n}.0.weight"][0] for n in range(1, 10))
    width, hidden = shapes["layer11.0.weight"]
    return {"channels": channels, "hidden": hidden, "width": width}


ARCHITECTURE = Architecture(VEConv, infer_config)
