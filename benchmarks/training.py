"""Steps a second: the training loop of vox2face against that of Speech-to-face, rebuilt.

The same network, batch and random data on the CPU, in turn. Their loop (train_ve_conv.py and
train_ast.py of Kacper-Pietkun/Speech-to-face) is rebuilt from what it does: PyTorch's own layers,
or the AST of transformers; precomputed spectrograms as .npy files of the data set's items; a face
encoder and a decoder with gradients into the weights of the layers that judge; losses over the
whole batch; Adam as it comes; `item()` of four losses at every step. Only what their head phase
says, and does not do, is done: the body is frozen. Ours decodes nothing and computes the front end
in the step, and a frozen backbone once; that time is stated apart.

`python benchmarks/training.py [--full] [--steps N] [--batch N] [--only ve_conv,ast-head,ast]`;
without --full narrow networks stand in for those of 148 and 89 million parameters. The batch is by
default that of their scripts.
"""

from __future__ import annotations

import argparse
import dataclasses
import statistics
import tempfile
import time
from collections.abc import Iterator
from itertools import pairwise
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn
from torch.utils.data import DataLoader, Dataset

from vox2face.train.trainer import loop, recipe
from vox2face.train.voice import network as voice_network
from vox2face.train.voice.loss import decoder_layer_l1, distillation, whole_batch_distance
from vox2face.train.voice.loss import VoiceLosses
from vox2face.train.voice.recipe import VoiceRecipe
from vox2face.train.voice.task import VoiceTask
from vox2face.zoo.networks import spectrogram_transformer
from vox2face.zoo.networks.face_decoder import FaceDecoder
from vox2face.zoo.frontends.voice import voice_frontend
from vox2face.zoo.networks.vggface import VGGFace

WIDTH = 4096
# recipe, which of its phases, options of the narrow network
CASES: dict[str, tuple[str, str, dict[str, Any]]] = {
    "ve_conv": (
        "ve_conv-speech-to-face-repo",
        "train",
        {"channels": (16, 16, 32, 32, 32, 64, 64, 64, 64), "hidden": 256},
    ),
    "ast-head": ("ast-speech-to-face-repo", "head", {"hidden": 192, "layers": 4, "inner": 384}),
    "ast": ("ast-speech-to-face-repo", "tune", {"hidden": 192, "layers": 4, "inner": 384}),
}
BATCHES = {"ve_conv": 4, "ast-head": 2, "ast": 2}
PRESETS = {"ve_conv": "ve-conv", "ast-head": "ast-speech-to-face", "ast": "ast-speech-to-face"}


class Clips:
    """Random waveforms, levelled, with random embeddings."""

    def __init__(self, count: int, samples: int) -> None:
        random = np.random.default_rng(0)
        self.waves = (0.07 * random.standard_normal((count, samples))).astype(np.float32)
        self.embeddings = np.abs(random.standard_normal((count, WIDTH))).astype(np.float32)

    def __len__(self) -> int:
        return len(self.waves)

    def __getitem__(self, index: int) -> dict[str, Any]:
        return {
            "waveform": torch.from_numpy(self.waves[index]),
            "embedding": torch.from_numpy(self.embeddings[index]),
            "identity": torch.tensor(index),
        }


class Computed(Clips):
    """The same with the output of a frozen backbone."""

    def __init__(self, clips: Clips, features: Tensor) -> None:
        self.waves, self.embeddings, self.features = clips.waves, clips.embeddings, features

    def __getitem__(self, index: int) -> dict[str, Any]:
        item = super().__getitem__(index)
        return {**item, "features": self.features[index]}


class Files(Dataset[tuple[Tensor, Tensor]]):
    """Spectrograms and embeddings as .npy files, one of each a clip."""

    def __init__(self, folder: Path, clips: Clips, preset: str) -> None:
        self.folder, self.count = folder, len(clips)
        frontend = voice_frontend(preset)
        for index in range(self.count):
            item = clips[index]
            np.save(folder / f"{index}.npy", frontend(item["waveform"][None])[0].numpy())
            np.save(folder / f"{index}-face.npy", item["embedding"].numpy())

    def __len__(self) -> int:
        return self.count

    def __getitem__(self, index: int) -> tuple[Tensor, Tensor]:
        names = (f"{index}.npy", f"{index}-face.npy")
        spectrogram, face = (torch.from_numpy(np.load(self.folder / name)) for name in names)
        return spectrogram, face


@dataclasses.dataclass(frozen=True)
class Case:
    """One comparison."""

    name: str
    settings: VoiceRecipe
    phase: str
    clips: Clips
    face: VGGFace
    decoder: FaceDecoder

    def network(self) -> Any:
        """Return our network, the same every time."""
        return voice_network.build(self.settings.network, WIDTH, 0)

    def theirs(self) -> nn.Module:
        """Return theirs: that of transformers, or ours made of PyTorch's layers."""
        network = self.network()
        if not isinstance(network, spectrogram_transformer.AST):
            return plain(network)
        from transformers import ASTConfig, ASTForAudioClassification

        hidden, inner = network.head.in_features, network.blocks[0].fc1.out_features
        return ASTForAudioClassification(
            ASTConfig(
                hidden_size=hidden, num_hidden_layers=len(network.blocks), intermediate_size=inner,
                num_attention_heads=hidden // spectrogram_transformer.HEAD_SIZE, num_labels=WIDTH,
            )
        )  # fmt: skip


def plain(network: nn.Module) -> nn.Module:
    """Return a network whose ReLUs do not write over their input, as theirs."""
    for name, module in list(network.named_modules()):
        parent, _, last = name.rpartition(".")
        if isinstance(module, nn.ReLU):
            setattr(network.get_submodule(parent), last, nn.ReLU())
    return network


