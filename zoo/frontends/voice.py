"""Signal front ends as modules: the same code preprocesses, trains, serves and exports."""

from __future__ import annotations

import math

import torch
from torch import Tensor, nn
from torch.nn import functional

from vox2face.core.errors import UsageError
from vox2face.media.audio import FULL_SCALE, RATE, SHORTEST
from vox2face.zoo.frontends import spectra
from vox2face.zoo.frontends.spectra import FFT, HOP, WINDOW
from vox2face.zoo.presets import VoicePreset, voice_preset

FBANK_FRAMES = 1024
FBANK_FLOOR = 2.0**-23  # Kaldi's floor of an energy: float32's epsilon
PARTIAL, STEP, COVERED = 160, 77, 120  # frames: 1.6 s, 1 / 1.3 s, the 75 % a last partial needs
LARGEST = 1 - 1 / FULL_SCALE  # FFmpeg's astats counts dB below the largest 16-bit sample
SILENCE = 2.0**-100  # mean square: a waveform that is 0, or as good as 0, is not amplified
DECIBEL_STEPS = 1e6  # a dB: FFmpeg's astats filter prints levels with six decimals


class Spectrogram(nn.Module):
    """Waveforms (n, samples) at 16 kHz, -1..1, to compressed spectrograms (n, 2, 257, frames).

    Hann window of 400 samples, hop of 160, 512-point DFT; either magnitude and phase (radians) or
    real and imaginary part, each compressed to sign(x) |x|^0.3. 96000 samples give 601 frames
    centred, 598 uncentred. The phase of silence is 0.
    """

    dft: Tensor
    window: Tensor

    def __init__(self, preset: VoicePreset) -> None:
        super().__init__()
        self.preset = _fitting(preset, "spectrogram")
        # librosa keeps the window in the middle of the 512 samples, the paper at their beginning
        self.first = (FFT - WINDOW) // 2 if preset.centered else 0
        window = torch.hann_window(WINDOW, dtype=torch.float64)
        dft = spectra.dft(FFT, self.first) * window
        self.register_buffer("dft", dft.float(), persistent=False)
        whole = functional.pad(window, (self.first, FFT - WINDOW - self.first))
        self.register_buffer("window", whole.float(), persistent=False)

    def forward(self, x: Tensor) -> Tensor:
        """Return the spectrograms; waveforms of one batch have the same length, 1600 or more."""
        y = self.stft(x)
        if self.preset.parts == "real-imaginary":
            return spectra.compressed(y)
        real, imaginary = y.unbind(1)
        parts = (spectra.magnitude(y), spectra.phase(real, imaginary))
        return spectra.compressed(torch.stack(parts, 1))

    def stft(self, x: Tensor) -> Tensor:
        """Return real and imaginary part before the compression, (n, 2, 257, frames)."""
        x = checked(x, self.dft)
        x = spectra.centered(x) if self.preset.centered else x
        if torch.compiler.is_compiling():  # also while a graph is exported
            return spectra.transformed(self.dft, spectra.framed(x))
        return spectra.fast_transformed(x, self.window, self.first)


class FilterBank(nn.Module):
    """Waveforms (n, samples) at 16 kHz, -1..1, to normalised log mel energies (n, frames, 128).

    Kaldi's fbank as AST uses it: frames of 400 samples, each without its mean, pre-emphasised and
    under a symmetric Hann window; energies of 128 bands from 20 Hz to 8 kHz, natural logarithm.
    There are 1024 frames, or as many as the network hears: those behind are cut off and missing
    ones are 0, then (x - mean) / (2 std).
    """

    dft: Tensor
    bands: Tensor

    def __init__(self, preset: VoicePreset, frames: int = FBANK_FRAMES) -> None:
        super().__init__()
        self.preset, self.frames = _fitting(preset, "fbank"), frames
        window = torch.hann_window(WINDOW, periodic=False, dtype=torch.float64)
        analysis = (spectra.dft(FFT, 0) * window) @ spectra.preemphasis() @ spectra.without_mean()
        self.register_buffer("dft", analysis.float(), persistent=False)
        self.register_buffer("bands", spectra.kaldi_bands().float(), persistent=False)

    def forward(self, x: Tensor) -> Tensor:
        """Return the energies; waveforms of one batch have the same length, 1600 or more."""
        x = checked(x, self.dft)[:, : (self.frames - 1) * HOP + WINDOW]
        spectrum = spectra.transformed(self.dft, spectra.framed(x))
        energies = spectra.product(self.bands, spectrum.square().sum(1))
        y = energies.clamp(min=FBANK_FLOOR).log().transpose(1, 2)
        y = functional.pad(y, (0, 0, 0, self.frames))[:, : self.frames]
        return (y - self.preset.mean) / (2 * self.preset.std)


