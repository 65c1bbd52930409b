"""Files of a synthetic corpus: pictures and clips, each marked as synthetic."""

from __future__ import annotations

import struct
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from vox2face.core.files import atomic_file
from vox2face.media.decoded_face import XMP
from vox2face.train.media import SOFTWARE

QUALITY = 92
PICTURE_MARK = "Synthetic picture, drawn by a computer program. It shows no real person."

# The vocabulary of the IPTC for media made by an algorithm that was not trained on any
SOURCE_TYPE = "http://cv.iptc.org/newscodes/digitalsourcetype/algorithmicMedia"
DESCRIPTION_TAG, SOFTWARE_TAG = 0x010E, 0x0131  # of Exif


def save_jpeg(path: Path, pixels: NDArray[np.uint8]) -> None:
    """Write RGB uint8 (h, w, 3) as JPEG that says in Exif and XMP that it is synthetic."""
    from PIL import Image

    exif = Image.Exif()
    exif[DESCRIPTION_TAG], exif[SOFTWARE_TAG] = PICTURE_MARK, SOFTWARE
    body = XMP.format(source_type=SOURCE_TYPE, software=SOFTWARE).encode()
    packet = b"http://ns.adobe.com/xap/1.0/\x00" + body
    marker = b"\xff\xe1" + struct.pack(">H", len(packet) + 2) + packet
    with atomic_file(path) as partial:
        Image.fromarray(pixels).save(
            partial, format="JPEG", quality=QUALITY, exif=exif, extra=marker
        )
