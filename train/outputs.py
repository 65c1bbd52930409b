"""Folders of a job, which goes on only with the options it was started with."""

from __future__ import annotations

import csv
import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from vox2face.core.errors import CorpusError, UsageError
from vox2face.core.files import atomic_file

LONGEST = 120  # characters of a message with two values; longer ones are left out


def claim(folder: Path, name: str, options: Mapping[str, Any]) -> None:
    """Write options into the file `name` of a new folder, or compare them with those in it.

    Raises `UsageError` for a folder that holds something else or was made with other options,
    `CorpusError` for a damaged file.
    """
    path = folder / name
    if path.exists():
        try:
            stored = dict(json.loads(path.read_text(encoding="utf-8")))
        except (OSError, ValueError, TypeError) as error:
            raise CorpusError(f"{path} is damaged: choose another --out.") from error
        different = [
            _difference(key, stored.get(key), value)
            for key, value in options.items()
            if stored.get(key) != value
        ]
        if different:
            raise UsageError(
                f"{folder} was made with {'; '.join(different)}: give the same options to go on "
                "there, or choose another --out."
            )
        return
    if folder.exists() and (not folder.is_dir() or any(folder.iterdir())):
        raise UsageError(f"{folder} exists and holds something else: choose another --out.")
    with atomic_file(path) as partial:
        text = json.dumps(dict(options), indent=2, sort_keys=True, ensure_ascii=False)
        partial.write_text(f"{text}\n", encoding="utf-8")


def _difference(key: str, stored: Any, given: Any) -> str:
    words = f"{key} {stored!r}, not {given!r}"
    return words if len(words) < LONGEST else f"other {key}"


def write_csv(path: Path, header: list[str], rows: list[list[str]]) -> None:
    """Write a CSV table as a whole or not at all."""
    with atomic_file(path) as partial, partial.open("w", encoding="utf-8", newline="") as file:
        writer = csv.writer(file, lineterminator="\n")
        writer.writerow(header)
        writer.writerows(rows)


FAILURES = "failures.csv"


def require_few(failed: Mapping[int, str], count: int, most: float) -> None:
    """Raise `CorpusError` if more than the part `most` (0..1) of `count` items failed."""
    if len(failed) > most * count:
        raise CorpusError(
            f"{len(failed)} of {count} items cannot be read, more than the part {most:g} that "
            f"loop.max_failures allows; one of them: {next(iter(failed.values()))}"
        )


def write_failures(path: Path, failed: Mapping[str, Mapping[int, str]]) -> None:
    """Write the failed items of each split with their reasons; no file without failures."""
    rows = [(split, *row) for split, failures in failed.items() for row in sorted(failures.items())]
    if not rows:
        return
    with atomic_file(path) as partial, partial.open("w", newline="", encoding="utf-8") as file:
        writer = csv.writer(file, lineterminator="\n")
        writer.writerows([("split", "item", "reason"), *rows])
