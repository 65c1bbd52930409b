"""A discriminator of patches: it tells drawn pictures from true ones, a patch at a time."""

from __future__ import annotations

import itertools
from typing import cast

from torch import Tensor, nn
from torch.nn import functional
from torch.nn.utils.parametrizations import spectral_norm


class Critic(nn.Module):
    """Pictures 0..1, (n, 3, height, width), to a score for each patch of 38 pixels.

    True ones are to get more than 1, drawn ones less than -1. Source: Isola et al., Image-to-Image
    Translation with Conditional Adversarial Networks, CVPR 2017; spectral normalisation: Miyato et
    al., ICLR 2018.
    """

    def __init__(self, channels: int = 32) -> None:
        super().__init__()
        sizes = (3, channels, 2 * channels, 4 * channels)
        layers: list[nn.Module] = []
        for before, after in itertools.pairwise(sizes):
            layers += [spectral_norm(nn.Conv2d(before, after, 4, 2, 1)), nn.LeakyReLU(0.2)]
        self.layers = nn.Sequential(*layers, spectral_norm(nn.Conv2d(sizes[-1], 1, 3, padding=1)))

    def forward(self, pictures: Tensor) -> Tensor:
        """Return scores (n, 1, height / 8, width / 8)."""
        return cast(Tensor, self.layers(2 * pictures - 1))

    def hinge(self, drawn: Tensor, true: Tensor) -> Tensor:
        """Return what the critic learns from: the hinge loss. Gradients reach only the critic."""
        kept, refused = self(true), self(drawn.detach())
        loss: Tensor = functional.relu(1 - kept).mean() + functional.relu(1 + refused).mean()
        return loss

    def fooled(self, drawn: Tensor) -> Tensor:
        """Return what the decoder learns from. Gradients reach only the pictures."""
        self.requires_grad_(False)
        loss: Tensor = -self(drawn).mean()
        self.requires_grad_(True)
        return loss
