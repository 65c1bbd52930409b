"""Every voice front end computes what its owner's own function computes, in torch and in ONNX."""

from __future__ import annotations

import contextlib
import importlib
import importlib.util
import io
import logging
import sys
import types
import warnings

import librosa
import numpy as np
import onnxruntime
import pytest
import torch
from torch import nn
from transformers import ASTFeatureExtractor

from vox2face.core.errors import UsageError
from vox2face.media import audio
from vox2face.zoo.frontends.spectra import phase, series_phase
from vox2face.zoo.frontends.voice import (
    FilterBank,
    MelPartials,
    Spectrogram,
    VoiceInput,
    voice_frontend,
)
from vox2face.zoo.presets import VOICE_PRESETS, VoicePreset, voice_preset

SHAPES = {
    "ve-conv": (2, 257, 601),
    "speech2face-paper": (2, 257, 598),
    "ast-audioset": (1024, 128),
    "ast-speech-to-face": (1024, 128),
    "resemblyzer": (7, 160, 40),  # of 6 s
}
SPECTROGRAMS = ["ve-conv", "speech2face-paper"]
FILTER_BANKS = ["ast-audioset", "ast-speech-to-face"]
LENGTHS = [1600, 1601, 19200, 25600, 31519, 31520, 31521, 43839, 43840, 60000, 96000, 164160]


def speech(samples: int) -> np.ndarray:
    """Recorded speech, repeated or cut, at changing levels so that no two periods are alike."""
    time = np.arange(samples) / 16000
    return (audio.fit(audio.speech(), samples) * (0.6 + 0.4 * np.sin(time))).astype(np.float32)


def run(module: nn.Module, *rows: np.ndarray) -> np.ndarray:
    with torch.inference_mode():
        result = module(torch.from_numpy(np.stack(rows)))
    assert result.dtype == torch.float32
    return result.numpy()


def expanded(x: np.ndarray) -> np.ndarray:
    """Undo the compression."""
    return np.sign(x) * np.abs(x.astype(np.float64)) ** (1 / 0.3)


def spectrum(preset: VoicePreset, y: np.ndarray) -> np.ndarray:
    """The complex STFT (..., 257, frames) that a compressed spectrogram came from."""
    first, second = expanded(y[..., 0, :, :]), expanded(y[..., 1, :, :])
    if preset.parts == "real-imaginary":
        return first + 1j * second
    return first * np.exp(1j * second)


def owners_stft(preset: VoicePreset, x: np.ndarray) -> np.ndarray:
    """librosa's STFT, or for the paper's framing the definition of tf.signal.stft."""
    if preset.centered:
        return librosa.stft(x, n_fft=512, hop_length=160, win_length=400)
    frames = np.lib.stride_tricks.sliding_window_view(x.astype(np.float64), 400)[::160]
    window = 0.5 - 0.5 * np.cos(2 * np.pi * np.arange(400) / 400)
    return np.fft.rfft(frames * window, 512).T


@pytest.mark.parametrize("name", VOICE_PRESETS)
def test_shape_and_type_are_those_of_the_preset(name: str) -> None:
    preset = voice_preset(name)
    wave = speech(preset.samples or 96000)
    assert run(voice_frontend(name), wave, wave).shape == (2, *SHAPES[name])
    assert run(VoiceInput(preset), wave[:96000]).shape == (1, *SHAPES[name])
    assert not VoiceInput(preset).state_dict()


@pytest.mark.long
@pytest.mark.parametrize("name", SPECTROGRAMS)
def test_stft_equals_librosas_and_the_definition(name: str) -> None:
    preset, wave = voice_preset(name), speech(96000)
    want = owners_stft(preset, wave)
    got = Spectrogram(preset).stft(torch.from_numpy(wave)[None]).numpy()[0]
    assert np.abs(got[0] + 1j * got[1] - want).max() < 1e-5 * np.abs(want).max()