class MelPartials(nn.Module):
    """Waveforms (n, samples) at 16 kHz to partial utterances (n, partials, 160, 40).

    Powers of Slaney's 40 mel bands in centred frames of 400 samples (periodic Hann window), not
    their logarithm. A partial utterance has 160 frames, and one starts every 77 frames as long as
    75 % of it lies in the recording; zeros complete it. The first one is always there.
    """

    dft: Tensor
    bands: Tensor

    def __init__(self, preset: VoicePreset) -> None:
        super().__init__()
        self.preset = _fitting(preset, "mel")
        window = torch.hann_window(WINDOW, dtype=torch.float64)
        self.register_buffer("dft", (spectra.dft(WINDOW, 0) * window).float(), persistent=False)
        self.register_buffer("bands", spectra.slaney_bands().float(), persistent=False)

    def forward(self, x: Tensor) -> Tensor:
        """Return the partial utterances; one batch has one length, 1600 samples or more."""
        x = checked(x, self.dft)
        # max() would fix the number in an exported graph
        whole: int = torch.sym_max(x.shape[1] // HOP, COVERED)  # type: ignore[no-untyped-call]
        partials = (whole - COVERED) // STEP + 1
        frames = spectra.framed(functional.pad(spectra.centered(x), (0, PARTIAL * HOP)))
        spectrum = spectra.transformed(self.dft, frames)
        mel = spectra.product(self.bands, spectrum.square().sum(1)).transpose(1, 2)
        start = torch.arange(partials, device=x.device).unsqueeze(1) * STEP
        chosen = start + torch.arange(PARTIAL, device=x.device)
        mel = mel.index_select(1, chosen.flatten())
        return mel.reshape(x.shape[0], partials, PARTIAL, mel.shape[2])


class VoiceInput(nn.Module):
    """Waveforms (n, samples) at 16 kHz, any one length from 1600, to a voice encoder's input.

    The waveform is levelled, cut or repeated as the preset states, and goes through its front end.
    Gradients pass through the rounding to 16 bits as if it were not there, and the gain counts as
    a constant. Silent rows stay silent. `frames` is for networks that hear another number of them
    than usual.
    """

    def __init__(self, preset: VoicePreset, frames: int | None = None) -> None:
        super().__init__()
        self.preset, self.frontend = preset, voice_frontend(preset, frames)

    def forward(self, x: Tensor) -> Tensor:
        """Return what the front end makes of the levelled waveforms."""
        x = checked(x, self.frontend.dft)
        y: Tensor = self.frontend(self.fitted(self.levelled(x)))
        return y

    def levelled(self, x: Tensor) -> Tensor:
        """Return the waveforms (n, samples), each brought to the preset's level."""
        if self.preset.decibels is None:
            return x
        if self.preset.level == "increase-only":
            return x * gain(x, self.preset.decibels, 1.0).clamp(min=1).to(x.dtype)
        x = _sixteen_bit(x)
        return _sixteen_bit(x * gain(x, self.preset.decibels, LARGEST).to(x.dtype))

    def fitted(self, x: Tensor) -> Tensor:
        """Return the waveforms cut to the preset's length, or repeated up to it."""
        if self.preset.samples is None:
            return x
        if self.preset.short == "pad":
            return x[:, : self.preset.samples]
        length = torch.full((), x.shape[1], device=x.device)
        return x.index_select(1, torch.arange(self.preset.samples, device=x.device) % length)


Frontend = Spectrogram | FilterBank | MelPartials
FRONTENDS: dict[str, type[Frontend]] = {
    "spectrogram": Spectrogram,
    "fbank": FilterBank,
    "mel": MelPartials,
}


def voice_frontend(preset: VoicePreset | str, frames: int | None = None) -> Frontend:
    """Return the front end of a preset or of its name: waveforms in, what the network takes out.

    `frames` is how many a filter bank gives, 1024 if it is None.
    """
    preset = voice_preset(preset) if isinstance(preset, str) else preset
    if preset.frontend not in FRONTENDS:
        known = ", ".join(FRONTENDS)
        raise UsageError(
            f"Preset {preset.name} asks for a front end {preset.frontend!r}: choose one of {known}."
        )
    if preset.frontend == "fbank" and frames is not None:
        return FilterBank(preset, frames)
    return FRONTENDS[preset.frontend](preset)


def _fitting(preset: VoicePreset, frontend: str) -> VoicePreset:
    """Return the preset if it is one for this front end."""
    if preset.frontend != frontend:
        raise UsageError(
            f"Preset {preset.name} is for the front end {preset.frontend!r}, not {frontend!r}: "
            f"let voice_frontend() choose."
        )
    return preset


def checked(x: Tensor, like: Tensor) -> Tensor:
    """Return the waveforms if they are (n, samples) of the constants' type, 0.1 s or longer."""
    if x.ndim != 2 or x.dtype != like.dtype or x.shape[1] < SHORTEST:
        raise UsageError(
            f"Waveforms must be {str(like.dtype)[6:]} (n, samples), -1..1 at {RATE} Hz, with "
            f"{SHORTEST} samples or more; these are {str(x.dtype)[6:]} {tuple(x.shape)}."
        )
    return x


def gain(x: Tensor, decibels: float, unit: float) -> Tensor:
    """Return the factors (n, 1), float64, that bring waveforms to a level; 1 if they are silent.

    The level is an RMS in dB below `unit`.
    """
    power = x.detach().double().square().mean(1, keepdim=True)
    # a tensor, since the exporter to ONNX rounds plain numbers to float32
    nepers = torch.tensor(20 / math.log(10), dtype=torch.float64, device=x.device)
    level = (power.clamp(min=SILENCE).sqrt() / unit).log() * nepers
    change = decibels - torch.round(level * DECIBEL_STEPS) / DECIBEL_STEPS
    return (change * (power > SILENCE) / nepers).exp()


def _sixteen_bit(x: Tensor) -> Tensor:
    """Return the waveforms in whole 16-bit steps, clipped; gradients pass as if nothing were."""
    steps = torch.round(x * FULL_SCALE).clamp(-FULL_SCALE, FULL_SCALE - 1) / FULL_SCALE
    return x + (steps - x).detach()
