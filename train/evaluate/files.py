"""The files of an evaluation: results.json, results.txt and the picture sheet."""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import ArrayLike, NDArray
from PIL import Image

from vox2face.core.errors import UsageError, Vox2FaceError
from vox2face.core.files import atomic_file
from vox2face.train.array_cache import ENDING
from vox2face.train.datasets.fingerprint import manifest_digest
from vox2face.train.evaluate.decoded_faces import DECODED, SPOKEN, decoded_protocol
from vox2face.train.evaluate.options import Options
from vox2face.train.evaluate.protocol import Protocol
from vox2face.train.evaluate.report import report
from vox2face.train.evaluate.results import plain
from vox2face.train.evaluate.run import COMPUTED, Outcome
from vox2face.train.figures.retrieval_sheet import SheetRow
from vox2face.train.metrics.retrieval import best, distances
from vox2face.train.metrics.similarity import Array, Indices, check_embeddings

if TYPE_CHECKING:
    from vox2face.train.corpus.manifest import Manifest

RESULTS, TABLE, SHEET = "results.json", "results.txt", "sheet.png"
VOICES = "voices"  # the folder of cached embeddings
KEPT = (ENDING, ".npz")  # their endings; that of vox2face 0.1.0 comes last
ROWS = 6  # queries on the sheet
MANIFEST = "manifest"  # in results.json: the manifest evaluated on


def require_free(folder: Path, options: Options, manifest: Manifest) -> None:
    """Raise `UsageError` if a folder holds anything but results of this very evaluation.

    Those are overwritten.
    """
    paths = sorted(path for path in folder.iterdir()) if folder.is_dir() else []
    result_files = {RESULTS, TABLE, SHEET} if folder / RESULTS in paths else set()
    for path in paths:
        expected = _embeddings_only(path) if path.is_dir() else path.name in result_files
        if not expected and not path.name.startswith("."):
            raise UsageError(
                f"--out {folder} holds {path.name}, which is not of an evaluation: choose an empty "
                "folder, or a new one."
            )
    if result_files:
        require_same(folder / RESULTS, {**options.stated(), MANIFEST: manifest_digest(manifest)})


def _embeddings_only(folder: Path) -> bool:
    """Whether a folder holds cached embeddings and nothing else."""
    names = (path.name for path in folder.iterdir() if not path.name.startswith("."))
    return folder.name == VOICES and all(name.endswith(KEPT) for name in names)


def require_same(file: Path, options: Mapping[str, Any]) -> None:
    """Raise `UsageError` if results are of another evaluation, naming the first difference."""
    try:
        content = json.loads(file.read_text(encoding="utf-8"))
        stored = {**content["settings"], MANIFEST: content[MANIFEST]["sha256"]}
    except (ValueError, KeyError, TypeError) as error:
        raise UsageError(
            f"{file} exists and is not of this version's evaluations: choose another --out."
        ) from error
    options_as_json = json.loads(json.dumps(options))
    for name in options_as_json | {name: None for name in stored if name not in COMPUTED}:
        if options_as_json.get(name) != stored.get(name):
            difference = f"--{name.replace('_', '-')}" if name != MANIFEST else "manifest or split"
            raise UsageError(
                f"{file.parent} holds the results of another evaluation, of another {difference}: "
                "choose another --out."
            )


def write(outcome: Outcome, folder: Path) -> list[Path]:
    """Write all files of an evaluation, each as a whole, and return their paths."""
    texts = {RESULTS: as_json(outcome), TABLE: report(outcome.results)}
    for name, text in texts.items():
        with atomic_file(folder / name) as partial:
            partial.write_text(text, encoding="utf-8")
    written = [folder / name for name in texts]
    if (page := _picture_sheet(outcome)) is not None:
        from vox2face.media.decoded_face import marks

        with atomic_file(folder / SHEET) as partial:
            png_info = marks(outcome.results.weights) if outcome.drawn else None
            page.save(partial, format="PNG", pnginfo=png_info)
        written.append(folder / SHEET)
    return written


def as_json(outcome: Outcome) -> str:
    """Return the results as JSON text; equal results give equal bytes."""
    return json.dumps(plain(outcome.results), indent=1, ensure_ascii=False, allow_nan=False) + "\n"


def _picture_sheet(outcome: Outcome, count: int = ROWS) -> Image.Image | None:
    """Draw the sheet of the main system, or of faces decoded from pictures.

    People are drawn by the seed from the first pool, and not chosen.
    """
    from vox2face.train.figures.retrieval_sheet import sheet

    rows, title, by = _voice_rows(outcome, count) if outcome.main else _decoded_rows(outcome, count)
    if not rows:
        return None
    settings = outcome.results.settings
    note = (
        f"{settings['split']} split, first pool of {rows[0].pool}, {settings['distance']}; "
        f"people drawn by seed {settings['seed']}, not chosen"
    )
    if settings["fuse"]:
        note += "; found by all clips of a person together"
    return sheet(rows, title, note, by)


