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
from torch.nn import functional
from torch.utils.data import DataLoader, Dataset

from vox2face.errors import CorpusError, Vox2FaceError
from vox2face.train import checkpoint
from vox2face.train.datasets import VoiceEncoderDataset
from vox2face.train.keeper import require_few
from vox2face.train.loader import Item, moved
from vox2face.train.pairs import spread_over

if TYPE_CHECKING:
    from accelerate import Accelerator

    from vox2face.train.manifest import Manifest
    from vox2face.train.prepared import Prepared
    from vox2face.train.voice_recipe import Data

SHARD = 128  # clips whose output is written at a time
MADE = "vox2face_features"  # in the metadata of a shard: how it was made, and what failed
TRIED = 20  # items, before a split counts as unreadable
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


def require_some(items: Any, chosen: Sequence[int]) -> None:
    """Raise `CorpusError` if none of the first chosen items can be read: better now than later."""
    readable, reason = Readable(items), "it has no items"
    for index in chosen[:TRIED]:
        found = readable[index][1]
        if not isinstance(found, str):
            return
        reason = found
    raise CorpusError(f"Nothing of the split 'val' can be read, such as: {reason}")


class Sampled:
    """Items of the validation split, chosen once: at most `limit` (0: all), spread over all.

    `failed` has, by their number in `items`, why some could not be read, of all evaluations so far
    and of all processes. Raises `CorpusError` at once if the first ones cannot be read, and while
    measuring if there are more than the part `most`. `what` is an item's name for people.
    """

    what = "item"

    def __init__(self, items: Any, limit: int, workers: int, most: float) -> None:
        self.items, self.workers, self.most = items, workers, most
        self.failed: dict[int, str] = {}
        self.chosen = spread_over(len(items), limit or len(items)).tolist()
        require_some(items, self.chosen)

    def batches(
        self, machine: Accelerator, size: int
    ) -> Iterator[tuple[list[int], dict[str, Tensor]]]:
        """Yield this process's items in batches on its device, with their numbers."""
        share = self.chosen[machine.process_index :: machine.num_processes]
        for indices, batch, unread in each(self.items, share, size, self.workers):
            self.failed |= unread
            if indices:
                yield indices, moved(batch, machine.device)

    def gathered(self, own: list[Any]) -> list[Any]:
        """Return the rows of all processes, each a tuple with the item's number first, in order."""
        from accelerate.utils import gather_object

        self.failed = dict(sorted(dict(gather_object([*self.failed.items()])).items()))
        rows = sorted(gather_object(own), key=lambda row: row[0])
        if not rows:
            reason = next(iter(self.failed.values()))
            raise CorpusError(
                f"No {self.what} of the split 'val' can be read, the first because: {reason}"
            )
        require_few(self.failed, len(self.chosen), self.most)
        return rows


class Cached(Dataset[Item]):
    """The items of a data set with `features` in the place of each clip's waveform.

    `features` (clips, values) has NaN for clips that could not be read; `failed` says why.
    """

    def __init__(
        self, items: VoiceEncoderDataset, features: Tensor, failed: Mapping[int, str]
    ) -> None:
        self.items, self.features, self.failed = items, features, failed

    def __len__(self) -> int:
        return len(self.items)

    def set_epoch(self, epoch: int) -> None:
        """Say which epoch it is."""
        self.items.set_epoch(epoch)

    def __getitem__(self, index: int) -> Item:
        identity, clip, picture = self.items.pairs.at(index, self.items.epoch)
        if clip in self.failed:
            raise CorpusError(self.failed[clip])
        return {
            "features": self.features[clip],
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
) -> tuple[Tensor, dict[int, str]]:
    """Return what a frozen body makes of every clip, (clips, values), and why some have NaN.

    `clips` has one item a clip, in their order ("one-to-one"). It is computed once and kept:
    shards in `folder` that carry the same `stamp` and lack no clip are read, the others computed,
    by several processes in turn. Raises `CorpusError` if no clip can be read.
    """
    mark = hashlib.sha256(json.dumps(stamp, sort_keys=True).encode()).hexdigest()
    starts = range(0, len(clips), SHARD)
    for number, first in enumerate(starts):
        path = folder / f"{number:05d}.safetensors"
        rows = range(first, min(first + SHARD, len(clips)))
        if number % machine.num_processes == machine.process_index and not valid(path, mark, rows):
            write_shard(path, mark, *features_of(machine, clips, rows, body, workers))
        progress(rows.stop, len(clips))
    machine.wait_for_everyone()
    parts, reasons = zip(
        *(read_shard(folder / f"{n:05d}.safetensors") for n in range(len(starts))), strict=True
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


def features_of(
    machine: Accelerator,
    clips: VoiceEncoderDataset,
    rows: range,
    body: Callable[[Tensor], Tensor],
    workers: int,
) -> tuple[Tensor, dict[int, str]]:
    """Return what a body makes of some clips, NaN for those that cannot be read, and why not.

    Where none can be read there are no values, (clips, 0).
    """
    found: dict[int, Tensor] = {}
    failed: dict[int, str] = {}
    for indices, batch, bad in each(clips, rows, READ_WITH, workers):
        failed |= bad
        if indices:
            with torch.no_grad():
                values = body(batch["waveform"].to(machine.device)).float().cpu()
            found |= dict(zip(indices, values, strict=True))
    width = len(next(iter(found.values()))) if found else 0
    nothing = torch.full((width,), float("nan"))
    return torch.stack([found.get(row, nothing) for row in rows]), failed


def write_shard(path: Path, mark: str, features: Tensor, failed: Mapping[int, str]) -> None:
    """Write a shard of features as a whole."""
    made = json.dumps({"stamp": mark, "failed": failed})  # one entry: several have no order
    checkpoint.write_tensors(path, {"features": features}, {MADE: made})


def valid(path: Path, mark: str, rows: range) -> bool:
    """Whether a shard is there and was computed of the same clips, all of them, by this network."""
    try:
        with safe_open(path, framework="pt") as file:
            same = json.loads(file.metadata()[MADE]) == {"stamp": mark, "failed": {}}
            return bool(same and file.get_slice("features").get_shape()[0] == len(rows))
    except (OSError, SafetensorError, KeyError, TypeError, ValueError):
        return False


def read_shard(path: Path) -> tuple[Tensor, dict[int, str]]:
    """Return the features of a shard, and why those of some clips are missing."""
    with safe_open(path, framework="pt") as file:
        failed = json.loads(file.metadata()[MADE])["failed"]
        return file.get_tensor("features"), {int(row): reason for row, reason in failed.items()}
