"""Pictures in: paths, Pillow images and arrays become RGB uint8 arrays."""

from __future__ import annotations

import os
import warnings
from importlib import resources
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray
from PIL import Image, ImageOps, UnidentifiedImageError

from vox2face.errors import ImageError

Picture = str | os.PathLike[str] | Image.Image | NDArray[np.uint8]
# Formats of photographs; others, such as EPS, would start programs on files nobody vouches for.
FORMATS = ("PNG", "JPEG", "WEBP", "AVIF", "BMP", "GIF", "TIFF", "PPM", "TGA", "JPEG2000")
SAMPLES = ("astronaut.png", "head.png")


def decode(picture: Picture) -> NDArray[np.uint8]:
    """Return a picture as RGB uint8 (height, width, 3).

    Takes a path, a Pillow image or a uint8 RGB array. The orientation a camera noted in the file
    is applied, transparency is dropped and grey becomes RGB. Raises `ImageError`.
    """
    if isinstance(picture, np.ndarray):
        return checked(picture)
    if isinstance(picture, Image.Image):
        return to_rgb(picture, "the Pillow image")
    try:
        path = Path(os.fspath(picture))
    except TypeError:
        raise ImageError(
            f"A picture is a path, a Pillow image or a uint8 RGB array, not {type(picture)}."
        ) from None
    if path.exists() and not path.is_file() and not path.is_dir():
        raise ImageError(f"{path} is a pipe or a device: name picture files.")
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("error", Image.DecompressionBombWarning)
            Image.init()
            known = [name for name in FORMATS if name in Image.OPEN]
            with Image.open(path, formats=known) as opened:
                return to_rgb(opened, str(path))
    except FileNotFoundError:
        raise ImageError(f"There is no picture {path}: check the path.") from None
    except IsADirectoryError:
        raise ImageError(f"{path} is a folder: name picture files.") from None
    except UnidentifiedImageError:
        raise ImageError(f"{path} is no picture that Pillow can read: convert it to PNG.") from None
    except (Image.DecompressionBombError, Image.DecompressionBombWarning):
        raise ImageError(f"{path} declares too many pixels: crop the face and try again.") from None
    except ImageError:
        raise
    except Exception as error:  # decoders raise kinds of their own on damaged files
        raise ImageError(f"{path} cannot be decoded ({error}): the file is damaged.") from error


def to_rgb(image: Image.Image, name: str) -> NDArray[np.uint8]:
    """Return a Pillow image as RGB uint8, upright."""
    if image.mode.startswith(("I", "F")):
        raise ImageError(f"{name} has more than 8 bits a channel: convert it to 8-bit RGB.")
    upright = ImageOps.exif_transpose(image)
    return checked(np.asarray(upright.convert("RGB")))


def checked(array: NDArray[Any]) -> NDArray[np.uint8]:
    """Return the array if it is a uint8 RGB picture with at least one pixel."""
    if array.ndim != 3 or array.shape[2] != 3 or array.dtype != np.uint8 or not array.size:
        raise ImageError(
            f"A picture array must be RGB uint8 (height, width, 3) with values 0..255; "
            f"this one is {array.dtype} {array.shape}."
        )
    return array


def samples() -> dict[str, NDArray[np.uint8]]:
    """Return the two pictures that come with vox2face, each RGB uint8 (224, 224, 3)."""
    folder = resources.files("vox2face") / "assets"
    pictures = {}
    for name in SAMPLES:
        with resources.as_file(folder / name) as path:
            pictures[name] = decode(path)
    return pictures
