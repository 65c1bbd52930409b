"""A contact sheet of a corpus: some people with their pictures, landmarks and clips."""

from __future__ import annotations

import io
import math
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np
from numpy.typing import NDArray
from PIL import Image, ImageDraw, ImageFont

from vox2face import audio, drawing
from vox2face.errors import Vox2FaceError
from vox2face.train import plots, storage
from vox2face.train.face_stages import picture_at

TILE = 144  # pixels: height of everything, width of a picture
WIDE = 236  # pixels: width of a spectrogram
GAP, HEAD, FOOT = 10, 30, 20  # pixels: between tiles, of a name above, of a caption below
MOST = 4  # pictures and clips of one identity that are shown
PAPER, INK, PALE, EMPTY, RULE = "#ffffff", "#22303c", "#6d7a86", "#eef1f3", "#dde3e8"
SECONDS = 4.0  # of a clip that a spectrogram shows
FFT, HOP = 512, 160
RANGE = 70.0  # dB between the darkest and the brightest colour
# dark to bright, equal steps in lightness; spread over the decibels
COLOURS = ((8, 7, 30), (58, 22, 96), (130, 38, 104), (205, 66, 70), (247, 134, 32), (250, 236, 162))


@dataclass
class Person:
    """One row of the sheet: a name, a line about it, pictures, clips, and what could not be read.

    `pictures` hold a picture, or None in place of an unreadable one; `clips` likewise a
    spectrogram, with the caption below it.
    """

    name: str
    about: str
    pictures: list[Image.Image | None] = field(default_factory=list)
    clips: list[tuple[Image.Image | None, str]] = field(default_factory=list)
    unread: list[str] = field(default_factory=list)

    def add_picture(self, place: str, landmarks: NDArray[Any] | None, find: bool) -> None:
        """Add a picture with its landmarks in its own pixels, found here if asked."""
        try:
            self.pictures.append(portrait(picture_at(place), landmarks, find))
        except Vox2FaceError as error:
            self.pictures.append(None)
            self.unread.append(str(error))

    def add_clip(self, place: str) -> None:
        """Add the spectrogram of a clip."""
        try:
            waveform = read_clip(place)
            self.clips.append((spectrogram(waveform), length(waveform)))
        except Vox2FaceError as error:
            self.clips.append((None, ""))
            self.unread.append(str(error))


def length(waveform: NDArray[np.float32]) -> str:
    """Return the caption of a spectrogram."""
    seconds = waveform.size / audio.RATE
    return f"first {SECONDS:g} of {seconds:.1f} s" if seconds > SECONDS else f"{seconds:.1f} s"


def read_clip(place: str) -> NDArray[np.float32]:
    """Return a recording of a corpus, float32 (samples,)."""
    if not storage.is_remote(place):
        return audio.decode(place)
    return audio.decode(io.BytesIO(storage.read_bytes(place)))


