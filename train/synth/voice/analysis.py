"""The analysis of a recording by the vocoder WORLD, coded compactly.

Source: M. Morise, F. Yokomori, K. Ozawa, "WORLD: a vocoder-based high-quality speech synthesis
system for real-time applications", IEICE Transactions E99-D, 2016. Here the log power envelope is
coded as cosines over the mel scale, which can be evaluated at any frequency: so formants are
moved. Of the aperiodicity one value is stored, since at 16 kHz WORLD estimates no more.
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from vox2face.core.errors import CorpusError
from vox2face.core.extras import require
from vox2face.core.files import atomic_file
from vox2face.media.audio import RATE

VERSION = 1  # of stored analyses
FRAME = 5.0  # ms
FFT = 1024  # of the analysis; what WORLD takes at 16 kHz
FAST_FFT = 512  # of the synthesis: a pulse rings for 32 ms, and costs half
ORDER = 120  # cosines
BREAK, FLOOR = 3000.0, -60.0  # Hz and dB at 0 Hz: WORLD's aperiodicity has its corner there
F0_RANGE = (60.0, 500.0)  # Hz, of speech
VOICED = 0.5  # a frame with more aperiodicity at 0 Hz is unvoiced
LEAST = 1e-16  # power


@dataclass(frozen=True, eq=False)
class Analysis:
    """A recording in frames of 5 ms.

    `f0` float32 (frames,) in Hz, 0 without voice; `envelope` float16 (frames, 120), cosine
    coefficients of the log power over mel; `aperiodicity` float16 (frames,) in dB at 3 kHz.
    """

    f0: NDArray[np.float32]
    envelope: NDArray[np.float16]
    aperiodicity: NDArray[np.float16]


def analyse(waveform: NDArray[Any]) -> Analysis:
    """Analyse a waveform (samples,), 16 kHz. Raises `CorpusError` if it contains no voice."""
    require("synth", "Changing voices")
    import pyworld

    samples = np.ascontiguousarray(waveform, np.float64)
    low, high = F0_RANGE
    rough, times = pyworld.dio(samples, RATE, f0_floor=low, f0_ceil=high, frame_period=FRAME)
    f0 = pyworld.stonemask(samples, rough, times, RATE)
    if not f0.any():
        raise CorpusError("There is no voice in the recording: choose one of somebody speaking.")
    power = pyworld.cheaptrick(samples, f0, times, RATE, fft_size=FFT)
    ratio = pyworld.d4c(samples, f0, times, RATE, fft_size=FFT)
    decibels = 20 * np.log10(np.maximum(ratio[:, round(BREAK * FFT / RATE)], LEAST))
    decibels[ratio[:, 0] > VOICED] = 0
    coefficients = np.log(np.maximum(power, LEAST)) @ _coder()  # (frames, 513) @ (513, 120)
    return Analysis(
        f0.astype(np.float32), coefficients.astype(np.float16), decibels.astype(np.float16)
    )


def cosines(frequencies: NDArray[np.float64]) -> NDArray[np.float64]:
    """Return the values (120, n) of the cosines at frequencies in Hz, up to 8 kHz."""
    mel = np.log1p(frequencies / 700) / np.log1p(RATE / 2 / 700)
    return np.asarray(np.cos(np.pi * np.arange(ORDER)[:, None] * mel), np.float64)


def bins(size: int = FAST_FFT) -> NDArray[np.float64]:
    """Return the frequencies (size / 2 + 1,) of spectra of an FFT of a size, in Hz."""
    return np.arange(size // 2 + 1, dtype=np.float64) * (RATE / size)


@lru_cache(maxsize=1)
def _coder() -> NDArray[np.float64]:
    """Return the matrix (513, 120) from a log power spectrum to the nearest sum of cosines."""
    return np.asarray(np.linalg.pinv(cosines(bins(FFT))), np.float64)


def envelope(analysis: Analysis, alpha: float) -> NDArray[np.float32]:
    """Return the log power (frames, 257) with all formants moved up by a factor `alpha`."""
    source = np.minimum(bins() / alpha, RATE / 2)
    decoded = analysis.envelope.astype(np.float32) @ cosines(source).astype(np.float32)
    return np.asarray(decoded, np.float32)


def aperiodicity(analysis: Analysis) -> NDArray[np.float32]:
    """Return the aperiodicity (frames, 257), 0..1, interpolated as WORLD does from one value."""
    frequency = bins().astype(np.float32)
    corner = analysis.aperiodicity.astype(np.float32)[:, None]
    below, above = frequency / BREAK, (RATE / 2 - frequency) / (RATE / 2 - BREAK)
    sides = np.where(frequency < BREAK, np.float32(FLOOR) * (1 - below), 0).astype(np.float32)
    weight = np.where(frequency < BREAK, below, above).astype(np.float32)
    decibels = sides + corner * weight
    ratio = np.exp(decibels * np.float32(np.log(10) / 20))
    ratio[analysis.aperiodicity == 0] = 1
    return np.asarray(ratio, np.float32)


def save(analysis: Analysis, path: Path) -> None:
    """Write an analysis as .npz."""
    with atomic_file(path) as partial, partial.open("wb") as file:
        np.savez(
            file,
            f0=analysis.f0,
            envelope=analysis.envelope,
            aperiodicity=analysis.aperiodicity,
        )


def load(path: Path) -> Analysis | None:
    """Read an analysis; None if it is missing or damaged."""
    try:
        # opened here, since NumPy leaves damaged files open
        with path.open("rb") as file, np.load(file, allow_pickle=False) as arrays:
            analysis = Analysis(arrays["f0"], arrays["envelope"], arrays["aperiodicity"])
    except Exception:  # zipfile and NumPy raise many kinds; the recording is analysed again
        return None
    same_frames = analysis.envelope.shape == (*analysis.f0.shape, ORDER)
    return analysis if same_frames and analysis.aperiodicity.shape == analysis.f0.shape else None
