"""The files of an export: recordings, pictures, arrays, tables, and names of folders."""

from __future__ import annotations

import unicodedata
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from vox2face.core.errors import UsageError
from vox2face.core.files import atomic_file
from vox2face.train import storage
from vox2face.train.media import heard


def spectrograms(preset: str) -> Callable[[storage.Place], NDArray[np.float32]]:
    """Return a function from a recording to the array that the repo's scripts store.

    (2, frequencies, frames) of a spectrogram, (1, frames, bands) of a filter bank.
    """
    import torch

    from vox2face.zoo.frontends.voice import VoiceInput
    from vox2face.zoo.presets import voice_preset

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
