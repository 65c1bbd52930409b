"""Looking at a corpus: a contact sheet, plots and a few lines of text about its manifest."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from vox2face.errors import UsageError
from vox2face.extras import require
from vox2face.files import atomic_file
from vox2face.train import contact_sheet, plots
from vox2face.train.dataset_rows import ranked, require_same
from vox2face.train.manifest import KINDS, SPLITS, Manifest
from vox2face.train.pairs import drawn

if TYPE_CHECKING:
    from vox2face.train.prepared import Prepared

SHEET = "contact-sheet.png"
PLOTS = ("durations.png", "identities.png", "gender.png", "joins.png")
COLUMNS = {"identities": 12, "clips": 11, "pictures": 10, "hours": 11, "f": 8, "m": 8, "?": 8}
GROUPS = tuple(plots.GROUPS)  # of the summary, in the order in which they are shown
ELSEWHERE = ("splits",)  # what the table says
DEEPEST = 4  # levels of the summary that are shown
Split = str | None


@dataclass(frozen=True, eq=False)
class Overview:
    """Counts of a manifest. Identities are numbered in the order of `names`.

    `clips` and `pictures` (identities,) count rows, `hours` (identities,) what is known of their
    length; `splits` and `genders` tell each identity's, None without one. `seconds` are the known
    lengths of clips and `unknown` the number of the others.
    """

    names: list[str]
    clips: NDArray[np.int64]
    pictures: NDArray[np.int64]
    hours: NDArray[np.float64]
    splits: list[Split]
    genders: list[str | None]
    seconds: NDArray[np.float64]
    unknown: int

    def of_split(self, split: Split) -> NDArray[np.int64]:
        """Return the numbers of a split's identities."""
        return np.array([i for i, own in enumerate(self.splits) if own == split], np.int64)

    def splits_there(self) -> list[Split]:
        """Return the splits that somebody is in, training first, then those without a split."""
        order: tuple[Split, ...] = (*SPLITS, None)
        return [split for split in order if split in set(self.splits)]

    def gender_counts(self) -> dict[Split, dict[str | None, int]]:
        """Return how many identities of each split have each gender."""
        counts: dict[Split, dict[str | None, int]] = {s: {} for s in self.splits_there()}
        for split, gender in zip(self.splits, self.genders, strict=True):
            counts[split][gender] = counts[split].get(gender, 0) + 1
        return counts


def overview(manifest: Manifest) -> Overview:
    """Count a manifest's rows by identity."""
    import pyarrow.compute as pc

    table = manifest.table
    names, who = ranked(table["identity"])
    people = len(names)
    voice, face = (pc.equal(table["kind"].cast("string"), kind).to_numpy() for kind in KINDS)
    length = table["duration"].to_numpy().astype(np.float64)
    known = voice & np.isfinite(length)
    return Overview(
        names=names,
        clips=np.bincount(who[voice], minlength=people),
        pictures=np.bincount(who[face], minlength=people),
        hours=np.bincount(who[known], length[known], minlength=people) / 3600,
        splits=last_known(table["split"], who, people),
        genders=last_known(table["gender"], who, people),
        seconds=length[known],
        unknown=int(voice.sum() - known.sum()),
    )


def last_known(column: Any, who: NDArray[np.int64], people: int) -> list[str | None]:
    """Return the last value of a column that each identity has, None for those without one."""
    import pyarrow.compute as pc

    coded = pc.dictionary_encode(column.cast("string")).combine_chunks()
    words = [*coded.dictionary.to_pylist(), None]
    codes = pc.fill_null(coded.indices, -1).to_numpy() if len(who) else np.empty(0, np.int64)
    values = np.full(people, -1)
    values[who[codes >= 0]] = codes[codes >= 0]
    return [words[code] for code in values]


def summary_counts(summary: Any) -> list[tuple[str, str, int]]:
    """Return the whole numbers of a nested summary: (group, names that lead to it, number)."""
    if not isinstance(summary, Mapping):
        return []
    groups = [*GROUPS, *(name for name in summary if name not in (*GROUPS, *ELSEWHERE))]
    return [
        (str(group), name, count)
        for group in groups
        for name, count in numbers(summary.get(group), ())
    ]


def numbers(value: Any, above: tuple[str, ...]) -> Iterator[tuple[str, int]]:
    """Yield whole numbers under their names."""
    if isinstance(value, int) and not isinstance(value, bool):
        yield ": ".join(above) or "all", value
    elif isinstance(value, Mapping) and len(above) < DEEPEST:
        for name, below in value.items():
            yield from numbers(below, (*above, str(name).replace("_", " ")))


def lines(seen: Overview) -> Iterator[str]:
    """Yield a table of the splits, and sentences on what is missing."""
    yield f"{'':10}" + "".join(f"{name:>{width}}" for name, width in COLUMNS.items())
    splits = seen.splits_there()
    for split in splits:
        yield row(seen, split or "no split", seen.of_split(split))
    if len(splits) != 1:
        yield row(seen, "all", np.arange(len(seen.names)))
    lonely = int(((seen.clips == 0) | (seen.pictures == 0)).sum())
    if lonely:
        yield f"{lonely:,} identities have clips or pictures only, and cannot be paired."
    if seen.unknown:
        yield f"{seen.unknown:,} clips are of unknown length, and not in the hours."


def row(seen: Overview, name: str, who: NDArray[np.int64]) -> str:
    """Return a line of the table: the counts of some identities."""
    genders = Counter(seen.genders[i] for i in who)
    cells = (
        f"{len(who):,}",
        f"{seen.clips[who].sum():,}",
        f"{seen.pictures[who].sum():,}",
        f"{seen.hours[who].sum():,.2f}",
        *(f"{genders[gender]:,}" for gender in ("f", "m", None)),
    )
    widths = COLUMNS.values()
    return f"{name:10}" + "".join(f"{c:>{width}}" for c, width in zip(cells, widths, strict=True))


def chosen(seen: Overview, count: int, seed: int, split: Split = None) -> list[int]:
    """Return identities at random, by name: those with clips and pictures before the others.

    With a `split`, of that one only; raises `UsageError` if nobody is in it.
    """
    pool = seen.of_split(split) if split else np.arange(len(seen.names))
    if split and not len(pool):
        there = ", ".join(s for s in seen.splits_there() if s) or "none"
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
    gender = plots.GENDERS.get(seen.genders[i], ("", ""))[0] if seen.genders[i] else ""
    counts = [plural(seen.pictures[i], "picture"), plural(seen.clips[i], "clip")]
    known = [gender, seen.splits[i] or "", *counts, ", ".join(sources)]
    return "   ·   ".join(word for word in known if word)


def plural(count: int, word: str) -> str:
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
    durations, counts, gender, joins = (out / name for name in PLOTS)
    plots.durations(durations, seen.seconds, seen.unknown)
    plots.identities(counts, seen.clips, seen.pictures)
    plots.genders(gender, seen.gender_counts())
    plots.joins(joins, summary_counts(manifest.info.get("summary")))
    unread = [reason for person in rows for reason in person.unread]
    lost = [f"{plural(len(unread), 'file')} could not be read: {unread[0]}"] if unread else []
    return [*lines(seen), *lost]
