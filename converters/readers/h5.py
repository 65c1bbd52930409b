"""Walk an HDF5 file without trusting it: no links, no other files, no more than it holds."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
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


@contextmanager
def opened_h5(path: Path, source: Any = None) -> Iterator[h5py.File]:
    """Open an HDF5 file, or `source`, a file object that stands for it."""
    with explained(path):
        file = h5py.File(source or path, "r")
    try:
        yield file
    finally:
        file.close()


def group_at(root: h5py.Group, path: str) -> h5py.Group:
    """Return the group at a path, refusing links on the way."""
    group = descend(root, path)
    if not isinstance(group, h5py.Group):
        raise WeightFileError(f"{path} is not a group")
    return group


def dataset_at(root: h5py.Group, path: str) -> h5py.Dataset:
    """Return the array at a path, refusing links on the way."""
    dataset = descend(root, path)
    if not isinstance(dataset, h5py.Dataset):
        raise WeightFileError(f"{path} is not an array")
    return dataset


def descend(root: h5py.Group, path: str) -> Node:
    """Walk a path one step at a time; only hard links to groups and arrays are followed."""
    node: Node = root
    for step in path.split("/"):
        found = child(node, step) if isinstance(node, h5py.Group) else None
        if found is None:
            raise WeightFileError(f"{path} is listed but is not in the file")
        node = found
    return node


def child(group: h5py.Group, name: str) -> Node | None:
    """Return a member of a group, or None; soft and external links raise."""
    if name in ("", ".", ".."):
        raise WeightFileError(f"a name with the empty or relative step {name!r} is listed")
    link = group.get(name, getlink=True)
    if link is None:
        return None
    if not isinstance(link, h5py.HardLink):
        raise WeightFileError(f"{name!r} in {group.name} is a link ({type(link).__name__})")
    return group[name]


def checked(root: h5py.Group, layer: str, name: str, path: str, size: int) -> StoredArray:
    """Return the declaration of an array that is safe to read, or raise."""
    dataset = dataset_at(root, path)
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
    if dataset.shape is None or 0 in dataset.shape:
        raise WeightFileError(f"{path} is empty")
    shape, offset = tuple(int(n) for n in dataset.shape), None
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


def refuse_aliases(root: h5py.Group, arrays: list[StoredArray]) -> None:
    """Raise if two of the arrays are one."""
    seen: dict[Any, StoredArray] = {}
    for array in arrays:
        address = h5py.h5o.get_info(root[array.path].id).addr
        if address in seen:
            raise WeightFileError(f"{array.path} is a second name of {seen[address].path}.")
        seen[address] = array


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
