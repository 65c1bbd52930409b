"""How pictures are read before they are encoded."""

from __future__ import annotations

from typing import TypedDict

import numpy as np
from numpy.typing import NDArray

from vox2face.media.image import Picture, decode


class PictureOptions(TypedDict, total=False):
    """Keyword arguments of everything that takes pictures; see `read_face`."""

    channels: str


def read_face(picture: Picture, channels: str = "rgb", reader: str = "pillow") -> NDArray[np.uint8]:
    """Return a picture as RGB uint8 (height, width, 3), as `vox2face.media.image.decode` does."""
    return decode(picture, channels, reader)
