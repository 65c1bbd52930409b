"""Recordings from the microphone, by PortAudio. The only module that imports sounddevice."""

from __future__ import annotations

import wave
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from vox2face.core import extras
from vox2face.core.errors import AudioError, UsageError
from vox2face.media.ffmpeg import RATE

if TYPE_CHECKING:
    from types import ModuleType


def portaudio() -> ModuleType:
    """Return the module sounddevice. Raises `UsageError` if it or PortAudio is missing."""
    extras.require("record", "--record")
    try:
        import sounddevice
    except OSError as error:  # its library is a package of the system, or is broken
        raise UsageError(
            f"The microphone needs the library PortAudio, which cannot be loaded here ({error}): "
            "install it, such as with apt install libportaudio2, or name a recording."
        ) from error
    return sounddevice  # type: ignore[no-any-return]


def record(seconds: float, path: Path, say: Callable[[str], None] = lambda text: None) -> None:
    """Write a wav file, 16 bit and mono, of what the microphone hears for some seconds.

    It is of 16 kHz, or of the device's own rate where the device takes no other. `say` is told
    when to speak. Raises `UsageError` without PortAudio, `AudioError` without a microphone that
    can be used, and where it hears nothing at all.
    """
    device = portaudio()
    try:
        rate = _usable_rate(device)
        say(f"Recording for {seconds:g} s: speak now.")
        samples = device.rec(round(seconds * rate), rate, channels=1, dtype="int16", blocking=True)
    except (device.PortAudioError, ValueError) as error:
        reason = " ".join(str(error).split()).rstrip(".")
        raise AudioError(
            f"No microphone can be used ({reason}): connect one, choose it in the system's "
            "settings and let this program use it, or name a recording."
        ) from error
    say("Recorded.")
    write(path, np.asarray(samples), rate)


def _usable_rate(device: Any) -> int:
    """Return 16 kHz, or the device's own rate if it takes no other."""
    own = device.query_devices(kind="input")["default_samplerate"]
    try:
        device.check_input_settings(channels=1, dtype="int16", samplerate=RATE)
    except (device.PortAudioError, ValueError):
        return int(own)
    return RATE


def write(path: Path, samples: NDArray[np.int16], rate: int) -> None:
    """Write samples as a wav file; raise `AudioError` if there is nothing but zeros."""
    if not samples.any():
        raise AudioError(
            "The microphone gave nothing but silence: switch it on, and let this program use it in "
            "the system's settings."
        )
    with wave.open(str(path), "wb") as file:
        file.setnchannels(1)
        file.setsampwidth(2)
        file.setframerate(rate)
        file.writeframes(samples.astype("<i2").tobytes())
