"""Unpack the chunks of an HDF5 array here, where nothing grows beyond what it declares.

libhdf5 would inflate a chunk to whatever size its packed bytes give.
"""

from __future__ import annotations

import zlib
from collections.abc import Iterator
from itertools import product
from math import prod
from typing import Any

import h5py
import numpy as np

from vox2face.converters.readers.base import Values, require_held
from vox2face.errors import WeightFileError

MAX_CHUNK = 4 << 20  # bytes; a larger chunk must at least not be larger than the file
MIN_CHUNK = 4096  # bytes, if there are several; h5py itself chooses no less
CHECKSUM = 4  # bytes


def check_chunks(dataset: h5py.Dataset, path: str, size: int) -> None:
    """Raise unless all chunks of an array are in the file and only known filters pack them."""
    for code, _ in filters(dataset):
        if code not in UNPACK:
            raise WeightFileError(f"{path} is packed with a filter other than gzip or shuffle")
    pairs = list(zip(dataset.shape, dataset.chunks, strict=True))
    if any(c > n for n, c in pairs) or 4 * prod(dataset.chunks) > max(MAX_CHUNK, size):
        raise WeightFileError(f"{path} declares chunks larger than the array or the file")
    wanted = prod(-(-n // c) for n, c in pairs)
    if wanted > 1 and 4 * prod(dataset.chunks) < MIN_CHUNK:
        raise WeightFileError(f"{path} is cut into {wanted} chunks of a few values each")
    if dataset.id.get_num_chunks() != wanted or dataset.id.get_storage_size() > size:
        raise WeightFileError(f"{path} declares {wanted} chunks that the file does not hold")
    require_held(4 * prod(dataset.shape), size)


def filters(dataset: h5py.Dataset) -> list[tuple[int, tuple[int, ...]]]:
    """Return (code, parameters) of every filter, in the order in which they packed."""
    creation = dataset.id.get_create_plist()
    facts = [creation.get_filter(number) for number in range(creation.get_nfilters())]
    return [(code, tuple(values)) for code, _, values, _ in facts]


def unpack_chunks(dataset: h5py.Dataset, path: str, values: Values) -> None:
    """Fill `values`, an array of the dataset's shape, chunk by chunk."""
    steps, shape = filters(dataset), dataset.chunks
    size, held = 4 * prod(shape), dataset.id.get_storage_size()
    limit = size + CHECKSUM * len(steps)
    for start in corners(dataset.shape, shape):
        mask, content = stored_chunk(dataset, start, path, held)
        for number, (code, parameters) in reversed(list(enumerate(steps))):
            if not mask >> number & 1:  # a set bit: this filter was left out for this chunk
                content = UNPACK[code](content, limit, parameters)
        if len(content) != size:
            raise WeightFileError(f"{path} has a chunk of {len(content)} bytes, not {size}")
        chunk = np.frombuffer(content, dataset.dtype).reshape(shape)
        where = tuple(slice(a, a + c) for a, c in zip(start, shape, strict=True))
        room = values[where].shape
        values[where] = chunk[tuple(slice(n) for n in room)]


def corners(shape: tuple[int, ...], chunk: tuple[int, ...]) -> Iterator[tuple[int, ...]]:
    """Yield the index of every chunk's first element."""
    yield from product(*(range(0, n, c) for n, c in zip(shape, chunk, strict=True)))


def stored_chunk(
    dataset: h5py.Dataset, start: tuple[int, ...], path: str, held: int
) -> tuple[int, bytes]:
    """Return (mask of left-out filters, packed bytes) of the chunk that begins at an index."""
    facts = dataset.id.get_chunk_info_by_coord(start)
    if facts.byte_offset is None or not 0 < facts.size <= held:
        raise WeightFileError(f"{path} has a chunk that the file does not hold")
    return dataset.id.read_direct_chunk(start)  # type: ignore[no-any-return]


def inflate(content: bytes, limit: int, parameters: Any) -> bytes:
    """Undo gzip, to at most `limit` bytes."""
    stream = zlib.decompressobj()
    result = stream.decompress(content, limit)
    if not stream.eof and stream.decompress(stream.unconsumed_tail, 1):
        raise WeightFileError("a chunk is larger unpacked than it declares")
    if not stream.eof:
        raise WeightFileError("a chunk is cut short")
    return result


def unshuffle(content: bytes, limit: int, parameters: tuple[int, ...]) -> bytes:
    """Undo the sorting of bytes by significance."""
    width = parameters[0] if parameters else 1
    count = len(content) // width if width else 0
    if width < 2 or count < 2:
        return content
    planes = np.frombuffer(content, np.uint8, width * count).reshape(width, count)
    return planes.T.tobytes() + content[width * count :]


def verify(content: bytes, limit: int, parameters: Any) -> bytes:
    """Check and remove the Fletcher checksum at the end."""
    body, stated = content[:-CHECKSUM], content[-CHECKSUM:]
    words = np.frombuffer(body[: len(body) & ~1], ">u2").astype(np.uint64)
    if len(body) & 1:
        words = np.append(words, np.uint64(body[-1] << 8))
    weights = np.arange(len(words), 0, -1, dtype=np.uint64) % np.uint64(65535)
    first, second = int(words.sum()) % 65535, int((words * weights).sum()) % 65535
    value = int.from_bytes(stated, "little")
    if (value & 0xFFFF) % 65535 != first or (value >> 16) % 65535 != second:
        raise WeightFileError("a chunk does not match its checksum")
    return body


# Filters that come with the HDF5 library; any other would load a plugin.
UNPACK = {
    h5py.h5z.FILTER_DEFLATE: inflate,
    h5py.h5z.FILTER_SHUFFLE: unshuffle,
    h5py.h5z.FILTER_FLETCHER32: verify,
}
