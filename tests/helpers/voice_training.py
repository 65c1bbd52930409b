"""A corpus in memory and narrow networks, to train voice encoders on."""

from __future__ import annotations

from types import SimpleNamespace
from typing import Any

import numpy as np

from helpers.twins import SMALL
from vox2face.core.entry import Space
from vox2face.core.errors import AudioError, UsageError
from vox2face.train.corpus import manifest
from vox2face.train.corpus.manifest import Manifest
from vox2face.train.trainer import recipe
from vox2face.train.voice.recipe import VoiceRecipe

WIDTH, PEOPLE, CLIPS, PICTURES = 6, 10, 3, 2
SPACE = Space("vggface.serengil", "deepface")
SECONDS = 2.6  # VE_conv needs 259 frames


class Faces(dict[int, np.ndarray]):
    """Embeddings by the row of the picture."""

    def good(self) -> np.ndarray:
        return np.array(sorted(self))


class Corpus:
    """What a `Prepared` corpus has, in memory: tones whose pitch tells the face."""

    encoders = ("toy",)
    failed_rows: frozenset[int] = frozenset()
    has_waveforms, folder = True, "/nowhere"

    def __init__(self, broken: tuple[int, ...] = ()) -> None:
        self.broken = broken
        names = [f"person {i}" for i in range(PEOPLE)]
        kinds = [("voice", CLIPS), ("face", PICTURES)]
        lines = [
            (name, kind, "toy", "val" if i % 5 == 4 else "train", "/nowhere", f"{i}/{kind}{j}")
            for i, name in enumerate(names)
            for kind, count in kinds
            for j in range(count)
        ]
        columns = ("identity", "kind", "source", "split", "root", "path")
        self.manifest: Manifest = manifest.from_columns(
            dict(zip(columns, map(list, zip(*lines, strict=True)), strict=True))
        )
        self.people = [int(line[5].partition("/")[0]) for line in lines]
        self.rows = Faces({i: self.face(self.people[i]) for i in self.numbers("face").tolist()})

    def face(self, who: int) -> np.ndarray:
        return np.random.default_rng(who).standard_normal(WIDTH).astype(np.float32)

    def waveform(self, row: int) -> np.ndarray:
        if row in self.broken:
            raise AudioError(f"clip {row} is broken.")
        random = np.random.default_rng(1000 + row)
        time = np.arange(round(SECONDS * 16_000) + 4000) / 16_000
        tone = np.sin(2 * np.pi * (120 + 60 * self.people[row]) * time + random.uniform(0, 6))
        return (0.1 * tone + 0.003 * random.standard_normal(time.size)).astype(np.float32)

    def picture(self, row: int) -> np.ndarray:
        return np.full((224, 224, 3), self.people[row], np.uint8)

    def numbers(self, kind: str) -> np.ndarray:
        return np.flatnonzero(np.array(self.manifest.column("kind")) == kind)

    def space(self, name: str | None = None) -> Space:
        return SPACE

    def faces(self, name: str | None = None) -> Faces:
        if name not in (None, *self.encoders):
            raise UsageError(f"no embeddings of {name}.")
        return self.rows

    def encoder(self, name: str | None = None) -> Any:
        return SimpleNamespace(classes=0)


def settings(name: str = "tiny-ve_conv", *more: str) -> VoiceRecipe:
    """Return a recipe for a narrow network."""
    found = recipe.read(
        name,
        VoiceRecipe,
        [f"data.seconds={SECONDS}", "loop.batch_size=8", "loop.num_workers=0", "data.crop=start",
         "data.gain=0", "loop.log_every=1", "loop.save_every=2", *more],
    )  # fmt: skip
    small = {k: v for k, v in SMALL[found.network.entry.partition(".")[0]].items() if k != "width"}
    if "channels" in small:
        small = {"channels": (4, 4, 4, 4, 4, 4, 8, 8, 8), "hidden": 16}
    if "base" in small:
        small = {"hidden": 16}
    options = {**small, **found.network.options}
    network = found.network.model_copy(update={"options": options})
    return found.model_copy(update={"network": network})
