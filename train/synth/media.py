"""Files of a synthetic corpus: pictures and clips, each marked as synthetic."""

from __future__ import annotations

import struct
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray

from vox2face import __version__
from vox2face.audio import FULL_SCALE, RATE
from vox2face.face import XMP
from vox2face.files import atomic_file

if TYPE_CHECKING:
    from vox2face.train.synth.bank import Bank
    from vox2face.train.synth.voice_traits import Voice

QUALITY = 92
SOFTWARE = f"vox2face {__version__}"
PICTURE_MARK = "Synthetic picture, drawn by a computer program. It shows no real person."
CLIP_MARK = "Synthetic speech, made by a computer program. It is no real person's voice."
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


def save_wav(path: Path, waveform: NDArray[np.float32], synthetic: bool = True) -> None:
    """Write float32 (samples,) at 16 kHz, -1..1, as 16-bit wav; it says if it is synthetic."""
    scaled = np.round(waveform * np.float32(FULL_SCALE))
    samples = np.clip(scaled, -FULL_SCALE, FULL_SCALE - 1).astype("<i2").tobytes()
    mark = chunk(b"ICMT", CLIP_MARK.encode() + b"\0") if synthetic else b""
    note = chunk(b"LIST", b"INFO" + mark + chunk(b"ISFT", SOFTWARE.encode() + b"\0"))
    form = chunk(b"fmt ", struct.pack("<HHIIHH", 1, 1, RATE, 2 * RATE, 2, 16))
    with atomic_file(path) as partial:
        partial.write_bytes(chunk(b"RIFF", b"WAVE" + form + note + chunk(b"data", samples)))


def chunk(name: bytes, body: bytes) -> bytes:
    """Return a chunk of a RIFF file, padded to an even length."""
    return name + struct.pack("<I", len(body)) + body + b"\0" * (len(body) % 2)


def spoken(
    bank: Bank, voice: Voice, sentence: str, rng: np.random.Generator, synthesis: str
) -> NDArray[np.float32]:
    """Return a sentence in a voice, float32 (samples,) at 16 kHz."""
    if synthesis == "espeak":
        from vox2face.train.synth.voice_espeak import espeak_clip

        return espeak_clip(bank.text(sentence), voice, rng)
    from vox2face.train.synth.voice_render import render_voice

    return render_voice(bank.analysis(voice.base, sentence), voice, rng)
