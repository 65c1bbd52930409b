"""The files of an export: recordings, pictures, arrays, tables, and names of folders."""

from __future__ import annotations

import csv
import io
import unicodedata
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from vox2face import audio
from vox2face.errors import UsageError
from vox2face.files import atomic_file
from vox2face.train import storage

QUALITY = 95  # of JPEG


def heard(source: storage.Place) -> NDArray[np.float32]:
    """Return a recording as a waveform at 16 kHz."""
    return audio.decode(io.BytesIO(storage.read_bytes(source)))


def seen(source: storage.Place) -> NDArray[np.uint8]:
    """Return a picture as RGB uint8 (h, w, 3)."""
    from vox2face.image import decode, decode_file

    if not storage.is_remote(source):
        return decode(source)
    return decode_file(io.BytesIO(storage.read_bytes(source)), str(source))


def spectrograms(preset: str) -> Callable[[storage.Place], NDArray[np.float32]]:
    """Return a function from a recording to the array that the repo's scripts store.

    (2, frequencies, frames) of a spectrogram, (1, frames, bands) of a filter bank.
    """
    import torch

    from vox2face.zoo.frontends import VoiceInput
    from vox2face.zoo.voice_presets import voice_preset

    chosen = voice_preset(preset)
    if chosen.frontend not in ("spectrogram", "fbank"):
        raise UsageError(f"Preset {preset} is not one of Speech-to-face: use ve-conv or ast-*.")
    front = VoiceInput(chosen)

    def spectrogram(source: storage.Place) -> NDArray[np.float32]:
        with torch.inference_mode():
            y: NDArray[np.float32] = front(torch.from_numpy(heard(source))[None]).numpy()
        return y[0] if chosen.frontend == "spectrogram" else y

    return spectrogram


def save_array(path: Path, array: NDArray[Any]) -> None:
    """Write an array as .npy."""
    with atomic_file(path) as partial, partial.open("wb") as file:
        np.save(file, np.ascontiguousarray(array, np.float32))


def save_jpeg(path: Path, pixels: NDArray[np.uint8]) -> None:
    """Write RGB pixels as JPEG."""
    from PIL import Image

    with atomic_file(path) as partial:
        Image.fromarray(pixels).save(partial, format="JPEG", quality=QUALITY)


def write_csv(path: Path, header: list[str], rows: list[list[str]]) -> None:
    """Write a table."""
    with atomic_file(path) as partial, partial.open("w", encoding="utf-8", newline="") as file:
        writer = csv.writer(file, lineterminator="\n")
        writer.writerow(header)
        writer.writerows(rows)


def folder_names(identities: list[str], plain: bool) -> dict[str, str]:
    """Return a folder for each identity; with `plain` in ASCII, numbered where two would share."""
    folders: dict[str, str] = {}
    taken: set[str] = set()
    for name in identities:
        wanted = name.replace("/", "_").replace("\\", "_")
        if plain:
            letters = unicodedata.normalize("NFKD", wanted).encode("ascii", "ignore").decode()
            wanted = letters.strip() or "person"
        folder, number = wanted, 1
        while folder.casefold() in taken:  # some file systems do not tell case apart
            number += 1
            folder = f"{wanted}_{number}"
        taken.add(folder.casefold())
        folders[name] = folder
    return folders
