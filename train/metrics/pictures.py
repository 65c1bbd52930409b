"""Differences of decoded pictures from the true ones, without any network.

All take RGB pictures 0..1, float (n, 3, height, width), and return a value for each, (n,).
"""

from __future__ import annotations

from collections.abc import Callable

import torch
from torch import Tensor
from torch.nn import functional

# Constants of Wang et al. 2004 for values of 0..1
FLAT, PLAIN = 0.01**2, 0.03**2
SIDE = 112  # SSIM and sharpness look at pictures of this size
FACE = (slice(32, 96), slice(28, 84))  # rows and columns there: the face of a normalised picture


def mean_absolute_error(drawn: Tensor, true: Tensor) -> Tensor:
    """Return the mean absolute difference of colours (n,)."""
    return (drawn - true).abs().mean((1, 2, 3))


def ssim(drawn: Tensor, true: Tensor) -> Tensor:
    """Return the structural similarity with a Gaussian window: 11 pixels, deviation 1.5.

    Pictures are compared at `SIDE` pixels. Source: Wang et al., Image Quality Assessment, 2004.
    """
    x, y = reduced(drawn), reduced(true)
    line = torch.exp(-((torch.arange(11.0) - 5) ** 2) / (2 * 1.5**2)).to(x)
    line = (line / line.sum()).expand(x.shape[1], 1, 11)

    def blurred(values: Tensor) -> Tensor:
        across = functional.conv2d(values, line[:, :, None], groups=x.shape[1])
        return functional.conv2d(across, line[..., None], groups=x.shape[1])

    return similarity(x, y, blurred).mean((1, 2, 3))


def similarity(x: Tensor, y: Tensor, blurred: Callable[[Tensor], Tensor]) -> Tensor:
    """Return the map of structural similarities (n, 3, h, w) with the window `blurred`."""
    mean_x, mean_y = blurred(x), blurred(y)
    square_x, square_y = blurred(x * x) - mean_x**2, blurred(y * y) - mean_y**2
    covariance = blurred(x * y) - mean_x * mean_y
    light = (2 * mean_x * mean_y + FLAT) / (mean_x**2 + mean_y**2 + FLAT)
    return light * (2 * covariance + PLAIN) / (square_x + square_y + PLAIN)


def sharpness(pictures: Tensor) -> Tensor:
    """Return the mean difference of neighbouring pixels of the face, at `SIDE` pixels.

    Divide by that of the true pictures: 1 is equally sharp.
    """
    grey = reduced(pictures).mean(1)[:, FACE[0], FACE[1]]
    return grey.diff(dim=1).abs().mean((1, 2)) + grey.diff(dim=2).abs().mean((1, 2))


def lattice(pictures: Tensor) -> Tensor:
    """Return the relative power of waves of two pixels.

    Transposed convolutions leave such waves. It is measured at full size, over rows and columns:
    the power of the highest frequency over the mean of the four below it. Natural pictures have
    about 1 or less.
    """
    grey = pictures.mean(1)
    grey = grey - grey.mean((1, 2), keepdim=True)
    power = torch.zeros(len(grey), 5).to(grey)
    for values in (grey, grey.transpose(1, 2)):
        spectrum = torch.fft.rfft(values, dim=2).abs().square().mean(1)
        power += spectrum[:, -5:]
    return power[:, -1] / power[:, :-1].mean(1)


def reduced(pictures: Tensor) -> Tensor:
    """Reduce pictures to `SIDE` pixels by averaging squares of pixels.

    Raises `ValueError` for pictures whose size is not a multiple of `SIDE`.
    """
    times, rest = divmod(pictures.shape[-1], SIDE)
    if rest or not times:
        raise ValueError(f"pictures of {pictures.shape[-1]} pixels, not of {SIDE}, {2 * SIDE}, ...")
    return functional.avg_pool2d(pictures, times) if times > 1 else pictures