def test_ve_conv_is_compressed_magnitude_and_phase() -> None:
    preset, wave = voice_preset("ve-conv"), speech(96000)
    want = owners_stft(preset, wave)
    magnitude, angle = run(Spectrogram(preset), wave)[0]
    difference = np.abs(magnitude - np.abs(want) ** 0.3)
    assert difference.mean() < 2e-5 and difference.max() < 5e-3
    loud = np.abs(want) > 1e-3 * np.abs(want).max()
    assert loud.mean() > 0.2
    turned = np.exp(1j * expanded(angle)) - np.exp(1j * np.angle(want))
    assert np.abs(turned[loud]).max() < 2e-3
    assert np.abs(expanded(angle)).max() < np.pi + 1e-5


def test_paper_is_compressed_real_and_imaginary_part() -> None:
    preset, wave = voice_preset("speech2face-paper"), speech(96000)
    want = owners_stft(preset, wave)
    parts = np.stack((want.real, want.imag))
    difference = run(Spectrogram(preset), wave)[0] - np.sign(parts) * np.abs(parts) ** 0.3
    assert np.abs(difference).mean() < 2e-5 and np.abs(difference).max() < 2e-2


@pytest.mark.parametrize(("name", "bins"), [("ve-conv", 257), ("resemblyzer", 201)])
def test_sine_rows_of_lowest_and_highest_frequency_are_exactly_zero(name: str, bins: int) -> None:
    dft = voice_frontend(name).dft
    assert len(dft) == 2 * bins
    assert not dft[bins].any() and not dft[-1].any()
    assert dft[bins + 1].any() and dft[-2].any() and dft[bins - 1].any()


@pytest.mark.parametrize("name", SPECTROGRAMS)
def test_silence_is_zero_in_both_channels(name: str) -> None:
    silent = np.zeros(16000, np.float32)
    both = run(voice_frontend(name), silent, -silent)
    assert not both.any()


def test_phase_is_that_of_atan2_everywhere_and_0_for_0() -> None:
    angle = torch.linspace(-np.pi, np.pi, 100_001)
    for radius in (1e-12, 1e-4, 1.0, 1e3):
        real, imaginary = radius * angle.cos(), radius * angle.sin()
        difference = series_phase(real, imaginary) - torch.atan2(imaginary, real)
        assert difference.abs().max() < 1e-6
    axes = torch.tensor([[0.0, 1], [0, -1], [1, 0], [-1, 0], [0, 0], [-0.0, 0], [-0.0, -0.0]])
    want = torch.tensor([np.pi / 2, -np.pi / 2, 0, np.pi, 0, 0, 0])
    for angle in (phase, series_phase):
        torch.testing.assert_close(angle(axes[:, 0], axes[:, 1]), want, atol=1e-6, rtol=0)


def kaldi_fbank(x: np.ndarray) -> np.ndarray:
    """Kaldi's fbank with a Hann window and 128 bands, written in float64 from its definition."""
    frames = np.lib.stride_tricks.sliding_window_view(x.astype(np.float64), 400)[::160].copy()
    frames -= frames.mean(1, keepdims=True)
    before = np.concatenate((frames[:, :1], frames[:, :-1]), 1)
    window = 0.5 - 0.5 * np.cos(2 * np.pi * np.arange(400) / 399)
    power = np.abs(np.fft.rfft((frames - 0.97 * before) * window, 512)) ** 2
    lowest, highest = (1127 * np.log(1 + f / 700) for f in (20, 8000))
    width = (highest - lowest) / 129
    bands = np.zeros((128, 257))
    for band in range(128):
        left = lowest + band * width
        for k in range(256):
            mel = 1127 * np.log(1 + k * 31.25 / 700)
            if left < mel < left + 2 * width:
                bands[band, k] = 1 - abs(mel - left - width) / width
    return np.log(np.maximum(power @ bands.T, 1.1920928955078125e-07))


