"""The losses of the face decoder."""

from __future__ import annotations

from torch import Tensor

from vox2face.train.trainer.task import unit


def landmarks_mse(predicted: Tensor, true: Tensor) -> Tensor:
    """Return the mean square error of landmarks (n, 68, 2), over all coordinates and the batch.

    In the square of the unit the landmarks are in. Source: Cole et al. 2017.
    """
    return (predicted - true).square().mean()


def texture_mae(predicted: Tensor, true: Tensor) -> Tensor:
    """Return the mean absolute error of pictures (n, 3, height, width), over everything.

    Source: Cole et al. 2017.
    """
    return (predicted - true).abs().mean()


def negative_cosine(predicted: Tensor, true: Tensor) -> Tensor:
    """Return 1 - cos of embeddings (n, width), mean over the batch: 0 is perfect, 2 the worst.

    The gradient is that of Cole et al.'s negative cosine. Source: Cole et al. 2017.
    """
    return 1 - (unit(predicted) * unit(true)).sum(1).mean()
