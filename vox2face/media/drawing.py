"""Landmarks drawn on pictures, and several pictures beside each other under their names."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from numpy.typing import NDArray
from PIL import Image, ImageDraw, ImageFont

# iBUG 300-W: first and last point of each line, and whether it closes
LINES = (
    *((0, 16, False), (17, 21, False), (22, 26, False), (27, 30, False), (31, 35, False)),
    *((36, 41, True), (42, 47, True), (48, 59, True), (60, 67, True)),
)
COLOUR, RING = (80, 220, 255), (0, 40, 70)
MARGIN, TITLE = 12, 28  # pixels
SCALE = 4  # lines are drawn so much larger and reduced, for smooth edges
PAPER, INK = (255, 255, 255), (30, 30, 30)


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


def side_by_side(pictures: Sequence[tuple[str, Image.Image]], size: int = 224) -> Image.Image:
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
