"""Open an HDF5 weight file of any generation of Keras: no links, no other files, nothing unread.

libhdf5 fills what a chunk lacks with whatever lies in memory. So nothing is read before every chunk
is known to be in the file, alone in its place, and as large as it has to be.
"""

from __future__ import annotations

import zlib
from collections.abc import Callable, Iterator
from itertools import pairwise
from math import prod
from typing import Any, TypeAlias

import h5py

from vox2face.converters.readers.base import BLOCK, Blocks, require_held, row_blocks
from vox2face.converters.weight_map import StoredArray
from vox2face.core.errors import WeightFileError

Node: TypeAlias = Any  # an h5py.Group or h5py.Dataset
NODES = {h5py.h5g.GroupID: h5py.Group, h5py.h5d.DatasetID: h5py.Dataset}
LINKS = {h5py.h5l.TYPE_SOFT: "SoftLink", h5py.h5l.TYPE_EXTERNAL: "ExternalLink"}
DEFLATE, SHUFFLE, FLETCHER = (
    getattr(h5py.h5z, f"FILTER_{n}") for n in ("DEFLATE", "SHUFFLE", "FLETCHER32")
)
CHECKSUM = 4  # bytes that FLETCHER adds
MAX_CHUNK = 4 << 20  # bytes; a larger chunk must at least not be larger than the file
MIN_CHUNK = 4096  # bytes, if there are several; h5py itself chooses no less


class Walk:
    """Finds the groups and arrays below `root` by path, refusing links on the way.

    Every step is checked. `size` is that of the file.
    """

    def __init__(self, root: h5py.Group, size: int) -> None:
        self.root, self.size = root, size
        self.claimed: dict[Any, str] = {}
        self.places: list[tuple[int, int, str]] = []  # of values: from, to, of which array

    def find(self, path: str) -> Node:
        """Return what is at a path; only hard links to groups and arrays are followed."""
        found: Node = self.root
        for step in path.split("/"):
            found = child(found, step) if isinstance(found, h5py.Group) else None
            if found is None:
                raise WeightFileError(f"{path} is listed but is not in the file")
        return found

    def group(self, path: str) -> h5py.Group:
        """Return the group at a path."""
        group = self.find(path)
        if not isinstance(group, h5py.Group):
            raise WeightFileError(f"{path} is not a group")
        return group

    def dataset(self, path: str) -> h5py.Dataset:
        """Return the array at a path, which must not be another one's second name."""
        dataset = self.find(path)
        if not isinstance(dataset, h5py.Dataset):
            raise WeightFileError(f"{path} is not an array")
        first = self.claimed.setdefault(h5py.h5o.get_info(dataset.id).addr, path)
        if first != path:
            raise WeightFileError(f"{path} is a second name of {first}.")
        return dataset

    def array(self, layer: str, name: str, path: str) -> StoredArray:
        """Return the declaration of an array that is safe to read, or raise."""
        dataset = self.dataset(path)
        creation = dataset.id.get_create_plist()
        if creation.get_external_count():
            raise WeightFileError(f"{path} keeps its values in another file (external storage)")
        if creation.get_layout() not in LAYOUTS:
            raise WeightFileError(f"{path} is a virtual dataset")
        stored = dataset.id.get_type()  # the dtype alone would hide an unusual layout of the bits
        if not any(stored.equal(kind) for kind in (h5py.h5t.IEEE_F32LE, h5py.h5t.IEEE_F32BE)):
            raise WeightFileError(f"{path} holds {dataset.dtype} values: expected float32")
        if dataset.shape is None or 0 in dataset.shape:
            raise WeightFileError(f"{path} is empty")
        for start, length in LAYOUTS[creation.get_layout()](dataset, path, self.size):
            if start is None or not 0 < length <= self.size or start + length > self.size:
                raise WeightFileError(f"{path} declares {length} bytes that the file does not hold")
            self.places.append((start, start + length, path))
        return StoredArray(layer, name, path, tuple(int(n) for n in dataset.shape))

    def require_apart(self) -> None:
        """Raise if two arrays, or chunks of one, share bytes of the file."""
        for (_, end, first), (start, _, second) in pairwise(sorted(self.places)):
            if start < end:
                raise WeightFileError(f"the values of {first} and {second} overlap")


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


def contiguous(dataset: h5py.Dataset, path: str, size: int) -> Iterator[tuple[int | None, int]]:
    """Yield where the values lie: (first byte, bytes)."""
    yield dataset.id.get_offset(), 4 * prod(dataset.shape)


