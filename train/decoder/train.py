"""Training of face decoders: the embedding of a face to its picture."""

from __future__ import annotations

import dataclasses
import math
from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray

from vox2face.core.errors import CorpusError, UsageError
from vox2face.train.datasets.face import FaceDecoderDataset
from vox2face.train.datasets.fingerprint import fingerprints
from vox2face.train.datasets.loader import Items
from vox2face.train.decoder.blends import Blends
from vox2face.train.decoder.morphs import Morphs, Targets
from vox2face.train.decoder.network import build, init_to_data, mean_shape
from vox2face.train.decoder.task import Decoder, DecoderTask, FrozenFaceEncoder
from vox2face.train.decoder.validation import Validation
from vox2face.train.figures import face_grid
from vox2face.train.trainer.run import Arguments, Log, PhaseRun, SetUp, arguments, execute
from vox2face.train.trainer.settings import GRIDS

if TYPE_CHECKING:
    from vox2face.train.corpus.manifest import Manifest
    from vox2face.train.decoder.recipe import DecoderRecipe
    from vox2face.train.prepare.reader import Prepared

KIND = "decoder"


def train_decoder(
    manifest: Manifest,
    prepared: Prepared,
    recipe: DecoderRecipe,
    folder: Path,
    *,
    face: str | None = None,
    voice: str = "",
    any_space: bool = False,
    resume: bool = False,
    minutes: float = math.inf,
    log: Log = print,
) -> Path | None:
    """Train a face decoder; return its bundle, or None if the run was interrupted.

    `prepared` holds embeddings (of the encoder `face` or of its first one), landmarks and
    textures; `voice` is a voice encoder whose faces the grids show too. A run that goes on with
    `resume` has the names that it began with; `any_space` lets a `voice` pass that predicts other
    embeddings than the prepared ones. After `minutes` the best weights so far become the
    bundle. Raises `Vox2FaceError` in one sentence for what cannot be trained.
    """
    names = {"face": face or "", "voice": voice}
    given = arguments(
        KIND,
        manifest,
        prepared,
        recipe,
        folder,
        names,
        any_space=any_space,
        resume=resume,
        minutes=minutes,
        log=log,
    )
    return execute(given, DecoderSetUp(given))


@dataclasses.dataclass(frozen=True)
class Evaluated:
    """What evaluations measure, and what their grids show."""

    source: FaceDecoderDataset
    grid: face_grid.Grid
    spoken: Mapping[int, NDArray[np.float32]]


class DecoderSetUp(SetUp):
    """A face decoder, what it learns from, and the face encoder that judges its pictures."""

    network: Decoder

    def __init__(self, given: Arguments[DecoderRecipe]) -> None:
        self.given, recipe = given, given.recipe
        encoder = given.prepared.encoder(given.networks["face"])
        self.preset = encoder.preset
        self.network = build(recipe.network, encoder.width, recipe.loop.seed)
        self.warps = self.network.mean_landmarks is not None
        self.source = self._source("train")
        if self.source.left_out:
            given.log(
                f"{self.source.left_out:,} files of the split train were not prepared and are left "
                "out."
            )
        init_to_data(self.network, self.source, recipe.network)
        self.dataset = self._dataset()
        self.judge, self.shape = FrozenFaceEncoder(encoder), mean_shape(self.source)
        if recipe.loss.features_weight:
            self.judge.require_taps(recipe.loss.features)
        self.evaluated = self._evaluated()
        self.facts = {
            "warps": self.warps,
            "identities": len(self.source.identities),
            "pictures": len(self.source),
        }

    def digests(self) -> dict[str, str]:
        """Return digests of the people, files and embeddings of both splits."""
        val = None if self.evaluated is None else self.evaluated.source
        splits = {"train": self.source, "val": val}
        return fingerprints(self.given.manifest, self.source.embeddings, splits)

    def phase(self, name: str) -> PhaseRun:
        """Return the task of a phase, and what measures it."""
        recipe = self.given.recipe
        phase = recipe.phases[name]
        task = DecoderTask(
            self.network, recipe.loss, self.judge, phase.embedding, phase.critic_lr, self.shape
        )
        validation = None
        if self.evaluated is not None:
            validation = Validation(
                task,
                self._targets(self.evaluated.source),
                self.evaluated.source,
                recipe.data.val_pictures,
                recipe.loop.num_workers,
                dataclasses.replace(self.evaluated.grid, folder=self.evaluated.grid.folder / name),
                self.evaluated.spoken,
                recipe.loop.max_failures,
            )
        return PhaseRun(task, self.dataset, validation)

    def _source(self, split: str) -> FaceDecoderDataset:
        """Return the data set of a split; a decoder that warps needs no pictures."""
        return FaceDecoderDataset(
            self.given.manifest,
            self.given.prepared,
            split,
            face=self.given.networks["face"],
            pictures=not self.warps,
            textures=self.warps,
        )

    def _targets(self, dataset: Items) -> Items:
        return dataset if self.warps else Targets(dataset)

    def _dataset(self) -> Items:
        """Return what is trained on: the pictures, blends, or the pictures and their morphs."""
        data, seed = self.given.recipe.data, self.given.recipe.loop.seed
        if data.blend:
            return self._targets(Blends(self.source, data.noise, seed))
        if not data.morph:
            return self._targets(self.source)
        if not self.warps:
            raise UsageError(
                f"{self.given.recipe.network.entry} does not warp, so faces cannot be morphed for "
                "it: set data.morph to 0."
            )
        self.given.log(
            f"Looking for {data.neighbours} neighbours of each of {len(self.source):,} pictures."
        )
        return Morphs(self.source, data.morph, data.neighbours, seed)

    def _evaluated(self) -> Evaluated | None:
        given = self.given
        try:
            source = self._source("val")
        except CorpusError as error:
            given.log(f"Nothing is evaluated; the bundle will have the last weights. {error}")
            return None
        grid = face_grid.grid(
            given.folder / GRIDS,
            given.prepared,
            source.embeddings,
            source.identities,
            source.groups,
        )
        voice, space = given.networks["voice"], given.accepted_space
        return Evaluated(source, grid, face_grid.spoken(grid, given.manifest, voice, space))
