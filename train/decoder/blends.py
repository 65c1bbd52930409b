"""Embeddings as a decoder may meet them: between two photographs of a person, and not exact."""

from __future__ import annotations

import numpy as np
import torch
from torch.utils.data import Dataset

from vox2face.train.datasets.face import FaceDecoderDataset
from vox2face.train.datasets.files import as_float
from vox2face.train.datasets.loader import Item

DRAW_BLEND = 4  # tells these random numbers from others of the same seed, epoch and item
PEOPLE = 500  # whose photographs tell how much embeddings of one person differ


class Blends(Dataset[Item]):
    """The items of a data set, their embeddings blended and shaken.

    Each is the mean, by a random weight, of those of two photographs of the person or of a
    photograph and the normalised picture; normal noise of `noise` times the deviation within a
    person is added. All is drawn from seed, epoch and item.
    """

    def __init__(self, items: FaceDecoderDataset, noise: float, seed: int) -> None:
        self.items, self.noise, self.seed, self.epoch = items, noise, seed, 0
        self.spread = noise * within(items)

    def __len__(self) -> int:
        return len(self.items)

    def set_epoch(self, epoch: int) -> None:
        """Say which epoch it is."""
        self.epoch = epoch

    def __getitem__(self, index: int) -> Item:
        item = self.items[index]
        random = np.random.default_rng((self.seed, self.epoch, index, DRAW_BLEND))
        rows = self.items.groups.pictures_of(int(item["identity"]))
        choice = int(random.integers(len(rows) + 1))
        other = item["wanted"]
        if choice < len(rows):
            other = as_float(self.items.embeddings[int(rows[choice])])
        blended = torch.lerp(item["embedding"], other, random.random())
        shaken = random.normal(size=len(blended)) * self.spread
        return {**item, "embedding": blended + torch.from_numpy(shaken).float()}


def within(items: FaceDecoderDataset) -> float:
    """Return the root mean square deviation of a value between embeddings of one person."""
    people = range(min(PEOPLE, len(items.identities)))
    squares = []
    for identity in people:
        rows = items.groups.pictures_of(identity)
        if len(rows) > 1:
            found = np.stack([items.embeddings[int(row)] for row in rows])
            squares.append(found.var(0, ddof=1).mean())
    return float(np.sqrt(np.mean(squares))) if squares else 0.0
