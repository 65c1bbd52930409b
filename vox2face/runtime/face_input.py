"""How pictures are read before they are encoded: as they are, or with the face cut out of them."""

from __future__ import annotations

from typing import TypedDict

import numpy as np
from numpy.typing import NDArray

from vox2face.core.errors import UsageError
from vox2face.media.image import Picture, decode, name_of
from vox2face.runtime import face_detection
from vox2face.runtime.detectors import Detector


class PictureOptions(TypedDict, total=False):
    """Keyword arguments of everything that takes pictures; see `read_face`."""

    channels: str
    crop: bool
    align: bool
    which: str | int
    detector: str | Detector | None


def read_face(
    picture: Picture,
    channels: str = "rgb",
    crop: bool = False,
    align: bool = False,
    which: str | int = "one",
    detector: str | Detector | None = None,
    reader: str = "pillow",
) -> NDArray[np.uint8]:
    """Return a picture as RGB uint8 (height, width, 3), or with `crop` a face cut out of it.

    `channels` are those of an array, "rgb" or "bgr", and `reader` is that of
    `vox2face.media.image.decode`. `crop` finds the face in a photograph and
    cuts it out as `face_detection.crop` does, (224, 224, 3); then `align` turns it until the eyes
    are level, `which` chooses one of several ("one": there is no other, "largest", or its number)
    and `detector` is one of `vox2face.runtime.detectors`, None for that of vox2face. Raises as
    `decode` and `face_detection.the_face` do, and `UsageError` for what needs `crop`.
    """
    if not crop:
        if align or which != "one" or detector is not None:
            raise UsageError("align=, which= and detector= are for crop=True: add it.")
        return decode(picture, channels, reader)
    face_detection.numbered(which)  # before any work
    pixels = decode(picture, channels, reader)
    faces = face_detection.find(pixels, detector)
    face = face_detection.chosen(faces, which, name_of(picture))
    return face_detection.crop(pixels, face, align=align)[0]
