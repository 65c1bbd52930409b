"""Show a corpus: a contact sheet, plots and lines of text about its manifest."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from vox2face.core.errors import UsageError
from vox2face.core.extras import require
from vox2face.core.files import atomic_file
from vox2face.train.corpus.manifest import Manifest, require_same
from vox2face.train.corpus.overview import Overview, Split, lines, overview
from vox2face.train.datasets.pairing import drawn
from vox2face.train.figures import contact_sheet, corpus_plots

if TYPE_CHECKING:
    from vox2face.train.prepare.reader import Prepared

SHEET = "contact-sheet.png"
PLOTS = ("durations.png", "identities.png", "gender.png")


def choose_identities(corpus: Overview, count: int, seed: int, split: Split = None) -> list[int]:
    """Draw `count` identities by the seed, sorted; those with clips and pictures come first.

    With a `split` they are of that split; raises `UsageError` if nobody is in it.
    """
    pool = corpus.of_split(split) if split else np.arange(len(corpus.names))
    if split and not len(pool):
        splits = ", ".join(s for s in corpus.present_splits() if s) or "none"
        raise UsageError(f"Nobody is in the split {split!r}; the manifest's splits are: {splits}.")
    incomplete = (corpus.clips[pool] == 0) | (corpus.pictures[pool] == 0)
    random_order = [drawn(1 << 62, seed, int(i)) for i in pool]
    order = np.lexsort((random_order, incomplete))[:count]
    return sorted(int(i) for i in pool[order])


def people(
    manifest: Manifest,
    corpus: Overview,
    who: list[int],
    prepared: Prepared | None = None,
    find: bool = False,
) -> Iterator[contact_sheet.Person]:
    """Yield the rows of the contact sheet for the identities `who`."""
    import pyarrow as pa
    import pyarrow.compute as pc

    names = manifest.table["identity"].cast("string")
    rows = np.flatnonzero(pc.is_in(names, pa.array([corpus.names[i] for i in who], "string")))
    part = Manifest(manifest.table.take(rows), manifest.info)
    columns = {name: part.column(name) for name in ("identity", "kind", "path", "source")}
    files = part.files()
    for i in who:
        numbers = [n for n, name in enumerate(columns["identity"]) if name == corpus.names[i]]
        numbers.sort(key=lambda n: columns["path"][n])
        sources = sorted({columns["source"][n] for n in numbers if columns["source"][n]})
        person = contact_sheet.Person(corpus.names[i], details_of(corpus, i, sources))
        for n in [n for n in numbers if columns["kind"][n] == "face"][: contact_sheet.MOST]:
            points = prepared.landmarks_of(int(rows[n])) if prepared else None
            person.add_picture(files[n], points, find)
        for n in [n for n in numbers if columns["kind"][n] == "voice"][: contact_sheet.MOST]:
            person.add_clip(files[n])
        yield person


def details_of(corpus: Overview, i: int, sources: list[str]) -> str:
    """Return the details of an identity beside its name: gender, split, counts, sources."""
    gender = corpus_plots.GENDERS.get(corpus.genders[i], ("", ""))[0] if corpus.genders[i] else ""
    counts = [_plural(corpus.pictures[i], "picture"), _plural(corpus.clips[i], "clip")]
    words = [gender, corpus.splits[i] or "", *counts, ", ".join(sources)]
    return "   ·   ".join(word for word in words if word)


def _plural(count: int, word: str) -> str:
    """Return a count with its noun."""
    return f"{count:,} {word}" if count == 1 else f"{count:,} {word}s"


def show(
    manifest: Manifest,
    out: Path,
    *,
    prepared: Prepared | None = None,
    identities: int = 8,
    seed: int = 0,
    split: Split = None,
    find: bool = False,
) -> list[str]:
    """Write the contact sheet and the plots into a folder, and return lines about the corpus.

    The sheet shows `identities` people drawn by the seed, with at most four pictures and four
    clips each. Landmarks come from a prepared corpus, or are found in the pictures if `find`.
    Files that cannot be read become grey tiles and a line.
    """
    require("data", "vox2face data show")
    if out.exists() and not out.is_dir():
        raise UsageError(f"{out} is a file: name a folder with --out.")
    if prepared is not None:
        require_same(manifest, prepared.manifest, prepared.folder)
    corpus = overview(manifest)
    rows = list(
        people(manifest, corpus, choose_identities(corpus, identities, seed, split), prepared, find)
    )
    suffix = f" of the split {split}" if split else ""
    title = (
        f"{len(rows)} of {len(corpus.of_split(split)) if split else len(corpus.names):,} identities"
    )
    sheet = contact_sheet.sheet(f"{title}{suffix}", rows)
    with atomic_file(out / SHEET) as partial:
        sheet.save(partial, format="PNG")
    durations, counts, gender = (out / name for name in PLOTS)
    corpus_plots.durations(durations, corpus.seconds, corpus.unknown)
    corpus_plots.identities(counts, corpus.clips, corpus.pictures)
    corpus_plots.genders(gender, corpus.gender_counts())
    unread = [reason for person in rows for reason in person.unread]
    warnings = [f"{_plural(len(unread), 'file')} could not be read: {unread[0]}"] if unread else []
    return [*lines(corpus), *warnings]
