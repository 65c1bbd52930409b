"""The speaker encoder of Resemblyzer: three LSTM layers, 256 values of length one.

Wan et al., Generalized End-to-End Loss for Speaker Verification, ICASSP 2018; weights and the mean
over partial utterances: resemble-ai/Resemblyzer, resemblyzer/voice_encoder.py.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from typing import Any

from torch import Tensor, nn
from torch.nn import functional

from vox2face.zoo.networks.base import Tapped


class GE2E(Tapped):
    """Partial utterances (n, partials, frames, bands) to embeddings (n, width) of length one.

    The last hidden state of each partial utterance goes through a dense layer and ReLU and is
    divided by its length; the embedding is their mean, divided by its length again.
    """

    embedding = "mean"

    def __init__(
        self, bands: int = 40, hidden: int = 256, layers: int = 3, width: int = 256
    ) -> None:
        super().__init__()
        self.lstm = nn.LSTM(bands, hidden, layers, batch_first=True)
        self.linear = nn.Linear(hidden, width)

    def taps(self, x: Tensor) -> Iterator[tuple[str, Tensor]]:
        """Yield (tap, activation): hidden, linear, mean."""
        _, (hidden, _) = self.lstm(x.flatten(0, 1))
        last = hidden[-1].unflatten(0, (-1, x.shape[1]))
        yield "hidden", last
        y = functional.normalize(functional.relu(self.linear(last)), dim=2)
        yield "linear", y
        yield "mean", functional.normalize(y.mean(1), dim=1)


def settings(shapes: Mapping[str, Sequence[int]]) -> dict[str, Any]:
    """Return what `GE2E` was built with, from the shapes of its tensors."""
    width, hidden = shapes["linear.weight"]
    layers = sum(name.startswith("lstm.weight_ih") for name in shapes)
    return {
        "bands": shapes["lstm.weight_ih_l0"][1],
        "hidden": hidden,
        "layers": layers,
        "width": width,
    }
