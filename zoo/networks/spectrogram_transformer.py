"""The Audio Spectrogram Transformer as a voice encoder: 16 x 16 patches, 12 layers, a head.

Gong, Chung, Glass: AST, Interspeech 2021; the head and the ReLU behind it are those of
Kacper-Pietkun/Speech-to-face, which had no ReLU until 8 April 2024. Attention is PyTorch's
scaled_dot_product_attention, which picks the fastest kernel of the device.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn import functional

from vox2face.core.entry import Architecture
from vox2face.zoo.networks import spectrogram_patches
from vox2face.zoo.networks.base import Tapped, output_layer

HEAD_SIZE = 64
EPSILON = 1e-12


class Block(nn.Module):
    """One transformer layer, normalised first."""

    def __init__(self, hidden: int, inner: int) -> None:
        super().__init__()
        self.heads = hidden // HEAD_SIZE
        self.norm1, self.norm2 = (nn.LayerNorm(hidden, eps=EPSILON) for _ in range(2))
        self.query, self.key, self.value, self.output = (nn.Linear(hidden, hidden) for _ in "qkvo")
        self.fc1, self.fc2 = nn.Linear(hidden, inner), nn.Linear(inner, hidden)

    def forward(self, x: Tensor, first: int | None = None) -> Tensor:
        """Return the `first` tokens (default: all) after attention and two dense layers.

        They are (n, first, hidden), and attend to all tokens (n, tokens, hidden).
        """
        y = self.norm1(x)
        query, key, value = (
            _on_rows(self.query, y[:, :first]),
            _on_rows(self.key, y),
            _on_rows(self.value, y),
        )
        x = x[:, :first] + _on_rows(self.output, self.attention(query, key, value))
        y = functional.gelu(_on_rows(self.fc1, self.norm2(x)))
        return x + _on_rows(self.fc2, y)

    def attention(self, query: Tensor, key: Tensor, value: Tensor) -> Tensor:
        """Return what the heads make of three (n, tokens, hidden), as many tokens as queries."""
        if torch.onnx.is_in_onnx_export():  # ONNX Runtime has one kernel for it, which is faster
            return torch.onnx.ops.symbolic(
                "com.microsoft::MultiHeadAttention",
                (query, key, value),
                {"num_heads": self.heads},
                dtype=query.dtype,
                shape=query.shape,
                version=1,
            )
        q, k, v = map(self.split, (query, key, value))
        return functional.scaled_dot_product_attention(q, k, v).transpose(1, 2).flatten(2)

    def split(self, x: Tensor) -> Tensor:
        """Return (n, heads, tokens, size) from (n, tokens, hidden)."""
        return x.reshape(x.shape[0], x.shape[1], self.heads, -1).transpose(1, 2)


def _on_rows(layer: nn.Linear, x: Tensor) -> Tensor:
    """Return a layer's output for (n, tokens, hidden), computed as one matrix of all tokens."""
    y: Tensor = layer(x.flatten(0, 1)).unflatten(0, (-1, x.shape[1]))
    return y


class AST(Tapped):
    """Mel filter banks (n, frames, bins) to embeddings (n, width).

    `hidden` is a multiple of 64, the size of an attention head. Two tokens, for class and for
    distillation, stand in front of the patches; their mean goes to the head. `patches` is
    "squares", the published ones, or "deltas", from which small networks learn voices sooner; see
    `vox2face.zoo.networks.spectrogram_patches`.
    """

    embedding = "head"

    def __init__(
        self,
        hidden: int = 768,
        layers: int = 12,
        inner: int = 3072,
        width: int = 4096,
        frames: int = 1024,
        output_activation: str = "relu",
        patches: str = "squares",
    ) -> None:
        super().__init__()
        if hidden % HEAD_SIZE:
            raise ValueError(f"hidden is a multiple of {HEAD_SIZE}, and not {hidden}")
        self.patches = spectrogram_patches.made(patches, hidden)
        tokens = 2 + spectrogram_patches.tokens(patches, frames)
        self.class_token = nn.Parameter(torch.zeros(1, 1, hidden))
        self.distillation_token = nn.Parameter(torch.zeros(1, 1, hidden))
        self.positions = nn.Parameter(torch.zeros(1, tokens, hidden))
        self.blocks = nn.ModuleList(Block(hidden, inner) for _ in range(layers))
        self.norm, self.head_norm = nn.LayerNorm(hidden, eps=EPSILON), nn.LayerNorm(hidden)
        self.head_norm.eps = EPSILON
        self.head = nn.Linear(hidden, width)
        self.last, self.frames = output_layer(output_activation), frames
        self.output_activation = output_activation
        for weights in (self.class_token, self.distillation_token, self.positions):
            nn.init.trunc_normal_(weights, std=0.02)

    def taps(self, x: Tensor) -> Iterator[tuple[str, Tensor]]:
        """Yield (tap, activation): tokens, block0 to block11, pooled, head."""
        return self.activations(x)

    def at(self, tap: str, x: Tensor) -> Tensor:
        """Return the activation of one tap and run no further; `KeyError` if there is none.

        Behind the last block only its first two tokens count, so that the others are not computed.
        """
        short = 2 if tap in ("pooled", "head") else None
        for name, value in self.activations(x, short):
            if name == tap:
                return value
        raise KeyError(tap)

    def activations(self, x: Tensor, last: int | None = None) -> Iterator[tuple[str, Tensor]]:
        """Yield every tap; the last block's has as many tokens as `last` says, by default all."""
        x = self.patches(x)
        count = (x.shape[0], -1, -1)
        tokens = (self.class_token.expand(count), self.distillation_token.expand(count), x)
        x = torch.cat(tokens, 1) + self.positions
        yield "tokens", x
        for number, block in enumerate(self.blocks, 1):
            x = block(x, last if number == len(self.blocks) else None)
            yield f"block{number - 1}", x
        x = self.norm(x)[:, :2].mean(1)
        yield "pooled", x
        yield "head", self.finished(x)

    def finished(self, pooled: Tensor) -> Tensor:
        """Return the embeddings (n, width) of the two tokens' means (n, hidden)."""
        x: Tensor = self.last(self.head(self.head_norm(pooled)))
        return x


def infer_config(shapes: Mapping[str, Sequence[int]]) -> dict[str, Any]:
    """Return what `AST` was built with, from the shapes of its tensors."""
    layers = sum(name.endswith(".fc1.weight") for name in shapes)
    inner = shapes["blocks.0.fc1.weight"][0]
    patches = "deltas" if "patches.norm.weight" in shapes else "squares"
    return {
        "hidden": shapes["head.weight"][1],
        "layers": layers,
        "inner": inner,
        "width": shapes["head.weight"][0],
        "frames": spectrogram_patches.frames(patches, shapes["positions"][1] - 2),
        "patches": patches,
    }


def with_new_head(
    base: Mapping[str, Tensor], width: int = 4096, output_activation: str = "relu"
) -> AST:
    """Return a network to train: the tensors of another AST but a fresh head for `width` values.

    The head starts at a normal distribution of standard deviation 0.02 and a bias of zero.
    """
    shapes = {name: tuple(tensor.shape) for name, tensor in base.items()}
    network = AST(
        **{**infer_config(shapes), "width": width, "output_activation": output_activation}
    )
    nn.init.trunc_normal_(network.head.weight, std=0.02)
    nn.init.zeros_(network.head.bias)
    head = {f"head.{name}": tensor for name, tensor in network.head.state_dict().items()}
    network.load_state_dict({**base, **head})
    return network


ARCHITECTURE = Architecture(AST, infer_config)
