"""The stages of recordings: how long and loud they are, their statistics, and their samples."""

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
from vox2face.train.prepare.shard_task import Failures, Work, failing

if TYPE_CHECKING:
    from torch import Tensor

Made = tuple[shards.Arrays, Failures]

# Speech-to-face's data_preprocessing/get_aduio_norm_stats.py hears 6 s, and makes 1000 frames of
# them with frames of zeros, which it counts like the others
HEARD, REAL, COUNTED = 6 * sound.RATE, 598, 1000


def voices(work: Work) -> Made:
    """Measure recordings: duration, level, and sums over their filter bank.

    Arrays, a row each: `durations` float64 (s), `levels` float64 (dB below full scale, before it
    was levelled), `frames` int64 (real ones, as many as the network hears), `sums` and `squares`
    float64 over these frames and all bands; `means` and `deviations` float64 are those of the clip
    as Speech-to-face computed them. NaN, and 0 frames, where a recording failed.
    """
    from vox2face.train.media import levelled
    from vox2face.zoo.presets import voice_preset

    preset = voice_preset(work.settings["voice_preset"])
    failures, count = Failures(), len(work.rows)
    names = ("durations", "levels", "sums", "squares", "means", "deviations")
    found: dict[str, NDArray[Any]] = {name: np.full(count, np.nan) for name in names}
    found["frames"] = np.zeros(count, np.int64)
    waveform_at = waveforms(work)
    for i in range(count):
        with failing(work, i, failures):
            waveform = waveform_at(i)
            level = sound.rms_level(sound.to_pcm(waveform))
            loud = levelled(waveform, preset)
            energies = real_frames(loud[: preset.samples])
            mean, deviation = _as_speech_to_face(loud, energies)
            found["durations"][i], found["levels"][i] = waveform.size / sound.RATE, level
            found["frames"][i], found["sums"][i] = len(energies), energies.sum()
            found["squares"][i] = np.square(energies).sum()
            found["means"][i], found["deviations"][i] = mean, deviation
    return found, failures


def waveforms(work: Work) -> Callable[[int], NDArray[np.float32]]:
    """Return a function that gives the recording at a place of the shard, decoded.

    Where the stage `audio` decoded the same files already, its shard is read; it holds the same
    samples, and the same reasons why a file cannot be used.
    """
    from vox2face.train.media import decoded

    place = work.beside("audio")
    try:
        shard = shards.read(place) if storage.exists(place) else None
    except shards.Damaged:
        shard = None
    if shard is None or shard.facts.get("files") != work.facts["files"]:
        return lambda i: decoded(work.file(i))
    samples = shard.array("samples")
    starts = [*shard.array("starts").tolist(), samples.size]
    reasons = dict(shard.facts["failures"])

    def kept(i: int) -> NDArray[np.float32]:
        if work.rows[i] in reasons:
            raise AudioError(reasons[work.rows[i]])
        waveform = samples[starts[i] : starts[i + 1]].astype(np.float32)
        waveform /= sound.FULL_SCALE
        return np.asarray(waveform)

    return kept


def real_frames(waveform: NDArray[np.float32]) -> NDArray[np.float64]:
    """Return the log energies (frames, 128) of a waveform, of at most 1024 whole frames.

    They are those of `vox2face.zoo.frontends.voice.FilterBank` before it normalises and adds
    frames, by a fast Fourier transform instead of a product: three times as fast.
    """
    import torch

    from vox2face.zoo.frontends.spectra import FFT, HOP, PREEMPHASIS, WINDOW
    from vox2face.zoo.frontends.voice import FBANK_FLOOR, FBANK_FRAMES

    window, bands = constants()
    heard = np.ascontiguousarray(waveform[: (FBANK_FRAMES - 1) * HOP + WINDOW])
    with torch.inference_mode():
        frames = torch.from_numpy(heard).unfold(0, WINDOW, HOP)
        frames = frames - frames.mean(1, keepdim=True)
        before = torch.cat((frames[:, :1], frames[:, :-1]), 1)  # the first sample precedes itself
        spectrum = torch.fft.rfft((frames - PREEMPHASIS * before) * window, FFT)
        powers = spectrum.real.square() + spectrum.imag.square()
        energies = (powers @ bands).clamp(min=FBANK_FLOOR).log()
    real: NDArray[np.float64] = energies.double().numpy()
    return real


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
    """Return mean and deviation of the first 6 s of a clip, with added frames counted in.

    A shorter clip is repeated. `energies` are those of its frames that are known already.
    """
    known = energies[:REAL]
    if len(known) < REAL:
        known = real_frames(sound.fit(waveform, HEARD))
    values = np.zeros((COUNTED, known.shape[1]))
    values[:REAL] = known
    return float(values.mean()), float(values.std())


def audio(work: Work) -> Made:
    """Keep what recordings decode to, so that training need not decode them again.

    Arrays: `samples` int16 (of all recordings, one after the other), mono, 16 kHz, as loud as they
    were; `starts` int64, a row each: where in them a recording begins. A failed one has none.
    """
    from vox2face.train.media import decoded

    failures, parts = Failures(), []
    starts, total = np.zeros(len(work.rows), np.int64), 0
    for i in range(len(work.files)):
        starts[i] = total
        with failing(work, i, failures):
            parts.append(sound.to_pcm(decoded(work.file(i))))
            total += parts[-1].size
    samples = np.concatenate(parts) if parts else np.empty(0, np.int16)
    return {"samples": samples, "starts": starts}, failures


def coded(work: Work) -> Made:
    """Keep what recordings sound like after a codec, `settings` of which name it.

    Arrays as those of the stage `audio`, which it reads: the same recordings, as long as there.
    """
    failures, parts = Failures(), []
    starts, total = np.zeros(len(work.rows), np.int64), 0
    codec, waveform_at = CODECS[work.settings["codec"]], waveforms(work)
    for i in range(len(work.rows)):
        starts[i] = total
        with failing(work, i, failures):
            parts.append(encoded(sound.to_pcm(waveform_at(i)), codec))
            total += parts[-1].size
    samples = np.concatenate(parts) if parts else np.empty(0, np.int16)
    return {"samples": samples, "starts": starts}, failures


def statistics(
    measured: Sequence[tuple[shards.Arrays, NDArray[np.bool_]]], how: str
) -> dict[str, Any]:
    """Return the statistics of parts of the stage `voices`, added up in their order.

    Each part comes with which of its rows count. `how` is "global" or "speech-to-face".
    """
    frames = clips = 0
    totals = dict.fromkeys(("durations", "levels", "sums", "squares", "means", "deviations"), 0.0)
    for arrays, counts in measured:
        good = counts & (arrays["frames"] > 0)
        clips += int(good.sum())
        frames += int(arrays["frames"][good].sum())
        for name in totals:
            totals[name] += float(arrays[name][good].sum())
    if not clips:
        return {"how": how, "clips": 0, "hours": 0.0}
    values = frames * 128
    mean = totals["sums"] / values
    found = {
        "global": (mean, max(totals["squares"] / values - mean * mean, 0.0) ** 0.5),
        "speech-to-face": (totals["means"] / clips, totals["deviations"] / clips),
    }
    chosen = found[how]
    return {
        "how": how,
        "mean": chosen[0],
        "std": chosen[1],
        "clips": clips,
        "frames": frames,
        "hours": totals["durations"] / 3600,
        "level": totals["levels"] / clips,
    }