@pytest.mark.filterwarnings("ignore:At least one mel filter")
@pytest.mark.parametrize("name", FILTER_BANKS)
@pytest.mark.parametrize("samples", [1600, 47840, 164160, 170000])
def test_filter_bank_equals_the_feature_extractor_and_kaldi(name: str, samples: int) -> None:
    preset, wave = voice_preset(name), speech(samples) + np.float32(0.01)
    got = run(FilterBank(preset), wave)[0]
    extractor = ASTFeatureExtractor(mean=preset.mean, std=preset.std)
    want = extractor(wave, sampling_rate=16000)["input_values"][0]
    np.testing.assert_allclose(got, want, rtol=0, atol=1e-3)
    defined = kaldi_fbank(wave)[:1024]
    normalised = (defined - preset.mean) / (2 * preset.std)
    np.testing.assert_allclose(got[: len(defined)], normalised, rtol=0, atol=1e-3)
    assert len(defined) == min(1024, 1 + (samples - 400) // 160)
    missing = np.full((1024 - len(defined), 128), -preset.mean / (2 * preset.std))
    np.testing.assert_allclose(got[len(defined) :], missing, rtol=1e-6)


def slices(samples: int) -> list[slice]:
    """Frames of the partial utterances, from their definition: 1.3 a second, 75 % covered."""
    frames, step = int(np.ceil((samples + 1) / 160)), round(16000 / 1.3 / 160)
    starts = list(range(0, max(1, frames - 160 + step + 1), step))
    if len(starts) > 1 and (samples - starts[-1] * 160) / (160 * 160) < 0.75:
        starts.pop()
    return [slice(start, start + 160) for start in starts]


def padded(wave: np.ndarray) -> np.ndarray:
    """The waveform with the zeros that complete its last partial utterance."""
    return np.pad(wave, (0, max(0, slices(len(wave))[-1].stop * 160 - len(wave))))


@pytest.mark.parametrize("samples", LENGTHS)
def test_mel_partials_equal_librosas_mel_spectrogram(samples: int) -> None:
    wave = speech(samples)
    mel = librosa.feature.melspectrogram(
        y=padded(wave), sr=16000, n_fft=400, hop_length=160, n_mels=40
    ).T
    want = np.stack([mel[part] for part in slices(samples)])
    got = run(MelPartials(voice_preset("resemblyzer")), wave)[0]
    assert got.shape == want.shape
    assert np.abs(got - want).max() < 1e-5 * want.max()
    loud = want > 1e-6 * want.max()
    np.testing.assert_allclose(got[loud], want[loud], rtol=1e-3)


def test_number_of_partials_follows_the_definition_at_every_length() -> None:
    front = MelPartials(voice_preset("resemblyzer"))
    lengths = [*range(1600, 1900, 150), *(19200 + 12320 * k + d for k in range(4) for d in (-1, 0))]
    for samples in lengths:
        assert run(front, np.zeros(samples, np.float32)).shape[1] == len(slices(samples))


@pytest.fixture
def resemblyzer(monkeypatch: pytest.MonkeyPatch) -> types.ModuleType:
    """Resemblyzer itself, without its voice activity detector, which needs a compiler."""
    if importlib.util.find_spec("resemblyzer") is None:
        pytest.skip("resemblyzer is not installed: pip install --no-deps Resemblyzer==0.1.4")
    morphology = types.ModuleType("scipy.ndimage.morphology")
    morphology.binary_dilation = None  # type: ignore[attr-defined]
    monkeypatch.setitem(sys.modules, "scipy.ndimage.morphology", morphology)
    monkeypatch.setitem(sys.modules, "webrtcvad", types.ModuleType("webrtcvad"))
    for module in ("resemblyzer", "resemblyzer.audio", "resemblyzer.voice_encoder"):
        monkeypatch.delitem(sys.modules, module, raising=False)
    return importlib.import_module("resemblyzer")


def test_resemblyzer_preset_equals_resemblyzers_own_steps(resemblyzer: types.ModuleType) -> None:
    owner = importlib.import_module("resemblyzer.audio")
    for samples, factor in ((20000, 0.01), (60000, 0.01), (60000, 1.0)):
        wave = speech(samples) * np.float32(factor)
        levelled = owner.normalize_volume(wave, -30, increase_only=True)
        _, parts = resemblyzer.VoiceEncoder.compute_partial_slices(samples, 1.3, 0.75)
        mel = owner.wav_to_mel_spectrogram(np.pad(levelled, (0, 160 * 160)))
        want = np.stack([mel[part] for part in parts])
        got = run(VoiceInput(voice_preset("resemblyzer")), wave)[0]
        assert parts == slices(samples)
        assert np.abs(got - want).max() < 1e-5 * want.max()


@pytest.mark.parametrize("name", ["ve-conv", "ast-speech-to-face"])
@pytest.mark.parametrize("samples", [1600, 50001, 200000])
def test_voice_input_levels_and_fits_as_the_audio_module(name: str, samples: int) -> None:
    preset, wave = voice_preset(name), speech(samples) * np.float32(0.3)
    assert preset.decibels is not None and preset.samples is not None
    prepared = audio.fit(audio.level(wave, preset.decibels), preset.samples)
    module = VoiceInput(preset)
    ours = module.fitted(module.levelled(torch.from_numpy(wave)[None]))[0].numpy()
    np.testing.assert_array_equal(ours, prepared)
    np.testing.assert_array_equal(run(module, wave), run(voice_frontend(name), prepared))


@pytest.mark.parametrize("name", ["speech2face-paper", "ast-audioset"])
def test_presets_without_a_level_hear_the_waveform_as_it_is(name: str) -> None:
    preset, wave = voice_preset(name), speech(48000) / 3
    heard = audio.fit(wave, 96000) if preset.short == "repeat" else wave
    np.testing.assert_array_equal(run(VoiceInput(preset), wave), run(voice_frontend(name), heard))


@pytest.mark.parametrize("name", VOICE_PRESETS)
def test_rows_of_a_batch_do_not_disturb_each_other_and_silence_is_finite(name: str) -> None:
    module, wave = VoiceInput(voice_preset(name)), speech(40000)
    both = run(module, np.zeros_like(wave), wave)
    assert np.isfinite(both).all()
    one = run(module, wave)[0]
    if name in SPECTROGRAMS:
        one, row = spectrum(voice_preset(name), one), spectrum(voice_preset(name), both[1])
    else:
        row = both[1]
    np.testing.assert_allclose(row, one, rtol=0, atol=1e-4 * np.abs(one).max())


@pytest.mark.parametrize("name", VOICE_PRESETS)
def test_gradients_are_finite_for_speech_and_for_silence(name: str) -> None:
    wave = np.stack((speech(20000), np.zeros(20000, np.float32), speech(20000)))
    wave[2, 5000:] = 0
    for module in (voice_frontend(name), VoiceInput(voice_preset(name))):
        x = torch.from_numpy(wave.copy()).requires_grad_()
        module(x).square().sum().backward()
        assert x.grad is not None and x.grad.isfinite().all()
        assert x.grad[0].any() and not x.grad[1].any()


@pytest.mark.parametrize("name", VOICE_PRESETS)
def test_gradients_are_the_slope_along_a_direction(name: str) -> None:
    module = voice_frontend(name).double()
    generator = torch.Generator().manual_seed(3)
    noise = torch.randn(3, 2000, generator=generator, dtype=torch.float64)
    x = (torch.from_numpy(speech(2000)).double()[None] + 0.01 * noise[:1]).requires_grad_()
    weights = torch.randn(module(x).shape, generator=generator, dtype=torch.float64)
    (module(x) * weights).sum().backward()
    assert x.grad is not None
    step = 1e-8 * noise[1:2]
    with torch.no_grad():
        slope = ((module(x + step) - module(x - step)) * weights).sum() / 2e-8
    torch.testing.assert_close((x.grad * noise[1:2]).sum(), slope, rtol=1e-4, atol=0)


def test_levelling_passes_the_gradient_times_the_gain() -> None:
    module = VoiceInput(voice_preset("ve-conv"))
    x = torch.from_numpy(speech(16000)[None] / 10).requires_grad_()
    levelled = module.levelled(x)
    levelled.sum().backward()
    assert x.grad is not None
    rms = x.detach().square().mean().sqrt()
    torch.testing.assert_close(
        x.grad, torch.full_like(x, 10 ** (-23 / 20) / float(rms)), rtol=1e-3, atol=0
    )


def test_autocast_does_not_blur_the_spectrum() -> None:
    wave = torch.from_numpy(speech(16000))[None]
    for module in (voice_frontend("ast-audioset"), voice_frontend("resemblyzer")):
        want = module(wave)
        with torch.autocast("cpu", dtype=torch.bfloat16):
            torch.testing.assert_close(module(wave), want)


def exported(module: nn.Module, samples: int) -> onnxruntime.InferenceSession:
    """The module as an ONNX graph with free batch and length, as this project exports modules."""
    logging.getLogger("torch.onnx").setLevel(logging.ERROR)
    with warnings.catch_warnings(), contextlib.redirect_stdout(io.StringIO()):
        warnings.simplefilter("ignore")
        program = torch.onnx.export(
            module.eval(),
            (torch.zeros(2, samples),),
            dynamo=True,
            verbose=False,
            opset_version=20,
            input_names=["waveform"],
            output_names=["preprocessed"],
            dynamic_shapes=({0: "batch", 1: "samples"},),
        )
    assert program is not None
    model = program.model_proto
    assert not {node.op_type for node in model.graph.node} & {"STFT", "DFT", "Loop", "Scan", "If"}
    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = 1
    return onnxruntime.InferenceSession(model.SerializeToString(), options)


def same(preset: VoicePreset, got: np.ndarray, want: np.ndarray) -> None:
    """Compare with tolerances that mean the same for quiet and loud parts of a spectrum."""
    assert got.shape == want.shape and got.dtype == want.dtype
    if preset.frontend == "spectrogram":
        assert np.abs(got - want).mean() < 1e-4
        got, want = spectrum(preset, got), spectrum(preset, want)
    if preset.frontend == "fbank":
        np.testing.assert_allclose(got, want, rtol=0, atol=1e-3)
        assert np.abs(got - want).mean() < 1e-6
    else:
        assert np.abs(got - want).max() <= 2e-6 * np.abs(want).max()


@pytest.mark.long
@pytest.mark.parametrize("name", VOICE_PRESETS)
def test_onnx_from_the_waveform_computes_the_same(name: str) -> None:
    module = VoiceInput(voice_preset(name))
    session = exported(module, 50000)
    for samples in (1600, 30001, 170000):
        waves = [speech(samples) / 4, np.zeros(samples, np.float32), speech(samples)[::-1]]
        for rows in (waves[:1], waves):
            got = session.run(None, {"waveform": np.stack(rows)})[0]
            same(module.preset, got, run(module, *rows))


@pytest.mark.long
def test_onnx_front_end_alone_takes_any_length() -> None:
    module = voice_frontend("ve-conv")
    session = exported(module, 1700)
    for samples in (1600, 96000):
        rows = [speech(samples), np.zeros(samples, np.float32)]
        got = session.run(None, {"waveform": np.stack(rows)})[0]
        same(module.preset, got, run(module, *rows))
        assert got.shape[3] == 1 + samples // 160 and not got[1].any()


@pytest.mark.parametrize("name", VOICE_PRESETS)
@pytest.mark.parametrize(
    "wrong",
    [
        torch.zeros(16000),
        torch.zeros(1, 1, 16000),
        torch.zeros(1, 1599),
        torch.zeros(1, 16000, dtype=torch.int16),
        torch.zeros(1, 16000, dtype=torch.float64),
    ],
    ids=lambda x: f"{x.dtype}-{tuple(x.shape)}",
)
def test_wrong_waveforms_are_answered_with_what_is_expected(name: str, wrong: torch.Tensor) -> None:
    for module in (voice_frontend(name), VoiceInput(voice_preset(name))):
        with pytest.raises(UsageError, match=r"float32 \(n, samples\).*16000 Hz.*1600 samples"):
            module(wrong)


def test_unknown_presets_list_the_known_ones() -> None:
    with pytest.raises(UsageError, match="ve-conv, speech2face-paper, ast-audioset"):
        voice_preset("mfcc")
    with pytest.raises(UsageError, match="ast-audioset is for the front end 'fbank'"):
        Spectrogram(voice_preset("ast-audioset"))


def test_presets_say_what_their_values_are() -> None:
    assert {name: preset.meaning for name, preset in VOICE_PRESETS.items()} == {
        "ve-conv": "magnitude and phase of the STFT, each sign(x) |x|^0.3, centred frames",
        "speech2face-paper": "real and imaginary part of the STFT, each sign(x) |x|^0.3, "
        "uncentred frames",
        "ast-audioset": "log energies of 128 mel bands, minus -4.26774, divided by 9.13799",
        "ast-speech-to-face": "log energies of 128 mel bands, minus -5.46099, divided by 6.22582",
        "resemblyzer": "powers of 40 mel bands, no logarithm, in partial utterances of 160 frames",
    }
