"""Divide items into batches, as a pure function of seed and step, and load them.

Every epoch is a permutation of the items. A step's batch is the same for any number of processes,
and the number of the step is all that is needed to go on after it. An item that cannot be decoded
is replaced by another one, also drawn from the seed, so that batches stay full; failures are
returned with the batch and listed.
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
from vox2face.train.workers import sigint_blocked

Item = dict[str, Any]
Batch = dict[str, Any]
Key = tuple[int, int]  # epoch, index
ATTEMPTS = 20  # items tried in the place of one that fails
FAILED, UNREADABLE = "failed", "unreadable"


class Items(Protocol):
    """A map-style data set: items by index, each a dict of arrays and words."""

    def __len__(self) -> int: ...
    def __getitem__(self, index: int, /) -> Item: ...


@dataclass(frozen=True)
class BatchSampler:
    """Divides items into batches: `batch_size` a step, over `processes`, each in `parts`."""

    count: int
    batch_size: int
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
        """The items of a step: fewer than `batch_size` where the data set is smaller."""
        return min(self.batch_size, self.count)

    @property
    def per_epoch(self) -> int:
        """The steps of an epoch; items that do not fill a batch are left out of it."""
        return self.count // self.size

    def keys(self, first: int, total: int) -> Iterator[list[Key]]:
        """Yield this process's keys of every part of the steps `first` to `total` - 1."""
        order_epoch, order = -1, np.empty(0, np.intp)
        for step in range(first, total):
            epoch, step_in_epoch = divmod(step, self.per_epoch)
            if epoch != order_epoch:
                order_epoch, order = epoch, permutation(self.count, self.seed, epoch)
            batch = order[step_in_epoch * self.size : (step_in_epoch + 1) * self.size]
            share = np.split(batch, self.processes)[self.process]
            for part in np.split(share, self.parts):
                yield [(epoch, int(index)) for index in part]


def permutation(count: int, seed: int, epoch: int) -> np.ndarray[Any, np.dtype[np.intp]]:
    """Return the order of the items in an epoch (count,)."""
    return np.random.default_rng((seed, epoch)).permutation(count)


class ReplacingDataset(Dataset[Item]):
    """Items by (epoch, index), passed through `augment` (if any) with a generator of their own.

    `set_epoch` of the data set is called, if it exists. Where an item fails with a `Vox2FaceError`
    or an `OSError`, another one replaces it; its "failed" lists the indices and reasons.
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
    """Collate items: numbers and arrays are stacked, everything else becomes a list."""
    unreadable = next((item for item in items if UNREADABLE in item), None)
    if unreadable:  # raised in the training process: a worker's exception becomes a traceback
        return unreadable
    batch: Batch = {}
    for name, first in items[0].items():
        values = [item[name] for item in items]
        stackable = isinstance(first, (Tensor, np.ndarray, int, float, np.generic))
        batch[name] = default_collate(values) if stackable else values
    return batch


def batches(
    dataset: ReplacingDataset, sampler: BatchSampler, first: int, total: int, num_workers: int
) -> Iterator[Batch]:
    """Yield this process's batches, part by part, of the steps `first` to `total` - 1."""
    keys = Keys(sampler, first, total)
    loader = DataLoader(
        dataset,
        batch_sampler=keys,
        num_workers=num_workers,
        collate_fn=collate,
        pin_memory=torch.cuda.is_available(),
        worker_init_fn=_init_worker,
        generator=torch.Generator(),  # separate: loading must not advance the training's generator
    )
    with sigint_blocked():  # the workers start here
        iterator = iter(loader)
    for batch in iterator:
        if UNREADABLE in batch:
            raise CorpusError(
                f"{ATTEMPTS} items drawn one after the other could not be read, the last because: "
                f"{batch[UNREADABLE]}"
            )
        yield batch


def _init_worker(worker: int) -> None:
    """Ignore Ctrl-C in a worker, since the training process handles it, and end on SIGTERM."""
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    signal.signal(signal.SIGTERM, signal.SIG_DFL)


class Keys:
    """The lists of keys as a batch sampler of a DataLoader; made while it is iterated."""

    def __init__(self, sampler: BatchSampler, first: int, total: int) -> None:
        self.sampler, self.first, self.total = sampler, first, total

    def __iter__(self) -> Iterator[list[Key]]:
        return self.sampler.keys(self.first, self.total)

    def __len__(self) -> int:
        return (self.total - self.first) * self.sampler.parts


def to_device(batch: Mapping[str, Any], device: torch.device) -> Batch:
    """Move the tensors of a batch to a device."""
    return {
        name: value.to(device, non_blocking=True) if isinstance(value, Tensor) else value
        for name, value in batch.items()
    }
