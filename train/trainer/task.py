"""What a training loop trains: modules, their parameters, and the loss of a batch."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, Self

import numpy as np
from torch import Tensor, nn
from torch.nn import functional

Augment = Callable[[dict[str, Any], np.random.Generator], dict[str, Any]]


class Task(nn.Module):
    """A module that turns a batch into its weighted loss parts: scalars by name.

    Their sum is the loss. Modules that are frozen take no gradients and stay in eval mode, while
    gradients flow through them to their input.
    """

    def forward(self, batch: dict[str, Any]) -> dict[str, Tensor]:
        """Return the loss parts of a batch."""
        raise NotImplementedError

    def trained(self) -> dict[str, nn.Module]:
        """Return the modules that a checkpoint holds, by name."""
        raise NotImplementedError

    def frozen(self) -> list[nn.Module]:
        """Return the modules that never change."""
        return []

    def groups(self) -> list[dict[str, Any]]:
        """Return the optimizer's groups: "params" and, where it is another one, "lr"."""
        return [{"params": [p for p in self.parameters() if p.requires_grad]}]

    def augment(self) -> Augment | None:
        """Return what changes an item at random before it goes into a batch, if anything does."""
        return None

    def train(self, mode: bool = True) -> Self:
        """Set the mode of what is trained; what is frozen keeps its statistics."""
        super().train(mode)
        for module in self.frozen():
            module.eval()
        return self


def freeze(module: nn.Module) -> nn.Module:
    """Return the module in eval mode, its parameters without gradients."""
    return module.requires_grad_(False).eval()


def unit(x: Tensor) -> Tensor:
    """Return rows (n, width) of length 1; a row of zeros stays."""
    return functional.normalize(x, dim=1)
