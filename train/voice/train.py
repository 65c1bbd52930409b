"""Training of voice encoders: recordings to the embedding of the speaker's face."""

from __future__ import annotations

import math
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import torch
from torch import Tensor, nn

from vox2face.core.entry import Space
from vox2face.core.errors import CorpusError, UsageError
from vox2face.train.datasets.fingerprint import fingerprints
from vox2face.train.figures import face_grid
from vox2face.train.trainer.network import check_shapes
from vox2face.train.trainer.run import Arguments, Log, PhaseRun, SetUp, arguments, execute
from vox2face.train.trainer.settings import FEATURES, GRIDS
from vox2face.train.trainer.task import freeze
from vox2face.train.voice import features
from vox2face.train.voice import network as networks
from vox2face.train.voice.data import Voices
from vox2face.train.voice.features import FeatureDataset
from vox2face.train.voice.loss import VoiceLosses
from vox2face.train.voice.recipe import CHANGES
from vox2face.train.voice.task import VoiceTask
from vox2face.train.voice.validation import Drawing, Validation
from vox2face.zoo import registry
from vox2face.zoo.frontends.voice import voice_frontend

if TYPE_CHECKING:
    from vox2face.runtime.face_decoder import FaceDecoder as LoadedDecoder
    from vox2face.train.corpus.manifest import Manifest
    from vox2face.train.datasets.voice import VoiceEncoderDataset
    from vox2face.train.prepare.reader import Prepared
    from vox2face.train.voice.recipe import VoiceRecipe
    from vox2face.zoo.networks.base import Tapped
    from vox2face.zoo.networks.face_decoder import FaceDecoder

KIND = "voice"


def train_voice(
    manifest: Manifest,
    prepared: Prepared,
    recipe: VoiceRecipe,
    folder: Path,
    *,
    face: str | None = None,
    decoder: str = "",
    any_space: bool = False,
    resume: bool = False,
    minutes: float = math.inf,
    log: Log = print,
) -> Path | None:
    """Train a voice encoder; return its bundle, or None if the run was interrupted.

    `prepared` holds the face embeddings, those of the encoder `face` or of its first one;
    `decoder` is a face decoder for grids of pictures and, where the recipe weighs it, for the loss
    of its first layers: a name, a folder or a hub id; one made for other embeddings than the
    prepared ones needs `any_space`. A run that goes on with `resume` has the
    names that it began with. After `minutes` the best weights so far become the bundle. Raises
    `Vox2FaceError` in one sentence for what cannot be trained.
    """
    names = {"face": face or "", "decoder": decoder}
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
    return execute(given, VoiceSetUp(given))


