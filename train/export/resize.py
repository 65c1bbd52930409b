"""Resize all pictures of a folder, keeping its structure."""

from __future__ import annotations

import os
from dataclasses import dataclass, field
from pathlib import Path

from vox2face.core.errors import CorpusError, Vox2FaceError
from vox2face.core.files import PICTURES
from vox2face.core.progress import Bars
from vox2face.train.corpus.skipped import Skipped
from vox2face.train.corpus.tree import open_tree
from vox2face.train.media import save_jpeg
from vox2face.train.outputs import claim, write_csv

SETTINGS, FAILURES = "resize.json", "failures.csv"


@dataclass
class Resized:
    """The numbers of pictures written and kept, and the failures: (file, reason)."""

    written: int = 0
    kept: int = 0
    failures: list[tuple[str, str]] = field(default_factory=list)


def resize(folder: Path, out: Path, size: int = 224, crop: bool = False) -> Resized:
    """Write all pictures below a folder as JPEG of `size` x `size` into `out`.

    They are stretched as Speech-to-face does it, but rounded instead of truncated; `crop` cuts the
    one face out of each first. Raises `CorpusError` for a folder without pictures.
    """
    paths = [p for p in open_tree(folder, Skipped()).files("") if p.lower().endswith(PICTURES)]
    if not paths:
        raise CorpusError(f"There are no pictures in {folder}: expected {', '.join(PICTURES)}.")
    claim(out, SETTINGS, {"size": size, "crop": crop})
    stems: dict[str, int] = {}
    for path in paths:
        stem = os.path.splitext(path)[0]
        stems[stem] = stems.get(stem, 0) + 1
    result, bars = Resized(), Bars()
    try:
        for number, path in enumerate(paths, 1):
            stem = os.path.splitext(path)[0]
            name = f"{path if stems[stem] > 1 else stem}.jpg"  # a.png and a.webp keep two names
            _resize_one(Path(folder) / path, out / name, size, crop, result)
            bars.advance("pictures", number, len(paths), " pictures")
    finally:
        bars.close()
        write_csv(
            out / FAILURES, ["file", "reason"], [list(failure) for failure in result.failures]
        )
    return result


def _resize_one(source: Path, target: Path, size: int, crop: bool, result: Resized) -> None:
    """Resize one picture, unless its target exists."""
    from vox2face.media.image import decode, resized
    from vox2face.runtime import face_detection

    if target.exists():
        result.kept += 1
        return
    try:
        pixels = decode(source)
        if crop:
            pixels, _ = face_detection.crop(pixels, face_detection.the_face(pixels), size)
        resized_pixels = resized(pixels, (size, size))
    except Vox2FaceError as error:
        result.failures.append((str(source), " ".join(str(error).split())))
        return
    save_jpeg(target, resized_pixels)
    result.written += 1
