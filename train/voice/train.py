"""Training of voice encoders: recordings to the embedding of the speaker's face.

The folder of a run holds recipe.toml, a folder for each phase (checkpoints, history, curves; see
`vox2face.train.loop`), features/ with what a frozen body makes of every clip, and at the end
bundle/, which `vox2face.load` takes.
"""

from __future__ import annotations

import dataclasses
import math
import time
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import torch
from torch import Tensor, nn

from vox2face.core.entry import Space
from vox2face.core.errors import CorpusError, UsageError
from vox2face.core.progress import Bars
from vox2face.train.datasets.fingerprint import fingerprints
from vox2face.train.figures import face_grid
from vox2face.train.trainer import loop, recipe, run_folder
from vox2face.train.trainer import run as runs
from vox2face.train.trainer.keeper import State
from vox2face.train.trainer.network import rehearse
from vox2face.train.trainer.run import Say
from vox2face.train.trainer.settings import FEATURES, GRIDS
from vox2face.train.trainer.task import freeze
from vox2face.train.voice import features as voice_data
from vox2face.train.voice import network
from vox2face.train.voice import network as voice_network
from vox2face.train.voice.data import Voices
from vox2face.train.voice.features import Cached
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


@dataclasses.dataclass(frozen=True)
class Run:
    """One training run: where it writes, what it hears, and how it goes about it."""

    folder: Path
    voices: Voices
    settings: VoiceRecipe
    facts: dict[str, Any]
    decoder: LoadedDecoder | None
    clips: VoiceEncoderDataset | None  # of the validation split
    resume: bool
    say: Say


def train_voice(
    manifest: Manifest,
    prepared: Prepared,
    settings: VoiceRecipe,
    folder: Path,
    *,
    face: str | None = None,
    decoder: str = "",
    any_space: bool = False,
    resume: bool = False,
    minutes: float = math.inf,
    say: Say = print,
) -> Path | None:
    """Train a voice encoder; return its bundle, or None if the run was interrupted.

    `prepared` holds the face embeddings, those of the encoder `face` or of its first one;
    `decoder` is a face decoder for grids of pictures and, where the recipe weighs it, for the loss
    of its first layers: a name, a folder or a hub id; one made for other embeddings than the
    prepared ones needs `any_space`. A run that goes on with `resume` has the
    names that it began with. After `minutes` the best weights so far become the bundle. Raises
    `Vox2FaceError` in one sentence for what cannot be trained.
    """
    deadline = loop.deadline_in(minutes)
    machine = loop.accelerator(settings.loop)
    main = machine.is_main_process
    say = say if main else lambda line: None
    given, default = {"face": face or "", "decoder": decoder}, {"face": prepared.encoders[0]}
    names = run_folder.chosen(folder, KIND, given, default, resume, main)
    face, decoder = names["face"], names["decoder"]
    preset = settings.network.preset or registry.entry(settings.network.entry).preprocess
    voices = Voices(manifest, prepared, settings.data, preset, settings.loop.seed, face)
    items = voices.items("train")
    if items.left_out:
        say(f"{items.left_out:,} files of the split train were not prepared and are left out.")
    width = len(items.embedding(0, 0))
    network = voice_network.build(settings.network, width, settings.loop.seed)
    for name, phase in settings.phases.items():
        voice_network.require_trains(network, phase.trainable, f"phases.{name}.trainable")
    require_copies_are_used(network, settings)
    mean = mean_embedding(items)
    if settings.network.init_to_mean:
        voice_network.start_at(network, mean)
    wave = torch.zeros(1, items.samples)
    frontend = voice_frontend(preset, getattr(network, "frames", None))
    rehearse(network, settings.network.entry, lambda: network(frontend(wave)))
    space = prepared.space(face)
    passes = any_space or resume  # a run that goes on was let pass
    drawing = loaded_decoder(decoder, width, Space() if passes else space)
    judges = classifier(prepared, face, settings, say), first_layers(drawing, settings, say)
    losses = VoiceLosses(settings.loss, width, len(items.identities), *judges, mean)
    if not losses(mean[None], mean[None], torch.zeros(1, dtype=torch.long)):
        raise UsageError(
            "No loss is left to learn from: give another one of the recipe's a weight, such as "
            "--set loss.mse_weight=1."
        )
    facts = {
        "recipe": recipe.facts(settings),
        "face_encoder": face,
        "decoder": decoder,
        "identities": len(items.identities),
        "clips": len(items.groups.clips),
    }
    clips = validation_clips(voices, say)
    run = Run(folder, voices, settings, facts, drawing, clips, resume, say)
    with runs.alone(folder, main):
        if main:
            faces = prepared.faces(face)
            data = fingerprints(manifest, faces, {"train": items, "val": clips})
            if items.encoded:
                data["encoded copies"] = ",".join(items.encodings)
            processes = machine.num_processes
            ends = getattr(network, "output_activation", "")
            asked = run_folder.Asked(KIND, names, settings, len(items), data, processes, ends)
            run_folder.begin(folder, asked, resume)
        for name in settings.phases:
            state = run_phase(run, name, network, losses, items, deadline)
            if not runs.goes_on(name, state, settings, facts, deadline, say):
                return None
            if not state.finished:
                break
        entry, preset = settings.network.entry, voices.preset
        return runs.bundled(folder, entry, network, preset, space, facts, say, main)


