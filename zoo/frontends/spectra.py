"""Spectra as plain functions: frames, discrete Fourier transforms, mel bands, compression."""

from __future__ import annotations

import math

import torch
from torch import Tensor
from torch.nn import functional

from vox2face.media.audio import RATE

WINDOW, HOP, FFT = 400, 160, 512  # samples: 25 ms, 10 ms, and with zeros behind or around
POWER = 0.3  # of the compression of spectrograms
PREEMPHASIS = 0.97
FBANK_BANDS = 128
SMALL = 1e-15  # amplitudes below it, such as 0, have the gradient 0, not an infinite one

# atan(t) / t on [-1, 1] in powers of t^2, to 2e-8: Abramowitz and Stegun, formula 4.4.49
ATAN = (1.0, -0.3333314528, 0.1999355085, -0.1420889944, 0.1065626393,
        -0.0752896400, 0.0429096138, -0.0161657367, 0.0028662257)  # fmt: skip


def centered(x: Tensor) -> Tensor:
    """Put half a window of zeros around the waveforms, so that frame t is centred on 160 t."""
    return functional.pad(x, (WINDOW // 2, WINDOW // 2))


def framed(x: Tensor) -> Tensor:
    """Return the frames of the waveforms, (n, 400, frames), without those that are incomplete."""
    return x.unfold(1, WINDOW, HOP).transpose(1, 2)


def transformed(dft: Tensor, frames: Tensor) -> Tensor:
    """Return real and imaginary part (n, 2, bins, frames) of frames (n, 400, frames)."""
    y = product(dft, frames)
    return y.reshape(y.shape[0], 2, y.shape[1] // 2, y.shape[2])


def fast_transformed(x: Tensor, window: Tensor, first: int) -> Tensor:
    """Return what `transformed` returns of the waveforms' frames, by a fast Fourier transform.

    `window` has 512 samples, of which 400 from `first` on are not 0. Exported graphs cannot use it:
    runtimes have no STFT, or a slow one.
    """
    around = functional.pad(x, (first, FFT - WINDOW - first))
    with torch.autocast(x.device.type, enabled=False):
        y = torch.stft(around, FFT, HOP, FFT, window, center=False, return_complex=True)
    return torch.view_as_real(y).permute(0, 3, 1, 2)


def product(matrix: Tensor, x: Tensor) -> Tensor:
    """Multiply in full precision; a 16-bit spectrum would lose all that is quiet."""
    if torch.is_autocast_enabled(x.device.type):
        with torch.autocast(x.device.type, enabled=False):
            return matrix @ x.to(matrix.dtype)
    return matrix @ x


def compressed(x: Tensor) -> Tensor:
    """Return sign(x) |x|^0.3; where x is 0 the gradient is 0, not infinite."""
    if not (torch.compiler.is_compiling() or (x.requires_grad and torch.is_grad_enabled())):
        y = x.abs().clamp_(min=SMALL).log_().mul_(POWER).exp_()  # in place: three times as fast
        return y.mul_(x.sign())
    return x.sign() * (x.abs().clamp(min=SMALL).log() * POWER).exp()


def magnitude(y: Tensor) -> Tensor:
    """Return the absolute values of (n, 2, ...) complex numbers; the gradient at 0 is 0."""
    power = y.square().sum(1)
    return power.sign() * power.clamp(min=SMALL**2).sqrt()


def phase(real: Tensor, imaginary: Tensor) -> Tensor:
    """Return the angles of complex numbers in -pi..pi; 0 has the angle 0 and the gradient 0."""
    if torch.compiler.is_compiling():  # also while a graph is exported
        return series_phase(real, imaginary)
    silent = (real == 0) & (imaginary == 0)
    return torch.atan2(imaginary + 0.0, torch.where(silent, 1.0, real))  # -0 becomes 0


def series_phase(real: Tensor, imaginary: Tensor) -> Tensor:
    """Return the angles within 1e-6, by a polynomial of the smaller part over the larger one.

    ONNX has no Atan2 and not every runtime a fast Atan. Everything but 0 has the gradient of the
    true angle.
    """
    steep = (imaginary.abs() > real.abs()).to(real.dtype)
    large, small = _pick(steep, imaginary, real), _pick(steep, real, imaginary)
    ratio = small / (large + (large.abs() < SMALL).to(real.dtype))
    square = ratio * ratio
    series = torch.full_like(square, ATAN[-1])
    for coefficient in ATAN[-2::-1]:
        series = series * square + coefficient
    angle = series * ratio
    half = math.pi - 2 * math.pi * (imaginary < 0).to(real.dtype)  # a half turn, to this side
    flat = angle + half * (real < 0).to(real.dtype)
    return _pick(steep, half / 2 - angle, flat)


def _pick(mask: Tensor, yes: Tensor, no: Tensor) -> Tensor:
    """Return `yes` where the mask is 1, `no` where it is 0; ONNX Runtime's Where is slower."""
    return mask * yes + (1 - mask) * no


def dft(size: int, first: int) -> Tensor:
    """Return cosine and minus sine rows (2 bins, 400), float64, of samples `first` and later.

    Their angles are whole multiples of a turn / size, so that the sine rows of frequency 0 and of
    half the rate are exactly 0.
    """
    bins = torch.arange(size // 2 + 1).unsqueeze(1)
    step = bins * torch.arange(first, first + WINDOW) % size
    angle = step.double() * (2 * math.pi / size)
    sine = torch.where(step * 2 % size == 0, 0.0, -angle.sin())
    return torch.cat((angle.cos(), sine))


def preemphasis() -> Tensor:
    """Return the (400, 400) matrix of x[t] - 0.97 x[t - 1]; the first sample precedes itself."""
    before = torch.eye(WINDOW, dtype=torch.float64).roll(-1, 1).tril()
    before[0, 0] = 1
    return torch.eye(WINDOW, dtype=torch.float64) - PREEMPHASIS * before


def without_mean() -> Tensor:
    """Return the (400, 400) matrix that subtracts the mean of a frame."""
    return torch.eye(WINDOW, dtype=torch.float64) - 1 / WINDOW


def triangles(edges: Tensor, places: Tensor) -> Tensor:
    """Return (bands, places) triangles: 0 at a band's outer edges, 1 at the edge in the middle."""
    low, middle, high = (edges[i : len(edges) - 2 + i].unsqueeze(1) for i in range(3))
    rising, falling = (places - low) / (middle - low), (high - places) / (high - middle)
    return torch.minimum(rising, falling).clamp(min=0)


def kaldi_bands() -> Tensor:
    """Return the (128, 257) filters of Kaldi's fbank, triangles on the mel scale from 20 Hz."""
    hertz = torch.arange(FFT // 2 + 1, dtype=torch.float64) * (RATE / FFT)
    mel = 1127 * torch.log1p(hertz / 700)
    lowest = 1127 * math.log1p(20 / 700)
    edges = torch.linspace(lowest, float(mel[-1]), FBANK_BANDS + 2, dtype=torch.float64)
    return triangles(edges, mel)


def slaney_bands() -> Tensor:
    """Return the (40, 201) filters of Slaney's Auditory Toolbox, as librosa's defaults have them.

    The mel scale is linear up to 1 kHz, 200 / 3 Hz a mel, and 6.4-fold every 27 mel above; the
    triangles are on the scale of Hz, each with the area 1.
    """
    highest = 15 + 27 * math.log(RATE / 2 / 1000) / math.log(6.4)
    mel = torch.linspace(0, highest, 42, dtype=torch.float64)
    edges = torch.where(mel < 15, mel * 200 / 3, 1000 * 6.4 ** ((mel - 15) / 27))
    hertz = torch.arange(WINDOW // 2 + 1, dtype=torch.float64) * (RATE / WINDOW)
    return triangles(edges, hertz) * (2 / (edges[2:] - edges[:-2])).unsqueeze(1)
