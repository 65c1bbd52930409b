"""What lies between a voice and its recording: a room, a microphone's band and tone, and noise.

All is drawn separately for each clip and computed for a whole batch on its device.
"""

from __future__ import annotations

import math
from typing import TYPE_CHECKING

import torch
from torch import Tensor

from vox2face.media.audio import RATE
from vox2face.train.voice.recipe import NYQUIST

if TYPE_CHECKING:
    from vox2face.train.voice.recipe import Channel

SHORTEST = 0.1  # s, of reverberation
ECHOES = (0.1, 0.6)  # how loud a room is, where the voice itself is 1
LOWEST = (20.0, 250.0)  # Hz, where a band begins
SLOPES = (24.0, 48.0)  # dB an octave below and above a band
DEEPEST = 96.0  # dB, what a slope takes away at most
KNOTS = (50.0, 120.0, 250.0, 500.0, 1000.0, 2000.0, 4000.0, 8000.0)  # Hz, of an equalizer
SPREAD = 37.0  # dB, by which noise may be weaker than the strongest
FLAT = 30.0  # Hz, below which coloured noise is as strong as there
TINY = 1e-9


class Draws:
    """Random numbers for the rows of a batch, on its device; of torch's own without generator."""

    def __init__(self, waveform: Tensor, generator: torch.Generator | None) -> None:
        self.rows, self.device, self.generator = len(waveform), waveform.device, generator

    def uniform(self, low: float, high: float) -> Tensor:
        """Return numbers (n, 1) between two."""
        drawn = torch.rand(self.rows, 1, device=self.device, generator=self.generator)
        return low + (high - low) * drawn

    def normal(self, count: int) -> Tensor:
        """Return normal numbers (n, count)."""
        return torch.randn(self.rows, count, device=self.device, generator=self.generator)


def transmitted(
    waveform: Tensor, channel: Channel, generator: torch.Generator | None = None
) -> Tensor:
    """Return float32 waveforms (n, samples) at 16 kHz as other rooms and devices record them.

    Each row stays as loud as it was, but for the noise; what leaves -1..1 is clipped.
    """
    draws, samples = Draws(waveform, generator), waveform.shape[1]
    level = loudness(waveform)
    x = waveform
    if channel.room or channel.band or channel.equalizer:
        tail = math.ceil(channel.room * RATE)
        size = 1 << (samples + tail - 1).bit_length()
        spectrum = torch.fft.rfft(x, size)
        frequencies = torch.fft.rfftfreq(size, 1 / RATE, device=x.device)
        if channel.room:
            spectrum = spectrum * torch.fft.rfft(room(draws, channel.room, tail), size)
        spectrum = spectrum * 10 ** (tone(draws, channel, frequencies) / 20)
        x = torch.fft.irfft(spectrum, size)[:, :samples]
        x = x * (level / loudness(x).clamp(min=TINY))
    if channel.noise:
        ratio = draws.uniform(channel.noise, channel.noise + SPREAD)
        x = x + level * 10 ** (-ratio / 20) * coloured(draws, samples)
    return x.clamp(-1, 1)


def loudness(x: Tensor) -> Tensor:
    """Return the root mean square of rows, (n, 1)."""
    return x.square().mean(1, keepdim=True).sqrt()


def room(draws: Draws, longest: float, samples: int) -> Tensor:
    """Return impulse responses (n, samples): noise that decays after the voice itself, or none."""
    seconds = draws.uniform(min(SHORTEST, longest), longest)
    loud = draws.uniform(*ECHOES) * (draws.uniform(0, 1) < 0.5)
    time = torch.arange(samples, device=draws.device) / RATE
    decay = torch.where(time < seconds, 10 ** (-3 * time / seconds), 0)
    echo = draws.normal(samples) * decay
    echo = echo * (loud / echo.square().sum(1, keepdim=True).sqrt())
    echo[:, 0] = 1  # where the voice is, as it is
    return echo


def tone(draws: Draws, channel: Channel, frequencies: Tensor) -> Tensor:
    """Return gains in dB (n, frequencies): of an equalizer, and of a band."""
    decibels = torch.zeros(draws.rows, len(frequencies), device=draws.device)
    octaves = frequencies.clamp(min=1).log2()
    if channel.equalizer:
        walk = draws.normal(len(KNOTS)).cumsum(1) + draws.normal(len(KNOTS))
        knots = torch.tensor(KNOTS, device=draws.device).log2()
        above = torch.bucketize(octaves.contiguous(), knots).clamp(1, len(KNOTS) - 1)
        part = ((octaves - knots[above - 1]) / (knots[above] - knots[above - 1])).clamp(0, 1)
        gains = walk[:, above - 1] * (1 - part) + walk[:, above] * part
        decibels = decibels + channel.equalizer * gains
    if channel.band:
        low = draws.uniform(*LOWEST).log2()
        high = draws.uniform(math.log2(channel.band), math.log2(NYQUIST))
        decibels = decibels - (SLOPES[0] * (low - octaves)).clamp(0, DEEPEST)
        decibels = decibels - (SLOPES[1] * (octaves - high)).clamp(0, DEEPEST)
    return decibels


def coloured(draws: Draws, samples: int) -> Tensor:
    """Return noise (n, samples) as loud as 1, between white and one that falls 6 dB an octave."""
    colour = draws.uniform(0, 1)
    size = 1 << (samples - 1).bit_length()
    spectrum = torch.fft.rfft(draws.normal(size))
    frequencies = torch.fft.rfftfreq(size, 1 / RATE, device=draws.device).clamp(min=FLAT)
    noise = torch.fft.irfft(spectrum * (frequencies / FLAT) ** -colour, size)[:, :samples]
    even: Tensor = noise / loudness(noise).clamp(min=TINY)
    return even
