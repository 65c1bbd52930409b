"""The data set that voice encoders are trained on.

An item is a pure function of the data set's arguments, the epoch and the item's number: not of
the order of files on a disk, nor of the process that loads it.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor
from torch.utils.data import Dataset

from vox2face.core.errors import UsageError
from vox2face.media import audio
from vox2face.train.corpus.groups import Groups, people
from vox2face.train.corpus.manifest import Manifest
from vox2face.train.datasets.files import Files, Item, as_float, left_out, require_choice, unusable
from vox2face.train.datasets.pairing import DRAW_CODEC, DRAW_CROP, Pairs, drawn
from vox2face.train.media import normalize_level, read_clip

if TYPE_CHECKING:
    from vox2face.train.prepare.reader import Prepared
    from vox2face.zoo.presets import VoicePreset

CROPS = ("start", "random", "center")
ONE = ("mean", "first")
NOBODY = -1  # instead of a picture's row where the embedding is the mean of several


class VoiceEncoderDataset(Dataset[Item]):
    """Clips with the face embedding of their speaker, for training a voice encoder.

    Item `i` is a dict:

    | key        | type    | shape      | what |
    |------------|---------|------------|---|
    | waveform   | float32 | (samples,) | mono, 16 kHz, -1..1, levelled as a whole before the crop |
    | embedding  | float32 | (width,)   | of a picture, or of all pictures of the speaker |
    | identity   | int64   | ()         | number of the speaker in `identities` |
    | clip       | int64   | ()         | row of the clip in the manifest |
    | picture    | int64   | ()         | row of the picture; -1 if the embedding is a mean |

    Only people of `split` (None: of the whole manifest) with a usable clip and a usable picture
    are in it; `left_out` counts the clips and pictures of the split that failed in preparation or
    whose embedding is not finite. `pairing` is one of those in `vox2face.train.datasets.pairing`;
    with "all-to-one", `one` says whether that is the "mean" of the speaker's embeddings or the
    "first" picture by path. Embeddings are those of the face encoder `face`, by default the first
    that was prepared. Without `prepared` the items have none. Clips come from its stage "audio", or
    are decoded from their files; the part `encoded` of them, drawn by seed, epoch and item, is
    replaced by copies from its stage "coded".

    The length is that of `preset`, a voice preset or its name, or `seconds`. Longer clips are cut:
    `crop` is "start", "center", or "random" (drawn by seed, epoch and item); shorter ones are
    repeated. They are levelled as the preset does it, so a batch goes into
    `vox2face.zoo.frontends.voice.voice_frontend(preset)` on the device, not through `VoiceInput`,
    which would level each piece again.

    A clip that cannot be decoded raises `CorpusError`. Call `set_epoch` before each epoch, and do
    not keep a DataLoader's workers over epochs (`persistent_workers`): they have their own copy.
    """

    def __init__(
        self,
        manifest: Manifest,
        prepared: Prepared | None = None,
        split: str | None = "train",
        pairing: str = "random",
        *,
        preset: VoicePreset | str | None = "ve-conv",
        seconds: float | None = None,
        crop: str = "start",
        one: str = "mean",
        face: str | None = None,
        seed: int = 0,
        encoded: float = 0.0,
    ) -> None:
        for name, value, choices in (("crop", crop, CROPS), ("one", one, ONE)):
            require_choice(name, value, choices)
        self.embeddings = prepared.faces(face) if prepared is not None else None
        bad = np.empty(0, np.int64)
        if prepared is not None and self.embeddings is not None:
            bad = unusable(prepared, manifest, self.embeddings)
        self.left_out = left_out(manifest, split, bad)
        self.identities, groups = people(manifest, split, bad)
        self.pairs = Pairs(groups, pairing, seed)
        self.files, self.prepared = Files(manifest, groups.clips), prepared
        self.preset = preset_of(preset)
        self.samples = samples_of(self.preset, seconds)
        self.crop, self.mean = crop, pairing == "all-to-one" and one == "mean"
        self.encoded, self.encodings = encoded, _encodings_of(prepared, encoded)
        self.epoch = 0

    @property
    def groups(self) -> Groups:
        """The rows of each person's clips and pictures."""
        return self.pairs.groups

    def __len__(self) -> int:
        return len(self.pairs)

    def set_epoch(self, epoch: int) -> None:
        """Set the epoch, on which random pairs and random crops depend."""
        self.epoch = epoch

    def __getitem__(self, index: int) -> Item:
        index = index + len(self) if index < 0 else index
        identity, clip, picture = self.pairs.at(index, self.epoch)
        groups = self.pairs.groups
        encoding = self.encoding(index)
        waveform = self.files.load(clip, lambda row, path: self.waveform(row, path, encoding))
        item = {
            "waveform": torch.from_numpy(self.cut(waveform, index)),
            "identity": torch.tensor(identity),
            "clip": torch.tensor(int(groups.clips[clip])),
            "picture": torch.tensor(NOBODY if self.mean else int(groups.pictures[picture])),
        }
        if self.embeddings is not None:
            item["embedding"] = self.embedding(identity, picture)
        return item

    def encoding(self, index: int) -> str:
        """Return the codec of the copy that an item takes in this epoch, "" for the original."""
        if not self.encoded:
            return ""
        word = drawn(1 << 32, self.pairs.seed, self.epoch, index, DRAW_CODEC)
        number = int(word / (1 << 32) / self.encoded * len(self.encodings))
        return self.encodings[number] if number < len(self.encodings) else ""

    def waveform(self, row: int, path: str, encoding: str = "") -> NDArray[np.float32]:
        """Return a whole clip, or its copy encoded with a codec, levelled (samples,)."""
        if encoding and self.prepared is not None:
            return normalize_level(self.prepared.waveform(row, encoding), self.preset)
        if self.prepared is not None and self.prepared.has_waveforms:
            return normalize_level(self.prepared.waveform(row), self.preset)
        return normalize_level(read_clip(path), self.preset)

    def cut(self, waveform: NDArray[np.float32], index: int) -> NDArray[np.float32]:
        """Cut or repeat a waveform to `samples`, as `crop` says."""
        surplus = waveform.size - self.samples
        if surplus <= 0 or self.crop == "start":
            return audio.fit(waveform, self.samples)
        first = surplus // 2
        if self.crop == "random":
            first = drawn(surplus + 1, self.pairs.seed, self.epoch, index, DRAW_CROP)
        return waveform[first : first + self.samples].copy()

    def embedding(self, identity: int, picture: int) -> Tensor:
        """Return the embedding of a picture, or the mean of those of an identity."""
        assert self.embeddings is not None
        groups = self.pairs.groups
        if not self.mean:
            return as_float(self.embeddings[int(groups.pictures[picture])])
        rows = groups.pictures_of(identity)
        return as_float(np.mean([self.embeddings[int(row)] for row in rows], axis=0))


