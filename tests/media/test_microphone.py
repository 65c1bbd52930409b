"""The microphone, played by a module that stands in for sounddevice."""

from __future__ import annotations

import sys
from collections.abc import Callable
from pathlib import Path
from subprocess import CompletedProcess
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest

from vox2face.core import extras
from vox2face.core.errors import AudioError, UsageError
from vox2face.media import audio, microphone
from vox2face.media.decoded_face import made_by

Run = Callable[..., CompletedProcess[str]]


class PortAudioError(Exception):
    """What sounddevice raises."""


@pytest.fixture
def device(monkeypatch: pytest.MonkeyPatch) -> SimpleNamespace:
    """A microphone that hears the sample sentence, and takes 16 kHz."""
    heard = np.round(audio.speech() * 32767).astype(np.int16)

    def rec(frames: int, samplerate: int, **options: Any) -> np.ndarray:
        assert options == {"channels": 1, "dtype": "int16", "blocking": True}
        fake.recorded.append((frames, samplerate))
        return np.resize(heard, (frames, 1))

    fake = SimpleNamespace(
        PortAudioError=PortAudioError,
        query_devices=lambda kind: {"default_samplerate": 44_100.0},
        check_input_settings=lambda **settings: None,
        rec=rec,
        recorded=[],
    )
    monkeypatch.setitem(sys.modules, "sounddevice", fake)
    monkeypatch.setattr(extras, "has", lambda extra: True)
    return fake


def refuse(*args: Any, **options: Any) -> None:
    raise PortAudioError("Error querying device -1")


def test_what_is_heard_becomes_a_wav_file(device: SimpleNamespace, tmp_path: Path) -> None:
    said: list[str] = []
    microphone.record(2, tmp_path / "a.wav", said.append)
    assert np.array_equal(audio.decode(tmp_path / "a.wav").shape, (32_000,))
    assert said == ["Recording for 2 s: speak now.", "Recorded."]
    device.check_input_settings = refuse
    microphone.record(1.5, tmp_path / "b.wav")
    assert device.recorded == [(32_000, 16_000), (66_150, 44_100)]
    assert abs(audio.decode(tmp_path / "b.wav").size - 24_000) < 20


def test_without_a_microphone_there_is_one_sentence(
    device: SimpleNamespace, tmp_path: Path
) -> None:
    device.query_devices = refuse
    with pytest.raises(AudioError, match=r"No microphone can be used \(Error querying device -1\)"):
        microphone.record(2, tmp_path / "a.wav")
    device.query_devices = lambda kind: {"default_samplerate": 16_000.0}
    device.rec = lambda frames, *args, **options: np.zeros((frames, 1), np.int16)
    with pytest.raises(AudioError, match="nothing but silence: switch it on"):
        microphone.record(2, tmp_path / "a.wav")
    assert not (tmp_path / "a.wav").exists()


def test_without_portaudio_there_is_one_sentence(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.delitem(sys.modules, "sounddevice", raising=False)
    monkeypatch.setattr(extras, "has", lambda extra: True)
    (tmp_path / "sounddevice.py").write_text('raise OSError("PortAudio library not found")\n')
    monkeypatch.syspath_prepend(tmp_path)
    with pytest.raises(UsageError, match=r"PortAudio library not found.*apt install libportaudio2"):
        microphone.portaudio()
    monkeypatch.setattr(extras, "has", lambda extra: False)
    with pytest.raises(UsageError, match=r"--record needs the 'record' extra: run pip install"):
        microphone.portaudio()


def test_the_command_draws_what_the_microphone_heard(
    device: SimpleNamespace, inside: Run, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    done = inside("speech2face", "--record", "2")
    assert done.returncode == 0 and done.stdout == "Written to recording.png\n", done.stderr
    assert "speak now" in done.stderr and made_by(tmp_path / "recording.png")
    assert [path.name for path in tmp_path.iterdir()] == ["recording.png"]
    again = inside("speech2face", "--record", "2")
    assert again.returncode == 2 and "recording.png is there already" in again.stderr
    assert len(device.recorded) == 1  # told before anybody speaks
    assert inside("speech2face", "--record", "2", "--output", "b.png").returncode == 0
    for wrong in ([], ["a.wav", "--record", "2"]):
        done = inside("speech2face", *wrong)
        assert done.returncode == 2 and "one of them, and not both" in " ".join(done.stderr.split())
    assert inside("speech2face", "--record", "0").returncode == 2
