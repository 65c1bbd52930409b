"""Recordings in: files, file objects and arrays become mono 16 kHz float32 waveforms.

The steps are those of the audio scripts of Kacper-Pietkun/Speech-to-face, in one process: what
`ffmpeg -ac 1 -ar 16000 -acodec pcm_s16le` writes, levelled as
`ffmpeg-normalize --normalization-type rms -t -23` levels it. Both round to 16 bits, so do we.
"""

from __future__ import annotations

import math
import numbers
import os
from importlib import resources
from typing import Any, BinaryIO, cast

import numpy as np
from numpy.typing import NDArray

from vox2face.core import extras
from vox2face.core.errors import AudioError, UsageError, Vox2FaceError, Vox2FaceWarning
from vox2face.media import audible, ffmpeg, wav
from vox2face.media.opening import opened

RATE = ffmpeg.RATE  # Hz, of every waveform here
FULL_SCALE = audible.FULL_SCALE  # of 16-bit samples
SHORTEST = audible.SHORTEST  # samples
FORMS = "a path, a binary file object (io.BytesIO for bytes) or a NumPy array with its rate"
Audio = str | os.PathLike[str] | BinaryIO | NDArray[Any]
SMALLEST = 1 << 23  # peak of int32 samples; those of 24 bits or less, not shifted, stay below it


def read(
    audio: Audio,
    rate: int | None = None,
    *,
    decibels: float | None = -23.0,
    samples: int | None = None,
) -> NDArray[np.float32]:
    """Return a recording as a voice encoder wants it: float32 (samples,), mono, 16 kHz, -1..1.

    Decodes, levels the whole to `decibels` (None: leaves it as loud as it is), then cuts or
    repeats it to `samples` (None: keeps its length). Raises what `decode`, `level`, `fit` raise.
    """
    waveform = decode(audio, rate)
    if decibels is not None:
        waveform = level(waveform, decibels)
    return waveform if samples is None else fit(waveform, samples)


def decode(audio: Audio, rate: int | None = None) -> NDArray[np.float32]:
    """Return a recording as float32 (samples,), mono, 16 kHz, multiples of 1/32768 in -1..1.

    Takes a path, a binary file object (read from its start if it can seek) or a NumPy array with
    its `rate` in Hz. Of a video the sound track is taken, of several tracks the one FFmpeg deems
    best. An array is (samples,), (samples, channels) or (channels, samples), the shorter axis
    being the channels, at most 8; its type is float (-1..1), int16, int32 or uint8 (128 is zero).

    Any format FFmpeg reads is read with the extra `voice`; arrays and uncompressed wav files that
    are mono and 16 kHz need nothing. Nothing but the file given is ever opened: no address, and no
    other file that a playlist names.

    Floats up to 10 are clipped to -1..1 with a `Vox2FaceWarning`; beyond, samples of 16 bits were
    stored as floats, and are refused like int32 arrays of 16 or 24 bits. Packets that cannot be
    decoded are skipped, as ffmpeg does. A file that is damaged or cut off raises `AudioError` where
    its header tells the length of the sound (wav, aiff, flac, mp4, m4a, mov, webm and mka without
    pictures); in mp3, Ogg and other streams nothing shows a cut, and what is there is decoded.
    `AudioError` also names recordings that are missing, empty, silent but for a click or noise in
    the lowest bits, silent once their channels are mixed, shorter than 0.1 s, longer than four
    hours, or no recordings; `UsageError` a missing or needless `rate`, or a missing extra.
    """
    if isinstance(audio, np.ndarray):
        if rate is None:
            raise UsageError("An array needs its rate in Hz: pass rate=44100 or whatever it is.")
        pcm = from_array(audio, rate)
    elif rate is not None:
        raise UsageError("Only arrays take a rate: a file knows its own.")
    elif hasattr(audio, "read"):
        pcm = _from_file(cast(BinaryIO, audio), "the file object")
    else:
        with opened(audio, "recording", FORMS, AudioError) as file:
            pcm = _from_file(file, file.name)
    waveform = pcm.astype(np.float32)
    waveform /= FULL_SCALE
    return waveform


