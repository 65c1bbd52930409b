"""What one ONNX file computes, as one module: front end, network and tail."""

from __future__ import annotations

import torch
from torch import Tensor, nn

from vox2face.zoo.networks.base import Tapped
from vox2face.zoo.networks.warp_tail import FaceTail


class ChannelsFirst(nn.Module):
    """Takes pictures as TensorFlow does, (n, height, width, 3), and gives (n, 3, height, width)."""

    def forward(self, x: Tensor) -> Tensor:
        """Return the pictures with their channels first."""
        return x.permute(0, 3, 1, 2)


class Composed(nn.Module):
    """A front end, if there is one, and a network behind it.

    The network computes in the type of its weights, which may be float16; what goes in and comes
    out is float32. With `scores` the class scores come out beside the embedding.
    """

    def __init__(
        self, network: Tapped, front: nn.Module | None = None, scores: bool = False
    ) -> None:
        super().__init__()
        self.front, self.network, self.scores = front or nn.Identity(), network, scores

    def forward(self, x: Tensor) -> tuple[Tensor, ...]:
        """Return all outputs in the order of the entry's."""
        x = self.front(x).to(next(self.network.parameters()).dtype)
        values = self.network.with_logits(x) if self.scores else self.network(x)
        values = values if isinstance(values, tuple) else (values,)
        return tuple(value.to(torch.float32) for value in values)


class Pipeline(nn.Module):
    """Waveforms or pixels to pictures (n, 3, 224, 224), landmarks (n, 68, 2) and embeddings."""

    def __init__(self, encoder: Composed, decoder: Composed, tail: FaceTail) -> None:
        super().__init__()
        self.encoder, self.decoder, self.tail = encoder, decoder, tail

    def forward(self, x: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        """Return picture, landmarks and embedding."""
        (embedding,) = self.encoder(x)
        picture, _, points = self.tail(*self.decoder(embedding))
        return picture, points, embedding