def _encodings_of(prepared: Prepared | None, encoded: float) -> list[str]:
    """Return the codecs that have copies, if any are to be drawn.

    Raises `UsageError` for a part outside 0 to 1, and where there are no copies.
    """
    if not 0 <= encoded <= 1:
        raise UsageError(f"encoded={encoded} is a part of the clips: give a number from 0 to 1.")
    if not encoded:
        return []
    if prepared is None or not prepared.encodings:
        corpus = "A corpus that is not prepared" if prepared is None else prepared.folder
        raise UsageError(
            f"{corpus} has no encoded copies for data.encoded = {encoded:g}: run "
            "vox2face data prepare --encode mp3,aac,8k, or set data.encoded to 0."
        )
    return prepared.encodings


def preset_of(preset: VoicePreset | str | None) -> VoicePreset | None:
    """Return a voice preset, looked up if it is a name."""
    from vox2face.zoo.presets import voice_preset

    return voice_preset(preset) if isinstance(preset, str) else preset


def samples_of(preset: VoicePreset | None, seconds: float | None) -> int:
    """Return the samples of an item. Raises `UsageError` without a length, and below 0.1 s."""
    if seconds is not None:
        if not seconds * audio.RATE >= audio.SHORTEST:
            raise UsageError(f"seconds={seconds} is too short: voices need 0.1 s or more.")
        return round(seconds * audio.RATE)
    if preset is None or preset.samples is None:
        reason = f"Preset {preset.name} has no length" if preset else "No preset gives the length"
        raise UsageError(f"{reason} of clips: give seconds=.")
    return preset.samples
