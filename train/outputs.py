"""A folder that is made by one set of options, and goes on only with the same ones."""

from __future__ import annotations

import csv
import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from vox2face.core.errors import CorpusError, UsageError
from vox2face.core.files import atomic_file

LONGEST = 120  # characters in which a message shows two values


def claim(folder: Path, name: str, given: Mapping[str, Any]) -> None:
    """Write options into the file `name` of a new folder, or check those that are there.

    Raises `UsageError` for a folder that holds something else or was made with other options,
    `CorpusError` for a damaged file.
    """
    path = folder / name
    if path.exists():
        try:
            there = dict(json.loads(path.read_text(encoding="utf-8")))
        except (OSError, ValueError, TypeError) as error:
            raise CorpusError(f"{path} is damaged: choose another --out.") from error
        different = [
            _difference(key, there.get(key), value)
            for key, value in given.items()
            if there.get(key) != value
        ]
        if different:
            raise UsageError(
                f"{folder} was made with {'; '.join(different)}: give the same options to go on "
                "there, or choose another --out."
            )
        return
    if folder.exists() and (not folder.is_dir() or any(folder.iterdir())):
        raise UsageError(f"{folder} is there and holds something else: choose another --out.")
    with atomic_file(path) as partial:
        text = json.dumps(dict(given), indent=2, sort_keys=True, ensure_ascii=False)
        partial.write_text(f"{text}\n", encoding="utf-8")


def _difference(key: str, made: Any, asked: Any) -> str:
    words = f"{key} {made!r}, not {asked!r}"
    return words if len(words) < LONGEST else f"other {key}"


def write_csv(path: Path, header: list[str], rows: list[list[str]]) -> None:
    """Write a table."""
    with atomic_file(path) as partial, partial.open("w", encoding="utf-8", newline="") as file:
        writer = csv.writer(file, lineterminator="\n")
        writer.writerow(header)
        writer.writerows(rows)


FAILURES = "failures.csv"


def require_few(failed: Mapping[int, str], count: int, most: float) -> None:
    """Raise `CorpusError` if more than a part of `count` items could not be read."""
    if len(failed) > most * count:
        raise CorpusError(
            f"{len(failed)} of {count} items cannot be read, more than the part {most:g} that "
            f"loop.max_failures allows; one of them: {next(iter(failed.values()))}"
        )


def write_failures(path: Path, failed: Mapping[str, Mapping[int, str]]) -> None:
    """List the items of each split that could not be read, and why; nothing where none failed."""
    rows = [(split, *row) for split, each in failed.items() for row in sorted(each.items())]
    if not rows:
        return
    with atomic_file(path) as partial, partial.open("w", newline="", encoding="utf-8") as file:
        writer = csv.writer(file, lineterminator="\n")
        writer.writerows([("split", "item", "reason"), *rows])
