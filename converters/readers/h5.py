"""Walk an HDF5 file without trusting it: no links, no other files, no more than it holds."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from itertools import takewhile
from pathlib import Path
from typing import Any, BinaryIO, TypeAlias

import h5py
import numpy as np

from vox2face.converters.mapping import StoredArray
from vox2face.converters.readers.base import Values, explained, mapped, reserved, row_blocks
from vox2face.converters.readers.chunks import check_chunks, unpack_chunks
from vox2face.errors import WeightFileError

SPOOL_BLOCK = 1 << 24
Node: TypeAlias = Any  # an h5py.Group or h5py.Dataset
NODES = {h5py.h5g.GroupID: h5py.Group, h5py.h5d.DatasetID: h5py.Dataset}
LINKS = {h5py.h5l.TYPE_SOFT: "SoftLink", h5py.h5l.TYPE_EXTERNAL: "ExternalLink"}


@contextmanager
def opened_h5(path: Path, source: Any = None) -> Iterator[h5py.File]:
    """Open an HDF5 file, or `source`, a file object that stands for it."""
    with explained(path):
        file = h5py.File(source or path, "r")
    try:
        yield file
    finally:
        file.close()


class Walk:
    """Finds the groups and arrays below `root` by path, refusing links on the way.

    Every step is checked. Paths that follow each other share their first steps, so those of the
    last path are kept.
    """

    def __init__(self, root: h5py.Group) -> None:
        self.root = root
        self.steps: list[str] = []
        self.nodes: list[Node] = [root]
        self.claimed: dict[Any, str] = {}

    def find(self, path: str) -> Node:
        """Return what is at a path; only hard links to groups and arrays are followed."""
        steps = path.split("/")
        pairs = zip(steps, self.steps, strict=False)
        same = sum(1 for _ in takewhile(lambda pair: pair[0] == pair[1], pairs))
        del self.steps[same:], self.nodes[same + 1 :]
        for step in steps[same:]:
            above = self.nodes[-1]
            found = child(above, step) if isinstance(above, h5py.Group) else None
            if found is None:
                raise WeightFileError(f"{path} is listed but is not in the file")
            self.steps.append(step)
            self.nodes.append(found)
        return self.nodes[-1]

    def group(self, path: str) -> h5py.Group:
        """Return the group at a path."""
        group = self.find(path)
        if not isinstance(group, h5py.Group):
            raise WeightFileError(f"{path} is not a group")
        return group

    def array(self, path: str) -> h5py.Dataset:
        """Return the array at a path, which must not be another one's second name."""
        dataset = self.find(path)
        if not isinstance(dataset, h5py.Dataset):
            raise WeightFileError(f"{path} is not an array")
        first = self.claimed.setdefault(h5py.h5o.get_info(dataset.id).addr, path)
        if first != path:
            raise WeightFileError(f"{path} is a second name of {first}.")
        return dataset


def child(group: h5py.Group, name: str) -> Node | None:
    """Return a member of a group, or None; soft and external links raise.

    h5py's low level is used, which is ten times faster: files have hundreds of arrays.
    """
    if name in ("", ".", "..") or "\0" in name:
        raise WeightFileError(f"a name with the empty or relative step {name!r} is listed")
    key = name.encode()
    links = group.id.links
    if not links.exists(key):
        return None
    kind = links.get_info(key).type
    if kind != h5py.h5l.TYPE_HARD:
        raise WeightFileError(f"{name!r} in {group.name} is a link ({LINKS.get(kind, kind)})")
    found = h5py.h5o.open(group.id, key)
    wrap = NODES.get(type(found))
    return wrap(found) if wrap else found


def checked(walk: Walk, layer: str, name: str, path: str, size: int) -> StoredArray:
    """Return the declaration of an array that is safe to read, or raise."""
    dataset = walk.array(path)
    creation = dataset.id.get_create_plist()
    if creation.get_external_count():
        raise WeightFileError(f"{path} keeps its values in another file (external storage)")
    layout = creation.get_layout()
    if layout not in (h5py.h5d.CONTIGUOUS, h5py.h5d.CHUNKED, h5py.h5d.COMPACT):
        raise WeightFileError(f"{path} is a virtual dataset")
    stored = dataset.id.get_type()  # the dtype alone would hide an unusual layout of the bits
    little = stored.equal(h5py.h5t.IEEE_F32LE)
    if not little and not stored.equal(h5py.h5t.IEEE_F32BE):
        raise WeightFileError(f"{path} holds {dataset.dtype} values: expected is float32")
    stated = dataset.shape
    if stated is None or 0 in stated:
        raise WeightFileError(f"{path} is empty")
    shape, offset = tuple(int(n) for n in stated), None
    array = StoredArray(layer, name, path, shape, None)
    if layout == h5py.h5d.CHUNKED:
        check_chunks(dataset, path, size)
    elif layout == h5py.h5d.CONTIGUOUS:
        offset = dataset.id.get_offset()
        if offset is None or offset + array.nbytes > size:
            raise WeightFileError(
                f"{path} declares {array.nbytes} bytes that the file does not hold"
            )
    return StoredArray(layer, name, path, shape, offset if little else None)


def unpacked(root: h5py.Group, array: StoredArray, spool: BinaryIO) -> Values:
    """Write the values of a packed or big-endian array into `spool` and map them there."""
    dataset = root[array.path]
    start = reserved(spool, array.nbytes)
    values = np.memmap(spool, dtype="<f4", mode="r+", offset=start, shape=array.shape)
    if dataset.chunks:
        unpack_chunks(dataset, array.path, values)
    else:
        for index in row_blocks(array.shape, SPOOL_BLOCK):
            values[index] = dataset[index]
    values.flush()
    return mapped(spool, start, array.shape)


def text_attribute(group: h5py.Group, attribute: str) -> str | None:
    """Return a text attribute, or None if it is missing or no text."""
    value = group.attrs.get(attribute)
    return text(value) if isinstance(value, (bytes, str)) else None


def text(value: bytes | str) -> str:
    """Return a name that h5py may give as bytes or as str."""
    return value.decode("utf-8") if isinstance(value, bytes) else str(value)
