"""Voices are heard through rooms, bands and noise: on the device, by the seed, or not at all."""

from __future__ import annotations

import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from helpers.voice_training import WIDTH, Corpus, settings
from safetensors.torch import load_file

from vox2face.core.errors import UsageError
from vox2face.train.datasets.voice import VoiceEncoderDataset
from vox2face.train.figures import curves
from vox2face.train.trainer import checkpoint, recipe
from vox2face.train.voice import features
from vox2face.train.voice import network as voice_network
from vox2face.train.voice.channel import loudness, transmitted
from vox2face.train.voice.loss import VoiceLosses
from vox2face.train.voice.recipe import Channel, VoiceRecipe
from vox2face.train.voice.task import VoiceTask
from vox2face.train.voice.train import train_voice

Make = Callable[..., Path]
FULL = "data.room=0.4", "data.band=3400", "data.equalizer=2.5", "data.coloured_noise=10"


@pytest.fixture(autouse=True)
def undrawn(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(curves, "draw", lambda rows, path: None)
    torch.set_num_threads(1)


def seeded(seed: int = 0) -> torch.Generator:
    return torch.Generator().manual_seed(seed)


def noise(rows: int = 16, samples: int = 16_000) -> torch.Tensor:
    return 0.05 * torch.randn(rows, samples, generator=seeded(9))


def power(x: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
    """Return the frequencies and the powers of rows, in dB."""
    spectrum = torch.fft.rfft(x * torch.hann_window(x.shape[1])).abs().square()
    return torch.fft.rfftfreq(x.shape[1], 1 / 16_000), 10 * spectrum.clamp(min=1e-12).log10()


def test_a_band_ends_between_its_lowest_limit_and_that_of_the_recording() -> None:
    frequencies, levels = power(transmitted(noise(), Channel(band=2000), seeded()))
    middle = levels[:, (frequencies > 400) & (frequencies < 1900)].mean(1)
    assert (levels[:, (frequencies > 0) & (frequencies < 5)].mean(1) < middle - 20).all()
    top = levels[:, frequencies > 7500].mean(1) - middle
    assert top.min() < -60 < -12 < top.max()


def test_an_equalizer_changes_the_tone_and_not_the_level() -> None:
    x = noise()
    y = transmitted(x, Channel(equalizer=3), seeded())
    torch.testing.assert_close(loudness(y), loudness(x), rtol=1e-4, atol=0)
    frequencies, before = power(x)
    change = power(y)[1] - before
    low, high = (change[:, (frequencies > a) & (frequencies < b)].mean(1)
                 for a, b in ((200, 300), (3500, 4500)))  # fmt: skip
    assert 2 < (low - high).std() < 20


def test_every_other_row_is_in_a_room_whose_echo_decays() -> None:
    click = torch.zeros(64, 16_000)
    click[:, 100] = 0.5
    y = transmitted(click, Channel(room=0.3), seeded())
    echoing = y[:, 101:].abs().amax(1) > 1e-3
    assert 16 < echoing.sum() < 48
    torch.testing.assert_close(y[~echoing], click[~echoing], rtol=0, atol=1e-5)
    echo = y[echoing, 101:].square()
    assert (echo[:, :800].mean(1) > 3 * echo[:, 1600:2400].mean(1)).all()
    assert echo[:, 4800:].max() < 1e-10


def test_noise_is_as_strong_as_asked_and_of_another_colour_in_each_row() -> None:
    x = torch.sin(torch.arange(16_000) * 0.3).repeat(32, 1) * 0.1
    added = transmitted(x, Channel(noise=10), seeded()) - x
    ratio = 20 * (loudness(x) / loudness(added)).log10()
    assert (ratio > 9.9).all() and (ratio < 47.1).all() and ratio.std() > 5
    frequencies, levels = power(added)
    slope = levels[:, frequencies < 500].mean(1) - levels[:, frequencies > 4000].mean(1)
    assert slope.min() < 8 and slope.max() > 16


def test_a_seed_gives_the_same_and_a_silent_row_stays_finite() -> None:
    x, channel = noise(4), Channel(0.4, 3400, 2.5, 10)
    x[1] = 0
    y = transmitted(x, channel, seeded())
    assert y.isfinite().all() and y.abs().max() <= 1 and not y[1].any()
    assert torch.equal(y, transmitted(x, channel, seeded()))
    assert not torch.equal(y, transmitted(x, channel, seeded(1)))


def test_nothing_is_changed_nor_drawn_where_all_is_off() -> None:
    chosen = settings("tiny-ve_conv")
    network = voice_network.build(chosen.network, WIDTH, 0)
    task = VoiceTask(network, "ve-conv", VoiceLosses(chosen.loss, WIDTH, 3),
                     chosen.phases["train"], channel=chosen.data.channel)  # fmt: skip
    state, x = torch.get_rng_state(), noise(2)
    assert task.recorded(x) is x and torch.equal(torch.get_rng_state(), state)


def trained(folder: Path, chosen: VoiceRecipe, **more: Any) -> dict[str, torch.Tensor]:
    corpus = Corpus()
    train_voice(corpus.manifest, corpus, chosen, folder, log=lambda line: None, **more)  # type: ignore[arg-type]
    phase = next(iter(chosen.phases))
    return checkpoint.read(folder / phase / checkpoint.LAST)[0]


def same(a: dict[str, torch.Tensor], b: dict[str, torch.Tensor]) -> bool:
    return a.keys() == b.keys() and all(torch.equal(a[k], b[k]) for k in a)


@pytest.mark.long
def test_a_run_that_stopped_goes_on_to_the_same_weights(tmp_path: Path) -> None:
    chosen = settings("tiny-ve_conv", "phases.train.steps=4", *FULL)
    whole = trained(tmp_path / "whole", chosen)
    stopped = trained(tmp_path / "stopped", chosen, minutes=0.0)
    assert not same(stopped, whole)
    assert same(trained(tmp_path / "stopped", chosen, resume=True), whole)
    plain = trained(tmp_path / "plain", settings("tiny-ve_conv", "phases.train.steps=4"))
    assert not same(plain, whole)


def head(bundle: Make, *more: str) -> VoiceRecipe:
    start = bundle("ge2e.resemblyzer", onnx=False)
    return settings("tiny-ge2e", f"network.init_from={start}", "phases.head.epochs=2", *more)


@pytest.mark.long
def test_the_head_learns_from_several_hearings_of_each_clip(
    tmp_path: Path, bundle: Make, monkeypatch: pytest.MonkeyPatch
) -> None:
    chosen = head(bundle, *FULL, "data.gain=3", "data.copies=2")
    whole = trained(tmp_path / "whole", chosen)
    parts = sorted((tmp_path / "whole" / "features").iterdir())
    assert [p.name for p in parts] == ["head-train-0", "head-train-1", "head-val"]
    first, second = (load_file(p / "00000.safetensors")["values"] for p in parts[:2])
    assert first.shape == second.shape and not torch.equal(first, second)
    trained(tmp_path / "stopped", chosen, minutes=0.0)
    monkeypatch.setattr(features, "_features_of", None)  # all there already
    assert same(trained(tmp_path / "stopped", chosen, resume=True), whole)


class Coded(Corpus):
    """A corpus with copies that sound otherwise, and a list of those that were heard."""

    encodings = ("quiet", "flat")

    def __init__(self) -> None:
        super().__init__()
        self.heard: list[tuple[int, str]] = []

    def waveform(self, row: int, encoding: str = "") -> np.ndarray:
        self.heard.append((row, encoding))
        return super().waveform(row) * np.float32(0.5 if encoding == "quiet" else 1)


def test_only_what_is_trained_on_is_heard_as_encoded_copies(tmp_path: Path, bundle: Make) -> None:
    corpus, chosen = Coded(), head(bundle, "data.encoded=0.5", "data.copies=4")
    train_voice(corpus.manifest, corpus, chosen, tmp_path / "run", log=lambda line: None)  # type: ignore[arg-type]
    splits = corpus.manifest.column("split")
    heard = {split: {e for row, e in corpus.heard if splits[row] == split} for split in splits}
    assert heard == {"train": {"", "quiet", "flat"}, "val": {""}}


def test_hearings_of_other_settings_are_not_taken(tmp_path: Path, bundle: Make) -> None:
    first = head(bundle, *FULL, "data.copies=1")
    other = first.model_copy(update={"data": first.data.model_copy(update={"band": 2000.0})})
    runs = {name: tmp_path / name for name in ("first", "other")}
    trained(runs["first"], first)
    trained(runs["other"], other)
    shards = [runs[name] / "features/head-train-0/00000.safetensors" for name in runs]
    before = shards[1].read_bytes()
    shutil.copy(shards[0], shards[1])
    trained(runs["other"], other, resume=True)
    assert shards[1].read_bytes() == before != shards[0].read_bytes()


def test_an_epoch_draws_one_of_the_hearings(monkeypatch: pytest.MonkeyPatch) -> None:
    corpus = Corpus()
    items = VoiceEncoderDataset(corpus.manifest, corpus, "train", "all-to-one", seconds=1)  # type: ignore[arg-type]
    count = len(items.groups.clips)
    values = torch.arange(3.0)[:, None, None].expand(3, count, 4)
    cached = features.FeatureDataset(items, values, {})
    drawn = np.empty((5, count))
    for epoch in range(5):
        cached.set_epoch(epoch)
        drawn[epoch] = [float(cached[i]["features"][0]) for i in range(count)]
    assert {0.0, 1.0, 2.0} == set(drawn.flatten()) and (drawn.std(0) > 0).any()
    cached.set_epoch(0)
    assert [float(cached[i]["features"][0]) for i in range(count)] == drawn[0].tolist()


def test_without_copies_a_frozen_encoder_hears_the_changes_in_every_step(
    tmp_path: Path, bundle: Make
) -> None:
    trained(tmp_path / "run", head(bundle, *FULL, "phases.head.epochs=1"))
    assert not (tmp_path / "run" / "features").exists()


def test_copies_without_effect_are_refused(tmp_path: Path, bundle: Make) -> None:
    with pytest.raises(UsageError, match=r"data\.copies is 3 and a clip always sounds the same"):
        settings("tiny-ge2e", "data.copies=3")
    chosen = settings("tiny-ve_conv", "data.copies=3", *FULL)
    with pytest.raises(UsageError, match=r"data\.copies is 3 and no phase leaves .* frozen"):
        trained(tmp_path / "run", chosen)
    assert not (tmp_path / "run").exists()


@pytest.mark.parametrize(
    ("override", "words"),
    [
        ("data.room=9", r"data\.room is 9: it must be at most 3"),
        ("data.band=300", r"data\.band is 300\.0: the lowest upper limit is from 1000 to 8000 Hz"),
        ("data.band=9000", r"data\.band is 9000: it must be at most 8000"),
        ("data.equalizer=50", r"data\.equalizer is 50: it must be at most 20"),
        ("data.encoded=2", r"data\.encoded is 2: it must be at most 1"),
        ("data.copies=5000", r"data\.copies is 5000: it must be at most 1000"),
    ],
)
def test_what_no_recording_is_like_is_refused(override: str, words: str) -> None:
    with pytest.raises(UsageError, match=words):
        recipe.read("tiny-ge2e", VoiceRecipe, [override])
