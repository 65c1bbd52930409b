"""Items for voice encoders: clips, or what a frozen body made of them, with a face embedding."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import torch
from safetensors import SafetensorError, safe_open
from torch import Tensor
from torch.utils.data import DataLoader, Dataset

from vox2face.errors import CorpusError, Vox2FaceError
from vox2face.train import checkpoint
from vox2face.train.datasets import VoiceEncoderDataset
from vox2face.train.loader import Item

if TYPE_CHECKING:
    from accelerate import Accelerator

    from vox2face.train.manifest import Manifest
    from vox2face.train.prepared import Prepared
    from vox2face.train.voice_recipe import Data

SHARD = 128  # clips whose output is written at a time
READ_WITH = 16  # clips computed at a time
Progress = Callable[[int, int], None]


@dataclass(frozen=True)
class Voices:
    """A corpus and how a recipe hears it."""

    manifest: Manifest
    prepared: Prepared
    data: Data
    preset: str
    seed: int
    face: str | None = None

    def items(self, split: str, pairing: str = "") -> VoiceEncoderDataset:
        """Return the items of a split; those that are not trained on are cut without chance."""
        train = split == "train"
        crop = self.data.crop if train or self.data.crop != "random" else "center"
        return VoiceEncoderDataset(
            self.manifest,
            self.prepared,
            split,
            pairing or self.data.pairing,
            preset=self.preset,
            seconds=self.data.seconds or None,
            crop=crop,
            one=self.data.one if train else "mean",
            face=self.face,
            seed=self.seed,
        )

    @property
    def fixed(self) -> bool:
        """Whether a clip always sounds the same."""
        return self.data.crop != "random" and not self.data.gain and not self.data.noise


def augmented(item: Item, random: np.random.Generator, gain: float, noise: float) -> Item:
    """Return an item whose waveform is louder or quieter by up to `gain` dB and noisier.

    White noise is added at a signal-to-noise ratio of `noise` to `noise` + 30 dB; 0 adds none.
    """
    x = np.asarray(item["waveform"], np.float32)
    if gain:
        x = x * np.float32(10 ** (random.uniform(-gain, gain) / 20))
    if noise:
        ratio = random.uniform(noise, noise + 30)
        level = float(np.sqrt(np.mean(np.square(x)))) * 10 ** (-ratio / 20)
        x = x + np.float32(level) * random.standard_normal(x.shape, np.float32)
    return {**item, "waveform": torch.from_numpy(np.clip(x, -1, 1))}


class Readable(Dataset[tuple[int, Item | str]]):
    """Items by index with their index; in the place of one that cannot be read, the reason."""

    def __init__(self, items: Any) -> None:
        self.items = items

    def __getitem__(self, index: int) -> tuple[int, Item | str]:
        try:
            return index, self.items[index]
        except (Vox2FaceError, OSError) as error:
            return index, str(error)


def each(
    items: Any, indices: Sequence[int], size: int, workers: int
) -> Iterator[tuple[list[int], dict[str, Tensor], dict[int, str]]]:
    """Yield the items of these indices in batches: (indices, stacked values, failures)."""
    loader = DataLoader(
        Readable(items),
        batch_sampler=[list(indices[i : i + size]) for i in range(0, len(indices), size)],
        num_workers=workers,
        collate_fn=list,
        generator=torch.Generator(),
    )
    for batch in loader:
        good = [(i, item) for i, item in batch if not isinstance(item, str)]
        bad = {i: item for i, item in batch if isinstance(item, str)}
        names = good[0][1] if good else ()
        stacked = {n: torch.stack([torch.as_tensor(item[n]) for _, item in good]) for n in names}
        yield [i for i, _ in good], stacked, bad


class Cached(Dataset[Item]):
    """The items of a data set with `features` in the place of each clip's waveform.

    `features` (clips, values) has NaN for clips that could not be read.
    """

    def __init__(self, items: VoiceEncoderDataset, features: Tensor) -> None:
        self.items, self.features = items, features

    def __len__(self) -> int:
        return len(self.items)

    def set_epoch(self, epoch: int) -> None:
        """Say which epoch it is."""
        self.items.set_epoch(epoch)

    def __getitem__(self, index: int) -> Item:
        identity, clip, picture = self.items.pairs.at(index, self.items.epoch)
        features = self.features[clip]
        if features[0].isnan():
            raise CorpusError(f"{self.items.files.place(clip)} cannot be used.")
        return {
            "features": features,
            "embedding": self.items.embedding(identity, picture),
            "identity": torch.tensor(identity),
        }


def computed_once(
    machine: Accelerator,
    clips: VoiceEncoderDataset,
    body: Callable[[Tensor], Tensor],
    folder: Path,
    stamp: Mapping[str, Any],
    workers: int,
    progress: Progress,
) -> Tensor:
    """Return what a frozen body makes of every clip, (clips, values), computed once and kept.

    `clips` has one item a clip, in their order ("one-to-one"). Shards in `folder` that carry the
    same `stamp` are read; the others are computed, by several processes in turn.
    """
    mark = hashlib.sha256(json.dumps(stamp, sort_keys=True).encode()).hexdigest()
    starts = range(0, len(clips), SHARD)
    for number, first in enumerate(starts):
        path = folder / f"{number:05d}.safetensors"
        rows = range(first, min(first + SHARD, len(clips)))
        if number % machine.num_processes == machine.process_index and not valid(path, mark, rows):
            write_shard(path, mark, features_of(machine, clips, rows, body, workers))
        progress(rows.stop, len(clips))
    machine.wait_for_everyone()
    parts = [read_shard(folder / f"{n:05d}.safetensors") for n in range(len(starts))]
    return torch.cat(parts)


def features_of(
    machine: Accelerator,
    clips: VoiceEncoderDataset,
    rows: range,
    body: Callable[[Tensor], Tensor],
    workers: int,
) -> Tensor:
    """Return what a body makes of some clips, NaN for those that cannot be read."""
    found: dict[int, Tensor] = {}
    for indices, batch, _ in each(clips, rows, READ_WITH, workers):
        if indices:
            with torch.no_grad():
                values = body(batch["waveform"].to(machine.device)).float().cpu()
            found |= dict(zip(indices, values, strict=True))
    if not found:
        raise CorpusError(
            f"None of the clips {rows.start} to {rows.stop - 1} can be read: check the corpus."
        )
    nothing = torch.full_like(next(iter(found.values())), float("nan"))
    return torch.stack([found.get(row, nothing) for row in rows])


def write_shard(path: Path, mark: str, features: Tensor) -> None:
    """Write a shard of features as a whole."""
    checkpoint.write_tensors(path, {"features": features}, {"stamp": mark})


def valid(path: Path, mark: str, rows: range) -> bool:
    """Whether a shard is there and was computed of the same clips by the same network."""
    try:
        with safe_open(path, framework="pt") as file:
            same = (file.metadata() or {}).get("stamp") == mark
            return bool(same and file.get_slice("features").get_shape()[0] == len(rows))
    except (OSError, SafetensorError):
        return False


def read_shard(path: Path) -> Tensor:
    """Return the features of a shard."""
    with safe_open(path, framework="pt") as file:
        tensor: Tensor = file.get_tensor("features")
    return tensor
