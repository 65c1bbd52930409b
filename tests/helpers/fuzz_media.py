"""Damage recordings or pictures of every format and hold their decoders to their promises.

KIND is sound or pictures:

    python tests/helpers/fuzz_media.py KIND --minutes 30 [--seed N] [--failures DIR] [--only .wav]

Each damaged file is decoded in a child process of its own. Whatever a file holds, that ends in
time and within the memory, raises nothing but `Vox2FaceError`, in one sentence that names the
file, gives values of the right kind, and never ends the process. Decoders of sound print nothing;
libtiff does. Files that break this are kept.
"""

from __future__ import annotations

import argparse
import os
import random
import resource
import signal
import struct
import sys
import tempfile
import time
import warnings
import zlib
from collections import Counter
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

sys.path.insert(0, str(Path(__file__).parents[1]))

import av
import numpy as np
from PIL import Image

from helpers.damage import blind
from vox2face.core.errors import Vox2FaceError
from vox2face.media import audio, image

DATA = Path(__file__).parents[1] / "data"
SECONDS = 20  # of wall time, on a busy machine
MEMORY = 2 << 30  # bytes beyond those in use
OK, REFUSED, FAILED = 0, 1, 2
# name, codec, rate, layout, and what the muxer is told
SOUNDS: list[tuple[str, str, int, str, dict[str, str]]] = [
    ("pcm.wav", "pcm_s16le", 16_000, "mono", {}),
    ("stereo.wav", "pcm_s24le", 44_100, "stereo", {}),
    ("float.wav", "pcm_f32le", 22_050, "mono", {}),
    ("alaw.wav", "pcm_alaw", 8_000, "mono", {}),
    ("ms.wav", "adpcm_ms", 16_000, "stereo", {}),
    ("ima.wav", "adpcm_ima_wav", 16_000, "mono", {}),
    ("film.wav", "ac3", 48_000, "stereo", {}),
    ("plain.aiff", "pcm_s16be", 22_050, "mono", {}),
    ("plain.au", "pcm_mulaw", 8_000, "mono", {}),
    ("plain.caf", "pcm_s16be", 16_000, "stereo", {}),
    ("plain.w64", "pcm_s16le", 16_000, "mono", {}),
    ("lossless.flac", "flac", 16_000, "stereo", {}),
    ("lossless.wv", "wavpack", 16_000, "mono", {}),
    ("lossless.tta", "tta", 16_000, "mono", {}),
    ("lossless.m4a", "alac", 16_000, "mono", {}),
    ("index_last.m4a", "aac", 16_000, "mono", {}),
    ("index_first.m4a", "aac", 44_100, "stereo", {"movflags": "faststart"}),
    ("fragments.mp4", "aac", 16_000, "mono", {"movflags": "frag_keyframe+empty_moov"}),
    ("adts.aac", "aac", 16_000, "mono", {}),
    ("latm.ts", "aac", 16_000, "mono", {}),
    ("video.flv", "aac", 44_100, "mono", {}),
    ("layer3.mp3", "libmp3lame", 16_000, "mono", {}),
    ("layer2.mp2", "mp2", 16_000, "mono", {}),
    ("film.ac3", "ac3", 48_000, "stereo", {}),
    ("voice.opus", "libopus", 16_000, "mono", {}),
    ("music.ogg", "vorbis", 16_000, "stereo", {}),
    ("web.webm", "libopus", 48_000, "stereo", {}),
    ("film.mka", "vorbis", 16_000, "stereo", {}),
    ("film.avi", "libmp3lame", 16_000, "mono", {}),
    ("windows.wma", "wmav2", 44_100, "stereo", {}),
    ("phone.amr", "libopencore_amrnb", 8_000, "mono", {}),
    ("phone.3gp", "libopencore_amrnb", 8_000, "mono", {}),
]


@dataclass(frozen=True)
class Kind:
    """Files of one kind: how to write some, damage one and read one; `read` tells what is wrong."""

    write: Callable[[Path], None]
    damaged: Callable[[bytes, random.Random], bytes]
    read: Callable[[Path], str]
    prints: bool = False


def write_sounds(folder: Path) -> None:
    """Write half a second of speech in every format."""
    pcm = np.rint(audio.speech()[8_000:16_000] * 32_768).astype(np.int16)[None]
    for name, codec, rate, layout, options in SOUNDS:
        with av.open(folder / name, "w", options=options) as container:
            settings = {"strict": "experimental", "b": "64000"}  # for Vorbis, for Windows Media
            stream: Any = container.add_stream(codec, rate, settings, layout=layout)
            frame = av.AudioFrame.from_ndarray(pcm, format="s16", layout="mono")
            frame.sample_rate = 16_000
            container.mux(stream.encode(frame))
            container.mux(stream.encode(None))


