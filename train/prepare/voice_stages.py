"""The stages of recordings: durations, levels, statistics of the filter bank, and samples."""

from __future__ import annotations

import functools
from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from vox2face.core.errors import AudioError
from vox2face.media import audio as sound
from vox2face.media.codecs import CODECS, encoded
from vox2face.train import storage
from vox2face.train.prepare import shards
from vox2face.train.prepare.shard_task import Failures, ShardJob, catch_failures

if TYPE_CHECKING:
    from torch import Tensor

StageResult = tuple[shards.Arrays, Failures]

# Speech-to-face's data_preprocessing/get_aduio_norm_stats.py takes 6 s, and makes 1000 frames of
# them by padding with zeros, which its statistics include
HEARD, REAL, COUNTED = 6 * sound.RATE, 598, 1000


def voices(job: ShardJob) -> StageResult:
    """Measure recordings: duration, level, and sums over their filter bank.

    Arrays, a row each: `durations` float64 (s), `levels` float64 (dB below full scale, before it
    was levelled), `frames` int64 (real ones that the network's input has), `sums` and `squares`
    float64 over these frames and all bands; `means` and `deviations` float64 are those of the clip
    as Speech-to-face computed them. NaN, and 0 frames, where a recording failed.
    """
    from vox2face.train.media import normalize_level
    from vox2face.zoo.presets import voice_preset

    preset = voice_preset(job.settings["voice_preset"])
    failures, count = Failures(), len(job.rows)
    names = ("durations", "levels", "sums", "squares", "means", "deviations")
    arrays: dict[str, NDArray[Any]] = {name: np.full(count, np.nan) for name in names}
    arrays["frames"] = np.zeros(count, np.int64)
    waveform_at = waveforms(job)
    for i in range(count):
        with catch_failures(job, i, failures):
            waveform = waveform_at(i)
            level = sound.rms_level(sound.to_pcm(waveform))
            loud = normalize_level(waveform, preset)
            energies = real_frames(loud[: preset.samples])
            mean, deviation = _as_speech_to_face(loud, energies)
            arrays["durations"][i], arrays["levels"][i] = waveform.size / sound.RATE, level
            arrays["frames"][i], arrays["sums"][i] = len(energies), energies.sum()
            arrays["squares"][i] = np.square(energies).sum()
            arrays["means"][i], arrays["deviations"][i] = mean, deviation
    return arrays, failures


def waveforms(job: ShardJob) -> Callable[[int], NDArray[np.float32]]:
    """Return a function that returns the decoded recording at an index of the shard.

    Where the stage `audio` decoded the same files already, its shard is read; it holds the same
    samples, and the same reasons why a file cannot be used.
    """
    from vox2face.train.media import read_clip

    path = job.path_of("audio")
    try:
        shard = shards.read(path) if storage.exists(path) else None
    except shards.Damaged:
        shard = None
    if shard is None or shard.facts.get("files") != job.facts["files"]:
        return lambda i: read_clip(job.file(i))
    samples = shard.array("samples")
    starts = [*shard.array("starts").tolist(), samples.size]
    reasons = dict(shard.facts["failures"])

    def from_shard(i: int) -> NDArray[np.float32]:
        if job.rows[i] in reasons:
            raise AudioError(reasons[job.rows[i]])
        waveform = samples[starts[i] : starts[i + 1]].astype(np.float32)
        waveform /= sound.FULL_SCALE
        return np.asarray(waveform)

    return from_shard


def real_frames(waveform: NDArray[np.float32]) -> NDArray[np.float64]:
    """Return the log energies (frames, 128) of a waveform, of at most 1024 whole frames.

    They are those of `vox2face.zoo.frontends.voice.FilterBank` before it normalises and adds
    frames, by a fast Fourier transform instead of a product: three times as fast.
    """
    import torch

    from vox2face.zoo.frontends.spectra import FFT, HOP, PREEMPHASIS, WINDOW
    from vox2face.zoo.frontends.voice import FBANK_FLOOR, FBANK_FRAMES

    window, bands = constants()
    samples = np.ascontiguousarray(waveform[: (FBANK_FRAMES - 1) * HOP + WINDOW])
    with torch.inference_mode():
        frames = torch.from_numpy(samples).unfold(0, WINDOW, HOP)
        frames = frames - frames.mean(1, keepdim=True)
        previous = torch.cat((frames[:, :1], frames[:, :-1]), 1)  # the first sample precedes itself
        spectrum = torch.fft.rfft((frames - PREEMPHASIS * previous) * window, FFT)
        powers = spectrum.real.square() + spectrum.imag.square()
        energies = (powers @ bands).clamp(min=FBANK_FLOOR).log()
    result: NDArray[np.float64] = energies.double().numpy()
    return result


