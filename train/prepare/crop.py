"""Crop boxes around faces, and pictures as they are stored."""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray

from vox2face.media import image
from vox2face.train.media import Pixels

SIZE = 224  # of a stored picture and of a texture


def stored_picture(pixels: Pixels, crop_box: NDArray[np.float64] | None) -> Pixels:
    """Crop and resize a picture, RGB uint8 (224, 224, 3).

    `crop_box` (4,) is centre x, y, side and angle; None or NaN take the whole picture. Resized as
    Pillow's bilinear filter does it.
    """
    if crop_box is not None and np.isfinite(crop_box).all():
        cropped: Pixels = _as_square(crop_box).cut(pixels, SIZE)
        return cropped
    if pixels.shape[:2] == (SIZE, SIZE):
        return pixels
    return image.resized(pixels, (SIZE, SIZE))


def _as_square(crop_box: NDArray[np.float64]) -> Any:
    """Return a crop box (4,) as a `vox2face.runtime.face_detection.Square`."""
    from vox2face.runtime.face_detection import Square

    return Square(*(float(value) for value in crop_box))


def to_stored_points(
    points: NDArray[Any], crop_box: NDArray[np.float64] | None, size: tuple[int, int]
) -> NDArray[np.float32]:
    """Map points (n, 2) of a file's picture of a `size` (width, height) to the stored one."""
    if crop_box is not None:
        result: NDArray[np.float32] = _as_square(crop_box).inward(points, SIZE)
        return result
    scale = SIZE / np.array(size, np.float64)
    return np.asarray((points + 0.5) * scale - 0.5, np.float32)


def to_file_points(
    points: NDArray[Any], crop_box: NDArray[np.float64], size: NDArray[np.int32]
) -> NDArray[np.float32]:
    """Map points (n, 2) of the stored picture to the file's picture.

    `crop_box` is NaN where the whole picture is stored.
    """
    if np.isfinite(crop_box).all():
        result: NDArray[np.float32] = _as_square(crop_box).outward(points, SIZE)
        return result
    scale = SIZE / np.asarray(size, np.float64)
    return np.asarray((points + 0.5) / scale - 0.5, np.float32)
