"""Write safetensors block by block: no tensor is ever whole in memory, no torch is imported.

Format: https://github.com/huggingface/safetensors (8 bytes header length, JSON header, values).
"""

from __future__ import annotations

import hashlib
import json
import mmap
import os
import threading
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from math import prod
from pathlib import Path

import numpy as np
from safetensors import SafetensorError, safe_open

from vox2face.converters.mapping import Rule
from vox2face.converters.ops import OPS, Array, fill
from vox2face.errors import BundleError, Vox2FaceError, WeightFileError
from vox2face.files import Progress

BLOCK = 1 << 23  # bytes of a block, of which each thread holds one
BATCH = 1 << 20  # bytes of blocks that a thread takes at once
PIECE = 1 << 20  # bytes read at a time to compare or hash what was written
ALIGNMENT = 64  # where the values begin, so that a memory map of them is aligned


@dataclass(frozen=True)
class Move:
    """A source array in the file's layout and the rule that turns it into a tensor."""

    rule: Rule
    array: Array

    @property
    def view(self) -> Array:
        """The tensor, as a view of the source array."""
        return OPS[self.rule.op].forward(self.array)


@dataclass(frozen=True)
class Block:
    """Rows `start` to `stop` of a tensor, `offset` bytes from the start of the file."""

    move: Move
    start: int
    stop: int
    offset: int

    @property
    def shape(self) -> tuple[int, ...]:
        """The shape of these rows."""
        return (self.stop - self.start, *self.move.view.shape[1:])

    @property
    def nbytes(self) -> int:
        """The bytes of these rows."""
        return 4 * prod(self.shape)


def write(moves: Sequence[Move], path: Path, metadata: dict[str, str], progress: Progress) -> str:
    """Write the tensors of `moves`, in their order, as one safetensors file; return its sha256.

    Every block is read back from the file and compared bit for bit while its source is still in
    the cache; at the end the safetensors library reads the names, shapes and places. Raises
    `WeightFileError` if a value is NaN or infinite, and `Vox2FaceError` if the file differs.
    `progress` gets bytes done and total.
    """
    head = header(moves, metadata)
    blocks = list(cut(moves, len(head)))
    with path.open("wb") as file:
        file.write(head)
        file.truncate(len(head) + total_bytes(moves))

    def job(block: Block, buffer: Array) -> None:
        fill(buffer, block.move.view[block.start : block.stop])
        if not (np.isfinite(buffer.min()) and np.isfinite(buffer.max())):
            raise WeightFileError(non_finite(block, buffer))
        write_at(path, buffer, block.offset)
        compare_at(path, buffer, block, block.offset)

    digest = hashlib.sha256(head)
    with path.open("rb", buffering=0) as written:
        written.seek(len(head))
        for block in each(job, blocks, progress):
            for start in range(0, block.nbytes, PIECE):
                digest.update(written.read(min(PIECE, block.nbytes - start)))
    check_layout(moves, path)
    return digest.hexdigest()


def check_layout(moves: Sequence[Move], path: Path) -> None:
    """Raise unless a safetensors file lists exactly the tensors of `moves`."""
    if shapes(path) != {move.rule.target: move.view.shape for move in moves}:
        raise Vox2FaceError(f"{path} lists other tensors than its source has.")


def compare(moves: Sequence[Move], path: Path, progress: Progress) -> None:
    """Compare every value of a safetensors file with its source, bit for bit."""
    check_layout(moves, path)
    places = layout(path)

    def job(block: Block, buffer: Array) -> None:
        fill(buffer, block.move.view[block.start : block.stop])
        row = block.nbytes // (block.stop - block.start)
        compare_at(path, buffer, block, places[block.move.rule.target] + block.start * row)

    for _ in each(job, list(cut(moves, 0)), progress):
        pass


def layout(path: Path) -> dict[str, int]:
    """Return where in a safetensors file the values of each tensor begin."""
    with path.open("rb") as file:
        length = int.from_bytes(file.read(8), "little")
        content = json.loads(file.read(length))
    content.pop("__metadata__", None)
    return {name: 8 + length + facts["data_offsets"][0] for name, facts in content.items()}


def shapes(path: Path) -> dict[str, tuple[int, ...]]:
    """Return name -> shape of every tensor in a safetensors file, as its library reads it."""
    try:
        with safe_open(path, framework="numpy") as file:
            return {name: tuple(file.get_slice(name).get_shape()) for name in file.keys()}
    except SafetensorError as error:
        raise BundleError(f"{path} is no whole safetensors file ({error}).") from error


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
    job: Callable[[Block, Array], None], blocks: Sequence[Block], progress: Progress
) -> Iterator[Block]:
    """Run a job for every block on all cores; yield the blocks in order as they are done.

    Each thread has one buffer for its blocks, which the job gets in the block's shape.
    """
    local = threading.local()
    total, done = sum(block.nbytes for block in blocks), 0

    def run(block: Block) -> None:
        size = block.nbytes // 4
        if not hasattr(local, "memory") or local.memory.size < size:
            local.memory = np.empty(max(size, BLOCK // 4), np.float32)
        job(block, local.memory[:size].reshape(block.shape))

    def run_all(batch: Sequence[Block]) -> None:
        for block in batch:
            run(block)

    with ThreadPoolExecutor(min(4, os.cpu_count() or 1)) as pool:
        batches = list(batched(blocks))
        futures = [pool.submit(run_all, batch) for batch in batches]
        try:
            for batch, future in zip(batches, futures, strict=True):
                future.result()
                for block in batch:
                    done += block.nbytes
                    progress(done, total)
                    yield block
                    if block.stop == len(block.move.view):
                        release(block.move.array)
        finally:
            for future in futures:
                future.cancel()


def batched(blocks: Sequence[Block]) -> Iterator[list[Block]]:
    """Yield the blocks in order, small ones together: handing one over has a cost."""
    batch: list[Block] = []
    for block in blocks:
        batch.append(block)
        if sum(each.nbytes for each in batch) >= BATCH:
            yield batch
            batch = []
    if batch:
        yield batch


def release(array: Array) -> None:
    """Let the system drop the pages of a memory-mapped array; they are read again if needed."""
    memory, advice = memory_of(array), getattr(mmap, "MADV_DONTNEED", None)
    if isinstance(memory, mmap.mmap) and advice is not None:
        memory.madvise(advice)


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


def compare_at(path: Path, buffer: Array, block: Block, offset: int) -> None:
    """Raise unless the file holds the block at a place."""
    if not equals_at(path, buffer, offset):
        raise Vox2FaceError(
            f"{path} reads back other values in {block.move.rule.target} than its source has."
        )


def equals_at(path: Path, buffer: Array, offset: int) -> bool:
    """Whether a file holds exactly these bits at a place."""
    expected = buffer.reshape(-1).view(np.uint8)
    piece = np.empty(PIECE, np.uint8)
    with path.open("rb", buffering=0) as file:
        file.seek(offset)
        while expected.size:
            count = file.readinto(piece[: expected.size].data)
            if not count or not np.array_equal(piece[:count], expected[:count]):
                return False
            expected = expected[count:]
    return True


def non_finite(block: Block, buffer: Array) -> str:
    """Say which source array holds NaN or infinite values, and where the first one is."""
    bad = np.argwhere(~np.isfinite(buffer))[0]
    bad[0] += block.start
    place = ", ".join(str(i) for i in bad)
    return (
        f"{block.move.rule.source} holds NaN or infinite values (first at [{place}] of "
        f"{block.move.rule.target}): the weights are damaged, get the file again."
    )
