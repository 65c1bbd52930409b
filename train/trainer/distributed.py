"""What several processes need to compute what one would: whole batches and their statistics.

With one process every function here returns what it was given.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import cast

import torch
from torch import Tensor, distributed, nn
from torch.distributed.nn import functional


def world() -> int:
    """Return how many processes train together."""
    running = distributed.is_available() and distributed.is_initialized()
    return distributed.get_world_size() if running else 1


def _summed(x: Tensor) -> Tensor:
    """Return the sum of a tensor over all processes, whose gradient is the sum of theirs."""
    return cast(Tensor, functional.all_reduce(x))  # type: ignore[no-untyped-call]


def whole_batch(rows: Tensor) -> Tensor:
    """Return the rows of all processes, so that a loss sees the batch one process would see.

    Each process computes the same loss of all rows; the mean of their gradients is its gradient.
    """
    if world() == 1:
        return rows
    return torch.cat(functional.all_gather(rows.contiguous()))  # type: ignore[no-untyped-call]


class WholeBatchNorm(nn.modules.batchnorm._BatchNorm):
    """Batch normalisation whose mean and variance are those of the rows of all processes."""

    def forward(self, x: Tensor) -> Tensor:
        """Return the normalised values (n, channels, ...)."""
        if not self.training or world() == 1:
            return super().forward(x)
        axes, shape = [0, *range(2, x.ndim)], (-1, *([1] * (x.ndim - 2)))
        count = x.numel() / x.shape[1] * world()
        mean = _summed(x.sum(axes)) / count
        centred = x - mean.view(shape)
        variance = _summed(centred.square().sum(axes)) / count
        self.remember(mean.detach(), variance.detach() * count / (count - 1))
        scale = self.weight * torch.rsqrt(variance + self.eps)
        return centred * scale.view(shape) + self.bias.view(shape)

    def _check_input_dim(self, input: Tensor) -> None:
        """Take any number of axes."""

    def remember(self, mean: Tensor, variance: Tensor) -> None:
        """Move the running statistics as PyTorch does."""
        part = 0.1 if self.momentum is None else self.momentum
        if self.running_mean is not None and self.running_var is not None:
            self.running_mean.lerp_(mean, part)
            self.running_var.lerp_(variance, part)
        if self.num_batches_tracked is not None:
            self.num_batches_tracked.add_(1)


def with_whole_batch_norm(module: nn.Module) -> nn.Module:
    """Let the batch normalisation inside a module see all processes; names stay as they are.

    On a GPU that is PyTorch's SyncBatchNorm, which does not run elsewhere. With one process
    nothing changes.
    """
    if world() == 1:
        return module
    if next(module.parameters()).is_cuda:
        convert: Callable[..., nn.Module] = nn.SyncBatchNorm.convert_sync_batchnorm
        return convert(module)
    for inner in module.modules():
        if type(inner) in (nn.BatchNorm1d, nn.BatchNorm2d):
            inner.__class__ = WholeBatchNorm  # the same object, with the same parameters
    return module
