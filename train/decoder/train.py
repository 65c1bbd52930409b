"""Training of face decoders: the embedding of a face to its picture.

The folder of a run holds recipe.toml, a folder for each phase (checkpoints, history, curves; see
`vox2face.train.loop`), grids/ with pictures of fixed people after each evaluation, and at the end
bundle/, which `vox2face.load` takes.
"""

from __future__ import annotations

import dataclasses
import math
import time
from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from vox2face.core.entry import Space
from vox2face.core.errors import CorpusError, UsageError
from vox2face.train.datasets.face import FaceDecoderDataset
from vox2face.train.datasets.fingerprint import fingerprints
from vox2face.train.datasets.loader import Items
from vox2face.train.decoder.blends import Blends
from vox2face.train.decoder.morphs import Morphs, Targets
from vox2face.train.decoder.network import build, mean_shape, start
from vox2face.train.decoder.task import Decoder, DecoderTask, Judge
from vox2face.train.decoder.validation import Validation
from vox2face.train.figures import face_grid
from vox2face.train.trainer import loop, recipe, run_folder
from vox2face.train.trainer import run as runs
from vox2face.train.trainer.keeper import State
from vox2face.train.trainer.run import Say
from vox2face.train.trainer.settings import GRIDS

if TYPE_CHECKING:
    from vox2face.train.corpus.manifest import Manifest
    from vox2face.train.decoder.recipe import DecoderRecipe
    from vox2face.train.prepare.reader import Prepared

KIND = "decoder"
Spoken = Mapping[int, NDArray[np.float32]]


@dataclasses.dataclass(frozen=True)
class Run:
    """One training run: where it writes, what it learns from, and how it goes about it."""

    folder: Path
    manifest: Manifest
    prepared: Prepared
    settings: DecoderRecipe
    face: str | None
    voice: str
    space: Space
    facts: dict[str, Any]
    resume: bool
    say: Say

    def source(self, split: str) -> FaceDecoderDataset:
        """Return the data set of a split; a decoder that warps needs no pictures."""
        return FaceDecoderDataset(
            self.manifest,
            self.prepared,
            split,
            face=self.face,
            pictures=not self.warps,
            textures=self.warps,
        )

    @property
    def warps(self) -> bool:
        """Whether the decoder warps its textures."""
        return bool(self.facts["warps"])

    def items(self, source: Items) -> Items:
        """Return what is learnt of items, without morphs."""
        return source if self.warps else Targets(source)


def train_decoder(
    manifest: Manifest,
    prepared: Prepared,
    settings: DecoderRecipe,
    folder: Path,
    *,
    face: str | None = None,
    voice: str = "",
    any_space: bool = False,
    resume: bool = False,
    minutes: float = math.inf,
    say: Say = print,
) -> Path | None:
    """Train a face decoder; return its bundle, or None if the run was interrupted.

    `prepared` holds embeddings (of the encoder `face` or of its first one), landmarks and
    textures; `voice` is a voice encoder whose faces the grids show too. A run that goes on with
    `resume` has the names that it began with; `any_space` lets a `voice` pass that predicts other
    embeddings than the prepared ones. After `minutes` the best weights so far become the
    bundle. Raises `Vox2FaceError` in one sentence for what cannot be trained.
    """
    deadline = loop.deadline_in(minutes)
    machine = loop.accelerator(settings.loop)
    main = machine.is_main_process
    say = say if main else lambda line: None
    given, default = {"face": face or "", "voice": voice}, {"face": prepared.encoders[0]}
    names = run_folder.chosen(folder, KIND, given, default, resume, main)
    face, voice = names["face"], names["voice"]
    encoder = prepared.encoder(face)
    network = build(settings.network, encoder.width, settings.loop.seed)
    facts: dict[str, Any] = {
        "recipe": recipe.facts(settings),
        "face_encoder": face,
        "warps": network.mean_landmarks is not None,
    }
    space = prepared.space(face)
    shown = Space() if any_space or resume else space  # a run that goes on was let pass
    run = Run(folder, manifest, prepared, settings, face, voice, shown, facts, resume, say)
    source = run.source("train")
    if source.left_out:
        say(f"{source.left_out:,} files of the split train were not prepared and are left out.")
    start(network, source, settings.network)
    items = training_items(run, source)
    facts |= {"identities": len(source.identities), "pictures": len(source)}
    judge, measured, shape = Judge(encoder), validation(run), mean_shape(source)
    with runs.alone(folder, main):
        if main:
            splits = {"train": source, "val": measured and measured[0]}
            data = fingerprints(manifest, source.embeddings, splits)
            processes = machine.num_processes
            ends = network.output_activation
            asked = run_folder.Asked(KIND, names, settings, len(items), data, processes, ends)
            run_folder.begin(folder, asked, resume)
        for name in settings.phases:
            state = run_phase(run, name, network, judge, items, shape, measured, deadline)
            if not runs.goes_on(name, state, settings, facts, deadline, say):
                return None
            if not state.finished:
                break
        entry, preset = settings.network.entry, encoder.preset
        return runs.bundled(folder, entry, network, preset, space, facts, say, main)


