"""OpenCV's bilinear resampling of 8-bit pictures, which it computes in integers."""

from __future__ import annotations

import torch
from torch import Tensor

ONE = 2048.0  # OpenCV's INTER_RESIZE_COEF_SCALE: weights are whole numbers of 11 fractional bits


def letterboxed(x: Tensor, rows: Tensor, columns: Tensor, size: int) -> Tensor:
    """Return uint8 (n, height, width, 3) on `rows` x `columns` of a black square, 0..255.

    The result is float64 (n, 3, size, size) with whole numbers. It equals cv2.resize of uint8 with
    INTER_LINEAR, whose weights and sums are rounded, followed by centring on black. Only the pixels
    that are looked at are taken from `x`.

    Source: OpenCV modules/imgproc/src/resize.cpp, resizeGeneric_ with HResizeLinear and
    VResizeLinear of uchar.
    """
    above, rest, inside = _places(x.shape[1], rows, size)
    left, right, within = _places(x.shape[2], columns, size)
    last = x.shape[1] - 1
    # a row beyond the edge is the edge's, a column beyond it has no weight
    upper = _narrowed(x.index_select(1, above.clamp(0, last).long()), left, right)
    lower = _narrowed(x.index_select(1, (above + 1).clamp(0, last).long()), left, right)
    weight = torch.round(rest * ONE).double().view(-1, 1, 1)
    opposite = torch.round((1 - rest) * ONE).double().view(-1, 1, 1)
    sums = torch.floor(opposite * upper / 65536) + torch.floor(weight * lower / 65536)
    levels = torch.floor((sums + 2) / 4) * (inside.view(-1, 1, 1) & within.view(-1, 1))
    return levels.permute(0, 3, 1, 2)


def _places(pixels: int, covered: Tensor, size: int) -> tuple[Tensor, Tensor, Tensor]:
    """Return where each of `size` pixels looks among `pixels`, and whether it is covered.

    That is the first pixel, which may be -1, and how far beyond it, 0..1, in float32 as OpenCV.
    """
    place = torch.arange(size, dtype=torch.float64, device=covered.device)
    place = place - torch.floor((size - covered) / 2)
    total = torch.full((), pixels, dtype=torch.float64, device=covered.device)
    step = 1 / (covered / total)
    center = ((place + 0.5) * step - 0.5).float()
    first = torch.floor(center)
    return first, center - first, (place >= 0) & (place < covered)


def _narrowed(x: Tensor, first: Tensor, rest: Tensor) -> Tensor:
    """Resample the columns of uint8 (n, size, width, 3), in 128ths of a grey level."""
    last = x.shape[2] - 1
    outside = (first < 0) | (first >= last)
    rest = torch.where(outside, torch.zeros_like(rest), rest)
    left = x.index_select(2, first.clamp(0, last).long()).double()
    right = x.index_select(2, (first + 1).clamp(0, last).long()).double()
    weight = torch.round(rest * ONE).double().view(-1, 1)
    opposite = torch.round((1 - rest) * ONE).double().view(-1, 1)
    return torch.floor((opposite * left + weight * right) / 16)
