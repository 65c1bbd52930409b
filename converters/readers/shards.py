"""Open Keras 3 weights in shards: `<name>.weights.json` and `<name>_00000.weights.h5`, ...

The index maps every group of `vars` to the file or files that hold it, in the model's order
(keras/src/saving/saving_lib.py, ShardedH5IOStore).
"""

from __future__ import annotations

import dataclasses
from collections.abc import Iterator, Mapping, Sequence
from contextlib import ExitStack, contextmanager
from functools import partial
from pathlib import Path
from typing import Any, BinaryIO

import h5py

from vox2face.converters.mapping import StoredArray
from vox2face.converters.readers.base import Values, WeightFile, explained, weight_file
from vox2face.converters.readers.h5 import Walk, checked, opened_h5, unpacked
from vox2face.converters.readers.keras3 import (
    NO_WEIGHTS,
    NO_WEIGHTS_AT_ROOT,
    Saved,
    collect,
    labelled,
    places,
)
from vox2face.converters.readers.texts import part
from vox2face.converters.rehearse import rehearse
from vox2face.errors import WeightFileError

FORMAT = "Keras 3 weights in shards"
MAX_SHARDS = 1000


@contextmanager
def opened(path: Path, index: Mapping[str, Any]) -> Iterator[WeightFile]:
    """Open all shards of an index, given as parsed JSON: group -> file or list of files.

    Raises `WeightFileError` if a shard is missing, damaged or lacks what the index says it has.
    """
    with explained(path):
        wanted = {group.strip("/"): file_names(group, names) for group, names in index.items()}
        names = dict.fromkeys(name for listed in wanted.values() for name in listed)
        if not names or len(names) > MAX_SHARDS:
            raise WeightFileError(f"it lists {len(names)} files")
        parts = [part(path, name) for name in names]
    rehearse(path, lambda _: structure(parts, wanted))
    with ExitStack() as stack:
        files = [stack.enter_context(opened_h5(shard)) for shard in parts]
        with explained(path):
            arrays, named = declared(files, parts, wanted)
            roots = dict(zip(parts, files, strict=True))
            unpack = partial(unpacked_from, roots)
            weights = weight_file(path, FORMAT, arrays, parts, named, unpack)
        yield weights


def file_names(group: str, names: Any) -> list[str]:
    """Return the files of one group of the index."""
    found = names if isinstance(names, list) else [names]
    if not found or not all(isinstance(name, str) for name in found):
        raise WeightFileError(f"it lists no file for {group[:200]!r}")
    return found


def structure(parts: Sequence[Path], wanted: Mapping[str, Sequence[str]]) -> None:
    """Read everything about the shards but their weights."""
    with ExitStack() as stack:
        files = [stack.enter_context(h5py.File(shard, "r")) for shard in parts]
        declared(files, parts, wanted)


def declared(
    files: Sequence[h5py.File], parts: Sequence[Path], wanted: Mapping[str, Sequence[str]]
) -> tuple[list[StoredArray], bool]:
    """Return (arrays in the order of the index, whether layers have names)."""
    saved: dict[str, Saved] = {}
    for number, file in enumerate(files):
        collect(file, number, saved)
    order = [group.removesuffix("vars").rstrip("/") for group in wanted if not left_out(group)]
    held = {path for path, layer in saved.items() if layer.arrays}
    if odd := sorted(held ^ {*order}):
        raise WeightFileError(f"{odd[0][:200]} is in its list or in its shards, but not in both")
    labels, named = labelled(saved, order, None)
    arrays: list[StoredArray] = []
    walks = [Walk(file) for file in files]
    for path, layer in labels.items():
        for name, place, number in places(path, saved[path]):
            shard = parts[number]
            if shard.name not in wanted_of(wanted, path):
                raise WeightFileError(f"{place} is in {shard.name}, where its list has it not")
            array = checked(walks[number], layer, name, place, shard.stat().st_size)
            arrays.append(dataclasses.replace(array, file=shard))
    return arrays, named


def wanted_of(wanted: Mapping[str, Sequence[str]], path: str) -> Sequence[str]:
    """Return the files that the index names for a path."""
    return wanted[f"{path}/vars" if path else "vars"]


def left_out(group: str) -> bool:
    """Whether a group of the index holds no weights of the network."""
    steps = group.split("/")
    return steps[0] in NO_WEIGHTS_AT_ROOT or any(step in NO_WEIGHTS for step in steps)


def unpacked_from(roots: Mapping[Path, h5py.File], array: StoredArray, spool: BinaryIO) -> Values:
    """Write the values of a packed array into `spool` and map them there."""
    if array.file is None:
        raise WeightFileError(f"{array.path} is in no shard")
    return unpacked(roots[array.file], array, spool)