@functools.cache
def constants() -> tuple[Tensor, Tensor]:
    """Return the window (400,) and the bands (257, 128) of the filter bank."""
    import torch

    from vox2face.zoo.frontends.spectra import WINDOW, kaldi_bands

    window = torch.hann_window(WINDOW, periodic=False, dtype=torch.float64)
    return window.float(), kaldi_bands().float().T.contiguous()


def _as_speech_to_face(
    waveform: NDArray[np.float32], energies: NDArray[np.float64]
) -> tuple[float, float]:
    """Return mean and deviation of the first 6 s of a clip, with the padding frames counted.

    A shorter clip is repeated. `energies` (frames, 128) are those already computed of the clip.
    """
    frames = energies[:REAL]
    if len(frames) < REAL:
        frames = real_frames(sound.fit(waveform, HEARD))
    values = np.zeros((COUNTED, frames.shape[1]))
    values[:REAL] = frames
    return float(values.mean()), float(values.std())


def audio(job: ShardJob) -> StageResult:
    """Store decoded recordings, so that training need not decode them.

    Arrays: `samples` int16 (of all recordings, one after the other), mono, 16 kHz, as loud as they
    were; `starts` int64, a row each: the index of its first sample. A failed one has no samples.
    """
    from vox2face.train.media import read_clip

    failures, parts = Failures(), []
    starts, total = np.zeros(len(job.rows), np.int64), 0
    for i in range(len(job.files)):
        starts[i] = total
        with catch_failures(job, i, failures):
            parts.append(sound.to_pcm(read_clip(job.file(i))))
            total += parts[-1].size
    samples = np.concatenate(parts) if parts else np.empty(0, np.int16)
    return {"samples": samples, "starts": starts}, failures


def coded(job: ShardJob) -> StageResult:
    """Store recordings encoded and decoded with the codec of `settings`.

    The arrays are those of the stage `audio`, which it reads: the same recordings and lengths.
    """
    failures, parts = Failures(), []
    starts, total = np.zeros(len(job.rows), np.int64), 0
    codec, waveform_at = CODECS[job.settings["codec"]], waveforms(job)
    for i in range(len(job.rows)):
        starts[i] = total
        with catch_failures(job, i, failures):
            parts.append(encoded(sound.to_pcm(waveform_at(i)), codec))
            total += parts[-1].size
    samples = np.concatenate(parts) if parts else np.empty(0, np.int16)
    return {"samples": samples, "starts": starts}, failures


def statistics(
    measured: Sequence[tuple[shards.Arrays, NDArray[np.bool_]]], method: str
) -> dict[str, Any]:
    """Return the statistics of parts of the stage `voices`, added up in order.

    A part has a mask of the rows that count. `method` is "global" or "speech-to-face".
    """
    frames = clips = 0
    totals = dict.fromkeys(("durations", "levels", "sums", "squares", "means", "deviations"), 0.0)
    for arrays, counted in measured:
        valid = counted & (arrays["frames"] > 0)
        clips += int(valid.sum())
        frames += int(arrays["frames"][valid].sum())
        for name in totals:
            totals[name] += float(arrays[name][valid].sum())
    if not clips:
        return {"how": method, "clips": 0, "hours": 0.0}
    values = frames * 128
    mean = totals["sums"] / values
    by_method = {
        "global": (mean, max(totals["squares"] / values - mean * mean, 0.0) ** 0.5),
        "speech-to-face": (totals["means"] / clips, totals["deviations"] / clips),
    }
    mean_std = by_method[method]
    return {
        "how": method,
        "mean": mean_std[0],
        "std": mean_std[1],
        "clips": clips,
        "frames": frames,
        "hours": totals["durations"] / 3600,
        "level": totals["levels"] / clips,
    }
