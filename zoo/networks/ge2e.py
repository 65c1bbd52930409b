"""The speaker encoder of Resemblyzer: three LSTM layers, 256 values of length one.

Wan et al., Generalized End-to-End Loss for Speaker Verification, ICASSP 2018; weights and the mean
over partial utterances: resemble-ai/Resemblyzer, resemblyzer/voice_encoder.py.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn import functional

from vox2face.core.entry import Architecture
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
        last = self.last_states(x.flatten(0, 1)).reshape(-1, x.shape[1], self.linear.in_features)
        yield "hidden", last
        y = functional.normalize(functional.relu(self.linear(last)), dim=2)
        yield "linear", y
        yield "mean", functional.normalize(y.mean(1), dim=1)

    def last_states(self, x: Tensor) -> Tensor:
        """Return the last hidden states (n, hidden) of the last layer for (n, frames, bands)."""
        if not torch.onnx.is_in_onnx_export():
            hidden: Tensor = self.lstm(x)[1][0][-1]
            return hidden
        # The exporter goes through an LSTM frame by frame, which takes it 10 s
        x = x.transpose(0, 1)
        for layer in self.lstm.all_weights:
            kernel, recurrent, *biases = (_onnx_gates(weights) for weights in layer)
            x = torch.onnx.ops.symbolic(
                "LSTM",
                (x, kernel.unsqueeze(0), recurrent.unsqueeze(0), torch.cat(biases).unsqueeze(0)),
                {"hidden_size": self.lstm.hidden_size},
                dtype=x.dtype,
                shape=(x.shape[0], 1, x.shape[1], self.lstm.hidden_size),
            ).squeeze(1)
        return x[-1]


def _onnx_gates(weights: Tensor) -> Tensor:
    """Return rows in the order of gates of ONNX: input, output, forget, cell."""
    enter, forget, cell, leave = weights.chunk(4)
    return torch.cat((enter, leave, forget, cell))


def infer_config(shapes: Mapping[str, Sequence[int]]) -> dict[str, Any]:
    """Return what `GE2E` was built with, from the shapes of its tensors."""
    width, hidden = shapes["linear.weight"]
    layers = sum(name.startswith("lstm.weight_ih") for name in shapes)
    return {
        "bands": shapes["lstm.weight_ih_l0"][1],
        "hidden": hidden,
        "layers": layers,
        "width": width,
    }


ARCHITECTURE = Architecture(GE2E, infer_config)
