"""A corpus in memory and narrow networks, to train face decoders on."""

from __future__ import annotations

from collections.abc import Iterator
from types import SimpleNamespace
from typing import Any

import numpy as np
import torch

from helpers.twins import SMALL
from vox2face.core.entry import Space
from vox2face.core.errors import UsageError
from vox2face.train.corpus import manifest
from vox2face.train.datasets.face import FaceDecoderDataset
from vox2face.train.decoder.network import build, init_to_data
from vox2face.train.decoder.recipe import DecoderRecipe
from vox2face.train.decoder.task import DecoderTask, FrozenFaceEncoder
from vox2face.train.trainer import recipe
from vox2face.zoo import registry
from vox2face.zoo.presets import face_preset

WIDTH, PEOPLE, PICTURES = 6, 10, 2
SPACE = Space("vggface.serengil", "dlib")


class Arrays(dict[int, np.ndarray]):
    """Arrays by the row of the picture."""

    def good(self) -> np.ndarray:
        return np.array(sorted(self))


class Encoder(torch.nn.Module):
    """A face encoder with statistics of its own, which must not move."""

    def __init__(self) -> None:
        super().__init__()
        torch.manual_seed(5)
        self.conv = torch.nn.Conv2d(3, 8, 5, stride=3)
        self.norm = torch.nn.BatchNorm2d(8)
        self.last = torch.nn.Linear(8 * 36, WIDTH)

    embedding = "last"

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return dict(self.taps(x))["last"]

    def taps(self, x: torch.Tensor) -> Iterator[tuple[str, torch.Tensor]]:
        convolved = self.conv(x)
        yield "conv", convolved
        yield "last", self.last(self.norm(convolved).relu().flatten(1))


class Corpus:
    """What a `Prepared` corpus has, in memory: discs whose colour tells the face."""

    encoders, failed_rows, folder = ("toy",), frozenset[int](), "/nowhere"

    def __init__(self, splits: bool = True, normalized: bool = False) -> None:
        lines = [
            (f"person {i}", "face", "normalized" if normalized and j == PICTURES - 1 else "photo",
             "toy", "val" if splits and i % 5 == 4 else "train",
             "/nowhere", f"{i}/{j}")
            for i in range(PEOPLE)
            for j in range(PICTURES)
        ]  # fmt: skip
        names = ("identity", "kind", "role", "source", "split", "root", "path")
        columns = dict(zip(names, map(list, zip(*lines, strict=True)), strict=True))
        self.manifest = manifest.from_columns(columns)
        rows = range(len(lines))
        angle = np.linspace(0, 2 * np.pi, 68, endpoint=False)
        circle = np.stack([np.cos(angle), np.sin(angle)], 1)
        self.landmarks = Arrays({i: self.circle(circle, i) for i in rows})
        self.mean_landmarks = np.mean(list(self.landmarks.values()), axis=0).astype(np.float32)
        self.textures = Arrays({i: self.disc(i) for i in rows})
        with torch.no_grad():
            shown = torch.from_numpy(np.stack([self.disc(i) for i in rows])).permute(0, 3, 1, 2)
            self.rows = Arrays(
                dict(enumerate(FrozenFaceEncoder(self.encoder())(shown / 255).numpy()))
            )

    @staticmethod
    def circle(circle: np.ndarray, row: int) -> np.ndarray:
        return (112 + (60 + row) * circle).astype(np.float32)

    @staticmethod
    def disc(row: int) -> np.ndarray:
        picture = np.full((224, 224, 3), 90, np.uint8)
        colour = np.random.default_rng(row // PICTURES).integers(30, 220, 3)
        picture[60:164, 70 + row : 154 + row] = colour
        return picture

    def space(self, name: str | None = None) -> Space:
        return SPACE

    def faces(self, name: str | None = None) -> Arrays:
        if name not in (None, *self.encoders):
            raise UsageError(f"no embeddings of {name}.")
        return self.rows

    def numbers(self, kind: str) -> np.ndarray:
        return np.flatnonzero(np.array(self.manifest.column("kind")) == kind)

    def picture(self, row: int) -> np.ndarray:
        return self.disc(row)

    def encoder(self, name: str | None = None) -> Any:
        frontend = SimpleNamespace(preset=face_preset("dlib"), size=20)
        return SimpleNamespace(module=Encoder(), frontend=frontend, width=WIDTH, preset="dlib")


def settings(*more: str, name: str = "tiny-decoder") -> DecoderRecipe:
    """Return a recipe for a narrow network."""
    found = recipe.read(
        name,
        DecoderRecipe,
        ["loop.batch_size=4", "loop.num_workers=0", "loop.log_every=1", "loop.save_every=2", *more],
    )
    own = str(registry.entry(found.network.entry).architecture)
    small = {k: v for k, v in SMALL[own].items() if k != "width"}
    options = {**small, **found.network.options}
    network = found.network.model_copy(update={"options": options})
    return found.model_copy(update={"network": network})


def task_of(chosen: DecoderRecipe, corpus: Any, embedding: bool = True) -> DecoderTask:
    network = build(chosen.network, WIDTH, 0)
    init_to_data(network, FaceDecoderDataset(corpus.manifest, corpus, "train"), chosen.network)
    return DecoderTask(network, chosen.loss, FrozenFaceEncoder(corpus.encoder()), embedding)
