"""A folder that is made by one set of options, and goes on only with the same ones."""

from __future__ import annotations

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from vox2face.errors import CorpusError, UsageError
from vox2face.files import atomic_file


def claim(folder: Path, name: str, given: Mapping[str, Any]) -> None:
    """Write options into the file `name` of a new folder, or check those that are there.

    Raises `UsageError` for a folder that holds something else or was made with other options,
    `CorpusError` for a damaged file.
    """
    path = folder / name
    if path.exists():
        try:
            there = json.loads(path.read_text(encoding="utf-8"))
        except (OSError, ValueError) as error:
            raise CorpusError(f"{path} is damaged: choose another --out.") from error
        different = [
            f"{key} {there.get(key)!r}, not {value!r}"
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
