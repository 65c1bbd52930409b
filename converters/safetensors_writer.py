"""Write safetensors block by block: no tensor is ever whole in memory, no torch is imported.

Format: https://github.com/huggingface/safetensors (8 bytes header length, JSON header, values).
"""

from __future__ import annotations

import hashlib
import mmap
import os
from collections import deque
from collections.abc import Iterator, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import BinaryIO

import numpy as np

from vox2face.converters.ops import OPS, Array, fill
from vox2face.converters.weight_map import Rule
from vox2face.core import progress
from vox2face.core.errors import Vox2FaceError, WeightFileError
from vox2face.core.safetensors_header import FLOAT32, described, header

BLOCK = 1 << 23  # bytes of a block, of which there are a few in memory
THREADS = min(4, os.cpu_count() or 1)


@dataclass(frozen=True)
class Move:
    """A source array in the file's layout and the rule that turns it into a tensor."""

    rule: Rule
    array: Array

    @cached_property
    def view(self) -> Array:
        """The tensor, as a view of the source array."""
        return OPS[self.rule.op].forward(self.array)


@dataclass(frozen=True)
class Block:
    """Rows of a tensor from `start` on, as a view of the source array."""

    move: Move
    start: int
    source: Array


def write(moves: Sequence[Move], path: Path, metadata: dict[str, str]) -> str:
    """Write the tensors of `moves`, in their order, as one safetensors file; return its sha256.

    Every block is read back from the file, compared bit for bit and hashed. Raises
    `WeightFileError` if a value is NaN or infinite, and `Vox2FaceError` if the file differs.
    """
    head = header(((move.rule.target, move.view.shape) for move in moves), metadata)
    digest = hashlib.sha256(head)
    with path.open("w+b") as file:
        file.write(head)
        for block, values in copies(moves, "write"):
            place = file.tell()
            file.write(values.data)
            file.seek(place)
            digest.update(_read_back(path, file, block, values).data)
    _require_tensors(moves, path)
    return digest.hexdigest()


def compare(moves: Sequence[Move], path: Path) -> None:
    """Compare every value of a safetensors file with its source, bit for bit."""
    _require_tensors(moves, path)
    held = described(path)
    with path.open("rb") as file:
        for block, values in copies(moves, "compare"):
            if block.start == 0:
                file.seek(held[block.move.rule.target].start)
            _read_back(path, file, block, values)


def _require_tensors(moves: Sequence[Move], path: Path) -> None:
    """Raise unless a safetensors file lists exactly the tensors of `moves`."""
    held = {name: (tensor.dtype, tensor.shape) for name, tensor in described(path).items()}
    if held != {move.rule.target: (FLOAT32, move.view.shape) for move in moves}:
        raise Vox2FaceError(f"{path} lists other tensors than its source has.")


def blocks(moves: Sequence[Move]) -> Iterator[Block]:
    """Yield all tensors in blocks of whole rows."""
    for move in moves:
        rows = max(1, BLOCK * len(move.view) // move.array.nbytes)
        for start in range(0, len(move.view), rows):
            yield Block(move, start, move.view[start : start + rows])


def copies(moves: Sequence[Move], stage: str) -> Iterator[tuple[Block, Array]]:
    """Yield (block, its values in the tensor's layout) in order; threads copy a few ahead."""
    done, total = 0, sum(move.array.nbytes for move in moves)
    for block, copy in ahead(moves):
        values = copy.result()
        yield block, values
        done += values.nbytes
        progress.advance(stage, done, total)
        if block.start + len(values) == len(block.move.view):
            release(block.move.array)


def ahead(moves: Sequence[Move]) -> Iterator[tuple[Block, Future[Array]]]:
    """Yield the blocks in order, as many being copied at any time as there are threads."""
    running: deque[tuple[Block, Future[Array]]] = deque()
    with ThreadPoolExecutor(THREADS) as pool:
        for block in blocks(moves):
            running.append((block, pool.submit(copied, block)))
            if len(running) > THREADS:
                yield running.popleft()
        yield from running


def release(array: Array) -> None:
    """Let the system drop the pages of a memory map; they are read again if needed."""
    memory: object = array
    while isinstance(memory, np.ndarray):
        memory = memory.base
    if isinstance(memory, mmap.mmap) and hasattr(mmap, "MADV_DONTNEED"):
        memory.madvise(mmap.MADV_DONTNEED)


def copied(block: Block) -> Array:
    """Return the values of a block; raise `WeightFileError` if one is NaN or infinite."""
    values = np.empty(block.source.shape, np.float32)
    fill(values, block.source)
    if not (np.isfinite(values.min()) and np.isfinite(values.max())):
        bad = np.argwhere(~np.isfinite(values))[0]
        bad[0] += block.start
        place = ", ".join(str(i) for i in bad)
        raise WeightFileError(
            f"{block.move.rule.source} holds NaN or infinite values (first at [{place}] of "
            f"{block.move.rule.target}): the weights are damaged, get the file again."
        )
    return values


def _read_back(path: Path, file: BinaryIO, block: Block, values: Array) -> Array:
    """Return what a file holds at its position; raise unless it is these values, bit for bit."""
    held = np.empty_like(values)
    count = file.readinto(held.data)  # type: ignore[attr-defined]
    if count != held.nbytes or not np.array_equal(held.view(np.uint32), values.view(np.uint32)):
        raise Vox2FaceError(
            f"{path} reads back other values in {block.move.rule.target} than its source has."
        )
    return held
