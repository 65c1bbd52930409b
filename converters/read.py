"""Read legacy Keras HDF5 weight files without Keras and without trusting them.

Understood are weights-only files and whole models (weights below `model_weights`) of Keras 1,
Keras 2, tf-keras and Keras 3's legacy format, with chunked name attributes. The model config is
never looked at. Reading the structure reads no weights: a `StoredArray` is opened only after the
weight map has accepted its shape.
"""

from __future__ import annotations

import itertools
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any, BinaryIO

import h5py
import numpy as np
from numpy.typing import NDArray

from vox2face.converters.mapping import StoredArray
from vox2face.converters.rehearse import rehearse
from vox2face.errors import WeightFileError
from vox2face.files import identify, require_weight_file

MAX_NAMES = 100_000
MAX_ATTRIBUTE_BYTES = 1 << 24
# Filters that come with the HDF5 library; any other would load a plugin.
FILTERS = frozenset({h5py.h5z.FILTER_DEFLATE, h5py.h5z.FILTER_SHUFFLE, h5py.h5z.FILTER_FLETCHER32})
SPOOL_BLOCK = 1 << 24


class WeightFile:
    """An open legacy Keras HDF5 file: `arrays` in the model's own order, values on demand."""

    def __init__(self, path: Path, file: h5py.File) -> None:
        self.path, self.file = path, file
        self.size = path.stat().st_size
        root = weights_group(file)
        self.keras_version = text_attribute(root, "keras_version")
        self.backend = text_attribute(root, "backend")
        if self.backend == "theano":
            raise WeightFileError(
                f"{path} was written by the Theano backend, whose kernels are flipped: "
                "load and save it once under Keras 2 with TensorFlow, then convert that file."
            )
        self.arrays = tuple(declared_arrays(root, self.size))
        seen: dict[Any, StoredArray] = {}
        for array in self.arrays:
            address = h5py.h5o.get_info(root[array.path].id).addr
            if address in seen:
                raise WeightFileError(f"{array.path} is a second name of {seen[address].path}.")
            seen[address] = array
        self.root = root

    def open(self, array: StoredArray, spool: BinaryIO) -> NDArray[np.float32]:
        """Return the values as a read-only memory map.

        Contiguous values are mapped where they lie; others are decompressed into `spool`, an
        open temporary file, in blocks of at most 16 MB, and mapped there.
        """
        if array.offset is not None:
            return mapped(self.path, array.offset, array.shape)
        start = spool.seek(0, 2)
        dataset = self.root[array.path]
        for index in row_blocks(array.shape, SPOOL_BLOCK):
            with explained(self.path):
                block = np.ascontiguousarray(dataset[index], dtype="<f4")
            spool.write(block.data)
        spool.flush()
        return mapped(spool, start, array.shape)


@contextmanager
def open_weights(path: Path) -> Iterator[WeightFile]:
    """Open a legacy Keras HDF5 weight file for reading.

    Raises `WeightFileError` in one sentence for what is no such file, is damaged, or uses what a
    weight file has no business using: links, external or virtual storage, foreign filters.
    """
    require_weight_file(path)
    try:
        kind = identify(path)
    except OSError as error:
        raise WeightFileError(f"{path} cannot be read ({error.strerror}).") from error
    if kind != "HDF5":
        raise WeightFileError(f"{path} is {kind}: expected is a Keras HDF5 weight file (.h5).")
    rehearse(path, structure)
    with explained(path):
        file = h5py.File(path, "r")
    with file:
        with explained(path):
            weights = WeightFile(path, file)
        yield weights


def structure(path: Path) -> None:
    """Read everything about a weight file but its weights."""
    with h5py.File(path, "r") as file:
        WeightFile(path, file)


@contextmanager
def explained(path: Path) -> Iterator[None]:
    """Turn what h5py raises on a damaged file into one sentence."""
    try:
        yield
    except WeightFileError as error:
        if str(path) in str(error):
            raise
        raise WeightFileError(f"{path} is not safe to read: {error}") from error
    except Exception as error:  # libhdf5 reports damage as OSError, RuntimeError, KeyError, ...
        if "truncated file" in str(error):
            raise WeightFileError(
                f"{path} is cut short ({path.stat().st_size} bytes are there): download it again."
            ) from error
        raise WeightFileError(f"{path} is damaged ({error}): get the file again.") from error


def weights_group(file: h5py.File) -> h5py.Group:
    """Return the group that lists layers: the root, or `model_weights` of a whole model."""
    for group in (file, child(file, "model_weights")):
        if group is not None and (has_names(group, "layer_names") or "nb_layers" in group.attrs):
            return group
    raise WeightFileError(
        "it has no layer_names attribute, at the root or below model_weights, so it is no "
        "legacy Keras weight file"
    )


def declared_arrays(root: h5py.Group, size: int) -> Iterator[StoredArray]:
    """Yield the arrays of every layer in the model's order, checked but not read."""
    for layer, names in layers(root):
        for name in names:
            path = f"{layer}/{name}"
            dataset = descend(root, path)
            if not isinstance(dataset, h5py.Dataset):
                raise WeightFileError(f"{path} is not an array")
            yield checked(dataset, layer, name, path, size)


def layers(root: h5py.Group) -> Iterator[tuple[str, list[str]]]:
    """Yield (layer name, its array names) in the order of the attributes, empty layers left out."""
    if not has_names(root, "layer_names"):  # Keras 0.x: numbered groups of numbered arrays
        for number in range(bounded(root.attrs["nb_layers"])):
            layer = f"layer_{number}"
            count = bounded(group_at(root, layer).attrs.get("nb_params", 0))
            yield layer, [f"param_{i}" for i in range(count)]
        return
    seen = set()
    for layer in names_attribute(root, "layer_names"):
        if layer in seen:
            raise WeightFileError(f"the layer {layer!r} is listed twice")
        seen.add(layer)
        names = names_attribute(group_at(root, layer), "weight_names")
        if names:
            yield layer, names


