"""A small corpus of real pictures and real speech, and the bytes of a folder."""

from __future__ import annotations

import wave
from pathlib import Path

import numpy as np
from PIL import Image

from vox2face.media import audio, image
from vox2face.train.corpus import manifest


def write_clip(path: Path, waveform: np.ndarray) -> None:
    """Write a waveform as 16-bit wav."""
    with wave.open(str(path), "wb") as file:
        file.setnchannels(1)
        file.setsampwidth(2)
        file.setframerate(audio.RATE)
        file.writeframes(np.rint(waveform * audio.FULL_SCALE).astype("<i2").tobytes())


def corpus(folder: Path, pictures: int = 6, clips: int = 6, splits: bool = True) -> Path:
    """Write pictures and clips of `pictures` people, two of three to train; returns the manifest.

    Even rows of the manifest are pictures where there are as many clips.
    """
    rows = []
    shown = list(image.samples().values())
    for i in range(max(pictures, clips)):
        name = f"Pérson {i}"
        (folder / name).mkdir(parents=True)
        split = ("train", "train", "test")[i % 3] if splits else None
        if i < pictures:
            Image.fromarray(np.roll(shown[i % 2], i, axis=1)).save(folder / name / "face.png")
            rows.append((name, "face", None, "here", split, None, str(folder), f"{name}/face.png"))
        if i < clips:
            write_clip(folder / name / "voice.wav", np.roll(audio.speech(), 997 * i)[: 20000 + i])
            rows.append(
                (name, "voice", None, "here", split, None, str(folder), f"{name}/voice.wav")
            )
    names = [name for name in manifest.COLUMNS if name != "duration"]
    columns = dict(zip(names, map(list, zip(*rows, strict=True)), strict=True))
    place = folder / manifest.FILE
    manifest.write(manifest.from_columns(columns, {"made": "by a test"}), place)
    return place


def contents(folder: Path) -> dict[str, bytes]:
    """Return every file below a folder with its bytes, hidden ones too."""
    return {
        str(path.relative_to(folder)): path.read_bytes()
        for path in sorted(folder.rglob("*"))
        if path.is_file()
    }