def portrait(
    pixels: NDArray[np.uint8], landmarks: NDArray[Any] | None = None, find: bool = False
) -> Image.Image:
    """Return a picture as a tile, with its landmarks (68, 2), or those that are found in it."""
    if landmarks is None and find:
        from vox2face import faces

        seen = faces.find(pixels)
        landmarks = seen[0].landmarks if seen else None
    height, width = pixels.shape[:2]
    factor = TILE / max(height, width)
    size = max(1, round(width * factor)), max(1, round(height * factor))
    small = Image.fromarray(pixels).resize(size, Image.Resampling.LANCZOS)
    if landmarks is not None:
        small = drawing.draw_landmarks(small, (landmarks + 0.5) * factor - 0.5)
    tile = Image.new("RGB", (TILE, TILE), EMPTY)
    tile.paste(small, ((TILE - size[0]) // 2, (TILE - size[1]) // 2))
    return tile


def spectrogram(waveform: NDArray[np.float32]) -> Image.Image:
    """Return the first seconds of a waveform as a tile: time to the right, 0 to 8 kHz upwards."""
    shown = waveform[: int(SECONDS * audio.RATE)]
    frames = np.lib.stride_tricks.sliding_window_view(np.pad(shown, FFT // 2), FFT)[::HOP]
    power = np.square(np.abs(np.fft.rfft(frames * np.hanning(FFT)))).T[::-1]
    decibels = 10 * np.log10(power + 1e-12)
    bright = np.clip(1 + (decibels - decibels.max()) / RANGE, 0, 1) * (len(COLOURS) - 1)
    steps = np.arange(len(COLOURS))
    colours = [np.interp(bright, steps, channel) for channel in np.array(COLOURS).T]
    pixels = np.round(np.stack(colours, axis=2)).astype(np.uint8)
    width = max(1, round(WIDE * min(1.0, waveform.size / (SECONDS * audio.RATE))))
    tile = Image.new("RGB", (WIDE, TILE), EMPTY)
    tile.paste(Image.fromarray(pixels).resize((width, TILE), Image.Resampling.BOX))
    return tile


def sheet(title: str, people: Sequence[Person]) -> Image.Image:
    """Return the contact sheet: a row for each person below a title."""
    pictures = max((len(person.pictures) for person in people), default=0)
    clips = max((len(person.clips) for person in people), default=0)
    middle = 2 * GAP + pictures * (TILE + GAP) + (2 * GAP if pictures else 0)
    width = max(720, middle + clips * (WIDE + GAP) + GAP)
    row = HEAD + TILE + FOOT + GAP
    whole = Image.new("RGB", (width, HEAD + 2 * GAP + max(1, len(people)) * row), PAPER)
    pen = ImageDraw.Draw(whole)
    write(pen, (2 * GAP, GAP + HEAD // 2), title, 18, INK, width - 4 * GAP)
    if not people:
        write(pen, (2 * GAP, GAP + HEAD + 60), "There is nobody to show.", 14, PALE, width)
    for number, person in enumerate(people):
        top = HEAD + 2 * GAP + number * row
        pen.line((2 * GAP, top - 3, width - 2 * GAP, top - 3), fill=RULE)
        draw_person(whole, pen, person, top, middle)
    return whole


def draw_person(
    whole: Image.Image, pen: ImageDraw.ImageDraw, person: Person, top: int, middle: int
) -> None:
    """Draw a person's row; spectrograms begin at x = `middle`."""
    room = whole.width - 4 * GAP
    end = write(pen, (2 * GAP, top + HEAD // 2), person.name, 15, INK, room * 2 // 3)
    write(pen, (end + GAP, top + HEAD // 2), person.about, 12, PALE, whole.width - end - 3 * GAP)
    top += HEAD
    for number, picture in enumerate(person.pictures):
        place(whole, pen, picture, (2 * GAP + number * (TILE + GAP), top), TILE)
    for number, (tile, caption) in enumerate(person.clips):
        left = middle + number * (WIDE + GAP)
        place(whole, pen, tile, (left, top), WIDE)
        write(pen, (left, top + TILE + FOOT // 2), caption, 11, PALE, WIDE)


def place(
    whole: Image.Image,
    pen: ImageDraw.ImageDraw,
    tile: Image.Image | None,
    corner: tuple[int, int],
    width: int,
) -> None:
    """Paste a tile, or say that its file could not be read."""
    if tile is not None:
        whole.paste(tile, corner)
        return
    left, top = corner
    pen.rectangle((left, top, left + width - 1, top + TILE - 1), fill=EMPTY)
    write(pen, (left + 8, top + TILE // 2), "unreadable", 12, PALE, width - 16)


def write(
    pen: ImageDraw.ImageDraw, at: tuple[int, int], text: str, size: int, ink: str, room: int
) -> int:
    """Write one line from x, its middle at y, shortened to `room` pixels; return where it ends."""
    font = lettering(size)
    text = "".join(letter if letter.isprintable() else "?" for letter in text)
    if font.getlength(text) > room:
        while text and font.getlength(f"{text}…") > room:
            text = text[:-1]
        text = f"{text}…"
    pen.text(at, text, fill=ink, font=font, anchor="lm")
    return at[0] + math.ceil(font.getlength(text))


def lettering(size: int) -> ImageFont.FreeTypeFont:
    """Return the font of a size in pixels."""
    return ImageFont.truetype(str(plots.font_file()), size)
