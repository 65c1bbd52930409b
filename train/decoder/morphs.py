"""Items for face decoders: pictures of a corpus, and faces between two of them."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np
import torch
from numpy.typing import NDArray
from torch.utils.data import Dataset

from vox2face.core.errors import CorpusError
from vox2face.train.datasets.face import FaceDecoderDataset
from vox2face.train.datasets.loader import Item, Items
from vox2face.train.datasets.pairing import spread_over

if TYPE_CHECKING:
    from vox2face.train.prepare.reader import Prepared

CANDIDATES = 5000  # pictures, spread over the corpus, among which neighbours are looked for
LANDMARKS = 10.0  # what their distance, in sides of the picture, counts beside that of colours
BLOCK = 16  # pixels: textures are compared as coarse as that
TOGETHER = 256  # pictures whose neighbours are found at a time
DRAW_MORPH = 3  # tells these random numbers from others of the same seed, epoch and item


class Targets(Dataset[Item]):
    """The items of a data set with what a decoder without a warp learns: the picture itself."""

    def __init__(self, items: Items) -> None:
        self.items = items

    def __len__(self) -> int:
        return len(self.items)

    def set_epoch(self, epoch: int) -> None:
        """Say which epoch it is, to items that ask for it."""
        if hasattr(self.items, "set_epoch"):
            self.items.set_epoch(epoch)

    def __getitem__(self, index: int) -> Item:
        item = self.items[index]
        return {**item, "texture": item["picture"]}


class Morphs(Dataset[Item]):
    """The items of a data set, a `part` of them mixed with a near neighbour.

    Landmarks and texture are mixed by a weight of 0 to 1; "morphed" is true and "embedding" 0,
    to be computed from the picture that they make. All is drawn from seed, epoch and item. Source:
    Cole et al. 2017.
    """

    def __init__(self, items: FaceDecoderDataset, part: float, neighbours: int, seed: int) -> None:
        self.items, self.part, self.seed, self.epoch = items, part, seed, 0
        rows = items.groups.pictures
        self.near = nearest(items.prepared, rows, neighbours)

    def __len__(self) -> int:
        return len(self.items)

    def set_epoch(self, epoch: int) -> None:
        """Say which epoch it is."""
        self.epoch = epoch

    def __getitem__(self, index: int) -> Item:
        item = {**self.items[index], "morphed": torch.tensor(False)}
        random = np.random.default_rng((self.seed, self.epoch, index, DRAW_MORPH))
        if random.random() >= self.part:
            return item
        other = self.items[int(random.choice(self.near[index]))]
        weight = random.random()
        texture = torch.lerp(item["texture"].float(), other["texture"].float(), weight)
        return {
            **item,
            "embedding": torch.zeros_like(item["embedding"]),
            "landmarks": torch.lerp(item["landmarks"], other["landmarks"], weight),
            "texture": (texture + 0.5).to(torch.uint8),
            "morphed": torch.tensor(True),
        }


def nearest(prepared: Prepared, rows: NDArray[np.int64], count: int) -> NDArray[np.int32]:
    """Return the positions of the `count` nearest other pictures of each of `rows`, (n, count).

    The distance is that of landmarks, in sides of the picture, times ten, plus that of textures,
    in colours of 0 to 1; both as root mean squares. Raises `CorpusError` for too few pictures.
    """
    if len(rows) <= count:
        raise CorpusError(
            f"There are {len(rows)} pictures to train on, too few for {count} neighbours of each: "
            "set data.neighbours lower, or data.morph to 0."
        )
    shapes, colours = (
        np.stack(values)
        for values in zip(*(features(prepared, int(row)) for row in rows), strict=True)
    )
    others = spread_over(len(rows), CANDIDATES)
    parts = []
    for first in range(0, len(rows), TOGETHER):
        block = slice(first, first + TOGETHER)
        apart = LANDMARKS * rms(shapes[block], shapes[others]) + rms(
            colours[block], colours[others]
        )
        apart[np.arange(first, first + len(apart))[:, None] == others] = np.inf  # not itself
        parts.append(others[np.argpartition(apart, count - 1, axis=1)[:, :count]])
    return np.concatenate(parts).astype(np.int32)


def features(prepared: Prepared, row: int) -> tuple[NDArray[np.float32], NDArray[np.float32]]:
    """Return landmarks (136,) in sides of the picture, and a coarse texture (588,) of 0 to 1."""
    texture = prepared.textures[row]
    size = texture.shape[0] // BLOCK
    coarse = texture.reshape(size, BLOCK, size, BLOCK, 3).mean((1, 3), dtype=np.float32)
    return prepared.landmarks[row].ravel() / texture.shape[0], coarse.ravel() / 255


def rms(a: NDArray[np.float32], b: NDArray[np.float32]) -> NDArray[np.float32]:
    """Return the root mean square differences of rows (n, values) and (m, values), (n, m)."""
    square = (a * a).sum(1)[:, None] + (b * b).sum(1) - 2 * a @ b.T
    distance: NDArray[np.float32] = np.sqrt(np.maximum(square, 0) / a.shape[1])
    return distance