class VoiceSetUp(SetUp):
    """A voice encoder, its clips, and the networks that judge what it predicts."""

    network: Tapped
    dataset: VoiceEncoderDataset

    def __init__(self, given: Arguments[VoiceRecipe]) -> None:
        self.given, recipe = given, given.recipe
        face, seed = given.networks["face"], recipe.loop.seed
        self.preset = recipe.network.preset or registry.entry(recipe.network.entry).preprocess
        self.voices = Voices(given.manifest, given.prepared, recipe.data, self.preset, seed, face)
        self.dataset = self.voices.items("train")
        if self.dataset.left_out:
            given.log(
                f"{self.dataset.left_out:,} files of the split train were not prepared and are "
                "left out."
            )
        width = len(self.dataset.embedding(0, 0))
        self.network = networks.build(recipe.network, width, seed)
        for name, phase in recipe.phases.items():
            networks.require_trains(self.network, phase.trainable, f"phases.{name}.trainable")
        _check_copies(self.network, recipe)
        mean = _mean_embedding(self.dataset)
        if recipe.network.init_to_mean:
            networks.init_to_mean(self.network, mean)
        wave = torch.zeros(1, self.dataset.samples)
        frontend = voice_frontend(self.preset, getattr(self.network, "frames", None))
        check_shapes(self.network, recipe.network.entry, lambda: self.network(frontend(wave)))
        self.decoder = _load_decoder(given.networks["decoder"], width, given.accepted_space)
        classifier = _classifier(given)
        people = len(self.dataset.identities)
        layers = _first_layers(self.decoder, given)
        self.losses = VoiceLosses(recipe.loss, width, people, classifier, layers, mean)
        if not self.losses(mean[None], mean[None], torch.zeros(1, dtype=torch.long)):
            raise UsageError(
                "No loss is left to learn from: give another one of the recipe's a weight, such as "
                "--set loss.mse_weight=1."
            )
        self.clips = self._validation_clips()
        self.facts = {
            "decoder": given.networks["decoder"],
            "identities": people,
            "clips": len(self.dataset.groups.clips),
        }

    def digests(self) -> dict[str, str]:
        """Return digests of the people, files and embeddings of both splits."""
        faces = self.given.prepared.faces(self.given.networks["face"])
        splits = {"train": self.dataset, "val": self.clips}
        digests = fingerprints(self.given.manifest, faces, splits)
        if self.dataset.encoded:
            digests["encoded copies"] = ",".join(self.dataset.encodings)
        return digests

    def phase(self, name: str) -> PhaseRun:
        """Return the task of a phase, its clips or their features, and what measures it."""
        recipe, data = self.given.recipe, self.given.recipe.data
        phase = recipe.phases[name]
        networks.set_trained(self.network, phase.trainable)
        task = VoiceTask(
            self.network, self.preset, self.losses, phase, data.gain, data.noise, data.channel
        )
        dataset: VoiceEncoderDataset | FeatureDataset = self.dataset
        clips: VoiceEncoderDataset | FeatureDataset | None = self.clips
        if networks.has_frozen_backbone(self.network) and (data.fixed or data.copies):
            dataset = self._with_features(name, task, self.dataset, "train")
            if recipe.network.init_to_mean and name == next(iter(recipe.phases)):
                networks.standardize(self.network, dataset.features.flatten(0, 1))
            if self.clips is not None:
                clips = self._with_features(name, task, self.clips, "val")
        if clips is None:
            return PhaseRun(task, dataset, None)
        loop = recipe.loop
        validation = Validation(
            task,
            clips,
            data.val_clips,
            loop.num_workers,
            self._drawing(name),
            loop.batch_size,
            loop.max_failures,
        )
        return PhaseRun(task, dataset, validation)

    def _validation_clips(self) -> VoiceEncoderDataset | None:
        try:
            return self.voices.items("val", "all-to-one")
        except CorpusError as error:
            self.given.log(f"Nothing is evaluated; the bundle will have the last weights. {error}")
            return None

    def _drawing(self, phase: str) -> Drawing | None:
        """Return what draws the faces of some people after each evaluation, given a decoder."""
        if self.decoder is None or self.clips is None:
            return None
        folder, prepared = self.given.folder / GRIDS / phase, self.given.prepared
        faces, people = prepared.faces(self.given.networks["face"]), self.clips.identities
        grid = face_grid.grid(folder, prepared, faces, people, self.clips.groups)
        return Drawing(grid, self.decoder)

    def _with_features(
        self, phase: str, task: VoiceTask, dataset: VoiceEncoderDataset, split: str
    ) -> FeatureDataset:
        """Return a dataset with the output of the frozen backbone in the place of waveforms.

        Of the split train there are as many hearings of each clip as the recipe has copies.
        """
        data, loop = self.given.recipe.data, self.given.recipe.loop
        task.to(self.given.accelerator.device).eval()
        stamp = {
            "body": networks.backbone_hash(task.network),
            "heard": (data.crop, data.seconds, self.preset),
            "clips": [dataset.files.path(i) for i in (0, len(dataset.groups.clips) - 1)],
        }

        def extract(
            clips: features.Clips, backbone: features.Backbone, name: str, **more: Any
        ) -> tuple[Tensor, dict[int, str]]:
            folder = self.given.folder / FEATURES / f"{phase}-{name}"
            return features.extract_features(
                self.given.accelerator, clips, backbone, folder, {**stamp, **more}, loop.num_workers
            )

        def copy(number: int) -> tuple[Tensor, dict[int, str]]:
            def backbone(waveform: Tensor, indices: Sequence[int]) -> Tensor:
                words = np.random.SeedSequence((loop.seed, number, indices[0]))
                random = torch.Generator(waveform.device)
                random.manual_seed(int(words.generate_state(1, np.uint64)[0]) % 2**63)
                return task.backbone(task.recorded(waveform, random))

            clips = self.voices.items(split, "one-to-one")
            hearing = features.Copy(clips, number, task.augment(), loop.seed)
            changed = {name: getattr(data, name) for name in CHANGES}
            return extract(
                hearing,
                backbone,
                f"{split}-{number}",
                copy=number,
                seed=loop.seed,
                changed=changed,
                encodings=clips.encodings,
            )

        if split == "train" and data.copies:
            extracted = [copy(number) for number in range(data.copies)]
        else:
            clips = self.voices.items(split, "one-to-one")
            extracted = [extract(clips, lambda waveform, _: task.backbone(waveform), split)]
        failed = {row: reason for _, reasons in extracted for row, reason in reasons.items()}
        return FeatureDataset(dataset, torch.stack([values for values, _ in extracted]), failed)


