"""Pictures in: paths, bytes, open files, Pillow images and arrays become RGB uint8 arrays."""

from __future__ import annotations

import io
import os
import warnings
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from importlib import import_module, resources
from tempfile import SpooledTemporaryFile
from typing import Any, BinaryIO

import numpy as np
from numpy.typing import NDArray
from PIL import ExifTags, Image, UnidentifiedImageError

from vox2face.core import extras
from vox2face.core.errors import (
    ImageError,
    UsageError,
    Vox2FaceError,
    Vox2FaceWarning,
    one_line,
)
from vox2face.core.files import FULL_DISK, UNKNOWN, identify_bytes
from vox2face.media.opening import opened

Pixels = NDArray[np.uint8]
FORMS = (
    "a path, the bytes of a file, a binary file object, a Pillow image or a uint8 array "
    "(height, width, 3)"
)
Picture = str | os.PathLike[str] | bytes | BinaryIO | Image.Image | Pixels
THE_PICTURE = "the picture"  # what errors call one without a name

# Formats of photographs; others, such as EPS, would start programs on files nobody vouches for.
FORMATS = ("PNG", "JPEG", "WEBP", "AVIF", "BMP", "GIF", "TIFF", "PPM", "TGA", "JPEG2000", "HEIF")
SAMPLES = ("astronaut.png", "head.png")
HEIC_BRANDS = {b"heic", b"heix", b"heim", b"heis", b"hevc", b"hevx"}
END_OF_JPEG = b"\xff\xd9"
MOST_PIXELS = 110_000_000
MOST_MEMORY = 600_000_000  # bytes that decoding may take, beside some 400 MB of everything else

# Bytes for each pixel that Pillow's decoders take, measured; those left out take 4 at most.
DECODING = {"WEBP": 16, "AVIF": 10, "HEIF": 10, "JPEG2000": 24}
BLOCK = 1 << 18  # pixels that are converted or resampled at a time
IN_MEMORY = 1 << 25  # bytes; what is larger goes through a temporary file
BILINEAR = Image.Resampling.BILINEAR

# An upright array as an array of the rows in the file, by the orientation in Exif
TURNED: dict[int, Callable[[Pixels], Pixels]] = {
    2: lambda upright: upright[:, ::-1],
    3: lambda upright: upright[::-1, ::-1],
    4: lambda upright: upright[::-1],
    5: lambda upright: upright.swapaxes(0, 1),
    6: lambda upright: np.rot90(upright),
    7: lambda upright: upright[::-1, ::-1].swapaxes(0, 1),
    8: lambda upright: np.rot90(upright, -1),
}
SIDEWAYS = (5, 6, 7, 8)
DEEP_GREY = ("I;16", "I;16L", "I;16B", "I;16N")


def decode(picture: Picture, channels: str = "rgb", reader: str = "pillow") -> Pixels:
    """Return a picture as RGB uint8 (height, width, 3).

    Takes a path, the bytes of a file, a binary file object (read from its start if it can seek), a
    Pillow image or a uint8 array (height, width, 3), whose `channels` are "rgb" or, as OpenCV has
    them, "bgr"; all others know their own. The orientation a camera noted in the file is applied,
    transparency is dropped and grey becomes RGB; of an animation the first picture is taken. HEIC
    files need the extra `heic`. A JPEG file that is cut short is read, with a `Vox2FaceWarning`,
    if at least half of its rows are there; missing ones are of one colour.

    `reader` says whose colours a JPEG file of inks (CMYK) has, "pillow" or "opencv", which differ
    by a grey level; "opencv" also reads grey of 16 bits, by its upper 8.

    Raises `ImageError` for what is not a picture or damaged, and, before it is decoded, for one of
    more than 110 million pixels or one that takes more than 600 MB to decode; `UsageError` for
    other channels, or without the extra.
    """
    if channels not in ("rgb", "bgr"):
        raise UsageError(f"channels={channels!r}: the channels of an array are 'rgb' or 'bgr'.")
    if isinstance(picture, np.ndarray):
        return checked(picture) if channels == "rgb" else checked(picture)[:, :, ::-1]
    if isinstance(picture, Image.Image):
        with _explained("the Pillow image"):
            _require_decodable(picture, "the Pillow image", reader)
            return _upright(picture, reader, keep=True)
    if isinstance(picture, bytes):
        return decode_file(io.BytesIO(picture), THE_PICTURE, reader)
    if hasattr(picture, "read"):
        return decode_file(_content(picture), name_of(picture), reader)
    with opened(picture, "picture", FORMS, ImageError) as file:
        return decode_file(file, file.name, reader)