def _compact(dataset: h5py.Dataset, path: str, size: int) -> Iterator[tuple[int | None, int]]:
    """Check values that lie in the array's own header."""
    if dataset.id.get_storage_size() != 4 * prod(dataset.shape):
        raise WeightFileError(f"{path} holds other values than it declares")
    yield from ()


def chunked(dataset: h5py.Dataset, path: str, size: int) -> Iterator[tuple[int | None, int]]:
    """Yield where every chunk lies, after checking that it unpacks to its size and no other."""
    creation, shape = dataset.id.get_create_plist(), dataset.chunks
    filters = [creation.get_filter(number)[0] for number in range(creation.get_nfilters())]
    if not {*filters} <= {DEFLATE, SHUFFLE, FLETCHER} or filters.count(DEFLATE) > 1:
        raise WeightFileError(f"{path} is packed with a filter other than gzip or shuffle")
    pairs = list(zip(dataset.shape, shape, strict=True))
    if any(c > n for n, c in pairs) or 4 * prod(shape) > max(MAX_CHUNK, size):
        raise WeightFileError(f"{path} declares chunks larger than the array or the file")
    count = prod(-(-n // c) for n, c in pairs)
    if count > 1 and 4 * prod(shape) < MIN_CHUNK:
        raise WeightFileError(f"{path} is cut into {count} chunks of a few values each")
    require_held(4 * prod(dataset.shape), size)
    found: list[Any] = []
    dataset.id.chunk_iter(found.append)
    starts = {chunk.chunk_offset for chunk in found}
    inside = all(
        at % c == 0 and at < n for start in starts for at, (n, c) in zip(start, pairs, strict=True)
    )
    if len(found) != count or len(starts) != count or not inside:
        raise WeightFileError(f"{path} declares {count} chunks that the file does not hold")
    for chunk in found:
        yield chunk.byte_offset, chunk.size
        _check_size(dataset, path, chunk, filters)


def _check_size(dataset: h5py.Dataset, path: str, chunk: Any, filters: list[int]) -> None:
    """Raise unless a chunk has, or unpacks to, the bytes of its values."""
    active = [code for n, code in enumerate(filters) if not chunk.filter_mask >> n & 1]
    packed = active.index(DEFLATE) if DEFLATE in active else len(active)
    behind = active[packed + 1 :]
    if SHUFFLE in behind:
        raise WeightFileError(f"{path} is packed in an unusual order")
    size = 4 * prod(dataset.chunks) + CHECKSUM * active[:packed].count(FLETCHER)
    held = chunk.size - CHECKSUM * len(behind)
    if DEFLATE in active:
        _, content = dataset.id.read_direct_chunk(chunk.chunk_offset)
        held = _inflated(content[:held], size)
    if held != size:
        raise WeightFileError(f"{path} has a chunk of {held} bytes, not {size}")


def _inflated(content: bytes, limit: int) -> int:
    """Return how many bytes gzip makes of a chunk; more than `limit` are not counted."""
    stream, size = zlib.decompressobj(), 0
    while content and not stream.eof and size <= limit:
        size += len(stream.decompress(content, BLOCK))
        content = stream.unconsumed_tail
    if not stream.eof and size <= limit:
        raise WeightFileError("a chunk is cut short")
    return size


Places = Callable[[h5py.Dataset, str, int], Iterator[tuple[int | None, int]]]
LAYOUTS: dict[int, Places] = {
    h5py.h5d.CONTIGUOUS: contiguous,
    h5py.h5d.COMPACT: _compact,
    h5py.h5d.CHUNKED: chunked,
}


def blocks(dataset: h5py.Dataset) -> Blocks:
    """Yield the values of an array; of chunks, each is unpacked once."""
    shape = tuple(int(n) for n in dataset.shape)
    if not dataset.chunks:
        for index in row_blocks(shape, BLOCK):
            yield dataset[index]
        return
    rows, row = dataset.chunks[0], 4 * prod(shape[1:])
    step = rows * max(1, BLOCK // max(1, rows * row))
    for start in range(0, shape[0], step):
        yield dataset[start : start + step]


def text_attribute(group: h5py.Group, attribute: str) -> str | None:
    """Return a text attribute, or None if it is missing or no text."""
    value = group.attrs.get(attribute)
    return text(value) if isinstance(value, (bytes, str)) else None


def text(value: bytes | str) -> str:
    """Return a name that h5py may give as bytes or as str."""
    return value.decode("utf-8") if isinstance(value, bytes) else str(value)
