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
from vox2face.train.media import read_waveform


def spectrograms(preset: str) -> Callable[[storage.PathOrUri], NDArray[np.float32]]:
    """Return a function from a recording to the array that the Speech-to-face repo's scripts store.

    Float32 (2, frequencies, frames) of a spectrogram, (1, frames, bands) of a filter bank.
    Raises `UsageError` for a preset of another network.
    """
    import torch

    from vox2face.zoo.frontends.voice import VoiceInput
    from vox2face.zoo.presets import voice_preset

    voice = voice_preset(preset)
    if voice.frontend not in ("spectrogram", "fbank"):
        raise UsageError(f"Preset {preset} is not one of Speech-to-face: use ve-conv or ast-*.")
    encoder_input = VoiceInput(voice)

    def spectrogram(source: storage.PathOrUri) -> NDArray[np.float32]:
        with torch.inference_mode():
            y: NDArray[np.float32] = encoder_input(
                torch.from_numpy(read_waveform(source))[None]
            ).numpy()
        return y[0] if voice.frontend == "spectrogram" else y

    return spectrogram


def save_array(path: Path, array: NDArray[Any]) -> None:
    """Write an array as float32 .npy."""
    with atomic_file(path) as partial, partial.open("wb") as file:
        np.save(file, np.ascontiguousarray(array, np.float32))


def folder_names(identities: list[str], plain: bool) -> dict[str, str]:
    """Return each identity's folder; with `plain` in ASCII; equal names are numbered."""
    folders: dict[str, str] = {}
    taken: set[str] = set()
    for name in identities:
        folder_name = name.replace("/", "_").replace("\\", "_")
        if plain:
            letters = unicodedata.normalize("NFKD", folder_name).encode("ascii", "ignore").decode()
            folder_name = letters.strip() or "person"
        folder, number = folder_name, 1
        while folder.casefold() in taken:  # some file systems do not tell case apart
            number += 1
            folder = f"{folder_name}_{number}"
        taken.add(folder.casefold())
        folders[name] = folder
    return folders
