"""The features of a frozen backbone of every clip, computed once, and their data set."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import torch
from torch import Tensor
from torch.nn import functional
from torch.utils.data import Dataset

from vox2face.core.errors import CorpusError
from vox2face.core.progress import Bars
from vox2face.train import array_cache
from vox2face.train.datasets.loader import Item
from vox2face.train.datasets.pairing import DRAW_COPY, drawn
from vox2face.train.datasets.voice import VoiceEncoderDataset
from vox2face.train.trainer.task import Augment
from vox2face.train.trainer.validation import each

if TYPE_CHECKING:
    from accelerate import Accelerator

SHARD = 128  # clips whose output is written at a time
READ_WITH = 16  # clips computed at a time
Backbone = Callable[[Tensor, Sequence[int]], Tensor]


class Copy(Dataset[Item]):
    """The clips of a data set as they are heard in the epoch `number`, after `augment`."""

    def __init__(
        self, clips: VoiceEncoderDataset, number: int, augment: Augment | None, seed: int
    ) -> None:
        self.clips, self.number, self.augment, self.seed = clips, number, augment, seed
        clips.set_epoch(number)

    def __len__(self) -> int:
        return len(self.clips)

    def __getitem__(self, index: int) -> Item:
        item = self.clips[index]
        random = np.random.default_rng((self.seed, self.number, index))
        return self.augment(item, random) if self.augment else item


Clips = VoiceEncoderDataset | Copy


class FeatureDataset(Dataset[Item]):
    """The items of a data set with `features` in the place of each clip's waveform.

    `features` (copies, clips, values) has NaN for clips that could not be read; `failed` says why.
    An epoch draws one of the copies of each item.
    """

    def __init__(
        self, dataset: VoiceEncoderDataset, features: Tensor, failed: Mapping[int, str]
    ) -> None:
        self.dataset, self.features, self.failed = dataset, features, failed

    def __len__(self) -> int:
        return len(self.dataset)

    def set_epoch(self, epoch: int) -> None:
        """Say which epoch it is."""
        self.dataset.set_epoch(epoch)

    def __getitem__(self, index: int) -> Item:
        identity, clip, picture = self.dataset.pairs.at(index, self.dataset.epoch)
        if clip in self.failed:
            raise CorpusError(self.failed[clip])
        copy, pairs = 0, self.dataset.pairs
        if len(self.features) > 1:
            copy = drawn(len(self.features), pairs.seed, self.dataset.epoch, index, DRAW_COPY)
        return {
            "features": self.features[copy, clip],
            "embedding": self.dataset.embedding(identity, picture),
            "identity": torch.tensor(identity),
        }


def extract_features(
    accelerator: Accelerator,
    clips: Clips,
    backbone: Backbone,
    folder: Path,
    stamp: Mapping[str, Any],
    workers: int,
) -> tuple[Tensor, dict[int, str]]:
    """Return a frozen backbone's features of every clip, (clips, values), and reasons of NaN rows.

    `clips` has one item a clip, in their order ("one-to-one"); `backbone` takes waveforms
    (n, samples) and their numbers. It is computed once and kept: shards in `folder` that carry the
    same `stamp` and lack no clip are read, the others computed, by several processes in turn.
    Raises `CorpusError` if no clip can be read.
    """
    mark, bars = array_cache.stamp_of(stamp), Bars()
    starts = range(0, len(clips), SHARD)
    paths = [folder / f"{number:05d}{array_cache.ENDING}" for number in range(len(starts))]
    for number, (path, first) in enumerate(zip(paths, starts, strict=True)):
        rows = range(first, min(first + SHARD, len(clips)))
        mine = number % accelerator.num_processes == accelerator.process_index
        if mine and not _complete(path, mark, rows):
            values, failed = _features_of(accelerator, clips, rows, backbone, workers)
            array_cache.save_array(path, mark, values.numpy(), failed)
        bars.advance(f"features, {folder.name}", rows.stop, len(clips), " clips")
    bars.close()
    accelerator.wait_for_everyone()
    shards = [shard for path in paths if (shard := array_cache.load_array(path, mark))]
    if len(shards) < len(paths):
        raise CorpusError(f"A file of {folder} was lost while it was made: run the command again.")
    failed = {row: reason for shard in shards for row, reason in shard.failed.items()}
    parts = [torch.from_numpy(shard.values()) for shard in shards]
    width = max(part.shape[1] for part in parts)
    if not width:
        raise CorpusError(
            f"None of the {len(clips)} clips of the split can be read, the first because: "
            f"{failed[0]}"
        )
    whole = [functional.pad(p, (0, width - p.shape[1]), value=float("nan")) for p in parts]
    return torch.cat(whole), failed


def _features_of(
    accelerator: Accelerator,
    clips: Clips,
    rows: range,
    backbone: Backbone,
    workers: int,
) -> tuple[Tensor, dict[int, str]]:
    """Return a backbone's features of some clips, NaN for unreadable ones, and the reasons.

    If none can be read, the shape is (clips, 0).
    """
    found: dict[int, Tensor] = {}
    failed: dict[int, str] = {}
    for indices, batch, bad in each(clips, rows, READ_WITH, workers):
        failed |= bad
        if indices:
            with torch.no_grad():
                values = backbone(batch["waveform"].to(accelerator.device), indices).float().cpu()
            found |= dict(zip(indices, values, strict=True))
    width = len(next(iter(found.values()))) if found else 0
    nothing = torch.full((width,), float("nan"))
    return torch.stack([found.get(row, nothing) for row in rows]), failed


def _complete(path: Path, mark: str, rows: range) -> bool:
    """Whether a shard of the same clips by this network is there and lacks none."""
    found = array_cache.load_array(path, mark)
    return found is not None and found.rows == len(rows) and not found.failed
