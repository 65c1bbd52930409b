"""What several processes need to compute what one would: whole batches and their statistics.

With one process every function here returns what it was given.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, cast

import torch
from torch import Tensor, distributed, nn


def world() -> int:
    """Return how many processes train together."""
    running = distributed.is_available() and distributed.is_initialized()
    return distributed.get_world_size() if running else 1


class Summed(torch.autograd.Function):
    """The sum of a tensor over all processes; its gradient is the sum of theirs."""

    @staticmethod
    def forward(ctx: Any, x: Tensor) -> Tensor:
        """Add up."""
        total = x.clone()
        distributed.all_reduce(total)
        return total

    @staticmethod
    def backward(ctx: Any, *gradients: Tensor) -> Tensor:
        """Add up the gradients."""
        total = gradients[0].clone()
        distributed.all_reduce(total)
        return total


def summed(x: Tensor) -> Tensor:
    """Return the sum of a tensor over all processes."""
    return cast(Tensor, Summed.apply(x))  # type: ignore[no-untyped-call]


class Gathered(torch.autograd.Function):
    """The rows of all processes, in their order; each gets the gradients of its own rows."""

    @staticmethod
    def forward(ctx: Any, x: Tensor) -> Tensor:
        """Gather the rows; every process has equally many."""
        ctx.rows = x.shape[0]
        parts = [torch.empty_like(x) for _ in range(world())]
        distributed.all_gather(parts, x.contiguous())
        return torch.cat(parts)

    @staticmethod
    def backward(ctx: Any, *gradients: Tensor) -> Tensor:
        """Add up the gradients and keep those of the own rows."""
        total = gradients[0].clone()
        distributed.all_reduce(total)
        start = distributed.get_rank() * ctx.rows
        return total[start : start + ctx.rows]


def whole_batch(rows: Tensor) -> Tensor:
    """Return the rows of all processes, so that a loss sees the batch one process would see.

    Each process computes the same loss of all rows; the mean of their gradients is its gradient.
    """
    if world() == 1:
        return rows
    return cast(Tensor, Gathered.apply(rows))  # type: ignore[no-untyped-call]


class WholeBatchNorm(nn.modules.batchnorm._BatchNorm):
    """Batch normalisation whose mean and variance are those of the rows of all processes."""

    def forward(self, x: Tensor) -> Tensor:
        """Return the normalised values (n, channels, ...)."""
        if not self.training or world() == 1:
            return super().forward(x)
        axes, shape = [0, *range(2, x.ndim)], (-1, *([1] * (x.ndim - 2)))
        count = x.numel() / x.shape[1] * world()
        mean = summed(x.sum(axes)) / count
        centred = x - mean.view(shape)
        variance = summed(centred.square().sum(axes)) / count
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
