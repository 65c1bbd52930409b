"""Looking at a corpus: a contact sheet, plots and a few lines of text about its manifest."""

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


def chosen(seen: Overview, count: int, seed: int, split: Split = None) -> list[int]:
    """Return identities at random, by name: those with clips and pictures before the others.

    With a `split`, of that one only; raises `UsageError` if nobody is in it.
    """
    pool = seen.of_split(split) if split else np.arange(len(seen.names))
    if split and not len(pool):
        there = ", ".join(s for s in seen.present_splits() if s) or "none"
        raise UsageError(f"Nobody is in the split {split!r}; the manifest's splits are: {there}.")
    lacking = (seen.clips[pool] == 0) | (seen.pictures[pool] == 0)
    luck = [drawn(1 << 62, seed, int(i)) for i in pool]
    order = np.lexsort((luck, lacking))[:count]
    return sorted(int(i) for i in pool[order])


def people(
    manifest: Manifest,
    seen: Overview,
    who: list[int],
    prepared: Prepared | None = None,
    find: bool = False,
) -> Iterator[contact_sheet.Person]:
    """Yield the rows of the contact sheet."""
    import pyarrow as pa
    import pyarrow.compute as pc

    names = manifest.table["identity"].cast("string")
    rows = np.flatnonzero(pc.is_in(names, pa.array([seen.names[i] for i in who], "string")))
    part = Manifest(manifest.table.take(rows), manifest.info)
    columns = {name: part.column(name) for name in ("identity", "kind", "path", "source")}
    files = part.files()
    for i in who:
        own = [n for n, name in enumerate(columns["identity"]) if name == seen.names[i]]
        own.sort(key=lambda n: columns["path"][n])
        sources = sorted({columns["source"][n] for n in own if columns["source"][n]})
        person = contact_sheet.Person(seen.names[i], about(seen, i, sources))
        for n in [n for n in own if columns["kind"][n] == "face"][: contact_sheet.MOST]:
            points = prepared.landmarks_of(int(rows[n])) if prepared else None
            person.add_picture(files[n], points, find)
        for n in [n for n in own if columns["kind"][n] == "voice"][: contact_sheet.MOST]:
            person.add_clip(files[n])
        yield person


def about(seen: Overview, i: int, sources: list[str]) -> str:
    """Return what the sheet says about an identity beside its name."""
    gender = corpus_plots.GENDERS.get(seen.genders[i], ("", ""))[0] if seen.genders[i] else ""
    counts = [_plural(seen.pictures[i], "picture"), _plural(seen.clips[i], "clip")]
    known = [gender, seen.splits[i] or "", *counts, ", ".join(sources)]
    return "   ·   ".join(word for word in known if word)


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
    seen = overview(manifest)
    rows = list(people(manifest, seen, chosen(seen, identities, seed, split), prepared, find))
    where = f" of the split {split}" if split else ""
    title = f"{len(rows)} of {len(seen.of_split(split)) if split else len(seen.names):,} identities"
    picture = contact_sheet.sheet(f"{title}{where}", rows)
    with atomic_file(out / SHEET) as partial:
        picture.save(partial, format="PNG")
    durations, counts, gender = (out / name for name in PLOTS)
    corpus_plots.durations(durations, seen.seconds, seen.unknown)
    corpus_plots.identities(counts, seen.clips, seen.pictures)
    corpus_plots.genders(gender, seen.gender_counts())
    unread = [reason for person in rows for reason in person.unread]
    lost = [f"{_plural(len(unread), 'file')} could not be read: {unread[0]}"] if unread else []
    return [*lines(seen), *lost]