def name_of(picture: Any) -> str:
    """Return what errors call a picture: its path, or that of an open file."""
    name = getattr(picture, "name", None) if hasattr(picture, "read") else picture
    return str(os.fspath(name)) if isinstance(name, str | os.PathLike) else THE_PICTURE


def _content(file: Any) -> BinaryIO:
    """Return what is in a binary file object, which stays open: decoding closes its file."""
    with suppress(AttributeError, OSError, TypeError):  # a pipe, the answer of a server
        file.seek(0)
    content = file.read()
    if not isinstance(content, bytes):
        raise ImageError(f"{name_of(file)} gives text and no bytes: open it with mode 'rb'.")
    return io.BytesIO(content)


def decode_file(file: BinaryIO, name: str, reader: str = "pillow") -> Pixels:
    """Return the picture in a binary file that can seek; `name` is what errors call it.

    All else is as in `decode`.
    """
    file.seek(0)
    head = file.read(512)
    if not head:
        raise ImageError(f"{name} is an empty file: copy it again.")
    if _is_heic(head):
        extras.require("heic", f"{name} is a HEIC picture: reading it")
        import_module("pillow_heif").register_heif_opener()
    file.seek(0)
    with _explained(name, identify_bytes(head)):
        image, rows = _loaded(file, name, reader)
        height = image.height
        pixels = _upright(image, reader)
    if rows is not None:
        words = f"{name} is cut short: {rows} of its {height} rows are there"
        if 2 * rows < height:
            raise ImageError(f"{words}, which is less than half: copy it again.")
        warnings.warn(f"{words}.", Vox2FaceWarning, stacklevel=3)
    return pixels


@contextmanager
def _explained(name: str, kind: str = UNKNOWN) -> Iterator[None]:
    """Turn what Pillow raises into one sentence, and leave out its warnings."""
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            yield
    except UnidentifiedImageError:
        raise ImageError(
            f"{name} is {kind}, no picture that Pillow can read: convert it to PNG."
        ) from None
    except Image.DecompressionBombError:
        raise _too_many(name) from None
    except Vox2FaceError:
        raise
    except MemoryError:
        raise ImageError(f"{name} takes more memory to decode than there is: reduce it.") from None
    except Exception as error:  # decoders raise kinds of their own on damaged files
        if isinstance(error, OSError) and error.errno in FULL_DISK:  # of the temporary file
            raise
        reason = one_line(error)
        raise ImageError(f"{name} cannot be decoded ({reason}): the file is damaged.") from error


def _is_heic(head: bytes) -> bool:
    """Whether the first bytes of a file are those of a HEIC picture."""
    size = int.from_bytes(head[:4], "big") if head[4:8] == b"ftyp" else 0
    return any(head[at : at + 4] in HEIC_BRANDS for at in range(8, min(size, len(head)), 4))


def _loaded(file: BinaryIO, name: str, reader: str) -> tuple[Image.Image, int | None]:
    """Return a decoded Pillow image and, of a JPEG file that is cut short, how many rows it has."""
    image = _opened(file)
    _require_decodable(image, name, reader)
    try:
        image.load()
        return image, None
    except OSError as error:
        if error.errno or image.format not in ("JPEG", "MPO"):
            raise
    file.seek(0)
    image = _opened(io.BytesIO(file.read() + END_OF_JPEG))
    image.load()
    return image, _rows(image)


def _opened(file: BinaryIO) -> Image.Image:
    """Return a Pillow image of which the header alone is read."""
    Image.init()
    return Image.open(file, formats=[name for name in FORMATS if name in Image.OPEN])


def _require_decodable(image: Image.Image, name: str, reader: str) -> None:
    """Raise `ImageError` for a picture that is too large or has more bits than its reader reads."""
    read = reader == "opencv" and image.mode in DEEP_GREY
    if image.mode.startswith(("I", "F")) and not read:
        raise ImageError(f"{name} has more than 8 bits a channel: convert it to 8-bit RGB.")
    if image.width * image.height > MOST_PIXELS:
        raise _too_many(name)
    memory = _memory(image)
    if memory > MOST_MEMORY:
        raise ImageError(
            f"{name} has {image.width} x {image.height} pixels, which take {memory / 1e9:.1f} GB "
            f"to decode from this kind of {image.format}: reduce it, or save it as a plain JPEG."
        )


def _too_many(name: str) -> ImageError:
    """Return the error for a picture with too many pixels."""
    return ImageError(
        f"{name} has more than {MOST_PIXELS // 10**6} million pixels: crop the face and try again."
    )


