"""What all networks of the zoo share: every layer's activation can be had by name."""

from __future__ import annotations

from collections.abc import Iterator

from torch import Tensor, nn

from vox2face.core.errors import UsageError

OUTPUT_LAYERS: dict[str, type[nn.Module]] = {
    "linear": nn.Identity,
    "relu": nn.ReLU,
    "sigmoid": nn.Sigmoid,
}


def output_layer(activation: str) -> nn.Module:
    """Return the module that a network ends in, one of `vox2face.core.entry.OUTPUT_ACTIVATIONS`."""
    if activation not in OUTPUT_LAYERS:
        known = ", ".join(OUTPUT_LAYERS)
        raise ValueError(f"output_activation is {activation!r}, not one of {known}")
    return OUTPUT_LAYERS[activation]()


class Tapped(nn.Module):
    """A network that yields its activations one after the other.

    `embedding` and `scores` name the taps of its two outputs; `classes` is 0 where the weights
    come without a classifier.
    """

    embedding: str
    scores: str
    classes: int = 0

    def taps(self, x: Tensor) -> Iterator[tuple[str, Tensor]]:
        """Yield (tap, activation) for every layer in order, the embedding and the scores last."""
        raise NotImplementedError

    def forward(self, x: Tensor) -> Tensor:
        """Return the embedding, (n, width)."""
        return self.at(self.embedding, x)

    def logits(self, x: Tensor) -> Tensor:
        """Return the class scores before softmax, (n, classes); `UsageError` if there are none."""
        if not self.classes:
            raise UsageError("These weights come without a classifier, so there are no logits.")
        return self.at(self.scores, x)

    def with_logits(self, x: Tensor) -> tuple[Tensor, Tensor]:
        """Return the embedding and the class scores."""
        values = dict(self.taps(x))
        return values[self.embedding], values[self.scores]

    def at(self, tap: str, x: Tensor) -> Tensor:
        """Return the activation of one tap and run no further; `UsageError` if there is none."""
        for name, value in self.taps(x):
            if name == tap:
                return value
        raise UsageError(
            f"{type(self).__name__} has no tap {tap!r}: let `taps` yield it, or name another."
        )
