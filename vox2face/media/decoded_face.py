"""A decoded face, and how it is saved: marked as synthetic."""

from __future__ import annotations

import json
import os
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray
from PIL import Image, UnidentifiedImageError
from PIL.PngImagePlugin import PngInfo

from vox2face.core.errors import UsageError
from vox2face.core.files import atomic_file
from vox2face.core.version import __version__
from vox2face.media.drawing import draw_landmarks

Pixels = NDArray[np.float32]
DESCRIPTION = (
    "Synthetic picture of a face, made by a neural network. It shows no real person and must not "
    "be used to identify one."
)

# The vocabulary of the IPTC for pictures made by trained models
SOURCE_TYPE = "http://cv.iptc.org/newscodes/digitalsourcetype/trainedAlgorithmicMedia"
XMP = """\
<?xpacket begin="\ufeff" id="W5M0MpCehiHzreSzNTczkc9d"?>
<x:xmpmeta xmlns:x="adobe:ns:meta/"><rdf:RDF
 xmlns:rdf="http://www.w3.org/1999/02/22-rdf-syntax-ns#"><rdf:Description rdf:about=""
 xmlns:Iptc4xmpExt="http://iptc.org/std/Iptc4xmpExt/2008-02-29/"
 xmlns:xmp="http://ns.adobe.com/xap/1.0/"
 Iptc4xmpExt:DigitalSourceType="{source_type}" xmp:CreatorTool="{software}"/></rdf:RDF></x:xmpmeta>
<?xpacket end="w"?>"""


@dataclass(frozen=True, eq=False)
class Face:
    """One face that a decoder made.

    `image` and `texture` are RGB float32 (3, 224, 224) in 0..1; without a warp they are the same.
    `landmarks` are 68 points (x, y) in pixels of the image, float32 (68, 2), in the order of
    iBUG 300-W. `embedding` is what was decoded, float32 (width,). `made_by` names the models.
    """

    image: Pixels
    texture: Pixels
    landmarks: Pixels
    embedding: Pixels
    made_by: Mapping[str, str] = field(default_factory=dict)

    @property
    def pixels(self) -> NDArray[np.uint8]:
        """The image as RGB uint8 (224, 224, 3), rounded."""
        levels = np.round(self.image.transpose(1, 2, 0) * 255)
        return np.ascontiguousarray(levels.astype(np.uint8))

    def pil(self, landmarks: bool = False) -> Image.Image:
        """Return the image for Pillow, with its landmarks drawn if they are asked for."""
        picture = Image.fromarray(self.pixels)
        return draw_landmarks(picture, self.landmarks) if landmarks else picture

    def save(
        self, path: str | os.PathLike[str], landmarks: bool = False, mark: bool = True
    ) -> Path:
        """Write the image as PNG, all or nothing, and return its path.

        The file says in its text fields and in XMP that it is synthetic, and which models made it;
        `mark=False` leaves that out. Raises `UsageError` for another ending than .png.
        """
        return save_png(self.pil(landmarks), path, self.made_by if mark else None)


def save_png(
    picture: Image.Image, path: str | os.PathLike[str], made_by: Mapping[str, str] | None
) -> Path:
    """Write a synthetic picture as PNG with the marks that say so, or without them for None."""
    target = Path(path)
    if target.suffix.lower() != ".png":
        raise UsageError(f"{target} does not end in .png: faces are saved as PNG.")
    with atomic_file(target) as partial:
        picture.save(partial, format="PNG", pnginfo=None if made_by is None else marks(made_by))
    return target


def marks(made_by: Mapping[str, str]) -> PngInfo:
    """Return the text fields that say that a picture is synthetic, and by which models."""
    software = f"vox2face {__version__}"
    info = PngInfo()
    info.add_text("Software", software)
    info.add_text("Description", DESCRIPTION)
    info.add_itxt("vox2face", json.dumps(dict(made_by)))
    xmp = XMP.format(source_type=SOURCE_TYPE, software=software)
    info.add_itxt("XML:com.adobe.xmp", xmp)
    return info


def made_by(path: Path) -> dict[str, Any] | None:
    """Return which models made a PNG file of ours, or None if it is no such file."""
    try:
        with Image.open(path, formats=["PNG"]) as picture:
            picture.load()
            found = json.loads(picture.info["vox2face"])
    except (OSError, KeyError, ValueError, UnidentifiedImageError, SyntaxError):
        return None
    return found if isinstance(found, dict) else None
