"""The picture of `vox2face demo`: people in rows, what is true and what was made side by side."""

from __future__ import annotations

from pathlib import Path

from PIL import Image, ImageDraw, ImageFont, ImageOps

from vox2face.cli.demo_faces import Faces, Recorded, Synthetic
from vox2face.media.decoded_face import save_png

SIDE, GAP, EDGE = 224, 28, 44  # of a picture, between pictures, around everything; pixels
COLUMNS = 4
WIDTH = 2 * EDGE + COLUMNS * SIDE + (COLUMNS - 1) * GAP
PAPER, INK, PALE, RULE = (255, 255, 255), (24, 24, 27), (100, 100, 110), (224, 224, 228)
TITLE, HEAD, TEXT = 34, 20, 17  # sizes of letters
TALLEST = 20_000  # pixels that are drawn on, before what is left over is cut off

HEADLINE = "From a photograph and from a voice to a face"
PEOPLE_HEADS = ("photograph", "true face", "from the photograph", "from the voice")
RECORDED_HEADS = ("from the voice", "nearest face", "second", "third")
Cell = tuple[Image.Image, str]


class Sheet:
    """A white sheet that is filled from the top."""

    def __init__(self) -> None:
        self.picture = Image.new("RGB", (WIDTH, TALLEST), PAPER)
        self.pen, self.y = ImageDraw.Draw(self.picture), float(EDGE)

    def write(self, text: str, size: int, colour: tuple[int, int, int] = INK) -> None:
        """Write a paragraph across the sheet."""
        font = ImageFont.load_default(size)
        for line in wrapped(text, font, WIDTH - 2 * EDGE):
            self.pen.text((EDGE, self.y), line, fill=colour, font=font, anchor="la")
            self.y += 1.4 * size
        self.y += 0.4 * size

    def rule(self) -> None:
        """Draw a line across the sheet."""
        self.y += 14
        self.pen.line((EDGE, self.y, WIDTH - EDGE, self.y), fill=RULE, width=2)
        self.y += 22

    def labels(self, texts: tuple[str, ...], size: int, colour: tuple[int, int, int] = INK) -> None:
        """Write a short text over or under each column."""
        self.y += 6
        font = ImageFont.load_default(size)
        for number, text in enumerate(texts):
            middle = EDGE + number * (SIDE + GAP) + SIDE / 2
            self.pen.text((middle, self.y), text, fill=colour, font=font, anchor="ma")
        self.y += 1.5 * size

    def row(self, cells: list[Cell]) -> None:
        """Put pictures side by side, with a text under each."""
        for number, (picture, _) in enumerate(cells):
            fitted = ImageOps.pad(picture.convert("RGB"), (SIDE, SIDE), color=PAPER)
            self.picture.paste(fitted, (EDGE + number * (SIDE + GAP), round(self.y)))
        self.y += SIDE + 2
        self.labels(tuple(text for _, text in cells), TEXT, PALE)
        self.y += 14

    def finished(self) -> Image.Image:
        """Return the part of the sheet that is filled."""
        return self.picture.crop((0, 0, WIDTH, round(self.y) + EDGE // 2))


def draw(faces: Faces, path: Path) -> None:
    """Write the picture as PNG, marked as synthetic."""
    sheet = Sheet()
    sheet.write(HEADLINE, TITLE)
    sheet.write(
        "Made by the demo models that come with vox2face, which were trained on synthetic people. "
        "They show what the tools do, and tell nothing about real persons.",
        TEXT,
        PALE,
    )
    sheet.rule()
    sheet.write("Synthetic people, of whom the models learnt nothing", HEAD)
    sheet.write(
        f"The place is that of the right face among the {faces.people} of the gallery; guessing "
        f"gives {(faces.people + 1) / 2:g} on average.",
        TEXT,
        PALE,
    )
    sheet.labels(PEOPLE_HEADS, TEXT)
    for one in faces.synthetic:
        sheet.row(synthetic_cells(one, faces.people))
    sheet.rule()
    sheet.write("Two real recordings", HEAD)
    sheet.write(
        "Nobody's looks can be had from a voice: the face is the models' guess, beside the "
        "synthetic faces of the gallery that lie nearest to it.",
        TEXT,
        PALE,
    )
    for other in faces.recorded:
        sheet.write(f"{other.about}.", TEXT)
        sheet.labels(RECORDED_HEADS, TEXT)
        sheet.row(recorded_cells(other))
    save_png(sheet.finished(), path, faces.made_by)


def synthetic_cells(one: Synthetic, people: int) -> list[Cell]:
    """Return the pictures of a synthetic person."""
    return [
        (opened(one.person.photograph), one.person.name.replace("_", " ")),
        (opened(one.person.face), ""),
        (one.from_photograph.pil(), f"place {one.place_by_photograph} of {people}"),
        (one.from_voice.pil(), f"place {one.place_by_voice} of {people}"),
    ]


def recorded_cells(other: Recorded) -> list[Cell]:
    """Return the pictures of a real recording."""
    near = [(opened(person.face), person.name.replace("_", " ")) for person in other.nearest]
    return [(other.from_voice.pil(), ""), *near]


def opened(path: Path) -> Image.Image:
    """Return a picture, read."""
    with Image.open(path) as picture:
        return picture.convert("RGB")


def wrapped(
    text: str, font: ImageFont.ImageFont | ImageFont.FreeTypeFont, width: float
) -> list[str]:
    """Return the lines of a text that are no wider than `width` pixels."""
    lines = [""]
    for word in text.split():
        longer = f"{lines[-1]} {word}".strip()
        if lines[-1] and font.getlength(longer) > width:
            lines.append(word)
        else:
            lines[-1] = longer
    return lines
