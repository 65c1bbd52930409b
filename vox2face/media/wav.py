"""Linear PCM in wav files, read without FFmpeg and as libsndfile reads it.

FFmpeg would hand it over in small pieces, takes the valid bits of a sample for its width, and a
file that ends too early for a shorter one.
"""

from __future__ import annotations

import struct
from typing import Any, BinaryIO

import numpy as np
from numpy.typing import NDArray

from vox2face.core.errors import AudioError
from vox2face.media import ffmpeg

PCM, FLOAT, EXTENSIBLE = 1, 3, 0xFFFE
SUBFORMAT = bytes.fromhex("000000001000800000aa00389b71")  # follows the code of an extensible one

# How samples are stored, by their code and bytes; 24 bits become the upper ones of 32.
TYPES = {
    (PCM, 1): "u1",
    (PCM, 2): "<i2",
    (PCM, 3): "<i4",
    (PCM, 4): "<i4",
    (FLOAT, 4): "<f4",
    (FLOAT, 8): "<f8",
}
MISCOUNTED = 0.01  # seconds that may be missing: some programs count the header as sound


def read(file: BinaryIO, name: str) -> tuple[NDArray[Any], int, str] | None:
    """Return samples (channels, samples) as they are stored, their rate and FFmpeg's layout.

    None for a file that is no wav file of linear PCM, or cannot seek. Raises `AudioError` for any
    wav file that ends before its header says, and for absurd rates and lengths.
    """
    if not ffmpeg.is_wav(file):
        return None
    head, declared = chunks(file)
    if len(head) < 16:
        return None
    code, channels, rate, per_second, frame, bits = struct.unpack("<HHIIHH", head[:16])
    mask = 0
    if code == EXTENSIBLE and head[26:40] == SUBFORMAT:
        mask, code = struct.unpack("<IH", head[20:26])
    # samples of 24 bits may lie in 32, at the upper end
    width = 4 if (bits, frame) == (24, 4 * channels) else (bits + 7) // 8
    is_linear = (code, width) in TYPES and 0 < channels <= ffmpeg.CHANNELS
    if is_linear:
        per_second = rate * channels * width
    start = file.tell()
    present = file.seek(0, 2) - start
    low, high = ffmpeg.PLACEHOLDERS
    if low < declared < high and declared - present > MISCOUNTED * per_second > 0:
        raise AudioError(ffmpeg.cut_off(name, present / per_second, declared / per_second))
    if not is_linear:
        return None
    ffmpeg.checked_rate(rate, name)
    size = min(declared or present, present)
    ffmpeg.checked_duration(size / per_second, name)
    file.seek(start)
    samples = unpacked(file.read(size - size % (channels * width)), TYPES[code, width], width)
    layout = f"{mask:#x}" if mask.bit_count() == channels else ffmpeg.layout_of(channels)
    return samples.reshape(-1, channels).T, rate, layout


def chunks(file: BinaryIO) -> tuple[bytes, int]:
    """Return the format of a wav file and the size of its sound; leave it where that starts."""
    file.seek(12)
    head = b""
    while len(chunk := file.read(8)) == 8:
        kind, size = struct.unpack("<4sI", chunk)
        if kind == b"data":
            return head, size
        head = file.read(size) if kind == b"fmt " else head
        file.seek(size % 2 if kind == b"fmt " else size + size % 2, 1)
    return b"", 0


def unpacked(data: bytes, kind: str, width: int) -> NDArray[Any]:
    """Return samples (n,) in this machine's order of bytes."""
    if width == 3:
        wide = np.zeros((len(data) // 3, 4), np.uint8)
        wide[:, 1:] = np.frombuffer(data, np.uint8).reshape(-1, 3)
    samples = np.frombuffer(wide if width == 3 else data, kind)
    return samples.astype(samples.dtype.newbyteorder("="), copy=False)
