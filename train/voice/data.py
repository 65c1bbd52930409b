"""Clips for training a voice encoder."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np
import torch

from vox2face.train.datasets.loader import Item
from vox2face.train.datasets.voice import VoiceEncoderDataset

if TYPE_CHECKING:
    from vox2face.train.corpus.manifest import Manifest
    from vox2face.train.prepare.reader import Prepared
    from vox2face.train.voice.recipe import Data


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
            encoded=self.data.encoded if train else 0.0,
        )


def augmented(item: Item, random: np.random.Generator, gain: float, noise: float) -> Item:
    """Return an item whose waveform is louder or quieter by up to `gain` dB and noisier.

    White noise is added at a signal-to-noise ratio of `noise` to `noise` + 30 dB; 0 adds none. An
    item that has features for its waveform had all this done to it before.
    """
    if "waveform" not in item:
        return item
    x = np.asarray(item["waveform"], np.float32)
    if gain:
        x = x * np.float32(10 ** (random.uniform(-gain, gain) / 20))
    if noise:
        ratio = random.uniform(noise, noise + 30)
        level = float(np.sqrt(np.mean(np.square(x)))) * 10 ** (-ratio / 20)
        x = x + np.float32(level) * random.standard_normal(x.shape, np.float32)
    return {**item, "waveform": torch.from_numpy(np.clip(x, -1, 1))}
