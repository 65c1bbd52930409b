"""What a manifest holds, as counts."""

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
        splits=_last_known(table["split"], who, people),
        genders=_last_known(table["gender"], who, people),
        seconds=length[known],
        unknown=int(voice.sum() - known.sum()),
    )


def _last_known(column: Any, who: NDArray[np.int64], people: int) -> list[str | None]:
    """Return the last value of a column that each identity has, None for those without one."""
    import pyarrow.compute as pc

    coded = pc.dictionary_encode(column.cast("string")).combine_chunks()
    words = [*coded.dictionary.to_pylist(), None]
    codes = pc.fill_null(coded.indices, -1).to_numpy() if len(who) else np.empty(0, np.int64)
    values = np.full(people, -1)
    values[who[codes >= 0]] = codes[codes >= 0]
    return [words[code] for code in values]


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