def theirs(case: Case, folder: Path, steps: int) -> Iterator[float]:
    """Yield the seconds of each step of their loop."""
    loss, phase = case.settings.loss, case.settings.phases[case.phase]
    network, face, decoder = case.theirs(), case.face.eval(), case.decoder.eval()
    for judge in (face, decoder):
        judge.requires_grad_(True)
    if phase.trainable == "head":
        for name, parameter in network.named_parameters():
            parameter.requires_grad_(name.startswith("classifier.dense"))
    optimizer = torch.optim.Adam(network.parameters(), lr=phase.lr)
    data = Files(folder, case.clips, PRESETS[case.name])
    loader = DataLoader(data, batch_size=case.settings.loop.batch_size, shuffle=True)
    first = nn.Sequential(*decoder.pre_layers[:2])
    network.train()
    sums, done, start = [0.0] * 4, 0, time.perf_counter()
    while done < steps:
        for spectrogram, embedding in loader:
            optimizer.zero_grad()
            predicted = network(spectrogram)
            predicted = getattr(predicted, "logits", predicted)
            with torch.no_grad():
                scores, activation = face.fc8(embedding), first(embedding)
            losses = (
                loss.distance_weight * whole_batch_distance(predicted, embedding),
                loss.distill_weight * distillation(face.fc8(predicted), scores, 2.0, "sum"),
                loss.decoder_weight * decoder_layer_l1(first(predicted), activation, "mean"),
            )
            whole = torch.stack(losses).sum()
            whole.backward()
            optimizer.step()
            values = [part.item() * len(embedding) for part in (whole, *losses)]
            sums = [a + b for a, b in zip(sums, values, strict=True)]
            now = time.perf_counter()
            yield now - start
            start, done = now, done + 1


def ours(case: Case, folder: Path, steps: int) -> tuple[list[float], float]:
    """Return the seconds of each step of our loop, and of computing the frozen backbone once."""
    settings, phase = case.settings, case.settings.phases[case.phase]
    network = case.network()
    voice_network.set_trained(network, phase.trainable)
    face, decoder = case.face.requires_grad_(False), case.decoder.requires_grad_(False)
    losses = VoiceLosses(settings.loss, WIDTH, len(case.clips), face.fc8, decoder)
    task = VoiceTask(network, PRESETS[case.name], losses, phase)
    items: Clips = case.clips
    start = time.perf_counter()
    if voice_network.has_frozen_backbone(network):
        batch = settings.loop.batch_size
        with torch.no_grad():
            waves = torch.from_numpy(case.clips.waves).split(batch)
            items = Computed(case.clips, torch.cat([task.backbone(part) for part in waves]))
    once = time.perf_counter() - start
    moments: list[float] = []
    forward = task.forward

    def noted(batch: dict[str, Any]) -> dict[str, Tensor]:
        moments.append(time.perf_counter())
        return forward(batch)

    task.forward = noted  # type: ignore[method-assign]
    plan = dataclasses.replace(settings.plan(phase), steps=steps + 1)
    accelerator = loop.create_accelerator()
    loop.train(accelerator, task, items, plan, folder, log=lambda line: None)
    return [b - a for a, b in pairwise(moments)], once


def case_of(name: str, full: bool, batch: int | None) -> Case:
    """Return a comparison."""
    file, phase, narrow = CASES[name]
    batch = batch or BATCHES[name]
    overrides = [
        f"loop.batch_size={batch}", "loop.num_workers=0", "network.init_from=",
        "loop.log_every=1000", "loop.save_every=100000", "loss.temperature=2.0",
    ]  # fmt: skip
    settings = recipe.read(file, VoiceRecipe, overrides)
    options = {} if full else narrow
    network = settings.network.model_copy(update={"options": options})
    samples = 96_000 if name == "ve_conv" else 164_160
    small = {} if full else {"channels": (4, 4, 8, 8, 8)}
    decoder = (
        FaceDecoder() if full else FaceDecoder(trunk=(384, 192), landmarks=(16,), texture=(8, 8))
    )
    clips = Clips(max(16, 2 * batch), samples)
    return Case(name, settings.model_copy(update={"network": network}), phase, clips,
                VGGFace(**small), decoder)  # fmt: skip


def compare(case: Case, steps: int, warm: int = 1) -> str:
    """Return a line with the medians of both loops."""

    with tempfile.TemporaryDirectory(prefix="vox2face-bench-") as name:
        folder = Path(name)
        (folder / "files").mkdir()
        found, once = ours(case, folder / "run", steps + warm)
        other = list(theirs(case, folder / "files", steps + warm))
    mine, their = statistics.median(found[warm:]), statistics.median(other[warm:])
    more = (
        f"; its frozen backbone once: {once:.1f} s for {len(case.clips)} clips"
        if once > 0.1
        else ""
    )
    return (
        f"{case.name:<9} batch {case.settings.loop.batch_size}: vox2face {1 / mine:7.3f} steps/s, "
        f"Speech-to-face {1 / their:7.3f}: {their / mine:5.2f} times as fast{more}"
    )


def main() -> None:
    """Print a line for each comparison."""
    parser = argparse.ArgumentParser()
    parser.add_argument("--full", action="store_true")
    parser.add_argument("--steps", type=int, default=5)
    parser.add_argument("--batch", type=int)
    parser.add_argument("--only", default=",".join(CASES))
    given = parser.parse_args()
    print(f"torch {torch.__version__}, {torch.get_num_threads()} threads, "
          f"{'full-size' if given.full else 'narrow'} networks")  # fmt: skip
    for name in given.only.split(","):
        print(compare(case_of(name, given.full, given.batch), given.steps))


if __name__ == "__main__":
    main()
