"""Data sets of a folder that Speech-to-face's scripts or our export have prepared."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch.utils.data import Dataset

from vox2face.core.errors import CorpusError
from vox2face.media.image import decode
from vox2face.train.corpus.groups import group
from vox2face.train.corpus.speech_to_face import (
    EMBEDDING,
    LANDMARKS,
    companion,
    load_array,
    read_folder,
)
from vox2face.train.datasets.pairing import Pairs

Item = dict[str, Any]
SIZE = 224


class SpectrogramDataset(Dataset[Item]):
    """Stored spectrograms with stored face embeddings of their speaker.

    Item `i` is a dict: `spectrogram` float32, (2, 257, 601) for VE_conv or (1024, 128) for AST,
    `embedding` float32 (width,), `identity` int64 (), the speaker's number in `identities`.
    `pairing` is one of those in `vox2face.train.datasets.pairing`. Raises `CorpusError` for a
    folder in which no person has both.
    """

    def __init__(self, root: Path, pairing: str = "random", seed: int = 0) -> None:
        people = [p for p in read_folder(Path(root)) if p.spectrograms and p.embeddings]
        if not people:
            raise CorpusError(f"Nobody in {root} has both spectrograms and embeddings.")
        self.identities = [person.identity for person in people]
        self.clips = [path for person in people for path in person.spectrograms]
        self.faces = [path for person in people for path in person.embeddings]
        speakers = np.repeat(np.arange(len(people)), [len(p.spectrograms) for p in people])
        sitters = np.repeat(np.arange(len(people)), [len(p.embeddings) for p in people])
        rows = (np.arange(len(self.clips)), np.arange(len(self.faces)))
        self.pairs = Pairs(group(rows[0], speakers, rows[1], sitters), pairing, seed)
        self.epoch = 0

    def __len__(self) -> int:
        return len(self.pairs)

    def set_epoch(self, epoch: int) -> None:
        """Set the epoch, on which random pairs depend."""
        self.epoch = epoch

    def __getitem__(self, index: int) -> Item:
        pair = self.pairs.at(index + len(self) if index < 0 else index, self.epoch)
        spectrogram = load_array(self.clips[pair.clip])
        if spectrogram.ndim == 3 and len(spectrogram) == 1:  # the scripts keep AST's batch axis
            spectrogram = spectrogram[0]
        return {
            "spectrogram": torch.from_numpy(spectrogram),
            "embedding": torch.from_numpy(load_array(self.faces[pair.picture])),
            "identity": torch.tensor(pair.identity),
        }


class PictureDataset(Dataset[Item]):
    """Stored pictures with their embeddings and landmarks, for training a face decoder.

    Item `i` is a dict: `picture` uint8 (3, 224, 224), `embedding` float32 (width,), `landmarks`
    float32 (68, 2) in pixels of the picture, reduced where the file has 72, `identity`
    int64 (). Raises `CorpusError` for a folder without such pictures.
    """

    def __init__(self, root: Path) -> None:
        people = [person for person in read_folder(Path(root)) if person.pictures]
        if not people:
            raise CorpusError(f"No picture in {root} has an embedding and landmarks beside it.")
        self.identities = [person.identity for person in people]
        self.items = [(i, path) for i, person in enumerate(people) for path in person.pictures]

    def __len__(self) -> int:
        return len(self.items)

    def __getitem__(self, index: int) -> Item:
        from PIL import Image

        from vox2face.zoo.networks.warp import reduce_72

        identity, path = self.items[index]
        points = load_array(companion(path, LANDMARKS)).reshape(-1, 2)
        picture = Image.fromarray(decode(path)).resize((SIZE, SIZE), Image.Resampling.BILINEAR)
        return {
            "picture": torch.from_numpy(np.asarray(picture).transpose(2, 0, 1).copy()),
            "embedding": torch.from_numpy(load_array(companion(path, EMBEDDING))),
            "landmarks": torch.from_numpy(reduce_72(points) if len(points) == 72 else points),
            "identity": torch.tensor(identity),
        }