def bounded(count: Any) -> int:
    """Return a declared count if it is a plausible one."""
    if not 0 <= int(count) <= MAX_NAMES:
        raise WeightFileError(f"it declares {count} items in one list")
    return int(count)


def group_at(root: h5py.Group, path: str) -> h5py.Group:
    """Return the group at a path, refusing links on the way."""
    group = descend(root, path)
    if not isinstance(group, h5py.Group):
        raise WeightFileError(f"{path} is not a group")
    return group


def descend(root: h5py.Group, path: str) -> h5py.Group | h5py.Dataset:
    """Walk a path one step at a time; only hard links to groups and arrays are followed."""
    node: h5py.Group | h5py.Dataset = root
    for step in path.split("/"):
        found = child(node, step) if isinstance(node, h5py.Group) else None
        if found is None:
            raise WeightFileError(f"{path} is listed but is not in the file")
        node = found
    return node


def child(group: h5py.Group, name: str) -> h5py.Group | h5py.Dataset | None:
    """Return a member of a group, or None; soft and external links raise."""
    if name in ("", ".", ".."):
        raise WeightFileError(f"a name with the empty or relative step {name!r} is listed")
    link = group.get(name, getlink=True)
    if link is None:
        return None
    if not isinstance(link, h5py.HardLink):
        raise WeightFileError(f"{name!r} in {group.name} is a link ({type(link).__name__})")
    return group[name]


def checked(dataset: h5py.Dataset, layer: str, name: str, path: str, size: int) -> StoredArray:
    """Return the declaration of an array that is safe to read, or raise."""
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
        check_chunks(dataset, path, creation, size)
    elif layout == h5py.h5d.CONTIGUOUS:
        offset = dataset.id.get_offset()
        if offset is None or offset + array.nbytes > size:
            raise WeightFileError(
                f"{path} declares {array.nbytes} bytes that the file does not hold"
            )
    return StoredArray(layer, name, path, shape, offset if little else None)


def check_chunks(dataset: h5py.Dataset, path: str, creation: Any, size: int) -> None:
    """Raise unless all chunks of an array are in the file and only known filters pack them."""
    for number in range(creation.get_nfilters()):
        if creation.get_filter(number)[0] not in FILTERS:
            raise WeightFileError(f"{path} is packed with a filter other than gzip or shuffle")
    pairs = list(zip(dataset.shape, dataset.chunks, strict=True))
    wanted = int(np.prod([-(-n // c) for n, c in pairs], dtype=np.float64))
    if any(c > n for n, c in pairs) or 4 * np.prod(dataset.chunks, dtype=np.float64) > 1 << 30:
        raise WeightFileError(f"{path} declares chunks larger than the array")
    if dataset.id.get_num_chunks() != wanted or dataset.id.get_storage_size() > size:
        raise WeightFileError(f"{path} declares {wanted} chunks that the file does not hold")


def has_names(group: h5py.Group, attribute: str) -> bool:
    """Whether a list attribute is there, whole or split in numbered parts."""
    return attribute in group.attrs or f"{attribute}0" in group.attrs


def names_attribute(group: h5py.Group, attribute: str) -> list[str]:
    """Return a list of names; Keras splits a long one into attribute0, attribute1, ..."""
    if attribute in group.attrs:
        return name_list(group, attribute)
    names: list[str] = []
    for part in itertools.count():
        if f"{attribute}{part}" not in group.attrs:
            break
        names += name_list(group, f"{attribute}{part}")
    return names


def name_list(group: h5py.Group, attribute: str) -> list[str]:
    """Return one attribute as strings, after checking that it is a list of modest size."""
    facts = group.attrs.get_id(attribute)
    if facts.shape is None or not bounded(int(np.prod(facts.shape, dtype=np.float64))):
        return []
    if facts.get_storage_size() > MAX_ATTRIBUTE_BYTES:
        raise WeightFileError(f"the attribute {attribute} of {group.name} is oversized")
    values = np.atleast_1d(group.attrs[attribute])
    if values.ndim != 1 or not all(isinstance(value, (bytes, str)) for value in values):
        raise WeightFileError(f"the attribute {attribute} of {group.name} is no list of names")
    return [text(value) for value in values]


def text_attribute(group: h5py.Group, attribute: str) -> str | None:
    """Return a text attribute, or None if it is missing or no text."""
    value = group.attrs.get(attribute)
    return text(value) if isinstance(value, (bytes, str)) else None


def text(value: bytes | str) -> str:
    """Return a name that h5py may give as bytes or as str."""
    return value.decode("utf-8") if isinstance(value, bytes) else str(value)


def row_blocks(shape: tuple[int, ...], limit: int) -> Iterator[tuple[slice, ...]]:
    """Yield index tuples that cut an array along its leading axes into blocks of <= limit bytes."""
    row = 4 * int(np.prod(shape[1:], dtype=np.int64))
    if row > limit and len(shape) > 1:
        for index in range(shape[0]):
            for rest in row_blocks(shape[1:], limit):
                yield (slice(index, index + 1), *rest)
        return
    step = max(1, limit // row)
    for start in range(0, shape[0], step):
        yield (slice(start, min(start + step, shape[0])), *(slice(None),) * (len(shape) - 1))


def mapped(path: Path | BinaryIO, offset: int, shape: tuple[int, ...]) -> NDArray[np.float32]:
    """Return float32 values of a file as a read-only memory map."""
    return np.memmap(path, dtype="<f4", mode="r", offset=offset, shape=shape)
