"""Write a corpus into the folder layout of the Speech-to-face repo; see `speech_to_face`.

Files are numbered within each person in the order of the manifest, since that repo expects names
that are numbers; `files.csv` says where each came from. A run that was stopped goes on.
"""

from __future__ import annotations

import os
import shutil
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray

from vox2face.core.errors import UsageError, Vox2FaceError
from vox2face.core.files import atomic_file
from vox2face.core.progress import Bars
from vox2face.train import storage
from vox2face.train.corpus.manifest import Manifest
from vox2face.train.corpus.speech_to_face import (
    AUDIOS,
    COLUMNS,
    EMBEDDING,
    IMAGES,
    LANDMARKS,
    MAPPING,
)
from vox2face.train.export.files import folder_names, save_array, spectrograms
from vox2face.train.media import heard, save_jpeg, seen
from vox2face.train.outputs import claim, write_csv

if TYPE_CHECKING:
    from vox2face.train.prepare.reader import Prepared

KINDS = ("media", "voice", "decoder")
SETTINGS, FILES, FAILURES = "export.json", "files.csv", "failures.csv"
RECORDINGS = (".wav", ".m4a")  # what that repo's scripts take; others become wav


@dataclass(frozen=True)
class Options:
    """What to write: `kind` "media", "voice" or "decoder"; `spectrograms` a voice preset.

    `ascii` gives folders names without letters beyond ASCII, `link` makes hard links instead of
    copies where the disk can.
    """

    kind: str = "media"
    spectrograms: str = "ve-conv"
    ascii: bool = False
    link: bool = False


@dataclass
class Export:
    """An export under way, and what came of it."""

    table: Manifest
    out: Path
    options: Options
    prepared: Prepared | None
    written: int = 0
    kept: int = 0
    failures: list[tuple[str, str]] = field(default_factory=list)

    @cached_property
    def sources(self) -> list[str]:
        """Where the file of each row is."""
        return self.table.files()

    @cached_property
    def spectrogram(self) -> Callable[[storage.Place], NDArray[np.float32]]:
        """Return the spectrogram of a recording, as the repo's scripts store it."""
        return spectrograms(self.options.spectrograms)


def export(table: Manifest, out: Path, options: Options, prepared: Prepared | None) -> Export:
    """Write a corpus, and return what was written. Raises `UsageError` for odd options."""
    if options.kind not in KINDS:
        raise UsageError(f"There is no kind {options.kind!r}: use {', '.join(KINDS)}.")
    if options.kind != "media" and prepared is None:
        raise UsageError(
            f"Kind {options.kind} needs embeddings: run vox2face data prepare, and name its folder "
            "with --prepared."
        )
    made = Export(table, out, options, prepared)
    given = {"kind": options.kind, "ascii": options.ascii, "rows": len(table)}
    if options.kind == "voice":
        given["spectrograms"] = options.spectrograms
    claim(out, SETTINGS, given)
    folders = folder_names(table.identities(), options.ascii)
    write_csv(out / MAPPING, COLUMNS, [[folders[name], name] for name in sorted(folders)])
    bars, sources = Bars(), []
    try:
        for done, (row, kind, home, number) in enumerate(numbered(table, folders), 1):
            sources += one(made, row, kind, out / home, number)
            bars.advance("files", done, len(table), " files")
    finally:
        bars.close()
        write_csv(out / FILES, ["file", "source"], sources)
        write_csv(out / FAILURES, ["file", "reason"], [list(each) for each in made.failures])
    return made


def numbered(table: Manifest, folders: dict[str, str]) -> Iterator[tuple[int, str, str, int]]:
    """Yield row, kind, folder and number within person and kind of everything in a manifest."""
    counts: dict[tuple[str, str], int] = {}
    for row, who in enumerate(zip(table.column("identity"), table.column("kind"), strict=True)):
        counts[who] = counts.get(who, 0) + 1
        yield row, who[1], folders[who[0]], counts[who]


