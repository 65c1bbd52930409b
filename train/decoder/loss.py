"""The losses of the face decoder."""

from __future__ import annotations

from collections.abc import Mapping

import torch
from torch import Tensor
from torch.nn import functional

from vox2face.train.metrics.pictures import similarity
from vox2face.train.trainer.task import unit


def landmarks_mse(predicted: Tensor, true: Tensor) -> Tensor:
    """Return the mean square error of landmarks (n, 68, 2), over all coordinates and the batch.

    In the square of the unit the landmarks are in. Source: Cole et al. 2017.
    """
    return (predicted - true).square().mean()


def texture_mae(predicted: Tensor, true: Tensor, weights: Tensor | float = 1.0) -> Tensor:
    """Return the mean absolute error of pictures (n, 3, height, width), over everything.

    Places may be weighted by (height, width) of mean 1. Source: Cole et al. 2017.
    """
    return ((predicted - true).abs() * weights).mean()


def negative_cosine(predicted: Tensor, true: Tensor) -> Tensor:
    """Return 1 - cos of embeddings (n, width), mean over the batch: 0 is perfect, 2 the worst.

    The gradient is that of Cole et al.'s negative cosine. Source: Cole et al. 2017.
    """
    return 1 - (unit(predicted) * unit(true)).sum(1).mean()


def laplacian(predicted: Tensor, true: Tensor, levels: int = 4) -> Tensor:
    """Return the sum, over the levels of Laplacian pyramids, of mean absolute differences.

    Each level is what halving and enlarging a picture loses; a blurred edge shows in all of them.
    Source: Bojanowski et al., Optimizing the Latent Space of Generative Networks, ICML 2018.
    """
    rest, total = predicted - true, predicted.new_zeros(())
    for _ in range(levels):
        small = functional.avg_pool2d(rest, 2)
        back = functional.interpolate(small, scale_factor=2.0, mode="bilinear")
        total, rest = total + (rest - back).abs().mean(), small
    return total + rest.abs().mean()


def structural_difference(predicted: Tensor, true: Tensor) -> Tensor:
    """Return 1 - SSIM of pictures 0..1 at half their size, in windows of 8 x 8 every 4 pixels.

    These windows cost a tenth of the Gaussian ones of `metrics.pictures.ssim`. Source: Wang et al.,
    Image Quality Assessment, 2004.
    """
    x, y = functional.avg_pool2d(predicted, 2), functional.avg_pool2d(true, 2)
    return 1 - similarity(x, y, lambda values: functional.avg_pool2d(values, 8, 4)).mean()


def features_mae(found: Mapping[str, Tensor], wanted: Mapping[str, Tensor]) -> Tensor:
    """Return the mean absolute difference of activations by name, as a part of the wanted ones."""
    parts = [(found[n] - wanted[n]).abs().mean() / wanted[n].abs().mean() for n in wanted]
    return torch.stack(parts).mean()
