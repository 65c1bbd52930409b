"""Whether a recording may hold a voice: long enough, loud enough, and not cancelled by mixing."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
from numpy.typing import NDArray

from vox2face.core.errors import AudioError
from vox2face.media.ffmpeg import RATE

FULL_SCALE = 32_768  # of 16-bit samples
SHORTEST = RATE // 10  # samples; no voice shows in less than 0.1 s
TICK = RATE // 100  # samples, 0.01 s
LEAST = 5  # ticks of sound; a click fills fewer
STEPS = 8  # of a sample's type; what varies less within a tick is rounding noise
QUIET = 1e-4 * FULL_SCALE**2  # mean square, 40 dB below full scale
CANCELLED = 100  # 20 dB that a mixture loses; of eight channels, seven of them silent, it loses 17
BLOCK = 1 << 20  # samples handled at a time where a copy of everything would be large


def checked(
    pcm: NDArray[np.int16], alone: Callable[[], NDArray[np.int16]], name: str, step: int = 1
) -> NDArray[np.int16]:
    """Return the samples if there may be a voice in them.

    `alone` gives the first channel, not mixed; `step` is the least difference of two samples.
    """
    if pcm.size < SHORTEST:
        raise AudioError(
            f"{name} is too short ({pcm.size / RATE:.3f} s): at least 0.1 s of voice is needed."
        )
    loud = loud_ticks(pcm, step)
    if loud >= LEAST and power(pcm) > QUIET:
        return pcm
    first = alone()
    if loud_ticks(first, step) >= LEAST and power(first) > CANCELLED * power(pcm):
        raise AudioError(f"{name} has channels that cancel when mixed to mono: give one of them.")
    if loud >= LEAST:
        return pcm
    if loud:
        why = f"but for a click of {loud * TICK / RATE:g} s"
    elif np.ptp(pcm):
        why = "but for noise in the lowest bits"
    else:
        why = "(every sample is zero)" if not pcm[0] else f"(every sample is {pcm[0]})"
    raise AudioError(f"{name} is silent {why}: choose one with a voice in it.")


def loud_ticks(pcm: NDArray[np.int16], step: int) -> int:
    """Return how many ticks hold more than rounding noise."""
    blocks = pcm[: pcm.size // TICK * TICK].reshape(-1, TICK)
    spread = blocks.max(1).astype(np.int32) - blocks.min(1)
    return int((spread >= STEPS * step).sum())


def power(pcm: NDArray[np.int16]) -> float:
    """Return the mean square of 16-bit samples."""
    # squares add up exactly in float64; a dot product would wake the threads of the BLAS
    starts = range(0, pcm.size, BLOCK)
    squares = (np.square(pcm[i : i + BLOCK], dtype=np.float64).sum() for i in starts)
    return float(sum(squares)) / pcm.size