def damaged_sound(content: bytes, rng: random.Random) -> bytes:
    """Return a damaged recording: anywhere, in its first or last part, or behind checksums."""
    where = rng.random()
    if where < 0.4:
        size = min(len(content), rng.choice((64, 128, 512, 1024)))
        return blind(content[:size], rng) + content[size:]
    if where < 0.6:
        size = max(len(content) - rng.choice((64, 512, 1024)), 0)
        return content[:size] + blind(content[size:], rng)
    return resigned(blind(content, rng)) if where < 0.8 else blind(content, rng)


def resigned(content: bytes) -> bytes:
    """Return a file with the checksums of its Ogg pages made right, where it has any."""
    data = bytearray(content)
    start = data.find(b"OggS")
    while start >= 0 and start + 27 < len(data):
        sizes = data[start + 27 : start + 27 + data[start + 26]]
        end = start + 27 + len(sizes) + sum(sizes)
        data[start + 22 : start + 26] = bytes(4)
        data[start + 22 : start + 26] = struct.pack("<I", ogg_checksum(data[start:end]))
        start = data.find(b"OggS", start + 27)
    return bytes(data)


def ogg_checksum(page: bytes) -> int:
    """Return the CRC-32 of an Ogg page (RFC 3533): polynomial 0x04c11db7, no reflection."""
    crc = 0
    for byte in page:
        crc = (crc << 8 & 0xFFFFFFFF) ^ TABLE[crc >> 24 ^ byte]
    return crc


def table_entry(byte: int) -> int:
    crc = byte << 24
    for _ in range(8):
        crc = (crc << 1 & 0xFFFFFFFF) ^ (0x04C11DB7 if crc >> 31 else 0)
    return crc


TABLE = [table_entry(byte) for byte in range(256)]


def hear(path: Path) -> str:
    """Decode a recording; return what is wrong with the result."""
    heard = audio.decode(path)
    steps = heard * 32_768
    right = heard.ndim == 1 and heard.size >= 1_600 and heard.dtype == np.float32
    if not (right and np.abs(heard).max() <= 1 and (steps == np.rint(steps)).all()):
        return f"{heard.dtype} {heard.shape} up to {np.abs(heard).max()} is no waveform"
    return ""


# name, mode, and what Pillow is told
PICTURES: list[tuple[str, str, dict[str, Any]]] = [
    ("plain.jpg", "RGB", {}),
    ("progressive.jpg", "RGB", {"progressive": True, "subsampling": 0}),
    ("print.jpg", "CMYK", {}),
    ("grey.jfif", "L", {"optimize": True}),
    ("turned.jpg", "RGB", {"exif": b"Exif\0\0MM\0*\0\0\0\x08\0\x01\x01\x12\0\x03\0\0\0\x01\0\x06"}),
    ("plain.png", "RGB", {}),
    ("clear.png", "RGBA", {"dpi": (72, 72)}),
    ("palette.png", "P", {}),
    ("bits.png", "1", {}),
    ("plain.gif", "P", {}),
    ("film.gif", "P", {"save_all": True}),
    ("film.png", "RGB", {"save_all": True}),
    ("film.webp", "RGB", {"save_all": True}),
    ("lossy.webp", "RGB", {}),
    ("lossless.webp", "RGBA", {"lossless": True}),
    ("plain.avif", "RGB", {"speed": 10}),
    ("clear.avif", "RGBA", {"speed": 10, "subsampling": "4:4:4"}),
    ("film.avif", "RGB", {"save_all": True, "speed": 10}),
    ("plain.tif", "RGB", {}),
    ("lzw.tif", "RGB", {"compression": "tiff_lzw"}),
    ("deflate.tif", "RGBA", {"compression": "tiff_adobe_deflate"}),
    ("jpeg.tif", "RGB", {"compression": "jpeg"}),
    ("print.tif", "CMYK", {"compression": "packbits"}),
    ("fax.tif", "1", {"compression": "group4"}),
    ("tiles.tif", "L", {"compression": "tiff_lzw", "tiffinfo": {322: 16, 323: 16}}),
    ("plain.bmp", "RGB", {}),
    ("palette.bmp", "P", {}),
    ("plain.tga", "RGB", {"compression": "tga_rle"}),
    ("plain.ppm", "RGB", {}),
    ("bits.pbm", "1", {}),
    ("plain.jp2", "RGB", {}),
    ("lossy.j2k", "L", {"quality_layers": [20], "irreversible": True}),
]


def write_pictures(folder: Path) -> None:
    """Write a small photograph in every format; HEIC where the extra is installed."""
    photograph = Image.fromarray(image.samples()["astronaut.png"]).resize((48, 40))
    for name, mode, options in PICTURES:
        picture = photograph.convert(mode)
        if "save_all" in options:
            options = {**options, "append_images": [picture.rotate(90)] * 2}
        picture.save(folder / name, **options)
    if image.extras.has("heic"):
        heic = DATA / "head.heic"
        (folder / heic.name).write_bytes(heic.read_bytes())