def training_items(run: Run, source: FaceDecoderDataset) -> Items:
    """Return what is trained on: the pictures, or the pictures and their morphs."""
    data = run.settings.data
    if data.blend:
        return run.items(Blends(source, data.noise, run.settings.loop.seed))
    if not data.morph:
        return run.items(source)
    if not run.warps:
        raise UsageError(
            f"{run.settings.network.entry} does not warp, so faces cannot be morphed for it: set "
            "data.morph to 0."
        )
    run.say(f"Looking for {data.neighbours} neighbours of each of {len(source):,} pictures.")
    return Morphs(source, data.morph, data.neighbours, run.settings.loop.seed)


def validation(run: Run) -> tuple[FaceDecoderDataset, face_grid.Grid, Spoken] | None:
    """Return the pictures to measure with, and what the grids show; None without a split val."""
    try:
        source = run.source("val")
    except CorpusError as error:
        run.say(f"No evaluation while training: {error}")
        return None
    shown = face_grid.grid(
        run.folder / GRIDS, run.prepared, source.embeddings, source.identities, source.groups
    )
    return source, shown, face_grid.spoken(shown, run.manifest, run.voice, run.space)


def run_phase(
    run: Run,
    name: str,
    network: Decoder,
    judge: Judge,
    items: Items,
    shape: Tensor,
    measured: tuple[FaceDecoderDataset, face_grid.Grid, Spoken] | None,
    deadline: float,
) -> State:
    """Run one phase to its end and leave its best weights in the network."""
    settings, phase = run.settings, run.settings.phases[name]
    begun = {}
    if phase.mix < 1:
        begun = {key: value.cpu().clone() for key, value in network.state_dict().items()}
    task = DecoderTask(network, settings.loss, judge, phase.embedding, phase.critic_lr, shape)
    evaluate = None
    if measured is not None:
        source, shown, spoken = measured
        number, workers = settings.data.val_pictures, settings.loop.num_workers
        most = settings.loop.max_failures
        shown = dataclasses.replace(shown, folder=shown.folder / name)
        evaluate = Validation(task, run.items(source), source, number, workers, shown, spoken, most)
        run.say(evaluate.about)
    state = loop.train(
        task,
        items,
        settings.plan(phase),
        run.folder / name,
        evaluate,
        facts={**run.facts, "phase": name},
        resume=run.resume,
        minutes=(deadline - time.monotonic()) / 60,
        say=run.say,
    )
    if evaluate is not None and evaluate.warning:
        run.say(evaluate.warning)
    runs.take_best(task, run.folder / name)
    if phase.mix < 1:
        mix(network, begun, phase.mix)
    return state


def mix(network: Decoder, begun: Mapping[str, Tensor], part: float) -> None:
    """Put the weights of a network on the line from others to its own, a part of the way."""
    with torch.no_grad():
        for key, value in network.state_dict().items():
            value.copy_(torch.lerp(begun[key].to(value), value, part))
