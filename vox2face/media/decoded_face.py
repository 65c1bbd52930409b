"""A decoded face, and how it is drawn and saved: marked as synthetic."""

from __future__ import annotations

import json
import os
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray
from PIL import Image, ImageDraw, ImageFont, ImageOps, UnidentifiedImageError
from PIL.PngImagePlugin import PngInfo

from vox2face.core.errors import UsageError
from vox2face.core.files import atomic_file
from vox2face.core.version import __version__

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

# iBUG 300-W: first and last point of each line, and whether it closes
LINES = (
    *((0, 16, False), (17, 21, False), (22, 26, False), (27, 30, False), (31, 35, False)),
    *((36, 41, True), (42, 47, True), (48, 59, True), (60, 67, True)),
)
COLOUR, RING = (80, 220, 255), (0, 40, 70)
MARGIN, TITLE = 12, 28  # pixels
SCALE = 4  # lines are drawn so much larger and reduced, for smooth edges
PAPER, INK = (255, 255, 255), (30, 30, 30)


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

    def __repr__(self) -> str:
        height, width = self.image.shape[1:]
        return f"Face({width} x {height} pixels, made by {', '.join(self.made_by.values())})"

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


def draw_landmarks(picture: Image.Image, landmarks: NDArray[Any]) -> Image.Image:
    """Return the picture with 68 points (x, y) and the lines between them."""
    width, height = picture.size
    large = picture.resize((SCALE * width, SCALE * height), Image.Resampling.BICUBIC)
    points = [((x + 0.5) * SCALE, (y + 0.5) * SCALE) for x, y in landmarks.tolist()]
    pen = ImageDraw.Draw(large)
    for first, last, closed in LINES:
        line = points[first : last + 1] + ([points[first]] if closed else [])
        pen.line(line, fill=COLOUR, width=SCALE)
    for x, y in points:
        pen.circle((x, y), 1.6 * SCALE, fill=COLOUR, outline=RING, width=SCALE // 2)
    return large.resize((width, height), Image.Resampling.LANCZOS)


def _side_by_side(pictures: Sequence[tuple[str, Image.Image]], size: int = 224) -> Image.Image:
    """Return pictures in a row on white, each `size` pixels high and wide under its title."""
    step = size + MARGIN
    sheet = Image.new("RGB", (MARGIN + step * len(pictures), size + TITLE + MARGIN), PAPER)
    pen, font = ImageDraw.Draw(sheet), ImageFont.load_default(14)
    for number, (title, picture) in enumerate(pictures):
        left = MARGIN + step * number
        pen.text((left + size / 2, TITLE / 2), title, fill=INK, font=font, anchor="mm")
        fitted = picture.convert("RGB").resize((size, size), Image.Resampling.LANCZOS)
        sheet.paste(fitted, (left, TITLE))
    return sheet


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
    save_png(_side_by_side(pictures), path, made_by)
