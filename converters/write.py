"""Write safetensors block by block: no tensor is ever whole in memory, no torch is imported.

Format: https://github.com/huggingface/safetensors (8 bytes header length, JSON header, values).
"""

from __future__ import annotations

import hashlib
import json
import mmap
import os
from collections import deque
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from vox2face.converters.mapping import Rule
from vox2face.converters.ops import OPS, Array, fill
from vox2face.converters.sandbox import mapped
from vox2face.converters.tasks import Task
from vox2face.errors import Vox2FaceError, WeightFileError
from vox2face.files import Progress
from vox2face.safetensors_header import layout, shapes

BLOCK = 1 << 23  # bytes of a block, of which there are a few in memory
BATCH = 1 << 22  # bytes of blocks that a thread takes at once
AHEAD = 1  # batches that wait for being read back while all cores fill others
PIECE = 1 << 20  # bytes compared and hashed at a time
ALIGNMENT = 64  # where the values begin, so that a memory map of them is aligned


@dataclass(frozen=True)
class Move:
    """A source array in the file's layout and the rule that turns it into a tensor."""

    rule: Rule
    array: Array

    @cached_property
    def view(self) -> Array:
        """The tensor, as a view of the source array."""
        return OPS[self.rule.op].forward(self.array)


class Block:
    """Rows `start` to `stop` of a tensor, `offset` bytes from the start of the file.

    `source` is a view of these rows, `nbytes` their bytes.
    """

    def __init__(self, move: Move, start: int, stop: int, offset: int) -> None:
        self.move, self.start, self.stop, self.offset = move, start, stop, offset
        self.source = move.view[start:stop]
        self.nbytes = self.source.nbytes


class Batch:
    """Blocks that follow each other in the file, `offset` bytes from its start."""

    def __init__(self, blocks: Sequence[Block]) -> None:
        self.blocks, self.offset = blocks, blocks[0].offset
        self.nbytes = sum(block.nbytes for block in blocks)

    def split(self, values: Array) -> Iterator[tuple[Block, Array]]:
        """Yield every block with its part of the values of all, in its shape."""
        start = 0
        for block in self.blocks:
            stop = start + block.nbytes // 4
            yield block, values[start:stop].reshape(block.source.shape)
            start = stop


def write(moves: Sequence[Move], path: Path, metadata: dict[str, str], progress: Progress) -> str:
    """Write the tensors of `moves`, in their order, as one safetensors file; return its sha256.

    Every block is read back from the file, compared bit for bit and hashed while it is still in
    the cache; at the end the safetensors library reads the names, shapes and places. Raises
    `WeightFileError` if a value is NaN or infinite, and `Vox2FaceError` if the file differs.
    `progress` gets bytes done and total.
    """
    head = header(moves, metadata)
    with path.open("wb") as file:
        file.write(head)
        file.truncate(len(head) + total_bytes(moves))

    def job(batch: Batch, values: Array) -> None:
        fill_finite(batch, values)
        write_at(path, values, batch.offset)

    digest = hashlib.sha256(head)
    batches = list(batched(cut(moves, len(head))))
    written = mapped(path)
    for batch, values in each(job, batches, progress):
        for block, part in batch.split(values):
            require_equal(path, written, block, part, block.offset, digest.update)
        drop(written, batch.offset, batch.nbytes)
    check_layout(moves, path)
    return digest.hexdigest()


def fill_finite(batch: Batch, values: Array) -> None:
    """Copy the values of blocks, or raise `WeightFileError` at the first NaN or infinite one."""
    for block, part in batch.split(values):
        fill(part, block.source)
        if not (np.isfinite(part.min()) and np.isfinite(part.max())):
            raise WeightFileError(non_finite(block, part))


def check_layout(moves: Sequence[Move], path: Path) -> None:
    """Raise unless a safetensors file lists exactly the tensors of `moves`."""
    if shapes(path) != {move.rule.target: move.view.shape for move in moves}:
        raise Vox2FaceError(f"{path} lists other tensors than its source has.")


def compare(moves: Sequence[Move], path: Path, progress: Progress) -> None:
    """Compare every value of a safetensors file with its source, bit for bit."""
    check_layout(moves, path)
    places = layout(path)

    def job(batch: Batch, values: Array) -> None:
        for block, part in batch.split(values):
            fill(part, block.source)

    written = mapped(path)
    for batch, values in each(job, list(batched(cut(moves, 0))), progress):
        for block, part in batch.split(values):
            row = block.nbytes // len(part)
            place = places[block.move.rule.target] + block.start * row
            require_equal(path, written, block, part, place)
            drop(written, place, block.nbytes)


def header(moves: Sequence[Move], metadata: dict[str, str]) -> bytes:
    """Return the length and the JSON header, padded so that values begin aligned."""
    content: dict[str, object] = {"__metadata__": metadata}
    offset = 0
    for move in moves:
        end = offset + move.array.nbytes
        shape = list(move.view.shape)
        content[move.rule.target] = {"dtype": "F32", "shape": shape, "data_offsets": [offset, end]}
        offset = end
    text = json.dumps(content, separators=(",", ":")).encode()
    text += b" " * (-(len(text) + 8) % ALIGNMENT)
    return len(text).to_bytes(8, "little") + text


