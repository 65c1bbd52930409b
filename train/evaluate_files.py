"""The files of an evaluation: results.json, results.txt and the picture sheet."""

from __future__ import annotations

import json
import os
import tempfile
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from vox2face.errors import UsageError, Vox2FaceError
from vox2face.files import atomic_file
from vox2face.train.evaluate_pictures import DECODED, SPOKEN, decoded_setting
from vox2face.train.evaluate_run import Outcome
from vox2face.train.evaluate_text import report

if TYPE_CHECKING:
    from PIL import Image

    from vox2face.train.sheet import Found

RESULTS, TABLE, SHEET = "results.json", "results.txt", "sheet.png"
VOICES = "voices"  # the folder of embeddings that are kept
ROWS = 6  # queries on the sheet


def require_writable(folder: Path) -> None:
    """Raise `UsageError` unless the files of an evaluation can be written into a folder.

    The folder itself is not made: a file without a name is opened in the first one above it that
    there is.
    """
    try:
        above = next(path for path in (folder, *folder.absolute().parents) if os.path.lexists(path))
        with tempfile.TemporaryFile(dir=above):
            pass
        for name in (RESULTS, TABLE, SHEET):
            if (folder / name).is_dir():
                raise UsageError(
                    f"{folder / name} is a folder, and a file of that name is to be written: "
                    "choose another --out."
                )
        if (folder / VOICES).exists() and not (folder / VOICES).is_dir():
            raise UsageError(
                f"{folder / VOICES} is a file, and a folder of that name is to be written: choose "
                "another --out."
            )
    except OSError as error:
        raise UsageError(
            f"Nothing can be written into --out {folder} ({error.strerror or error}): choose "
            "another folder."
        ) from error


def write(outcome: Outcome, folder: Path) -> list[Path]:
    """Write all files of an evaluation into a folder, each as a whole, and return their paths."""
    texts = {RESULTS: as_json(outcome), TABLE: report(outcome.results)}
    for name, text in texts.items():
        with atomic_file(folder / name) as partial:
            partial.write_text(text, encoding="utf-8")
    written = [folder / name for name in texts]
    if (page := picture_sheet(outcome)) is not None:
        from vox2face.face import marks

        with atomic_file(folder / SHEET) as partial:
            made = marks(outcome.results["weights"]) if outcome.drawn else None
            page.save(partial, format="PNG", pnginfo=made)
        written.append(folder / SHEET)
    return written


def as_json(outcome: Outcome) -> str:
    """Return the results as JSON text; equal results give equal bytes."""
    return json.dumps(outcome.results, indent=1, ensure_ascii=False, allow_nan=False) + "\n"


def picture_sheet(outcome: Outcome, count: int = ROWS) -> Image.Image | None:
    """Return the sheet of the main way of finding faces, or of faces decoded from pictures.

    People are drawn by the seed from the first pool, so that nobody chooses the good ones.
    """
    from vox2face.train.sheet import sheet

    rows, title, by = voice_rows(outcome, count) if outcome.main else decoded_rows(outcome, count)
    if not rows:
        return None
    settings = outcome.results["settings"]
    note = (
        f"{settings['split']} split, first pool of {rows[0].pool}, {settings['distance']}; "
        f"people drawn by seed {settings['seed']}, not chosen"
    )
    if settings["fuse"]:
        note += "; found by all clips of a person together"
    return sheet(rows, title, note, by)


def voice_rows(outcome: Outcome, count: int) -> tuple[list[Found], str, str]:
    """Return the rows for voices, beside their decoded faces or spectrograms."""
    from vox2face.train.contact_sheet import portrait, read_clip, spectrogram
    from vox2face.train.sheet import drawn_people, found_rows

    main, where = outcome.main, outcome.where
    assert main is not None
    spoken = outcome.drawn.get(SPOKEN)
    people = drawn_people(where, main.owners, count)

    def extra(query: int) -> Image.Image:
        owner = int(main.owners[query])
        if spoken is not None:
            return portrait(spoken.pixels[spoken.of([owner])[0]])
        clip = int(np.flatnonzero(outcome.corpus.speakers == owner)[0])
        return spectrogram(read_clip(outcome.corpus.clips[clip]))

    rows = found_rows(where, main.queries, main.owners, people, face_of(outcome), extra)
    return rows, f"Faces found for voices: {main.name}", "its voice" if spoken is None else SPOKEN


def decoded_rows(outcome: Outcome, count: int) -> tuple[list[Found], str, str]:
    """Return the rows for faces decoded from pictures, as the first judge finds them."""
    from vox2face.train.contact_sheet import portrait
    from vox2face.train.sheet import drawn_people, found_rows

    if DECODED not in outcome.drawn or not outcome.judges or outcome.real is None:
        return [], "", ""
    judge, drawn = outcome.judges[0], outcome.drawn[DECODED]
    seen, who, _ = decoded_setting(outcome.real, judge)
    people = drawn_people(seen, np.arange(len(who)), count)
    chosen = drawn.of([int(who[person]) for person in people])
    queries = judge.embed(drawn)[drawn.of(who.tolist())]
    pixels = {person: drawn.pixels[row] for person, row in zip(people, chosen, strict=True)}
    shown = face_of(outcome)
    rows = found_rows(
        seen,
        queries,
        np.arange(len(who)),
        people,
        lambda person: shown(int(who[person])),
        lambda query: portrait(pixels[query]),
    )
    return rows, f"Faces found for decoded pictures: {judge.name}", DECODED


def face_of(outcome: Outcome) -> Callable[[int], Image.Image]:
    """Return the function that gives a person's first picture as a tile."""
    from PIL import Image

    from vox2face.train.contact_sheet import EMPTY, TILE, portrait
    from vox2face.train.evaluate import occurrence

    corpus = outcome.corpus
    rows = np.flatnonzero(occurrence(corpus.sitters) == 0)
    first = {int(corpus.sitters[row]): int(corpus.rows[row]) for row in rows}

    def tile(person: int) -> Image.Image:
        try:
            return portrait(outcome.arrays.picture(first[person]))
        except Vox2FaceError:  # moved since it was prepared: the figures do not need it
            return Image.new("RGB", (TILE, TILE), EMPTY)

    return tile
