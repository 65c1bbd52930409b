"""Counts of a manifest: people, clips, pictures, hours, genders."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from vox2face.train.corpus.groups import ranked
from vox2face.train.corpus.manifest import KINDS, SPLITS, Manifest

COLUMNS = {"identities": 12, "clips": 11, "pictures": 10, "hours": 11, "f": 8, "m": 8, "?": 8}
Split = str | None


@dataclass(frozen=True, eq=False)
class Overview:
    """Counts of a manifest. Identities are numbered in the order of `names`.

    `clips` and `pictures` (identities,) count rows, `hours` (identities,) add up the known lengths
    of clips; `splits` and `genders` are each identity's, None without one. `seconds` are the known
    lengths of clips and `unknown` is the number of the others.
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
        """Return the numbers of a split's identities, ascending."""
        return np.array([i for i, other in enumerate(self.splits) if other == split], np.int64)

    def present_splits(self) -> list[Split]:
        """Return the splits that have people, training first; None is no split."""
        order: tuple[Split, ...] = (*SPLITS, None)
        return [split for split in order if split in set(self.splits)]

    def gender_counts(self) -> dict[Split, dict[str | None, int]]:
        """Return the number of identities by split and gender."""
        counts: dict[Split, dict[str | None, int]] = {s: {} for s in self.present_splits()}
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
    durations = table["duration"].to_numpy().astype(np.float64)
    measured = voice & np.isfinite(durations)
    return Overview(
        names=names,
        clips=np.bincount(who[voice], minlength=people),
        pictures=np.bincount(who[face], minlength=people),
        hours=np.bincount(who[measured], durations[measured], minlength=people) / 3600,
        splits=_last_known(table["split"], who, people),
        genders=_last_known(table["gender"], who, people),
        seconds=durations[measured],
        unknown=int(voice.sum() - measured.sum()),
    )


def _last_known(column: Any, who: NDArray[np.int64], people: int) -> list[str | None]:
    """Return each identity's last value in a column (people,), None without one."""
    import pyarrow.compute as pc

    encoded = pc.dictionary_encode(column.cast("string")).combine_chunks()
    words = [*encoded.dictionary.to_pylist(), None]
    codes = pc.fill_null(encoded.indices, -1).to_numpy() if len(who) else np.empty(0, np.int64)
    values = np.full(people, -1)
    values[who[codes >= 0]] = codes[codes >= 0]
    return [words[code] for code in values]


def lines(counts: Overview) -> Iterator[str]:
    """Yield the lines of a table of the splits, then sentences on missing data."""
    yield f"{'':10}" + "".join(f"{name:>{width}}" for name, width in COLUMNS.items())
    splits = counts.present_splits()
    for split in splits:
        yield row(counts, split or "no split", counts.of_split(split))
    if len(splits) != 1:
        yield row(counts, "all", np.arange(len(counts.names)))
    unpaired = int(((counts.clips == 0) | (counts.pictures == 0)).sum())
    if unpaired:
        yield f"{unpaired:,} identities have clips or pictures only, and cannot be paired."
    if counts.unknown:
        yield f"{counts.unknown:,} clips are of unknown length, and not in the hours."


def row(overview: Overview, name: str, who: NDArray[np.int64]) -> str:
    """Return a line of the table: the counts of the identities `who`."""
    genders = Counter(overview.genders[i] for i in who)
    cells = (
        f"{len(who):,}",
        f"{overview.clips[who].sum():,}",
        f"{overview.pictures[who].sum():,}",
        f"{overview.hours[who].sum():,.2f}",
        *(f"{genders[gender]:,}" for gender in ("f", "m", None)),
    )
    widths = COLUMNS.values()
    return f"{name:10}" + "".join(f"{c:>{width}}" for c, width in zip(cells, widths, strict=True))
