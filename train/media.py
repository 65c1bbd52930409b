"""Read and write the recordings and pictures of corpora."""

from __future__ import annotations

import io
import struct
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from vox2face.core.files import atomic_file
from vox2face.core.version import __version__
from vox2face.media import audio, image
from vox2face.media.audio import FULL_SCALE, RATE
from vox2face.train import storage

if TYPE_CHECKING:
    from vox2face.zoo.presets import VoicePreset


def read_clip(path: str) -> NDArray[np.float32]:
    """Read the recording at a path or an address, float32 (samples,), mono, 16 kHz, -1..1."""
    if not storage.is_remote(path):
        return audio.decode(path)
    return audio.decode(io.BytesIO(storage.read_bytes(path)))


TINY = 1e-20  # mean square; below it a waveform counts as silent


def normalize_level(
    waveform: NDArray[np.float32], preset: VoicePreset | None
) -> NDArray[np.float32]:
    """Return a waveform (samples,) at the level of a preset; at -23 dB without one."""
    if preset is None:
        return audio.level(waveform)
    if preset.decibels is None:
        return waveform
    if preset.level == "increase-only":
        power = float(np.square(waveform, dtype=np.float64).mean())
        gain = 10 ** (preset.decibels / 20) / max(power, TINY) ** 0.5
        return waveform * np.float32(max(gain, 1.0)) if power > TINY else waveform
    return audio.level(waveform, preset.decibels)


def encoder_source(file: str) -> Any:
    """Return the input of a voice encoder: a path, or an open file for an address."""
    return storage.open_binary(file) if storage.is_remote(file) else file


QUALITY = 95  # of JPEG


def read_waveform(path: storage.PathOrUri) -> NDArray[np.float32]:
    """Read a recording as `read_clip` does; errors of reading are `CorpusError`."""
    return audio.decode(io.BytesIO(storage.read_bytes(path)))


def save_jpeg(path: Path, pixels: NDArray[np.uint8]) -> None:
    """Write RGB pixels as JPEG."""
    from PIL import Image

    with atomic_file(path) as partial:
        Image.fromarray(pixels).save(partial, format="JPEG", quality=QUALITY)


Pixels = NDArray[np.uint8]


def read_picture(path: storage.PathOrUri) -> Pixels:
    """Read the picture at a path or an address, RGB uint8 (height, width, 3)."""
    if not storage.is_remote(path):
        return image.decode(path)
    return image.decode_file(io.BytesIO(storage.read_bytes(path)), str(path))


SOFTWARE = f"vox2face {__version__}"
CLIP_MARK = "Synthetic speech, made by a computer program. It is no real person's voice."


def save_wav(path: Path, waveform: NDArray[np.float32], synthetic: bool = True) -> None:
    """Write float32 (samples,) at 16 kHz, -1..1, as 16-bit wav, marked if it is synthetic."""
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
