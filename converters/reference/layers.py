"""The layers of the reference: NumPy, NHWC."""

from __future__ import annotations

from itertools import product

import numpy as np
from numpy.lib.stride_tricks import sliding_window_view

from vox2face.converters.ops import Array


def conv(x: Array, kernel: Array, stride: int = 1) -> Array:
    """Valid cross-correlation: (n, h, w, in) with (kh, kw, in, out), one product a kernel place."""
    height, width = ((x.shape[i + 1] - kernel.shape[i]) // stride + 1 for i in (0, 1))
    result = np.zeros((len(x), height, width, kernel.shape[3]), np.float32)
    for i, j in product(range(kernel.shape[0]), range(kernel.shape[1])):
        rows = slice(i, i + stride * (height - 1) + 1, stride)
        columns = slice(j, j + stride * (width - 1) + 1, stride)
        result += x[:, rows, columns] @ kernel[i, j]
    return result


def pad(x: Array, before: int, after: int) -> Array:
    """Surround every map with zeros."""
    return np.pad(x, ((0, 0), (before, after), (before, after), (0, 0)))


def max_pool(x: Array, size: int = 2) -> Array:
    """The largest value of every square, two pixels apart."""
    windows = sliding_window_view(x, (size, size), axis=(1, 2))[:, ::2, ::2]
    largest: Array = windows.max(axis=(-2, -1))
    return largest


def average_pool(x: Array) -> Array:
    """The mean of every 2x2 square."""
    means: Array = sliding_window_view(x, (2, 2), axis=(1, 2))[:, ::2, ::2].mean(axis=(-2, -1))
    return means


def relu(x: Array) -> Array:
    """Negative values become zero, in place."""
    return np.maximum(x, 0, out=x)


def sigmoid(x: Array) -> Array:
    """The logistic function."""
    with np.errstate(over="ignore"):  # far below zero the exponential is infinite, the result zero
        y: Array = np.reciprocal(1 + np.exp(-x))
    return y