def total_bytes(moves: Sequence[Move]) -> int:
    """Return how many bytes the values of all tensors take."""
    return sum(move.array.nbytes for move in moves)


def cut(moves: Sequence[Move], offset: int) -> Iterator[Block]:
    """Yield all tensors as blocks of whole rows; `offset` is where the first value lies."""
    for move in moves:
        rows, row = len(move.view), move.array.nbytes // len(move.view)
        step = max(1, BLOCK // row)
        for start in range(0, rows, step):
            stop = min(start + step, rows)
            yield Block(move, start, stop, offset + start * row)
        offset += move.array.nbytes


def each(
    job: Callable[[Batch, Array], None], batches: Sequence[Batch], progress: Progress
) -> Iterator[tuple[Batch, Array]]:
    """Run a job for every batch beside each other; yield (batch, values) in order as they are done.

    The job gets room for the values of its batch, which is used again after they were yielded.
    """
    total, done = sum(batch.nbytes for batch in batches), 0
    rest, running = iter(batches), deque[tuple[Batch, Array, Array, Task[None]]]()

    def start(room: Array) -> None:
        if (batch := next(rest, None)) is not None:
            size = batch.nbytes // 4
            values = (room if size <= room.size else np.empty(size, np.float32))[:size]
            running.append((batch, values, room, Task(job, batch, values)))

    try:
        for _ in range(min(4, os.cpu_count() or 1) + AHEAD):
            start(np.empty(BLOCK // 4, np.float32))
        while running:
            batch, values, room, task = running[0]
            task.result()
            yield batch, values
            running.popleft()
            start(room)
            done += batch.nbytes
            progress(done, total)
            for block in batch.blocks:
                if block.stop == len(block.move.view) and block.move.array.nbytes >= PIECE:
                    release(block.move.array)
    finally:
        for *_, task in running:
            task.wait()


def batched(blocks: Iterable[Block]) -> Iterator[Batch]:
    """Yield the blocks in order, small ones together: handing one over has a cost."""
    together: list[Block] = []
    size = 0
    for block in blocks:
        if together and size + block.nbytes > BATCH:
            yield Batch(together)
            together, size = [], 0
        together.append(block)
        size += block.nbytes
    if together:
        yield Batch(together)


def release(array: Array) -> None:
    """Let the system drop the pages of a memory-mapped array; they are read again if needed."""
    memory = memory_of(array)
    if isinstance(memory, mmap.mmap):
        start = address(array) - address(np.frombuffer(memory, np.uint8))
        drop(memory, start, array.nbytes)


def drop(memory: mmap.mmap, start: int, count: int) -> None:
    """Let the system drop some pages of a memory map."""
    if (advice := getattr(mmap, "MADV_DONTNEED", None)) is not None:
        first = start - start % mmap.PAGESIZE
        memory.madvise(advice, first, start + count - first)


def address(array: NDArray[Any]) -> int:
    """Return where in memory an array begins."""
    place: int = array.__array_interface__["data"][0]
    return place


def memory_of(array: Array) -> object:
    """Return what holds an array's values, such as a memory map."""
    base: object = array
    while isinstance(base, np.ndarray):
        base = base.base
    return base.obj if isinstance(base, memoryview) else base


def write_at(path: Path, buffer: Array, offset: int) -> None:
    """Write a whole buffer at a place in a file."""
    with path.open("r+b", buffering=0) as file:
        file.seek(offset)
        rest = buffer.reshape(-1).view(np.uint8).data
        while rest:
            rest = rest[file.write(rest) :]


def require_equal(
    path: Path,
    written: mmap.mmap,
    block: Block,
    values: Array,
    offset: int,
    seen: Callable[[memoryview], object] = lambda piece: None,
) -> None:
    """Raise unless a mapped file holds exactly these bits at a place; show `seen` what it holds."""
    expected = values.reshape(-1).view(np.uint32)
    held = np.frombuffer(written, np.uint32, expected.size, offset)
    for start in range(0, held.size, PIECE // 4):
        piece = held[start : start + PIECE // 4]
        if not np.array_equal(piece, expected[start : start + PIECE // 4]):
            raise Vox2FaceError(
                f"{path} reads back other values in {block.move.rule.target} than its source has."
            )
        seen(piece.data)


def non_finite(block: Block, buffer: Array) -> str:
    """Say which source array holds NaN or infinite values, and where the first one is."""
    bad = np.argwhere(~np.isfinite(buffer))[0]
    bad[0] += block.start
    place = ", ".join(str(i) for i in bad)
    return (
        f"{block.move.rule.source} holds NaN or infinite values (first at [{place}] of "
        f"{block.move.rule.target}): the weights are damaged, get the file again."
    )
