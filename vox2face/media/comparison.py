"""The figure that shows an original beside what was made of it."""

from __future__ import annotations

from pathlib import Path

import numpy as np
from numpy.typing import NDArray
from PIL import Image, ImageOps

from vox2face.media.decoded_face import Face, save_png
from vox2face.media.drawing import side_by_side


def compare(
    path: Path, original: NDArray[np.uint8], decoded: Face | None, spoken: Face | None
) -> None:
    """Write a PNG of the original, face-to-face and speech-to-face, then their landmarks.

    The figure carries the marks of a synthetic picture.
    """
    shown = Image.fromarray(original)
    pictures = [("original", ImageOps.pad(shown, (224, 224)))]
    made_by: dict[str, str] = {}
    for title, face in (("face-to-face", decoded), ("speech-to-face", spoken)):
        if face is not None:
            pictures += [(title, face.pil()), (f"{title}, landmarks", face.pil(landmarks=True))]
            made_by |= {f"{title} {key}": value for key, value in face.made_by.items()}
    save_png(side_by_side(pictures), path, made_by)