def require_copies_are_used(network: nn.Module, settings: VoiceRecipe) -> None:
    """Raise `UsageError` if a recipe asks for copies of what no phase computes once."""
    frozen = (voice_network.freezes_body(network, p.trainable) for p in settings.phases.values())
    if settings.data.copies and not any(frozen):
        raise UsageError(
            f"data.copies is {settings.data.copies} and no phase leaves the network below the head "
            "frozen, so nothing is computed once: set it to 0, or train the head of an AST or of "
            "an mlp_head."
        )


def mean_embedding(items: VoiceEncoderDataset) -> Tensor:
    """Return the mean of one embedding of each of at most a thousand people, (width,)."""
    people = range(0, len(items.identities), max(1, len(items.identities) // 1000))
    first = items.groups.first_picture
    return torch.stack([items.embedding(i, int(first[i])) for i in people]).mean(0)


def run_phase(
    run: Run,
    name: str,
    network: Tapped,
    losses: VoiceLosses,
    items: VoiceEncoderDataset,
    deadline: float,
) -> State:
    """Run one phase to its end and leave its best weights in the network."""
    settings, phase, data = run.settings, run.settings.phases[name], run.settings.data
    voice_network.set_trained(network, phase.trainable)
    task = VoiceTask(network, run.voices.preset, losses, phase, data.gain, data.noise, data.channel)
    clips: VoiceEncoderDataset | Cached | None = run.clips
    drawn = None if run.clips is None else grid_of(run, name, run.clips)
    training: VoiceEncoderDataset | Cached = items
    if voice_network.has_frozen_body(network) and (data.fixed or data.copies):
        training = with_features(run, name, task, items, "train")
        if settings.network.init_to_mean and name == next(iter(settings.phases)):
            voice_network.standardize(network, training.features.flatten(0, 1))
        if run.clips is not None:
            clips = with_features(run, name, task, run.clips, "val")
    measured = None
    if clips is not None:
        workers, batch, most = (
            settings.loop.num_workers,
            settings.loop.batch_size,
            settings.loop.max_failures,
        )
        measured = Validation(task, clips, data.val_clips, workers, drawn, batch, most)
        run.say(measured.about)
    left = (deadline - time.monotonic()) / 60
    place = run.folder / name
    state = loop.train(
        task,
        training,
        settings.plan(phase),
        place,
        measured,
        facts={**run.facts, "phase": name},
        resume=run.resume,
        minutes=left,
        say=run.say,
    )
    if measured is not None and measured.warning:
        run.say(measured.warning)
    runs.take_best(task, place)
    return state


def validation_clips(voices: Voices, say: Say) -> VoiceEncoderDataset | None:
    """Return the clips of the validation split, or None, saying so, if there is none."""
    try:
        return voices.items("val", "all-to-one")
    except CorpusError as error:
        say(f"No evaluation while training: {error}")
        return None


def grid_of(run: Run, phase: str, clips: VoiceEncoderDataset) -> Drawing | None:
    """Return what draws the faces of some people after each evaluation, if there is a decoder."""
    if run.decoder is None:
        return None
    folder, prepared = run.folder / GRIDS / phase, run.voices.prepared
    faces, groups = prepared.faces(run.voices.face), clips.groups
    return Drawing(face_grid.grid(folder, prepared, faces, clips.identities, groups), run.decoder)


def with_features(
    run: Run, phase: str, task: VoiceTask, items: VoiceEncoderDataset, split: str
) -> Cached:
    """Return items with the output of the frozen body in the place of waveforms.

    Of the split train there are as many hearings of each clip as the recipe has copies.
    """
    data, seed = run.settings.data, run.settings.loop.seed
    machine = loop.accelerator(run.settings.loop)
    task.to(machine.device).eval()
    bars = Bars()
    stamp = {
        "body": network.body_hash(task.network),
        "heard": (data.crop, data.seconds, run.voices.preset),
        "clips": [items.files.place(i) for i in (0, len(items.groups.clips) - 1)],
    }

    def computed(clips: voice_data.Clips, body: voice_data.Body, name: str, more: Any) -> Any:
        return voice_data.computed_once(
            machine,
            clips,
            body,
            run.folder / FEATURES / f"{phase}-{name}",
            {**stamp, **more},
            run.settings.loop.num_workers,
            lambda done, total: bars.advance(f"features, {name}", done, total, " clips"),
        )

    def copy(number: int) -> Any:
        def body(waveform: Tensor, indices: Sequence[int]) -> Tensor:
            words = np.random.SeedSequence((seed, number, indices[0]))
            random = torch.Generator(waveform.device)
            random.manual_seed(int(words.generate_state(1, np.uint64)[0]) % 2**63)
            return task.body(task.recorded(waveform, random))

        clips = run.voices.items(split, "one-to-one")
        changed = {name: getattr(data, name) for name in CHANGES}
        hearing = voice_data.Copy(clips, number, task.augment(), seed)
        more = {"copy": number, "seed": seed, "changed": changed, "encodings": clips.encodings}
        return computed(hearing, body, f"{split}-{number}", more)

    try:
        if split == "train" and data.copies:
            found = [copy(number) for number in range(data.copies)]
        else:
            clips = run.voices.items(split, "one-to-one")
            found = [computed(clips, lambda waveform, indices: task.body(waveform), split, {})]
    finally:
        bars.close()
    failed = {row: reason for _, reasons in found for row, reason in reasons.items()}
    return Cached(items, torch.stack([features for features, _ in found]), failed)


def classifier(
    prepared: Prepared, face: str | None, settings: VoiceRecipe, say: Say
) -> nn.Module | None:
    """Return the frozen last layer of the face encoder, from an embedding to class scores."""
    if not settings.loss.distill_weight:
        return None
    name = face or prepared.encoders[0]
    encoder = prepared.encoder(face)
    if not encoder.classes:
        say(f"The distillation loss is off: {name} has no class scores.")
        return None
    network: Any = encoder.module
    return freeze(network.get_submodule(network.scores))


def loaded_decoder(decoder: str, width: int, space: Space) -> LoadedDecoder | None:
    """Return a face decoder by name, folder or hub id; None without one.

    Raises `UsageError` for one of another width than the corpus, or of another space.
    """
    from vox2face.runtime.face_decoder import FaceDecoder as Loaded
    from vox2face.runtime.load import load_kind

    if not decoder:
        return None
    found = load_kind(Loaded, decoder)
    if found.width != width:
        raise UsageError(
            f"{decoder} takes embeddings of {found.width} values and the corpus has {width}: name "
            "a decoder that was trained for this face encoder."
        )
    registry.require_same_space("the corpus", space, decoder, found.space)
    return found


def first_layers(
    decoder: LoadedDecoder | None, settings: VoiceRecipe, say: Say
) -> FaceDecoder | None:
    """Return the frozen network of a decoder whose first layers judge, or None without one."""
    if not settings.loss.decoder_weight:
        return None
    if decoder is None:
        say("The decoder's loss is off: no --decoder is given.")
        return None
    network: Any = freeze(decoder.module)
    judge: FaceDecoder = network
    return judge