def damaged_picture(content: bytes, rng: random.Random) -> bytes:
    """Return a damaged picture: anywhere, in its first part, or behind checksums."""
    where = rng.random()
    if where < 0.5:
        size = min(len(content), rng.choice((32, 128, 512)))
        return signed(blind(content[:size], rng) + content[size:])
    return signed(blind(content, rng)) if where < 0.8 else blind(content, rng)


def signed(content: bytes) -> bytes:
    """Return a file with the checksums of its PNG chunks made right, where it has any."""
    data, start = bytearray(content), 8
    while data.startswith(b"\x89PNG") and start + 12 <= len(data):
        end = start + 8 + int.from_bytes(data[start : start + 4], "big")
        if end + 4 <= len(data):
            data[end : end + 4] = struct.pack(">I", zlib.crc32(data[start + 4 : end]))
        start = end + 4
    return bytes(data)


def see(path: Path) -> str:
    """Decode a picture; return what is wrong with the result."""
    seen = image.decode(path)
    right = seen.ndim == 3 and seen.shape[2] == 3 and seen.size and seen.dtype == np.uint8
    return "" if right else f"{seen.dtype} {seen.shape} is not a picture"


KINDS = {
    "sound": Kind(write_sounds, damaged_sound, hear),
    "pictures": Kind(write_pictures, damaged_picture, see, prints=True),
}


def promise(kind: Kind, path: Path) -> tuple[int, str]:
    """Read a file here; return what became of it, with the reason of a failure."""
    warnings.simplefilter("ignore")
    try:
        words = kind.read(path)
    except Vox2FaceError as error:
        if str(path) not in str(error) or "\n" in str(error) or len(str(error)) > 400:
            return FAILED, f"not one sentence about the file: {error}"
        return REFUSED, str(error).replace(str(path), "")
    except BaseException as error:
        return FAILED, f"{type(error).__name__}: {error}"
    return (FAILED, words) if words else (OK, "")


def in_child(kind: Kind, path: Path) -> tuple[int, str]:
    """Try a file in a child process, so that crashes, time and memory are its own."""
    with tempfile.TemporaryFile() as words, tempfile.TemporaryFile() as printed:
        process = os.fork()
        if not process:
            os.dup2(printed.fileno(), 1)
            os.dup2(printed.fileno(), 2)
            signal.alarm(SECONDS)
            used = int(Path("/proc/self/statm").read_text().split()[0]) * resource.getpagesize()
            resource.setrlimit(resource.RLIMIT_AS, (used + MEMORY,) * 2)
            code = FAILED
            try:
                code, reason = promise(kind, path)
                words.write(reason.encode("utf-8", "replace"))
                words.flush()
            finally:
                os._exit(code)
        _, status = os.waitpid(process, 0)
        for file in (words, printed):
            file.seek(0)
        reason, told = words.read().decode(), printed.read()
    if os.WIFSIGNALED(status):
        return FAILED, f"signal {os.WTERMSIG(status)} {told.decode(errors='replace')[-300:]}"
    return (
        (FAILED, f"printed {told!r}")
        if told and not kind.prints
        else (os.waitstatus_to_exitcode(status), reason)
    )


def main() -> int:
    """Run for some minutes and report."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("kind", choices=KINDS)
    parser.add_argument("--minutes", type=float, default=1)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--failures", type=Path, default=Path("fuzz-failures"))
    parser.add_argument("--only", default="", help="a part of the names of the files to damage")
    options = parser.parse_args()
    kind, rng, counts = KINDS[options.kind], random.Random(options.seed), Counter[str]()
    end = time.monotonic() + 60 * options.minutes
    with tempfile.TemporaryDirectory() as name:
        seeds = Path(name) / "seeds"
        seeds.mkdir()
        kind.write(seeds)
        paths = [path for path in sorted(seeds.iterdir()) if options.only in path.name]
        for path in paths:
            code, words = in_child(kind, path)
            assert code == OK, f"{path.name}, undamaged: {words}"
        contents = {path: path.read_bytes() for path in paths}
        while time.monotonic() < end:
            chosen = rng.choice(paths)
            case = Path(name) / chosen.name
            case.write_bytes(kind.damaged(contents[chosen], rng))
            code, words = in_child(kind, case)
            counts[["ok", "refused", "failed"][code]] += 1
            if code == FAILED:
                options.failures.mkdir(parents=True, exist_ok=True)
                kept = options.failures / f"{options.seed}-{sum(counts.values())}-{chosen.name}"
                case.rename(kept)
                print(f"{kept}: {words}", flush=True)
            if sum(counts.values()) % 5000 == 0:
                print(dict(counts), flush=True)
    print(dict(counts))
    return 1 if counts["failed"] else 0


if __name__ == "__main__":
    sys.exit(main())
