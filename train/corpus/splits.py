"""Divide people into train, val and test: as SF2F does, stratified by gender, or as listed.

A split is a function of names (and genders), never of the order of files on a disk.
"""

from __future__ import annotations

import csv
import hashlib
import json
from collections import defaultdict
from collections.abc import Iterable, Mapping, Sequence
from fractions import Fraction
from typing import Any

from vox2face.core.errors import CorpusError, UsageError
from vox2face.train import storage
from vox2face.train.corpus.manifest import SPLITS
from vox2face.train.corpus.names import exact
from vox2face.train.corpus.voxceleb_metadata import plain, text_of

FRACTIONS = (0.8, 0.1, 0.1)
SPELLINGS = {"validation": "val", "valid": "val", "dev": "val", "eval": "test", "training": "train"}
CORPORA = ("vox1", "vox2")  # of SF2F's split.json, the first having precedence
PEOPLE_COLUMNS = ("identity", "name", "person", "id")


def sf2f(*corpora: Sequence[str]) -> dict[str, str]:
    """Return the splits of SF2F from the names of whole metadata files, in their order.

    Row i is of the test split where i % 10 == 8, of val where it is 9. A name in several files,
    such as Harry_Connick_Jr, has the split that it has in the first. Source:
    BAI-Yeqi/SF2F_PyTorch scripts/create_split_json.py.
    """
    split_of: dict[str, str] = {}
    for names in corpora:
        for row, name in enumerate(names):
            split_of.setdefault(exact(name), {8: "test", 9: "val"}.get(row % 10, "train"))
    return split_of


def stratified(
    identities: Iterable[str],
    genders: Mapping[str, str | None],
    fractions: Sequence[float] = FRACTIONS,
    seed: int = 0,
) -> dict[str, str]:
    """Return random splits of exactly the sizes that `fractions` ask for, alike in gender.

    Sizes are rounded by largest remainder, as a whole and then within the genders. People without
    one are a stratum of their own. Raises `UsageError` for fractions that do not add up to 1.
    """
    parts = check_fractions(fractions)
    strata: dict[str, list[str]] = defaultdict(list)
    for name in sorted(set(identities)):
        strata[genders.get(name) or ""].append(name)
    sizes = [len(names) for _, names in sorted(strata.items())]
    split_of: dict[str, str] = {}
    for (_, names), counts in zip(sorted(strata.items()), allocate(sizes, parts), strict=True):
        order = iter(sorted(names, key=lambda name: digest(seed, name)))
        for split, count in zip(SPLITS, counts, strict=True):
            split_of.update({next(order): split for _ in range(count)})
    return split_of


def check_fractions(fractions: Sequence[float]) -> list[Fraction]:
    """Return the three fractions exactly. Raises `UsageError` if they do not add up to 1."""
    parts = [Fraction(str(part)) for part in fractions]
    if len(parts) != len(SPLITS) or min(parts) < 0 or sum(parts) != 1:
        numbers = ", ".join(f"{part:g}" for part in fractions)
        raise UsageError(
            f"The fractions {numbers} are not train, val and test: give three numbers of at least "
            "0 that add up to 1, such as 0.8,0.1,0.1."
        )
    return parts


def _largest_remainder(total: int, parts: Sequence[Fraction]) -> list[int]:
    """Divide `total` into whole numbers by largest remainder, the first on a tie."""
    counts = [int(total * part) for part in parts]
    order = sorted(range(len(parts)), key=lambda i: (counts[i] - total * parts[i], i))
    for i in order[: total - sum(counts)]:
        counts[i] += 1
    return counts


def allocate(sizes: Sequence[int], parts: Sequence[Fraction]) -> list[list[int]]:
    """Return the counts (strata, splits); those of a split add up exactly."""
    free = _largest_remainder(sum(sizes), parts)
    counts = [[int(size * part) for part in parts] for size in sizes]
    unplaced = [size - sum(row) for size, row in zip(sizes, counts, strict=True)]
    free = [n - sum(row[s] for row in counts) for s, n in enumerate(free)]
    while any(unplaced):
        shortfalls = [
            (counts[g][s] - sizes[g] * parts[s], g, s)
            for g in range(len(sizes))
            for s in range(len(parts))
            if unplaced[g] and free[s]
        ]
        _, g, s = min(shortfalls)
        counts[g][s] += 1
        unplaced[g] -= 1
        free[s] -= 1
    return counts


def digest(seed: int, name: str) -> bytes:
    """Return a sort key for a person that depends on the seed and the name only."""
    return hashlib.sha256(f"{seed}\t{name}".encode("utf-8", "surrogateescape")).digest()


def read_splits(path: storage.PathOrUri) -> dict[str, str]:
    """Read splits: a table with the columns identity and split, or JSON, SF2F's split.json too.

    JSON is {identity: split}, {split: [identity, ...]} or that below "vox1" and "vox2". Raises
    `CorpusError` for another file, and for a name with two splits.
    """
    text = text_of(path)
    if text.lstrip()[:1] in ("{", "["):
        try:
            pairs = from_json(json.loads(text))
        except (ValueError, TypeError, AttributeError) as error:
            raise CorpusError(f"{path} cannot be read as splits in JSON: {error}.") from error
    else:
        pairs = _from_table(text, path)
    split_of: dict[str, str] = {}
    for name, split in pairs:
        spelling = plain(split)
        spelling = SPELLINGS.get(spelling, spelling)
        if spelling not in SPLITS:
            raise CorpusError(f"{path} puts {name!r} into {split!r}: use {', '.join(SPLITS)}.")
        if split_of.setdefault(exact(name.strip()), spelling) != spelling:
            raise CorpusError(f"{path} puts {name!r} into two splits: keep one of the lines.")
    if not split_of:
        raise CorpusError(f"{path} names nobody: expected lines of an identity and a split.")
    return split_of


def from_json(content: Any) -> list[tuple[str, str]]:
    """Return (name, split) of any of the shapes of JSON."""
    if not isinstance(content, dict):
        raise TypeError("expected an object")
    if any(corpus in content for corpus in CORPORA):
        first: dict[str, str] = {}
        for corpus in CORPORA:
            for name, split in from_json(content.get(corpus, {})):
                first.setdefault(exact(name), split)
        return list(first.items())
    pairs = []
    for key, value in content.items():
        pairs += [(name, key) for name in value] if isinstance(value, list) else [(key, value)]
    return pairs


def _from_table(text: str, path: storage.PathOrUri) -> list[tuple[str, str]]:
    """Return (name, split) of a table separated by commas, tabs or semicolons."""
    lines = [line for line in text.splitlines() if line.strip()]
    for delimiter in "\t,;":
        rows = list(csv.reader(lines, delimiter=delimiter))
        header = [plain(cell) for cell in rows[0]] if rows else []
        person = next((header.index(c) for c in PEOPLE_COLUMNS if c in header), None)
        if person is None or "split" not in header:
            continue
        if any(len(row) != len(header) for row in rows):
            raise CorpusError(f"{path} has lines with more or fewer columns than its first line.")
        return [(row[person], row[header.index("split")]) for row in rows[1:]]
    raise CorpusError(
        f"{path} is not a list of splits: expected a table with the columns identity and split, "
        "or JSON."
    )