def _check_copies(network: nn.Module, recipe: VoiceRecipe) -> None:
    """Raise `UsageError` if a recipe asks for copies of what no phase computes once."""
    frozen = (networks.freezes_backbone(network, p.trainable) for p in recipe.phases.values())
    if recipe.data.copies and not any(frozen):
        raise UsageError(
            f"data.copies is {recipe.data.copies} and no phase leaves the network below the head "
            "frozen, so nothing is computed once: set it to 0, or train the head of an AST or of "
            "an mlp_head."
        )


def _mean_embedding(dataset: VoiceEncoderDataset) -> Tensor:
    """Return the mean of one embedding of each of at most a thousand people, (width,)."""
    people = range(0, len(dataset.identities), max(1, len(dataset.identities) // 1000))
    first = dataset.groups.first_picture
    return torch.stack([dataset.embedding(i, int(first[i])) for i in people]).mean(0)


def _classifier(given: Arguments[VoiceRecipe]) -> nn.Module | None:
    """Return the frozen last layer of the face encoder, from an embedding to class scores."""
    if not given.recipe.loss.distill_weight:
        return None
    name = given.networks["face"]
    encoder = given.prepared.encoder(name)
    if not encoder.classes:
        given.log(f"The distillation loss is off: {name} has no class scores.")
        return None
    network: Any = encoder.module
    return freeze(network.get_submodule(network.scores))


def _load_decoder(name: str, width: int, space: Space) -> LoadedDecoder | None:
    """Return a face decoder by name, folder or hub id; None without one.

    Raises `UsageError` for one of another width than the corpus, or of another space.
    """
    from vox2face.runtime.face_decoder import FaceDecoder as Loaded
    from vox2face.runtime.load import load_kind

    if not name:
        return None
    decoder = load_kind(Loaded, name)
    if decoder.width != width:
        raise UsageError(
            f"{name} takes embeddings of {decoder.width} values and the corpus has {width}: name "
            "a decoder that was trained for this face encoder."
        )
    registry.require_same_space("the corpus", space, name, decoder.space)
    return decoder


def _first_layers(
    decoder: LoadedDecoder | None, given: Arguments[VoiceRecipe]
) -> FaceDecoder | None:
    """Return the frozen network of a decoder whose first layers judge, or None without one."""
    if not given.recipe.loss.decoder_weight:
        return None
    if decoder is None:
        given.log("The decoder's loss is off: no --decoder is given.")
        return None
    network: Any = freeze(decoder.module)
    judge: FaceDecoder = network
    return judge