def level(waveform: NDArray[Any], decibels: float = -23.0) -> NDArray[np.float32]:
    """Return a waveform (samples,) amplified to a mean level of `decibels` (RMS, dB below 1).

    The whole waveform counts, pauses included, and what becomes too loud is clipped. Rounds to
    16 bits before and after. Raises `AudioError` for silence and for what is no float waveform.

    Source: ffmpeg-normalize 1.22 and later. It reads the RMS level that FFmpeg's astats filter
    prints, with six decimals, and passes the difference to the volume filter, which multiplies
    in float32. (Before 1.22 it used volumedetect, which rounds to 0.1 dB.)
    """
    if not math.isfinite(decibels):
        raise UsageError(f"{decibels} dB is no level: -23 is usual.")
    ffmpeg.checked_peak(peak(_checked_waveform(waveform)), "The waveform")
    pcm = to_pcm(waveform)
    gain = np.float32(10 ** ((decibels - rms_level(pcm)) / 20))
    levelled = pcm.astype(np.float32)
    levelled *= gain
    np.rint(levelled, out=levelled)
    np.clip(levelled, -FULL_SCALE, FULL_SCALE - 1, out=levelled)
    levelled /= FULL_SCALE
    return levelled


def fit(waveform: NDArray[Any], samples: int) -> NDArray[np.float32]:
    """Return exactly `samples` of a waveform: its beginning, or the whole repeated end to end."""
    if samples < 1:
        raise UsageError(f"A waveform cannot be fitted to {samples} samples: ask for 1 or more.")
    return np.resize(_checked_waveform(waveform), samples).astype(np.float32, copy=False)


def speech() -> NDArray[np.float32]:
    """Return the speech that comes with vox2face: 2.99 s of a man reading, float32 (47840,)."""
    with resources.as_file(resources.files("vox2face") / "assets" / "speech.wav") as path:
        return decode(path)


def _checked_waveform(waveform: NDArray[Any]) -> NDArray[Any]:
    """Return the waveform if it is one: one axis, not empty, finite floats."""
    if waveform.ndim != 1 or not waveform.size or waveform.dtype.kind != "f":
        raise AudioError(
            f"A waveform is a float array (samples,) with values in -1..1; "
            f"this one is {waveform.dtype} {waveform.shape}."
        )
    if not np.isfinite(waveform).all():
        raise AudioError("The waveform holds NaN or infinity: repair what made it.")
    return waveform


def rms_level(pcm: NDArray[np.int16]) -> float:
    """Return the RMS level of 16-bit samples in dB, as FFmpeg's astats prints it."""
    mean_square = audible.power(pcm)
    if not mean_square:
        raise AudioError("The waveform is silent (zero at 16 bits): it has no level to raise.")
    return round(10 * math.log10(mean_square / (FULL_SCALE - 1) ** 2), 6)


def _from_file(file: BinaryIO, name: str) -> NDArray[np.int16]:
    """Return the sound of an open file as mono 16 kHz 16 bit."""
    try:
        if not ffmpeg.can_seek(file):
            extras.require("voice", "Decoding sound")
            pcm = ffmpeg.pcm_of_file(file, name)
            return audible.checked(pcm, lambda: pcm, name)
        if file.seek(0, 2) == 0:
            raise AudioError(f"{name} is empty: record or copy it again.")
        linear = wav.read(file, name)
        if linear is not None:
            return _from_samples(*linear, name)
        extras.require("voice", "Decoding sound")
        pcm = ffmpeg.pcm_of_file(file, name)
        return audible.checked(pcm, lambda: ffmpeg.pcm_of_file(file, name, first=True), name)
    except (Vox2FaceError, Vox2FaceWarning):
        raise
    except Exception as error:  # decoders raise kinds of their own on damaged files
        reason = getattr(error, "strerror", None) or error
        raise AudioError(
            f"{name} is damaged or no recording that FFmpeg can read ({reason}): convert it to wav."
        ) from error