def _voice_rows(outcome: Outcome, count: int) -> tuple[list[SheetRow], str, str]:
    """Return the rows for voices, beside their decoded faces or spectrograms."""
    from vox2face.train.figures.tiles import portrait, spectrogram
    from vox2face.train.media import read_clip

    main, where = outcome.main, outcome.where
    assert main is not None
    spoken = outcome.drawn.get(SPOKEN)
    people = _drawn_people(where, main.owners, count)

    def extra(query: int) -> Image.Image:
        owner = int(main.owners[query])
        if spoken is not None:
            return portrait(spoken.pixels[spoken.of([owner])[0]])
        clip = int(np.flatnonzero(outcome.corpus.speakers == owner)[0])
        return spectrogram(read_clip(outcome.corpus.clips[clip]))

    rows = _found_rows(where, main.queries, main.owners, people, _face_of(outcome), extra)
    return rows, f"Faces found for voices: {main.name}", "its voice" if spoken is None else SPOKEN


def _decoded_rows(outcome: Outcome, count: int) -> tuple[list[SheetRow], str, str]:
    """Return the rows for faces decoded from pictures, as the first judge ranks them."""
    from vox2face.train.figures.tiles import portrait

    if DECODED not in outcome.drawn or not outcome.judges or outcome.real is None:
        return [], "", ""
    judge, drawn = outcome.judges[0], outcome.drawn[DECODED]
    protocol, who, _ = decoded_protocol(outcome.real, judge)
    people = _drawn_people(protocol, np.arange(len(who)), count)
    drawn_rows = drawn.of([int(who[person]) for person in people])
    queries = judge.embed(drawn)[drawn.of(who.tolist())]
    pixels = {person: drawn.pixels[row] for person, row in zip(people, drawn_rows, strict=True)}
    face_of = _face_of(outcome)
    rows = _found_rows(
        protocol,
        queries,
        np.arange(len(who)),
        people,
        lambda person: face_of(int(who[person])),
        lambda query: portrait(pixels[query]),
    )
    return rows, f"Faces found for decoded pictures: {judge.name}", DECODED


def _face_of(outcome: Outcome) -> Callable[[int], Image.Image]:
    """Return a function from a person to the first picture as a tile."""
    from PIL import Image

    from vox2face.train.evaluate.protocol import occurrence
    from vox2face.train.figures.tiles import EMPTY, TILE, portrait

    corpus = outcome.corpus
    rows = np.flatnonzero(occurrence(corpus.sitters) == 0)
    first = {int(corpus.sitters[row]): int(corpus.rows[row]) for row in rows}

    def tile(person: int) -> Image.Image:
        try:
            return portrait(outcome.arrays.picture(first[person]))
        except Vox2FaceError:  # moved since it was prepared; the numbers do not depend on it
            return Image.new("RGB", (TILE, TILE), EMPTY)

    return tile


FIRST = 5  # faces shown
Portrait = Callable[[int], Image.Image]


def _drawn_people(where: Protocol, owners: Indices, count: int) -> list[int]:
    """Return people of the first pool who have a query, drawn by the seed, in order."""
    candidates = np.intersect1d(where.pools[0], owners)
    rng = np.random.default_rng([where.seed, 5])
    people = rng.choice(candidates, min(count, len(candidates)), replace=False)
    return sorted(int(person) for person in people)


def _found_rows(
    where: Protocol,
    queries: ArrayLike,
    owners: Indices,
    people: Sequence[int],
    portrait: Portrait,
    extra: Callable[[int], Image.Image],
) -> list[SheetRow]:
    """Return a row for the first query of each of some people of the first pool.

    `portrait(person)` returns the person's picture, `extra(row)` the picture of a query.
    """
    pool, table = where.pools[0], check_embeddings(queries, "query embeddings")
    column_of = {int(person): column for column, person in enumerate(pool)}
    rows = []
    for person in people:
        query = int(np.flatnonzero(owners == person)[0])
        order = ranked(where, table[query : query + 1], pool)
        faces = [(where.names[i], portrait(int(i)), int(i) == person) for i in pool[order[:FIRST]]]
        rank = int(np.flatnonzero(order == column_of[person])[0]) + 1
        true_face = portrait(person)
        rows.append(SheetRow(where.names[person], true_face, extra(query), faces, rank, len(pool)))
    return rows


def ranked(where: Protocol, query: Array, pool: Indices) -> NDArray[np.intp]:
    """Return the columns of the pool for one query (1, width), nearest first (pool,)."""
    gallery = where.gallery[pool]
    order: NDArray[np.intp] = best(distances(query, gallery, where.distance), len(pool))[0]
    return order
