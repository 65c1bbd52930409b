"""Which items make up which batch, as a pure function of seed and step, and how they are loaded.

Every epoch is a permutation of the items. A step's batch is the same however many processes share
it, and nothing has to be remembered to go on after a step but its number. An item that cannot be
decoded is replaced by another one, drawn from the seed too, so that batches stay full; what failed
travels with the batch and is listed.
"""

from __future__ import annotations

import signal
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Protocol

import numpy as np
import torch
from torch import Tensor
from torch.utils.data import DataLoader, Dataset, default_collate

from vox2face.core.errors import CorpusError, UsageError, Vox2FaceError
from vox2face.train.workers import deaf

Item = dict[str, Any]
Batch = dict[str, Any]
Key = tuple[int, int]  # epoch, index
ATTEMPTS = 20  # items tried in the place of one that fails
FAILED, UNREADABLE = "failed", "unreadable"


class Items(Protocol):
    """Anything with a length that gives items by their index: dicts of arrays and words."""

    def __len__(self) -> int: ...
    def __getitem__(self, index: int, /) -> Item: ...


@dataclass(frozen=True)
class BatchSampler:
    """How the items become batches: `batch` at a step, over `processes` and in `parts` each."""

    count: int
    batch: int
    seed: int
    processes: int = 1
    process: int = 0
    parts: int = 1

    def __post_init__(self) -> None:
        pieces = self.processes * self.parts
        if self.size < pieces or self.size % pieces:
            raise UsageError(
                f"A batch of {self.size} items does not divide into {self.processes} processes x "
                f"{self.parts} parts: choose loop.batch_size as a multiple of {pieces}."
            )

    @property
    def size(self) -> int:
        """The items of a step: fewer than `batch` where there are no more."""
        return min(self.batch, self.count)

    @property
    def per_epoch(self) -> int:
        """The steps of an epoch; what does not fill a batch waits for another epoch."""
        return self.count // self.size

    def keys(self, first: int, total: int) -> Iterator[list[Key]]:
        """Yield this process's keys of every part of the steps `first` to `total` - 1."""
        known, order = -1, np.empty(0, np.intp)
        for step in range(first, total):
            epoch, place = divmod(step, self.per_epoch)
            if epoch != known:
                known, order = epoch, permutation(self.count, self.seed, epoch)
            chosen = order[place * self.size : (place + 1) * self.size]
            own = np.split(chosen, self.processes)[self.process]
            for part in np.split(own, self.parts):
                yield [(epoch, int(index)) for index in part]


def permutation(count: int, seed: int, epoch: int) -> np.ndarray[Any, np.dtype[np.intp]]:
    """Return the order of the items in an epoch."""
    return np.random.default_rng((seed, epoch)).permutation(count)


class Drawn(Dataset[Item]):
    """Items by (epoch, index), with a generator of their own for `augment`, if there is one.

    A data set with `set_epoch` is told the epoch. Where an item fails with a `Vox2FaceError` or an
    `OSError`, another one stands in, and the item's "failed" tells which failed and why.
    """

    def __init__(self, items: Items, seed: int, augment: Any = None) -> None:
        self.items, self.seed, self.augment = items, seed, augment
        self.epoch = -1

    def __getitem__(self, key: Key) -> Item:
        epoch, index = key
        if epoch != self.epoch and hasattr(self.items, "set_epoch"):
            self.items.set_epoch(epoch)
        self.epoch = epoch
        random = np.random.default_rng((self.seed, epoch, index))
        failed: list[tuple[int, str]] = []
        for _ in range(ATTEMPTS):
            try:
                item = dict(self.items[index])
            except (Vox2FaceError, OSError) as error:
                failed.append((index, str(error)))
                index = int(random.integers(len(self.items)))
                continue
            item = self.augment(item, random) if self.augment else item
            return {**item, FAILED: failed}
        return {UNREADABLE: failed[-1][1]}


def collate(items: Sequence[Item]) -> Batch:
    """Return items as a batch: numbers and arrays stacked, everything else as lists."""
    unreadable = next((item for item in items if UNREADABLE in item), None)
    if unreadable:  # told by the process that trains: a worker's exceptions become tracebacks
        return unreadable
    batch: Batch = {}
    for name, first in items[0].items():
        values = [item[name] for item in items]
        plain = isinstance(first, (Tensor, np.ndarray, int, float, np.generic))
        batch[name] = default_collate(values) if plain else values
    return batch


def batches(
    data: Drawn, sampler: BatchSampler, first: int, total: int, workers: int
) -> Iterator[Batch]:
    """Yield this process's batches, part by part, of the steps `first` to `total` - 1."""
    keys = Keys(sampler, first, total)
    loader = DataLoader(
        data,
        batch_sampler=keys,
        num_workers=workers,
        collate_fn=collate,
        pin_memory=torch.cuda.is_available(),
        worker_init_fn=_init_worker,
        generator=torch.Generator(),  # of its own, so that loading draws no number of the training
    )
    with deaf():  # the workers start here
        loaded = iter(loader)
    for batch in loaded:
        if UNREADABLE in batch:
            raise CorpusError(
                f"{ATTEMPTS} items drawn one after the other could not be read, the last because: "
                f"{batch[UNREADABLE]}"
            )
        yield batch


def _init_worker(worker: int) -> None:
    """Let a worker outlive Ctrl-C, which the training process answers, and end when told to."""
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    signal.signal(signal.SIGTERM, signal.SIG_DFL)


class Keys:
    """The lists of keys as something that can be iterated over, however many there are."""

    def __init__(self, sampler: BatchSampler, first: int, total: int) -> None:
        self.sampler, self.first, self.total = sampler, first, total

    def __iter__(self) -> Iterator[list[Key]]:
        return self.sampler.keys(self.first, self.total)

    def __len__(self) -> int:
        return (self.total - self.first) * self.sampler.parts


def to_device(batch: Mapping[str, Any], device: torch.device) -> Batch:
    """Return a batch with its tensors on a device."""
    return {
        name: value.to(device, non_blocking=True) if isinstance(value, Tensor) else value
        for name, value in batch.items()
    }
