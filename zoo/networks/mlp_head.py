"""A small network on top of a frozen encoder: what little data can train."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from typing import Any, Self

from torch import Tensor, nn
from torch.nn import functional

from vox2face.core.entry import Architecture
from vox2face.zoo.networks import ge2e
from vox2face.zoo.networks.base import Tapped


class MLPHead(Tapped):
    """A frozen encoder's embeddings through one hidden layer to embeddings (n, width).

    The encoder takes no gradients and stays in eval mode; its input is that of the whole.
    """

    embedding = "head"

    def __init__(self, base: Tapped, inputs: int, hidden: int = 512, width: int = 4096) -> None:
        super().__init__()
        self.base = base.requires_grad_(False).eval()
        self.fc1, self.fc2 = nn.Linear(inputs, hidden), nn.Linear(hidden, width)

    def train(self, mode: bool = True) -> Self:
        """Set the mode of the head; the encoder stays in eval mode."""
        super().train(mode)
        self.base.eval()
        return self

    def taps(self, x: Tensor) -> Iterator[tuple[str, Tensor]]:
        """Yield (tap, activation): those of the encoder, then hidden and head."""
        for name, value in self.base.taps(x):
            yield f"base/{name}", value
            x = value
        x = functional.relu(self.fc1(x))
        yield "fc1", x
        yield "head", self.fc2(x)


def resemblyzer(**more: Any) -> MLPHead:
    """Return a head on Resemblyzer's speaker encoder, whose embeddings have 256 values."""
    return MLPHead(ge2e.GE2E(**more.pop("base", {})), **{"inputs": 256, **more})


def infer_config(shapes: Mapping[str, Sequence[int]]) -> dict[str, Any]:
    """Return what `resemblyzer` was built with, from the shapes of its tensors."""
    base = {k.removeprefix("base."): v for k, v in shapes.items() if k.startswith("base.")}
    hidden, inputs = shapes["fc1.weight"]
    width = shapes["fc2.weight"][0]
    return {"base": ge2e.infer_config(base), "inputs": inputs, "hidden": hidden, "width": width}


ARCHITECTURE = Architecture(resemblyzer, infer_config)
