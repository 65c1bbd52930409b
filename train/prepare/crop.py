"""Squares around faces, and pictures as they are stored."""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray

from vox2face.media import image
from vox2face.train.media import Pixels

SIZE = 224  # of a stored picture and of a texture


def stored(pixels: Pixels, square: NDArray[np.float64] | None) -> Pixels:
    """Return a picture as it is stored, RGB uint8 (224, 224, 3).

    That is a `square` (4,) of it, or the whole (None or NaN), resized as Pillow's bilinear filter
    does it.
    """
    if square is not None and np.isfinite(square).all():
        cut: Pixels = _as_square(square).cut(pixels, SIZE)
        return cut
    if pixels.shape[:2] == (SIZE, SIZE):
        return pixels
    return image.resized(pixels, (SIZE, SIZE))


def _as_square(square: NDArray[np.float64]) -> Any:
    """Return the numbers of a square (4,) as a `vox2face.runtime.face_detection.Square`."""
    from vox2face.runtime.face_detection import Square

    return Square(*(float(value) for value in square))


def in_the_stored(
    points: NDArray[Any], square: NDArray[np.float64] | None, size: tuple[int, int]
) -> NDArray[np.float32]:
    """Return points of a file's picture of a `size` (width, height) as points of the stored one."""
    if square is not None:
        inside: NDArray[np.float32] = _as_square(square).inward(points, SIZE)
        return inside
    scale = SIZE / np.array(size, np.float64)
    return np.asarray((points + 0.5) * scale - 0.5, np.float32)


def in_the_file(
    points: NDArray[Any], square: NDArray[np.float64], size: NDArray[np.int32]
) -> NDArray[np.float32]:
    """Return points of the stored picture as points of the file's picture.

    `square` is NaN where the picture was taken as a whole.
    """
    if np.isfinite(square).all():
        outside: NDArray[np.float32] = _as_square(square).outward(points, SIZE)
        return outside
    scale = SIZE / np.asarray(size, np.float64)
    return np.asarray((points + 0.5) / scale - 0.5, np.float32)
