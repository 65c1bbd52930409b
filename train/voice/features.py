"""What a frozen backbone makes of every clip, computed once, and the data set of it."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import torch
from safetensors import SafetensorError, safe_open
from torch import Tensor
from torch.nn import functional
from torch.utils.data import Dataset

from vox2face.core.errors import CorpusError
from vox2face.core.progress import Bars
from vox2face.train.datasets.loader import Item
from vox2face.train.datasets.pairing import DRAW_COPY, drawn
from vox2face.train.datasets.voice import VoiceEncoderDataset
from vox2face.train.trainer import checkpoint
from vox2face.train.trainer.task import Augment
from vox2face.train.trainer.validation import each

if TYPE_CHECKING:
    from accelerate import Accelerator

SHARD = 128  # clips whose output is written at a time
MADE = "vox2face_features"  # in the metadata of a shard: how it was made, and what failed
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
    """Return what a frozen backbone makes of every clip, (clips, values), and why some have NaN.

    `clips` has one item a clip, in their order ("one-to-one"); `backbone` takes waveforms
    (n, samples) and their numbers. It is computed once and kept: shards in `folder` that carry the
    same `stamp` and lack no clip are read, the others computed, by several processes in turn.
    Raises `CorpusError` if no clip can be read.
    """
    mark = hashlib.sha256(json.dumps(stamp, sort_keys=True).encode()).hexdigest()
    starts, bars = range(0, len(clips), SHARD), Bars()
    for number, first in enumerate(starts):
        path = folder / f"{number:05d}.safetensors"
        rows = range(first, min(first + SHARD, len(clips)))
        if number % accelerator.num_processes == accelerator.process_index and not _valid(
            path, mark, rows
        ):
            _write_shard(path, mark, *_features_of(accelerator, clips, rows, backbone, workers))
        bars.advance(f"features, {folder.name}", rows.stop, len(clips), " clips")
    bars.close()
    accelerator.wait_for_everyone()
    parts, reasons = zip(
        *(_read_shard(folder / f"{n:05d}.safetensors") for n in range(len(starts))), strict=True
    )
    failed = {row: reason for each in reasons for row, reason in each.items()}
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
    """Return what a backbone makes of some clips, NaN for those that cannot be read, and why not.

    Where none can be read there are no values, (clips, 0).
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


def _write_shard(path: Path, mark: str, features: Tensor, failed: Mapping[int, str]) -> None:
    """Write a shard of features as a whole."""
    made = json.dumps({"stamp": mark, "failed": failed})  # one entry: several have no order
    checkpoint.write_tensors(path, {"features": features}, {MADE: made})


def _valid(path: Path, mark: str, rows: range) -> bool:
    """Whether a shard is there and was computed of the same clips, all of them, by this network."""
    try:
        with safe_open(path, framework="pt") as file:
            same = json.loads(file.metadata()[MADE]) == {"stamp": mark, "failed": {}}
            return bool(same and file.get_slice("features").get_shape()[0] == len(rows))
    except (OSError, SafetensorError, KeyError, TypeError, ValueError):
        return False


def _read_shard(path: Path) -> tuple[Tensor, dict[int, str]]:
    """Return the features of a shard, and why those of some clips are missing."""
    with safe_open(path, framework="pt") as file:
        failed = json.loads(file.metadata()[MADE])["failed"]
        return file.get_tensor("features"), {int(row): reason for row, reason in failed.items()}
