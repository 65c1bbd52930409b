"""A contact sheet of a corpus: some people with their pictures, landmarks and clips."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any

from numpy.typing import NDArray
from PIL import Image, ImageDraw

from vox2face.core.errors import Vox2FaceError
from vox2face.train.figures.tiles import (
    EMPTY,
    INK,
    PALE,
    PAPER,
    RULE,
    TILE,
    WIDE,
    length_caption,
    portrait,
    spectrogram,
    write,
)
from vox2face.train.media import read_clip, read_picture

GAP, HEAD, FOOT = 10, 30, 20  # pixels: between tiles, of a name above, of a caption below
MOST = 4  # pictures and clips of one identity that are shown


@dataclass
class Person:
    """One row of the sheet: name, details, pictures, clips, and the reasons of unreadable files.

    `pictures` hold None in place of an unreadable picture; `clips` hold a spectrogram (or None) and
    its caption.
    """

    name: str
    details: str
    pictures: list[Image.Image | None] = field(default_factory=list)
    clips: list[tuple[Image.Image | None, str]] = field(default_factory=list)
    unread: list[str] = field(default_factory=list)

    def add_picture(self, path: str, landmarks: NDArray[Any] | None, find: bool) -> None:
        """Add a picture with its landmarks (68, 2) in pixels; with `find` they are detected."""
        try:
            self.pictures.append(portrait(read_picture(path), landmarks, find))
        except Vox2FaceError as error:
            self.pictures.append(None)
            self.unread.append(str(error))

    def add_clip(self, path: str) -> None:
        """Add the spectrogram of a clip."""
        try:
            waveform = read_clip(path)
            self.clips.append((spectrogram(waveform), length_caption(waveform)))
        except Vox2FaceError as error:
            self.clips.append((None, ""))
            self.unread.append(str(error))


def sheet(title: str, people: Sequence[Person]) -> Image.Image:
    """Draw the contact sheet: a row for each person below a title."""
    pictures = max((len(person.pictures) for person in people), default=0)
    clips = max((len(person.clips) for person in people), default=0)
    middle = 2 * GAP + pictures * (TILE + GAP) + (2 * GAP if pictures else 0)
    width = max(720, middle + clips * (WIDE + GAP) + GAP)
    row = HEAD + TILE + FOOT + GAP
    page = Image.new("RGB", (width, HEAD + 2 * GAP + max(1, len(people)) * row), PAPER)
    pen = ImageDraw.Draw(page)
    write(pen, (2 * GAP, GAP + HEAD // 2), title, 18, INK, width - 4 * GAP)
    if not people:
        write(pen, (2 * GAP, GAP + HEAD + 60), "There is nobody to show.", 14, PALE, width)
    for number, person in enumerate(people):
        top = HEAD + 2 * GAP + number * row
        pen.line((2 * GAP, top - 3, width - 2 * GAP, top - 3), fill=RULE)
        _draw_person(page, pen, person, top, middle)
    return page


def _draw_person(
    page: Image.Image, pen: ImageDraw.ImageDraw, person: Person, top: int, middle: int
) -> None:
    """Draw a person's row; spectrograms begin at x = `middle`."""
    room = page.width - 4 * GAP
    end = write(pen, (2 * GAP, top + HEAD // 2), person.name, 15, INK, room * 2 // 3)
    write(pen, (end + GAP, top + HEAD // 2), person.details, 12, PALE, page.width - end - 3 * GAP)
    top += HEAD
    for number, picture in enumerate(person.pictures):
        _paste_tile(page, pen, picture, (2 * GAP + number * (TILE + GAP), top), TILE)
    for number, (tile, caption) in enumerate(person.clips):
        left = middle + number * (WIDE + GAP)
        _paste_tile(page, pen, tile, (left, top), WIDE)
        write(pen, (left, top + TILE + FOOT // 2), caption, 11, PALE, WIDE)


def _paste_tile(
    page: Image.Image,
    pen: ImageDraw.ImageDraw,
    tile: Image.Image | None,
    corner: tuple[int, int],
    width: int,
) -> None:
    """Paste a tile, or draw a grey one that says that its file is unreadable."""
    if tile is not None:
        page.paste(tile, corner)
        return
    left, top = corner
    pen.rectangle((left, top, left + width - 1, top + TILE - 1), fill=EMPTY)
    write(pen, (left + 8, top + TILE // 2), "unreadable", 12, PALE, width - 16)