def one(made: Export, row: int, kind: str, home: Path, number: int) -> list[list[str]]:
    """Write what comes of one row, and return lines for files.csv."""
    source = made.sources[row]
    write = writers(made.options.kind).get(kind)
    if write is None:
        return []
    base = home / (AUDIOS if kind == "voice" else IMAGES) / f"{number:05d}"
    try:
        paths = write(made, row, source, base)
    except Vox2FaceError as error:
        made.failures.append((source, " ".join(str(error).split())))
        return []
    return [[path.relative_to(made.out).as_posix(), source] for path in paths]


Writer = Callable[[Export, int, str, Path], list[Path]]


def writers(kind: str) -> dict[str, Writer]:
    """Return what is written of recordings and of pictures."""
    table: dict[str, dict[str, Writer]] = {
        "media": {"voice": _write_recording, "face": _write_photograph},
        "voice": {"voice": _write_spectrogram, "face": _write_embedding},
        "decoder": {"face": _write_decoder},
    }
    return table[kind]


def _write_recording(made: Export, row: int, source: str, base: Path) -> list[Path]:
    """Copy a recording, or convert it to wav."""
    suffix = os.path.splitext(source)[1].lower()
    if suffix in RECORDINGS:
        return [copied(made, source, base.with_suffix(suffix))]
    from vox2face.train.media import save_wav

    def save(path: Path) -> None:
        save_wav(path, heard(source), synthetic=False)

    return [fresh(made, base.with_suffix(".wav"), save)]


def _write_photograph(made: Export, row: int, source: str, base: Path) -> list[Path]:
    """Copy a JPEG file, or convert another picture to JPEG."""
    target = base.with_suffix(".jpg")
    if os.path.splitext(source)[1].lower() in (".jpg", ".jpeg", ".jpe", ".jfif"):
        return [copied(made, source, target)]
    return [fresh(made, target, lambda path: save_jpeg(path, seen(source)))]


def _write_spectrogram(made: Export, row: int, source: str, base: Path) -> list[Path]:
    """Write the spectrogram of a recording."""
    target = base.with_suffix(".npy")
    return [fresh(made, target, lambda path: save_array(path, made.spectrogram(source)))]


def _write_embedding(made: Export, row: int, source: str, base: Path) -> list[Path]:
    """Write the embedding of a picture; pictures that failed in preparation are left out."""
    assert made.prepared
    if row not in made.prepared.embeddings:
        return []
    embedding = made.prepared.embeddings[row]
    target = base.with_name(base.name + EMBEDDING)
    return [fresh(made, target, lambda path: save_array(path, embedding))]


def _write_decoder(made: Export, row: int, source: str, base: Path) -> list[Path]:
    """Write a picture with its embedding and its landmarks, doubled to 72."""
    from vox2face.zoo.networks.warp import ORDER_72

    prepared = made.prepared
    assert prepared
    if row not in prepared.embeddings or row not in prepared.landmarks:
        return []
    points = prepared.landmarks[row][list(ORDER_72)].reshape(-1)
    return [
        *_write_embedding(made, row, source, base),
        fresh(made, base.with_name(base.name + LANDMARKS), lambda path: save_array(path, points)),
        fresh(made, base.with_suffix(".jpg"), lambda path: save_jpeg(path, prepared.picture(row))),
    ]


def fresh(made: Export, target: Path, save: Callable[[Path], None]) -> Path:
    """Write a file unless it is there."""
    if target.exists():
        made.kept += 1
    else:
        save(target)
        made.written += 1
    return target


def copied(made: Export, source: str, target: Path) -> Path:
    """Copy or link a file of this machine, or fetch one of an object store."""

    def save(path: Path) -> None:
        if storage.is_remote(source):
            storage.write_bytes(path, storage.read_bytes(source))
            return
        with storage.explained(source), atomic_file(path) as partial:
            if not (made.options.link and _linked(source, partial)):
                shutil.copyfile(source, partial)

    return fresh(made, target, save)


def _linked(source: str, target: Path) -> bool:
    """Make a hard link; whether it could be made: not from one disk to another."""
    try:
        os.link(source, target)
    except OSError:
        return False
    return True
