"""Open an HDF5 weight file: a plain one of legacy Keras by its bytes, any other by the library.

Loading libhdf5 and letting a child process read the structure first takes longer than converting
a small network. Plain files, as nearly all published ones are, need neither.
"""

from __future__ import annotations

import mmap
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from vox2face.converters.mapping import StoredArray
from vox2face.converters.readers.base import LEGACY, WeightFile, explained, weight_file
from vox2face.converters.readers.h5_bytes import (
    IN_GROUPS,
    Messages,
    PlainFile,
    Unusual,
    attributes,
    require,
)

MAX_DEPTH = 64  # groups within groups


@contextmanager
def opened(path: Path) -> Iterator[WeightFile]:
    """Open an HDF5 weight file of any generation of Keras; see `hdf5.opened`."""
    arrays = declared(path)
    if arrays is None:
        from vox2face.converters.readers import hdf5

        with hdf5.opened(path) as file:
            yield file
        return
    with explained(path):
        weights = weight_file(path, LEGACY, arrays)
    yield weights


def declared(path: Path) -> list[StoredArray] | None:
    """Return the arrays of a plain legacy file in the model's order, or None for any other file.

    Nothing is refused here: what is odd or damaged is for the library to judge.
    """
    try:
        with (
            path.open("rb") as file,
            mmap.mmap(file.fileno(), 0, access=mmap.ACCESS_READ) as memory,
        ):
            return listed(PlainFile(memory))
    except (Unusual, OSError, ValueError):
        return None


def listed(file: PlainFile) -> list[StoredArray]:
    """Return what the names in the attributes list, or raise `Unusual`."""
    root = file.messages(file.root, IN_GROUPS)
    if "layer_names" not in attributes(root):
        root = file.messages(step(file.members(root), "model_weights"), IN_GROUPS)
    facts = attributes(root)
    require("layer_names" in facts)
    require("backend" not in facts or file.texts(facts["backend"]) != ["theano"])
    layers = file.texts(facts["layer_names"])
    require(len(set(layers)) == len(layers))
    groups = Groups(file, root)
    found = [array for layer in layers for array in groups.arrays(layer)]
    require(len({array.offset for array in found}) == len(found))
    return found


class Groups:
    """Finds groups and arrays by path below `root`; each group is read once."""

    def __init__(self, file: PlainFile, root: Messages) -> None:
        self.file = file
        self.known = {"": file.members(root)}

    def members(self, path: str) -> dict[str, int]:
        """Return name -> place of what is in the group at a path."""
        if path not in self.known:
            self.known[path] = self.file.members(self.file.messages(self.find(path), IN_GROUPS))
        return self.known[path]

    def find(self, path: str) -> int:
        """Return the place of what is at a path."""
        require(path.count("/") < MAX_DEPTH and not path.startswith("/"))
        above, _, name = path.rpartition("/")
        return step(self.members(above), name)

    def arrays(self, layer: str) -> Iterator[StoredArray]:
        """Yield the arrays that a layer lists."""
        facts = attributes(self.file.messages(self.find(layer), IN_GROUPS))
        require("weight_names" in facts)
        for name in self.file.texts(facts["weight_names"]):
            path = f"{layer}/{name}"
            self.file.spend(len(path))
            shape, start = self.file.array(self.find(path))
            yield StoredArray(layer, name, path, shape, start)


def step(members: dict[str, int], name: str) -> int:
    """Return the place of a member of a group."""
    require(name in members and name not in (".", ".."))
    return members[name]
