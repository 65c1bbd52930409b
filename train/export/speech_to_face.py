"""Write a corpus into the folder layout of the Speech-to-face repo; see `speech_to_face`.

Files are numbered within each person in the order of the manifest, since that repo expects names
that are numbers; `files.csv` lists their sources. A run that was stopped goes on.
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
from vox2face.train.media import read_picture, read_waveform, save_jpeg
from vox2face.train.outputs import claim, write_csv

if TYPE_CHECKING:
    from vox2face.train.prepare.reader import Prepared

KINDS = ("media", "voice", "decoder")
SETTINGS, FILES, FAILURES = "export.json", "files.csv", "failures.csv"
RECORDINGS = (".wav", ".m4a")  # which that repo's scripts read; others become wav


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
    """An export: its corpus, folder and options, the numbers of files, and the failures."""

    table: Manifest
    out: Path
    options: Options
    prepared: Prepared | None
    written: int = 0
    kept: int = 0
    failures: list[tuple[str, str]] = field(default_factory=list)

    @cached_property
    def sources(self) -> list[str]:
        """The path or address of each row's file."""
        return self.table.files()

    @cached_property
    def spectrogram(self) -> Callable[[storage.PathOrUri], NDArray[np.float32]]:
        """A function from a recording to its array; see `spectrograms`."""
        return spectrograms(self.options.spectrograms)


def export(table: Manifest, out: Path, options: Options, prepared: Prepared | None) -> Export:
    """Write a corpus into `out`. Raises `UsageError` for options that are not valid."""
    if options.kind not in KINDS:
        raise UsageError(f"There is no kind {options.kind!r}: use {', '.join(KINDS)}.")
    if options.kind != "media" and prepared is None:
        raise UsageError(
            f"Kind {options.kind} needs embeddings: run vox2face data prepare, and name its folder "
            "with --prepared."
        )
    run = Export(table, out, options, prepared)
    settings = {"kind": options.kind, "ascii": options.ascii, "rows": len(table)}
    if options.kind == "voice":
        settings["spectrograms"] = options.spectrograms
    claim(out, SETTINGS, settings)
    folders = folder_names(table.identities(), options.ascii)
    write_csv(out / MAPPING, COLUMNS, [[folders[name], name] for name in sorted(folders)])
    bars, sources = Bars(), []
    try:
        for done, (row, kind, home, number) in enumerate(numbered(table, folders), 1):
            sources += _export_row(run, row, kind, out / home, number)
            bars.advance("files", done, len(table), " files")
    finally:
        bars.close()
        write_csv(out / FILES, ["file", "source"], sources)
        write_csv(out / FAILURES, ["file", "reason"], [list(failure) for failure in run.failures])
    return run


def numbered(table: Manifest, folders: dict[str, str]) -> Iterator[tuple[int, str, str, int]]:
    """Yield row, kind, folder and number within person and kind of each row of a manifest."""
    counts: dict[tuple[str, str], int] = {}
    for row, who in enumerate(zip(table.column("identity"), table.column("kind"), strict=True)):
        counts[who] = counts.get(who, 0) + 1
        yield row, who[1], folders[who[0]], counts[who]


def _export_row(run: Export, row: int, kind: str, home: Path, number: int) -> list[list[str]]:
    """Write the files of one row, and return their lines of files.csv."""
    source = run.sources[row]
    write = writers(run.options.kind).get(kind)
    if write is None:
        return []
    base = home / (AUDIOS if kind == "voice" else IMAGES) / f"{number:05d}"
    try:
        paths = write(run, row, source, base)
    except Vox2FaceError as error:
        run.failures.append((source, " ".join(str(error).split())))
        return []
    return [[path.relative_to(run.out).as_posix(), source] for path in paths]


Writer = Callable[[Export, int, str, Path], list[Path]]


def writers(kind: str) -> dict[str, Writer]:
    """Return the function that writes a "voice" row and a "face" row, for a kind of export."""
    table: dict[str, dict[str, Writer]] = {
        "media": {"voice": _write_recording, "face": _write_photograph},
        "voice": {"voice": _write_spectrogram, "face": _write_embedding},
        "decoder": {"face": _write_decoder},
    }
    return table[kind]


def _write_recording(run: Export, row: int, source: str, base: Path) -> list[Path]:
    """Copy a recording, or convert it to wav."""
    suffix = os.path.splitext(source)[1].lower()
    if suffix in RECORDINGS:
        return [_copy(run, source, base.with_suffix(suffix))]
    from vox2face.train.media import save_wav

    def save(path: Path) -> None:
        save_wav(path, read_waveform(source), synthetic=False)

    return [_write(run, base.with_suffix(".wav"), save)]


def _write_photograph(run: Export, row: int, source: str, base: Path) -> list[Path]:
    """Copy a JPEG file, or convert another picture to JPEG."""
    target = base.with_suffix(".jpg")
    if os.path.splitext(source)[1].lower() in (".jpg", ".jpeg", ".jpe", ".jfif"):
        return [_copy(run, source, target)]
    return [_write(run, target, lambda path: save_jpeg(path, read_picture(source)))]


def _write_spectrogram(run: Export, row: int, source: str, base: Path) -> list[Path]:
    """Write the spectrogram of a recording."""
    target = base.with_suffix(".npy")
    return [_write(run, target, lambda path: save_array(path, run.spectrogram(source)))]


def _write_embedding(run: Export, row: int, source: str, base: Path) -> list[Path]:
    """Write the embedding of a picture; pictures that failed in preparation are left out."""
    assert run.prepared
    if row not in run.prepared.embeddings:
        return []
    embedding = run.prepared.embeddings[row]
    target = base.with_name(base.name + EMBEDDING)
    return [_write(run, target, lambda path: save_array(path, embedding))]


def _write_decoder(run: Export, row: int, source: str, base: Path) -> list[Path]:
    """Write a picture with its embedding and its landmarks, repeated to 72."""
    from vox2face.zoo.networks.warp import ORDER_72

    prepared = run.prepared
    assert prepared
    if row not in prepared.embeddings or row not in prepared.landmarks:
        return []
    points = prepared.landmarks[row][list(ORDER_72)].reshape(-1)
    return [
        *_write_embedding(run, row, source, base),
        _write(run, base.with_name(base.name + LANDMARKS), lambda path: save_array(path, points)),
        _write(run, base.with_suffix(".jpg"), lambda path: save_jpeg(path, prepared.picture(row))),
    ]


def _write(run: Export, target: Path, save: Callable[[Path], None]) -> Path:
    """Write a file unless it exists."""
    if target.exists():
        run.kept += 1
    else:
        save(target)
        run.written += 1
    return target


def _copy(run: Export, source: str, target: Path) -> Path:
    """Copy or link a file of this machine, or fetch one of an object store."""

    def save(path: Path) -> None:
        if storage.is_remote(source):
            storage.write_bytes(path, storage.read_bytes(source))
            return
        with storage.explained(source), atomic_file(path) as partial:
            if not (run.options.link and _linked(source, partial)):
                shutil.copyfile(source, partial)

    return _write(run, target, save)


def _linked(source: str, target: Path) -> bool:
    """Make a hard link, and return whether it could be made: not from one disk to another."""
    try:
        os.link(source, target)
    except OSError:
        return False
    return True
