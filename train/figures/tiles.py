"""The parts of picture sheets: pictures, spectrograms and text."""

from __future__ import annotations

import math
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray
from PIL import Image, ImageDraw, ImageFont

from vox2face.media import audio
from vox2face.media.decoded_face import draw_landmarks

TILE = 144  # pixels: height of everything, width of a picture
WIDE = 236  # pixels: width of a spectrogram
PAPER, INK, PALE, EMPTY, RULE = "#ffffff", "#22303c", "#6d7a86", "#eef1f3", "#dde3e8"
SECONDS = 4.0  # of a clip that a spectrogram shows
FFT, HOP = 512, 160
RANGE = 70.0  # dB between the darkest and the brightest colour

# dark to bright, equal steps in lightness; spread over the decibels
COLOURS = ((8, 7, 30), (58, 22, 96), (130, 38, 104), (205, 66, 70), (247, 134, 32), (250, 236, 162))


def length_caption(waveform: NDArray[np.float32]) -> str:
    """Return the caption of a spectrogram: its length in seconds."""
    seconds = waveform.size / audio.RATE
    return f"first {SECONDS:g} of {seconds:.1f} s" if seconds > SECONDS else f"{seconds:.1f} s"


def portrait(
    pixels: NDArray[np.uint8], landmarks: NDArray[Any] | None = None, find: bool = False
) -> Image.Image:
    """Return a picture as a tile, with its landmarks (68, 2); with `find` they are detected."""
    if landmarks is None and find:
        from vox2face.runtime import face_detection

        faces = face_detection.find(pixels)
        landmarks = faces[0].landmarks if faces else None
    height, width = pixels.shape[:2]
    factor = TILE / max(height, width)
    size = max(1, round(width * factor)), max(1, round(height * factor))
    small = Image.fromarray(pixels).resize(size, Image.Resampling.LANCZOS)
    if landmarks is not None:
        small = draw_landmarks(small, (landmarks + 0.5) * factor - 0.5)
    tile = Image.new("RGB", (TILE, TILE), EMPTY)
    tile.paste(small, ((TILE - size[0]) // 2, (TILE - size[1]) // 2))
    return tile


def spectrogram(waveform: NDArray[np.float32]) -> Image.Image:
    """Draw the first seconds of a waveform as a tile: time to the right, 0 to 8 kHz upwards."""
    samples = waveform[: int(SECONDS * audio.RATE)]
    frames = np.lib.stride_tricks.sliding_window_view(np.pad(samples, FFT // 2), FFT)[::HOP]
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


def write(
    pen: ImageDraw.ImageDraw,
    position: tuple[int, int],
    text: str,
    size: int,
    ink: str,
    width: int,
    anchor: str = "lm",
) -> int:
    """Write one line, shortened to `width` pixels; return the x of its end if left-aligned."""
    font = font_of(size)
    text = fitted(text, font, width)
    pen.text(position, text, fill=ink, font=font, anchor=anchor)
    return position[0] + math.ceil(font.getlength(text))


def fitted(text: str, font: ImageFont.FreeTypeFont, width: int) -> str:
    """Shorten a line to at most `width` pixels by leaving out letters of its middle.

    The ends are kept, because numbered names such as `Person_000008` differ there.
    """
    text = "".join(letter if letter.isprintable() else "?" for letter in text)
    result, letters = text, min(len(text), width)  # a letter is at least one pixel wide
    while letters and font.getlength(result) > width:
        letters -= 1
        head = (letters + 1) // 2
        result = f"{text[:head]}…{text[len(text) - (letters - head) :]}"
    return result


def font_of(size: int) -> ImageFont.FreeTypeFont:
    """Load the font in a size in pixels."""
    return ImageFont.truetype(str(_font_file()), size)


def _font_file() -> Path:
    """Return the path of DejaVu Sans, which comes with matplotlib: Latin, Greek, Cyrillic ..."""
    import matplotlib

    return Path(matplotlib.get_data_path()) / "fonts" / "ttf" / "DejaVuSans.ttf"
