"""Change the voice of a base recording with WORLD: pitch, formants, tilt, breath and rate."""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray

from vox2face.media.audio import RATE
from vox2face.train.synth.voice.analysis import (
    FRAME,
    Analysis,
    analyse,
    aperiodicity,
    bins,
    envelope,
)
from vox2face.train.synth.voice.traits import Voice

# The differences of two clips of one person beside the sentence, drawn uniformly.
F0_SPREAD = 0.03  # of log F0, either way
RATE_SPREAD = 0.03  # of log rate
LEVEL = (-26.0, -20.0)  # dB RMS
NOISE = (25.0, 45.0)  # dB below the voice
COLOUR = (0.0, 1.5)  # the noise's power falls as frequency to minus that
LOWEST = 50.0  # Hz, of the noise
PEAK = 0.98

TILT_UNIT = 6.0  # nepers of power at 8 kHz for a tilt of 1
BREATH_POWER = 0.7  # breath rises with frequency to that


def render_voice(
    base: NDArray[Any] | Analysis, voice: Voice, rng: np.random.Generator
) -> NDArray[np.float32]:
    """Return a recording spoken by `voice`: float32 (samples,), 16 kHz, -1..1.

    `base` is the recording, a waveform at 16 kHz, or its analysis, which takes the most time (see
    `Bank.analysis`). `rng` draws the differences between clips of one person: pitch and pace
    within 3 %, level, and the noise of a quiet room.
    """
    analysis = base if isinstance(base, Analysis) else analyse(base)
    pitch = float(np.exp(rng.uniform(-F0_SPREAD, F0_SPREAD)))
    pace = float(np.exp(rng.uniform(-RATE_SPREAD, RATE_SPREAD)))
    spoken = synthesised(analysis, voice, pitch, pace, rng)
    return _in_a_room(spoken, rng)


def synthesised(
    analysis: Analysis, voice: Voice, pitch: float, pace: float, rng: np.random.Generator
) -> NDArray[np.float64]:
    """Synthesise the waveform with the traits of a voice, float64 (samples,)."""
    import pyworld

    height = (bins() / (RATE / 2)).astype(np.float32)
    power = envelope(analysis, voice.alpha)
    power += np.float32(voice.tilt * TILT_UNIT) * height
    noisy = aperiodicity(analysis)
    noisy += np.float32(voice.breath) * height**BREATH_POWER
    period = FRAME / (voice.rate * pace)
    f0 = contour(analysis.f0.astype(np.float64), voice, voice.f0 * pitch, period, rng)
    spoken: NDArray[np.float64] = pyworld.synthesize(
        f0,
        np.exp(power).astype(np.float64),
        np.minimum(noisy, 1).astype(np.float64),
        RATE,
        period,
    )
    return spoken


def contour(
    f0: NDArray[np.float64], voice: Voice, median: float, period: float, rng: np.random.Generator
) -> NDArray[np.float64]:
    """Return F0 (frames,) with another median in Hz, with jitter and tremor."""
    voiced = f0 > 0
    moved = f0 * (median / np.median(f0[voiced]))
    shake = voice.jitter * rng.normal(size=len(f0))
    seconds = np.arange(len(f0)) * (period / 1000)
    phase = rng.uniform(0, 2 * np.pi)
    shake += voice.tremor * np.sin(2 * np.pi * voice.tremor_hz * seconds + phase)
    return np.where(voiced, moved * np.exp(shake), 0.0)


def _in_a_room(spoken: NDArray[np.float64], rng: np.random.Generator) -> NDArray[np.float32]:
    """Set the level of a voice and add coloured noise, without clipping."""
    level, distance, colour = (rng.uniform(*bounds) for bounds in (LEVEL, NOISE, COLOUR))
    noise = _coloured(len(spoken), colour, rng)
    voice = spoken / rms(spoken)
    mixed = (voice + noise * (10 ** (-distance / 20) / rms(noise))) * 10 ** (level / 20)
    loudest = float(np.abs(mixed).max())
    return (mixed * min(1.0, PEAK / loudest)).astype(np.float32)


def _coloured(samples: int, colour: float, rng: np.random.Generator) -> NDArray[np.float64]:
    """Return noise (samples,) whose power falls as frequency to the power of -`colour`."""
    length = 1 << (samples - 1).bit_length()
    frequency = np.maximum(np.fft.rfftfreq(length, 1 / RATE), LOWEST)
    spectrum = np.fft.rfft(rng.normal(size=length)) * frequency ** (-colour / 2)
    return np.fft.irfft(spectrum, length)[:samples]


def rms(waveform: NDArray[np.float64]) -> float:
    """Return the root mean square, at least 1e-12."""
    return max(float(np.sqrt(np.square(waveform).mean())), 1e-12)