def _memory(image: Image.Image) -> float:
    """Return how many bytes decoding takes, from what the header says."""
    pixels = image.width * image.height
    memory: float = pixels * DECODING.get(str(image.format), 4)
    if image.info.get("progressive"):  # all coefficients, 2 bytes each
        samples = [h * v for _, h, v, _ in getattr(image, "layer", [])]
        memory += 2 * pixels * sum(samples) / max(samples, default=1)
    tags = getattr(image, "tag_v2", None)
    if tags is not None and image.info.get("compression") != "raw":  # a strip or tile
        height = min(tags.get(ExifTags.Base.RowsPerStrip, image.height), image.height)
        height = tags.get(ExifTags.Base.TileLength, height)
        width = tags.get(ExifTags.Base.TileWidth, image.width)
        memory += width * height * sum(tags.get(ExifTags.Base.BitsPerSample, (1,))) / 8
    return memory


def _rows(image: Image.Image) -> int:
    """Return how many rows there are above those of the one colour that fills what is missing."""
    width, rows = image.size
    missing = [(width, image.getpixel((width - 1, rows - 1)))]
    while rows and image.crop((0, rows - 1, width, rows)).getcolors(1) == missing:
        rows -= 1
    return rows


def _upright(image: Image.Image, reader: str, keep: bool = False) -> Pixels:
    """Return a Pillow image as RGB uint8, upright.

    Unless it is to be kept, its memory, 4 bytes a pixel, is free before that of the array is taken.
    """
    image.load()
    width, height = image.size
    orientation = image.getexif().get(ExifTags.Base.Orientation, 1)
    by_opencv = reader == "opencv" and image.format in ("JPEG", "MPO")
    with SpooledTemporaryFile(IN_MEMORY) as spool:
        for top, bottom in bands(width, height):
            spool.write(_rgb(image.crop((0, top, width, bottom)), by_opencv).tobytes())
        if not keep:
            image.close()
        spool.seek(0)
        upright = np.empty(
            (width, height, 3) if orientation in SIDEWAYS else (height, width, 3), "u1"
        )
        rows = TURNED.get(orientation, np.asarray)(upright)
        for top, bottom in bands(width, height):
            band = spool.read((bottom - top) * width * 3)
            rows[top:bottom] = np.frombuffer(band, np.uint8).reshape(-1, width, 3)
    return checked(upright)


def _rgb(image: Image.Image, by_opencv: bool) -> Image.Image | Pixels:
    """Return a Pillow image as RGB, with the inks of a JPEG file as OpenCV's imread mixes them."""
    if image.mode in DEEP_GREY:
        return (np.asarray(image) >> 8).astype(np.uint8)[:, :, None].repeat(3, 2)
    if by_opencv and image.mode == "CMYK":  # icvCvt_CMYK2BGR_8u_C4C3R of utils.cpp
        inks = np.asarray(image, np.int32)
        light = 255 - inks[:, :, 3:]
        return (light - (inks[:, :, :3] * light >> 8)).astype(np.uint8)
    return image.convert("RGB")


def bands(width: int, height: int) -> Iterator[tuple[int, int]]:
    """Yield where bands of rows begin and end that have some `BLOCK` pixels each."""
    step = max(1, BLOCK // width)
    for top in range(0, height, step):
        yield top, min(top + step, height)


def resized(pixels: Pixels, size: tuple[int, int]) -> Pixels:
    """Return a picture resized to (width, height) by Pillow's bilinear filter, columns first.

    As in every Pillow before 13, whatever the shape, and without a copy of the whole.
    """
    columns = [
        np.asarray(Image.fromarray(pixels[top:bottom]).resize((size[0], bottom - top), BILINEAR))
        for top, bottom in bands(pixels.shape[1], len(pixels))
    ]
    return np.array(Image.fromarray(np.concatenate(columns)).resize(size, BILINEAR))


def checked(array: NDArray[Any]) -> Pixels:
    """Return the array if it is a uint8 RGB picture with at least one pixel."""
    if array.ndim != 3 or array.shape[2] != 3 or array.dtype != np.uint8 or not array.size:
        raise ImageError(
            f"A picture array must be RGB uint8 (height, width, 3) with values 0..255; "
            f"this one is {array.dtype} {array.shape}."
        )
    return array


def samples() -> dict[str, Pixels]:
    """Return the two pictures that come with vox2face, each RGB uint8 (224, 224, 3)."""
    folder = resources.files("vox2face") / "assets"
    pictures = {}
    for name in SAMPLES:
        with resources.as_file(folder / name) as path:
            pictures[name] = decode(path)
    return pictures
