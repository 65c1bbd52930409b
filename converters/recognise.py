"""Tell whose weights a file holds, by its names and shapes, whatever its format."""

from __future__ import annotations

import contextlib
import os
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path

from vox2face.converters.maps import weight_map
from vox2face.converters.readers.open import WeightFile, open_weights
from vox2face.converters.weight_map import StoredArray, WeightMap, bare, without
from vox2face.core.entry import Entry
from vox2face.core.errors import MappingError, UsageError
from vox2face.zoo import registry


def fitting(entry: Entry, file: WeightFile) -> WeightMap:
    """Return the entry's weight map in the layout of a file: Keras's, or that of its tensors."""
    return weight_map(entry).laid_out(bare_for(entry, file)[1], file.named)


def bare_for(entry: Entry, file: WeightFile) -> tuple[str, tuple[StoredArray, ...]]:
    """Return what stands in front of all names of a file, and its arrays without that.

    Beside what wrappers of PyTorch are known to put there it may be any words with dots, if the
    rest are names of the entry.
    """
    prefix, arrays = bare(file.arrays)
    table = weight_map(entry)
    shared = os.path.commonprefix([array.path for array in arrays])  # noqa: RUF071 no paths of files
    more = shared[: shared.rfind(".") + 1]
    if more and not table.knows(arrays):
        shorter = tuple(without(more, array) for array in arrays)
        if table.knows(shorter):
            return prefix + more, shorter
    return prefix, arrays


def candidates(file: WeightFile) -> Iterator[Entry]:
    """Yield the models whose weights a file can be: all names and shapes fit."""
    for entry in registry.entries():
        with contextlib.suppress(MappingError):
            if fitting(entry, file).pair(bare_for(entry, file)[1], file.named):
                yield entry


def recognise(path: Path, state: str = "", say: Callable[[str], None] = lambda text: None) -> Entry:
    """Return the model whose weights a file holds, and say what the file is.

    Where several fit, what the file says of itself decides, then the name under which one of them
    is published. `state` is as for `open_weights`. Raises `WeightFileError` as that does,
    `MappingError` where no model fits, and `UsageError`, with a command for each, where several do.
    """
    with open_weights(path, state) as file:
        found = list(candidates(file))
        if not found:
            raise MappingError(
                f"{path} ({file.format}) holds the weights of no model that is known: name the one "
                f"that they should be, as in 'vox2face convert serengil --weights {path}', and you "
                "are told what differs."
            )
        entry, why = _meant(path, file.stamp.get("entry", ""), found)
        say(f"{path} ({file.format}) holds the weights of {entry.name}{why}.")
        return entry


def _meant(path: Path, stamp: str, found: Sequence[Entry]) -> tuple[Entry, str]:
    """Return the one that is meant of the models that fit, and why where that is not plain."""
    for entry in found:
        if entry.name == stamp:
            return entry, ", as it says itself"
    published = [entry for entry in found if entry.command] or found
    if len(published) == 1:
        return published[0], ""
    named = [entry for entry in published if Path(entry.source.filename).stem == path.stem]
    if len(named) == 1:
        return named[0], f", which is published as {named[0].source.filename}"
    commands = " or ".join(f"'{entry.converting(path)}'" for entry in published)
    names = " and ".join(entry.name for entry in published)
    raise UsageError(f"{path} fits {names}, which have the same layers: run {commands}.")