def from_array(array: NDArray[Any], rate: Any) -> NDArray[np.int16]:
    """Return an array of samples as mono 16 kHz 16 bit."""
    array = checked_array(array)
    if isinstance(rate, bool) or not isinstance(rate, numbers.Integral):
        raise UsageError(f"A rate is a whole number of Hz, not {rate!r}.")
    ffmpeg.checked_rate(int(rate), "the array")
    ffmpeg.checked_duration(array.shape[1] / rate, "the array")
    return _from_samples(array, int(rate), ffmpeg.layout_of(len(array)), "the array")


def _from_samples(array: NDArray[Any], rate: int, layout: str, name: str) -> NDArray[np.int16]:
    """Return samples (channels, samples) as mono 16 kHz 16 bit."""
    if array.dtype.kind == "f":
        ffmpeg.checked_peak(peak(array), name)
    step = 256 if array.dtype == np.uint8 else 1

    pcm = mixed(array, rate, layout, name)
    return audible.checked(pcm, lambda: mixed(array[:1], rate, "mono", name), name, step)


def mixed(array: NDArray[Any], rate: int, layout: str, name: str) -> NDArray[np.int16]:
    """Return samples (channels, samples) mixed and resampled."""
    if len(array) == 1 and rate == RATE:
        return to_pcm(array[0])
    extras.require("voice", "Mixing and resampling sound")
    return ffmpeg.pcm_of_array(array, rate, name, layout)


def checked_array(array: NDArray[Any]) -> NDArray[Any]:
    """Return an array as (channels, samples), its type one that FFmpeg has."""
    if array.ndim not in (1, 2) or not array.size:
        raise AudioError(
            "Samples come as (samples,), (samples, channels) or (channels, samples), "
            f"not {array.shape}."
        )
    array = np.atleast_2d(array)
    array = array.T if array.shape[0] > array.shape[1] else array
    if len(array) > ffmpeg.CHANNELS:
        raise AudioError(
            f"The array has {len(array)} channels: at most {ffmpeg.CHANNELS} can be mixed."
        )
    kind = np.dtype(np.float32) if array.dtype == np.float16 else array.dtype.newbyteorder("=")
    array = array.astype(kind, copy=False)
    if array.dtype.name not in ffmpeg.FORMATS:
        raise AudioError(
            f"The array is {array.dtype}: convert it to float (-1..1), int16, int32 or uint8."
        )
    if kind == np.int32 and 0 < peak(array) < SMALLEST:
        raise AudioError(
            f"The array is int32, whose full scale is 2147483648, but reaches only {peak(array)}: "
            "multiply 16-bit samples by 65536 and 24-bit ones by 256, or convert to float (-1..1)."
        )
    return array


def peak(array: NDArray[Any]) -> Any:
    """Return the largest absolute value of an array; NaN if it holds one."""
    return max(array.max(initial=0).item(), -array.min(initial=0).item())


def to_pcm(samples: NDArray[Any]) -> NDArray[np.int16]:
    """Return samples (n,) as 16 bit, each type as libswresample converts it."""
    if samples.dtype == np.int16:
        return samples
    if samples.dtype == np.int32:
        return (samples >> 16).astype(np.int16)
    if samples.dtype == np.uint8:
        return (samples.astype(np.int16) - 128) << 8
    scale = np.promote_types(samples.dtype, np.float32).type(FULL_SCALE)
    pcm = np.empty(samples.shape, np.int16)
    for i in range(0, samples.size, audible.BLOCK):
        scaled = np.rint(samples[i : i + audible.BLOCK] * scale)
        pcm[i : i + audible.BLOCK] = np.clip(scaled, -FULL_SCALE, FULL_SCALE - 1)
    return pcm
