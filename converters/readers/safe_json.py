"""Parse foreign JSON without letting it take much memory or say a thing twice."""

from __future__ import annotations

import json
import re
from pathlib import Path
from typing import Any

from vox2face.core.errors import WeightFileError
from vox2face.core.files import ACCEPTED

MAX_BYTES = 4 << 20
MAX_ITEMS = 150_000  # a network of 10,000 arrays has about 100,000


def parsed(content: bytes, what: str) -> Any:
    """Return what a JSON text says; `what` names it in errors.

    Raises `WeightFileError` if it is damaged, oversized or has a key twice, which different
    programs would read differently.
    """
    if len(content) > MAX_BYTES or len(re.findall(rb"[,:\[{]", content)) > MAX_ITEMS:
        raise WeightFileError(f"{what} is oversized ({len(content)} bytes)")
    try:
        return json.loads(content.decode("utf-8"), object_pairs_hook=once)
    except (ValueError, RecursionError) as error:
        raise WeightFileError(f"{what} is not valid JSON ({error})") from error


def listing(path: Path) -> list[Any]:
    """Return the groups of a TensorFlow.js weights manifest; other JSON files are named."""
    with path.open("rb") as file:
        found = parsed(file.read(MAX_BYTES + 1), "it")
    if isinstance(found, dict) and isinstance(found.get("weightsManifest"), list):
        found = found["weightsManifest"]
    if isinstance(found, list):
        return found
    if isinstance(found, dict) and isinstance(found.get("weight_map"), dict):
        raise WeightFileError(
            f"{path} is the index of weights in several files (shards): load them with the program "
            "that wrote them, and save them as one file."
        )
    raise WeightFileError(f"{path} is a JSON file that lists no weights: expected {ACCEPTED}.")


def once(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    """Return a JSON object, or raise if it has a key twice."""
    found = dict(pairs)
    if len(found) < len(pairs):
        raise WeightFileError("a JSON text has a key twice")
    return found


def part(path: Path, name: object) -> Path:
    """Return a file that belongs to `path`: a plain name in the same folder, or raise.

    A link must lead to the folder of `path` or of what `path` itself links to, where caches keep
    files under other names.
    """
    if not isinstance(name, str) or not name or re.search(r"[/\\\0]", name) or name in (".", ".."):
        raise WeightFileError(
            f"it names a part {str(name)[:200]!r}, which is not a plain file name"
        )
    found = path.parent / name
    if not found.is_file():
        raise WeightFileError(f"its part {name} is missing: put all its files in one folder")
    if found.resolve().parent not in (path.parent.resolve(), path.resolve().parent):
        raise WeightFileError(f"its part {name} is a link to another folder")
    return found
