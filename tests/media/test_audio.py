"""Any recording becomes the samples ffmpeg and ffmpeg-normalize would make; misfits say why."""

from __future__ import annotations

import contextlib
import http.server
import io
import itertools
import math
import os
import struct
import subprocess
import sys
import tempfile
import threading
import wave
from collections.abc import Callable
from pathlib import Path
from typing import Any, BinaryIO, cast

import av
import numpy as np
import pytest
import soundfile
from helpers.paths import HELPERS, ROOT
from numpy.typing import NDArray

from vox2face.core import extras
from vox2face.core.errors import AudioError, UsageError, Vox2FaceWarning
from vox2face.media import audible, audio, ffmpeg, wav

SPEECH = audio.speech()
PCM = np.rint(SPEECH * 32768).astype(np.int16)
# name, codec, rate, layout, correlation with the sample, what encoders may add in seconds
FORMATS = [
    ("mono16k.wav", "pcm_s16le", 16_000, "mono", 1, 0),
    ("stereo44k.wav", "pcm_s16le", 44_100, "stereo", 0.999, 0.001),
    ("float48k.wav", "pcm_f32le", 48_000, "stereo", 0.999, 0.001),
    ("telephone.wav", "pcm_mulaw", 8_000, "mono", 0.95, 0.001),
    ("surround.wav", "pcm_s16le", 48_000, "5.1", 0.999, 0.001),
    ("sound.aiff", "pcm_s16be", 22_050, "mono", 0.999, 0.001),
    ("sound.flac", "flac", 48_000, "stereo", 0.999, 0.001),
    ("sound.mp3", "libmp3lame", 44_100, "stereo", 0.99, 0.001),
    ("voxceleb.m4a", "aac", 16_000, "mono", 0.98, 0.15),
    ("music.m4a", "aac", 44_100, "stereo", 0.95, 0.15),
    ("sound.aac", "aac", 44_100, "mono", 0.95, 0.15),
    ("sound.opus", "libopus", 48_000, "mono", 0.98, 0.001),
    ("sound.ogg", "libopus", 24_000, "mono", 0.98, 0.001),
    ("sound.webm", "libopus", 48_000, "stereo", 0.98, 0.001),
    ("film.mp4", "aac", 48_000, "stereo", 0.98, 0.15),
    ("film.mkv", "libopus", 48_000, "stereo", 0.98, 0.001),
    ("film.mov", "aac", 48_000, "mono", 0.98, 0.15),
]
HOSTILE = {
    "concat.wav": "ffconcat version 1.0\nfile secret.wav\n",
    "local.m3u8": "#EXTM3U\n#EXT-X-TARGETDURATION:3\n#EXTINF:3,\nsecret.ts\n#EXT-X-ENDLIST\n",
    "web.m3u8": "#EXTM3U\n#EXT-X-TARGETDURATION:3\n#EXTINF:3,\n{url}\n#EXT-X-ENDLIST\n",
}


def encode(
    path: Path,
    codec: str = "pcm_s16le",
    rate: int = 16_000,
    layout: str = "mono",
    *,
    samples: NDArray[Any] = SPEECH,
    video: bool = False,
    **options: str,
) -> Path:
    """Write 16 kHz samples with any encoder, with a moving picture if wanted."""
    with av.open(path, "w", options=options) as container:
        picture: Any = container.add_stream("mpeg4", rate=10) if video else None
        sound: Any = container.add_stream(codec, rate=rate, layout=layout) if codec else None
        if video:
            picture.width = picture.height = 64
            picture.pix_fmt = "yuv420p"
            for grey in range(0, 240, 8):
                shown = av.VideoFrame.from_ndarray(np.full((64, 64, 3), grey, np.uint8))
                container.mux(picture.encode(shown))
            container.mux(picture.encode(None))
        if codec:
            # FFmpeg lowers a voice that it moves from the middle to two sides, so do it by hand
            sides = 2 if layout == "stereo" else 1
            pcm = np.rint(samples * 32768).astype(np.int16).repeat(sides)[None]
            kind = "stereo" if sides == 2 else "mono"
            frame = av.AudioFrame.from_ndarray(pcm, format="s16", layout=kind)
            frame.sample_rate = 16_000
            container.mux(sound.encode(frame))
            container.mux(sound.encode(None))
    return path


def wav_bytes(data: bytes, *, declared: int | None = None, rate: int = 16_000) -> bytes:
    """A 16-bit mono wav file whose header may lie about the size of its data."""
    stream = io.BytesIO()
    with wave.open(stream, "wb") as file:
        file.setparams((1, 2, rate, 0, "NONE", "not compressed"))
        file.writeframes(data)
    whole = stream.getvalue()
    size = len(data) if declared is None else declared
    return whole[:40] + size.to_bytes(4, "little") + whole[44:]


def written(samples: NDArray[Any], kind: str = "WAV", subtype: str = "PCM_16") -> io.BytesIO:
    """Samples (samples, channels) at 16 kHz in a file that libsndfile writes."""
    stream = io.BytesIO()
    soundfile.write(stream, samples, 16_000, format=kind, subtype=subtype)
    stream.seek(0)
    return stream


def wav_of(
    data: bytes,
    bits: int,
    channels: int = 1,
    valid: int | None = None,
    mask: int = 0,
    code: int = 1,
    width: int = 0,
    rate: int = 16_000,
) -> io.BytesIO:
    """A wav file as its header is told to be, an extensible one if `valid` bits are told."""
    frame = channels * (width or (bits + 7) // 8)
    head = struct.pack("<HHIIHH", code, channels, rate, rate * frame, frame, bits)
    if valid is not None:
        head = b"\xfe\xff" + head[2:] + struct.pack("<HHIH", 22, valid, mask, code)
        head += bytes.fromhex("000000001000800000aa00389b71")
    parts = (b"fmt ", len(head), head, b"data", len(data), data)
    body = struct.pack(f"<4sI{len(head)}s4sI{len(data)}s", *parts)
    return io.BytesIO(b"RIFF" + struct.pack("<I", 4 + len(body)) + b"WAVE" + body)


def by_av(file: Any) -> NDArray[np.int16]:
    """What FFmpeg makes of a file, packets that it cannot decode left out."""
    resampler, parts = av.AudioResampler("s16", "mono", 16_000), []
    with av.open(file) as container:
        for packet in container.demux(audio=0):
            try:
                frames = packet.decode()
            except av.FFmpegError:
                continue
            for frame in frames:
                frame.pts = None
                parts += resampler.resample(frame)
    return np.concatenate([part.to_ndarray()[0] for part in [*parts, *resampler.resample(None)]])


def pcm_of(waveform: NDArray[np.float32]) -> NDArray[np.int16]:
    """The 16-bit samples a waveform consists of."""
    pcm = waveform * 32768
    np.testing.assert_array_equal(pcm, np.rint(pcm))
    return pcm.astype(np.int16)


def filtered(pcm: NDArray[np.int16], name: str, arguments: str) -> tuple[Any, dict[str, str]]:
    """What an FFmpeg filter makes of 16-bit samples, and what it notes about them."""
    graph = av.filter.Graph()
    source = "sample_rate=16000:sample_fmt=s16:channel_layout=mono:time_base=1/16000"
    nodes = [graph.add("abuffer", source), graph.add(name, arguments)]
    nodes += [graph.add("aformat", "sample_fmts=s16"), graph.add("abuffersink")]
    for one, other in itertools.pairwise(nodes):
        one.link_to(other)
    graph.configure()
    frame = av.AudioFrame.from_ndarray(pcm[None], format="s16", layout="mono")
    frame.sample_rate, frame.pts = 16_000, 0
    graph.push(frame)
    graph.push(None)
    result = cast(Any, graph.pull())
    assert result.samples == pcm.size
    return result.to_ndarray()[0], getattr(result, "metadata", {})


def correlation(heard: NDArray[Any], lag: int = 0) -> float:
    """The correlation of a decoded waveform with the sample it was encoded from."""
    count = min(len(heard) - lag, len(SPEECH))
    return float(np.corrcoef(heard[lag : lag + count], SPEECH[:count])[0, 1])


@pytest.mark.parametrize(
    ("name", "codec", "rate", "layout", "alike", "longer"), FORMATS, ids=[f[0] for f in FORMATS]
)
def test_every_format_gives_the_voice_at_its_level_and_length(
    tmp_path: Path, name: str, codec: str, rate: int, layout: str, alike: float, longer: float
) -> None:
    path = encode(tmp_path / name, codec, rate, layout, video=name.startswith("film"))
    heard = audio.decode(path)
    assert heard.dtype == np.float32 and heard.ndim == 1 and np.abs(heard).max() <= 1
    pcm_of(heard)
    assert 0 <= len(heard) - len(SPEECH) <= longer * 16_000 + 1
    # AAC without an edit list, and AAC in a raw stream, start with the encoder's delay
    part = SPEECH[8_000:16_000]
    lag = int(np.argmax(np.correlate(heard[8_000:][: 8_000 + round(longer * 16_000)], part)))
    assert correlation(heard, lag) >= alike - 1e-6
    # the weights that mix 5.1 sum to 1, which lowers the middle; the others keep the level
    if layout != "5.1" and codec != "pcm_mulaw":
        assert audio.rms_level(pcm_of(heard)) == pytest.approx(
            audio.rms_level(pcm_of(SPEECH)), abs=0.5
        )


def test_the_path_without_ffmpeg_equals_the_one_with_it(tmp_path: Path) -> None:
    path = encode(tmp_path / "a.wav")
    with path.open("rb") as file:
        through = ffmpeg.pcm_of_file(file, "a.wav")
    np.testing.assert_array_equal(through, pcm_of(audio.decode(path)))
    np.testing.assert_array_equal(through, pcm_of(SPEECH))


@pytest.mark.parametrize("rate", [8_000, 16_000, 44_100, 48_000])
@pytest.mark.parametrize("layout", ["mono", "stereo"])
def test_wav_samples_that_are_read_at_once_equal_those_that_ffmpeg_reads(
    tmp_path: Path, rate: int, layout: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = encode(tmp_path / "a.wav", rate=rate, layout=layout)
    with path.open("rb") as file:
        through = ffmpeg.pcm_of_file(file, "a.wav")
        assert wav.read(file, "a.wav") is not None
    monkeypatch.setattr(ffmpeg, "pcm_of_file", None)
    np.testing.assert_array_equal(through, pcm_of(audio.decode(path)))


@pytest.mark.parametrize("name", ["a.flac", "film.mp4", "a.wav"])
def test_file_objects_equal_paths_wherever_they_stand(tmp_path: Path, name: str) -> None:
    codec = {"a.flac": "flac", "film.mp4": "aac", "a.wav": "pcm_s16le"}[name]
    path = encode(tmp_path / name, codec, video=name.startswith("film"))
    want = audio.decode(path)
    stream = io.BytesIO(path.read_bytes())
    stream.seek(99)
    np.testing.assert_array_equal(audio.decode(stream), want)
    assert not stream.closed
    with tempfile.TemporaryFile() as file:  # its name is a number
        file.write(path.read_bytes())
        np.testing.assert_array_equal(audio.decode(cast(BinaryIO, file)), want)
    np.testing.assert_array_equal(audio.decode(str(path)), want)


def test_streams_that_cannot_seek_are_read(tmp_path: Path) -> None:
    class Pipe(io.BytesIO):
        def seekable(self) -> bool:
            return False

        def seek(self, *_: int) -> int:
            raise io.UnsupportedOperation("seek")

        tell = seek  # type: ignore[assignment]

    for name, codec in (("a.flac", "flac"), ("a.opus", "libopus"), ("a.wav", "pcm_s16le")):
        path = encode(tmp_path / name, codec)
        np.testing.assert_array_equal(audio.decode(Pipe(path.read_bytes())), audio.decode(path))


@pytest.mark.parametrize("rate", [8_000, 16_000, 22_050, 44_100, 48_000, 192_000])
def test_arrays_equal_the_file_that_holds_them(tmp_path: Path, rate: int) -> None:
    time = np.arange(rate) / rate
    wave_ = 0.4 * np.sin(2 * np.pi * 440 * time) + 0.1 * np.sin(2 * np.pi * 997 * time)
    pcm = np.rint(wave_ * 32768).astype(np.int16)
    path = tmp_path / "a.wav"
    path.write_bytes(wav_bytes(pcm.tobytes(), rate=rate))
    heard = audio.decode(pcm, rate)
    np.testing.assert_array_equal(heard, audio.decode(path))
    assert len(heard) == 16_000
    inner = slice(800, -800)
    at_16k = np.arange(16_000) / 16_000
    want = 0.4 * np.sin(2 * np.pi * 440 * at_16k) + 0.1 * np.sin(2 * np.pi * 997 * at_16k)
    assert np.abs(heard - want)[inner].max() < 2e-4
    other = audio.decode(pcm.astype(np.float32) / 32768, rate)
    np.testing.assert_allclose(other, heard, rtol=0, atol=1.01 / 32768)


def test_arrays_need_not_be_contiguous() -> None:
    for array in (SPEECH[::2], SPEECH.astype(">f4")[::-2], np.stack([SPEECH, SPEECH, SPEECH])[::2]):
        want = audio.decode(np.array(array, np.float32), 8_000)
        np.testing.assert_array_equal(audio.decode(array, 8_000), want)


@pytest.mark.parametrize("rate", [16_000, 44_100])
@pytest.mark.parametrize("channels", range(1, 9))
def test_both_layouts_of_an_array_are_told_apart(rate: int, channels: int) -> None:
    noise = np.random.default_rng(channels).normal(0, 0.1, (channels, rate)).astype(np.float32)
    one = audio.decode(noise, rate)
    np.testing.assert_array_equal(one, audio.decode(noise.T, rate))
    assert len(one) == 16_000
    if channels <= 2 and rate == 16_000:
        np.testing.assert_allclose(one, noise.mean(0), rtol=0, atol=0.51 / 32768)


@pytest.mark.parametrize("kind", ["<f2", "<f4", ">f4", "<f8", "<i2", ">i2", "<i4", "u1"])
def test_every_type_of_sample_is_scaled_and_equals_ffmpegs_conversion(kind: str) -> None:
    unit = {"i2": 2**15, "i4": 2**31, "u1": 2**7}.get(kind[-2:], 1)
    exact = SPEECH.astype(np.float64) * unit
    if unit > 1:
        exact = np.rint(exact) + (128 if kind == "u1" else 0)
    array = exact.astype(kind)
    heard = audio.decode(array, 16_000)
    np.testing.assert_allclose(heard, SPEECH, rtol=0, atol=2**-8 if kind == "u1" else 2**-12)
    native = audio.checked_array(array)
    through = ffmpeg.pcm_of_array(native, 16_000, "a")
    np.testing.assert_array_equal(pcm_of(heard), through)


def test_loud_samples_are_clipped_as_ffmpeg_clips_them_with_a_warning(tmp_path: Path) -> None:
    loud = np.linspace(-1.5, 1.5, 16_001)
    for kind, subtype in ((np.float32, "FLOAT"), (np.float64, "DOUBLE")):
        array = loud.astype(kind)
        with pytest.warns(Vox2FaceWarning, match=r"the array reaches 1\.5, .* clipped"):
            heard = audio.decode(array, 16_000)
        assert heard.min() == -1 and heard.max() == 32767 / 32768
        through = ffmpeg.pcm_of_array(array[None], 16_000, "a")
        np.testing.assert_array_equal(pcm_of(heard), through)
        for container in ("WAV", "AIFF", "CAF"):
            path = tmp_path / "loud"
            path.write_bytes(written(array, container, subtype).getvalue())
            with pytest.warns(Vox2FaceWarning, match=r"loud reaches 1\.5, .* clipped") as told:
                np.testing.assert_array_equal(audio.decode(path), heard)
            assert len(told) == 1
            np.testing.assert_array_equal(by_av(str(path)), through)


@pytest.mark.parametrize("loudest", [9.99, 10.1, 9_794])
@pytest.mark.parametrize("subtype", ["FLOAT", "DOUBLE"])
@pytest.mark.parametrize("container", ["WAV", "WAVEX", "RF64", "W64", "AIFF", "AU", "CAF"])
def test_float_files_of_16_bit_values_are_refused_as_arrays_are(
    container: str, subtype: str, loudest: float
) -> None:
    samples = SPEECH.astype(np.float64) * loudest / SPEECH.max()
    file = written(samples, container, subtype)
    if loudest < 10:
        with pytest.warns(Vox2FaceWarning, match="reaches 9.99"):
            audio.decode(file)
        return
    for given in ((file,), (samples, 16_000)):
        with pytest.raises(AudioError, match=f"reaches {loudest:g}, .*divide 16-bit samples"):
            audio.decode(*given)  # type: ignore[arg-type]
    with pytest.raises(AudioError, match=f"reaches {loudest:g}"):
        audio.level(samples)


def test_a_lossy_codec_may_overshoot_without_a_word(tmp_path: Path) -> None:
    square = np.where(np.arange(32_000) % 80 < 40, 0.999, -0.999).astype(np.float32)
    path = encode(tmp_path / "a.m4a", "aac", samples=square)
    with av.open(path) as container:
        assert max(np.abs(f.to_ndarray()).max() for f in container.decode(audio=0)) > 1
    assert np.abs(audio.decode(path)).max() == 1


@pytest.mark.parametrize("shift", [0, 1, 8])
@pytest.mark.parametrize("rate", [16_000, 44_100])
def test_int32_arrays_of_fewer_bits_are_refused(shift: int, rate: int) -> None:
    wide = PCM.astype(np.int32)
    for array in (wide, wide + np.roll(wide, 99), np.stack([wide, -wide])):
        with pytest.raises(AudioError, match=r"reaches only [0-9]+: multiply 16-bit samples"):
            audio.decode(array << shift, rate)
    same = audio.decode(wide << 16, rate)
    np.testing.assert_array_equal(same, audio.decode(PCM, rate))
    with pytest.raises(AudioError, match=r"silent \(every sample is zero\)"):
        audio.decode(wide * 0, rate)


LEVELS: dict[str, Callable[[], NDArray[np.float32]]] = {
    "speech": lambda: SPEECH,
    "whisper": lambda: SPEECH / 300,
    "shout": lambda: np.clip(SPEECH * 30, -1, 32767 / 32768).astype(np.float32),
    "noise": lambda: np.random.default_rng(0).normal(0, 0.2, 30_000).astype(np.float32),
    "click": lambda: np.eye(1, 20_000, 77, dtype=np.float32)[0] * 0.9,
    "square": lambda: (
        np.where(np.arange(9_999) % 80 < 40, 32767, -32768).astype(np.float32) / np.float32(32768)
    ),
}


@pytest.mark.skipif(not hasattr(av.AudioFrame, "metadata"), reason="PyAV hides what astats says")
@pytest.mark.parametrize("decibels", [-23.0, -3.5, -60.0])
@pytest.mark.parametrize("name", LEVELS)
def test_levelling_equals_ffmpegs_astats_and_volume_filters(name: str, decibels: float) -> None:
    pcm = audio.to_pcm(LEVELS[name]())
    told = filtered(pcm, "astats", "metadata=1:measure_overall=RMS_level:measure_perchannel=0")[1]
    printed = float(told["lavfi.astats.Overall.RMS_level"])
    assert audio.rms_level(pcm) == pytest.approx(printed, abs=1.1e-6)
    adjustment = decibels - printed  # what ffmpeg-normalize passes on
    want, _ = filtered(pcm, "volume", f"volume={adjustment}dB")
    heard = pcm_of(audio.level(LEVELS[name](), decibels))
    np.testing.assert_array_equal(heard, want)
    if name != "click" and decibels == -23:
        # rounding to 16 bits, and clipping, move the level a little
        assert audio.rms_level(heard) == pytest.approx(-23, abs=0.1)


def test_levelling_does_not_touch_its_input() -> None:
    kept = SPEECH.copy()
    audio.level(kept)
    audio.fit(kept, 99)[:] = 0
    np.testing.assert_array_equal(kept, SPEECH)


def test_fit_cuts_or_repeats_from_the_start() -> None:
    ramp = np.arange(5, dtype=np.float32)
    assert audio.fit(ramp, 3).tolist() == [0, 1, 2]
    assert audio.fit(ramp, 5).tolist() == [0, 1, 2, 3, 4]
    assert audio.fit(ramp, 12).tolist() == [0, 1, 2, 3, 4, 0, 1, 2, 3, 4, 0, 1]
    assert audio.fit(ramp.astype(np.float64), 7).dtype == np.float32


def test_read_decodes_levels_and_fits_in_that_order(tmp_path: Path) -> None:
    path = encode(tmp_path / "a.m4a", "aac", 44_100)
    whole = audio.level(audio.decode(path))
    np.testing.assert_array_equal(audio.read(path), whole)
    np.testing.assert_array_equal(audio.read(path, samples=96_000), audio.fit(whole, 96_000))
    np.testing.assert_array_equal(audio.read(path, samples=9_000), whole[:9_000])
    np.testing.assert_array_equal(audio.read(path, decibels=None), audio.decode(path))
    louder = audio.read(SPEECH, 16_000, decibels=-20.0)
    np.testing.assert_array_equal(louder, audio.level(SPEECH, -20.0))


def test_the_sample_is_named_in_the_notice_and_needs_no_extra() -> None:
    assert "`speech.wav`" in (ROOT / "vox2face/assets/NOTICE.md").read_text()
    assert (ROOT / "vox2face/assets/speech.wav").stat().st_size < 110_000
    script = (
        "import sys; sys.modules['av'] = None\n"
        "from vox2face.media import audio; wave = audio.read(audio.speech(), 16000)\n"
        "print(wave.shape, 'torch' in sys.modules)"
    )
    done = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True)
    assert done.stdout.strip() == "(47840,) False", done.stderr


def test_a_missing_extra_names_the_command(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = encode(tmp_path / "a.flac", "flac")
    monkeypatch.setitem(extras.EXTRAS, "voice", ("no_such_package",))
    for given in ((path,), (SPEECH, 8_000), (np.stack([SPEECH, SPEECH]), 16_000)):
        with pytest.raises(UsageError, match=r"pip install '\.\[voice\]'"):
            audio.decode(*given)  # type: ignore[arg-type]


@pytest.mark.parametrize(
    ("given", "says"),
    [
        ("missing.wav", "There is no recording"),
        ("http://example.org/a.wav", "There is no recording"),
        ("file:///etc/hostname", "There is no recording"),
        ("a\0b.wav", "recording"),
        (".", "is a folder"),
        (os.devnull, "is a pipe or a device"),
        (b"RIFF", "not bytes"),
        (None, "not NoneType"),
        ([0.0, 0.1], "not list"),
        (io.StringIO("text"), "is damaged or no recording"),
        (io.BytesIO(), "is empty"),
        (io.BytesIO(b"no sound at all " * 999), "is damaged or no recording"),
        (ROOT / "vox2face/assets/astronaut.png", "has no sound track"),
        (ROOT / "vox2face/audio.py", "no recording"),
    ],
)
def test_what_is_no_recording_is_named(given: Any, says: str) -> None:
    with pytest.raises(AudioError, match=says) as caught:
        audio.decode(given)
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize(
    ("array", "rate", "says"),
    [
        (np.zeros(16_000, np.float32), 16_000, "is silent"),
        (np.full(16_000, 1e-6), 16_000, "is silent"),
        (np.zeros((2, 44_100)), 44_100, "is silent"),
        (np.zeros(0), 16_000, "not \\(0,\\)"),
        (np.array(0.5), 16_000, "not \\(\\)"),
        (np.zeros((2, 2, 800)), 16_000, "not \\(2, 2, 800\\)"),
        (np.ones((9, 16_000)), 16_000, "9 channels"),
        (np.ones((1_600, 1_600)), 16_000, "1600 channels"),
        (SPEECH[:1_599], 16_000, r"too short \(0.100 s\)"),
        (SPEECH[:4_000], 44_100, r"too short \(0.091 s\)"),
        (np.where(np.arange(16_000) == 7, np.nan, SPEECH[:16_000]), 16_000, "NaN or infinity"),
        (np.where(np.arange(16_000) == 7, -np.inf, SPEECH[:16_000]), 8_000, "NaN or infinity"),
        (SPEECH * 32768, 16_000, "divide 16-bit samples by 32768"),
        (np.rint(SPEECH * 32768).astype(np.int64), 16_000, "int64"),
        (SPEECH > 0, 16_000, "bool"),
        (SPEECH.astype(complex), 16_000, "complex128"),
        (SPEECH, 999, "a rate of 999 Hz"),
        (SPEECH, 0, "a rate of 0 Hz"),
        (SPEECH, -16_000, "a rate of -16000 Hz"),
        (SPEECH, 10**12, "a rate of 1000000000000 Hz"),
    ],
)
def test_unusable_arrays_say_why(array: Any, rate: int, says: str) -> None:
    with pytest.raises(AudioError, match=says):
        audio.decode(array, rate)


def test_requests_that_cannot_be_meant_are_usage_errors(tmp_path: Path) -> None:
    path = encode(tmp_path / "a.wav")
    for call, says in (
        (lambda: audio.decode(SPEECH), "needs its rate"),
        (lambda: audio.decode(SPEECH, cast(Any, 44_100.5)), "whole number"),
        (lambda: audio.decode(SPEECH, cast(Any, "16000")), "whole number"),
        (lambda: audio.decode(SPEECH, True), "whole number"),
        (lambda: audio.decode(path, 16_000), "Only arrays take a rate"),
        (lambda: audio.fit(SPEECH, 0), "0 samples"),
        (lambda: audio.level(SPEECH, math.nan), "no level"),
    ):
        with pytest.raises(UsageError, match=says):
            call()


@pytest.mark.parametrize("function", [audio.level, lambda wave: audio.fit(wave, 10)])
def test_what_is_no_waveform_is_neither_levelled_nor_fitted(function: Any) -> None:
    bad = [np.zeros(0, np.float32), SPEECH[None], np.ones(99, np.int16), SPEECH * np.nan]
    for given in bad:
        with pytest.raises(AudioError, match="waveform"):
            function(given)
    with pytest.raises(AudioError, match="silent"):
        audio.level(np.full(16_000, 1e-6, np.float32))


def test_silent_short_and_soundless_files_say_so(tmp_path: Path) -> None:
    silent = encode(tmp_path / "silent.flac", "flac", samples=np.zeros(16_000))
    short = encode(tmp_path / "short.flac", "flac", samples=SPEECH[:1_000])
    deaf = encode(tmp_path / "deaf.mkv", "", video=True)
    nothing = tmp_path / "nothing.wav"
    nothing.write_bytes(wav_bytes(b""))
    for path, says in (
        (silent, "is silent"),
        (short, r"too short \(0.062 s\)"),
        (deaf, "has no sound track"),
        (nothing, "too short|no recording"),
    ):
        with pytest.raises(AudioError, match=says):
            audio.decode(path)


@pytest.mark.parametrize("rate", [1, 500, 2_000_000])
def test_files_of_absurd_rates_are_refused(rate: int) -> None:
    pcm = np.rint(SPEECH * 32768).astype(np.int16)
    with pytest.raises(AudioError, match=f"a rate of {rate} Hz"):
        audio.decode(io.BytesIO(wav_bytes(pcm.tobytes(), rate=rate)))


def test_float_files_with_nan_are_refused(tmp_path: Path) -> None:
    path = encode(tmp_path / "a.wav", "pcm_f32le")
    data = bytearray(path.read_bytes())
    data[-400:-396] = np.float32(np.nan).tobytes()
    path.write_bytes(data)
    with pytest.raises(AudioError, match="NaN or infinity"):
        audio.decode(path)


TELL_NO_LENGTH = ("sound.aac", "sound.mp3", "sound.opus", "sound.ogg", "film.mkv")
CUT = [f for f in FORMATS if f[0] not in TELL_NO_LENGTH]


@pytest.mark.parametrize(("name", "codec", "rate", "layout"), [f[:4] for f in CUT])
def test_files_cut_in_the_middle_are_refused_where_their_header_tells(
    tmp_path: Path, name: str, codec: str, rate: int, layout: str
) -> None:
    whole = encode(tmp_path / name, codec, rate, layout, video=name.startswith("film"))
    data = whole.read_bytes()
    for part in (len(data) // 2, len(data) // 4):
        with pytest.raises(AudioError, match=r"cut off|no recording that FFmpeg"):
            audio.decode(io.BytesIO(data[:part]))


def test_an_m4a_cut_after_its_index_is_refused(tmp_path: Path) -> None:
    path = encode(tmp_path / "a.m4a", "aac", movflags="faststart")
    assert len(audio.decode(path)) > 47_000
    path.write_bytes(path.read_bytes()[: path.stat().st_size // 2])
    with pytest.raises(AudioError, match=r"1\.\d\d of its 3\.\d\d seconds"):
        audio.decode(path)


@pytest.mark.parametrize(
    ("name", "codec"), [("a.mp3", "libmp3lame"), ("a.aac", "aac"), ("a.opus", "libopus")]
)
def test_streams_that_tell_no_length_are_decoded_as_far_as_they_go(
    tmp_path: Path, name: str, codec: str
) -> None:
    data = encode(tmp_path / name, codec, 48_000).read_bytes()
    part = audio.decode(io.BytesIO(data[: len(data) // 2]))
    assert 0.2 < len(part) / len(SPEECH) < 0.6
    whole = audio.decode(io.BytesIO(data))
    assert np.corrcoef(part[:-2_000], whole[: len(part) - 2_000])[0, 1] > 0.999


# bits, valid bits (None: a plain header), bytes a sample, whether FFmpeg reads them as libsndfile
WIDTHS = [
    (8, None, 1, True),
    (16, None, 2, True),
    (24, None, 3, True),
    (32, None, 4, True),
    (24, None, 4, False),
    (12, None, 2, True),
    (20, None, 3, True),
    (16, 16, 2, True),
    (16, 12, 2, True),
    (24, 24, 3, True),
    (24, 20, 3, True),
    (24, 16, 3, False),
    (32, 32, 4, True),
    (32, 24, 4, False),
    (32, 20, 4, False),
    (32, 16, 4, False),
]


@pytest.mark.parametrize("channels", [1, 2])
@pytest.mark.parametrize(("bits", "valid", "width", "alike"), WIDTHS)
def test_samples_of_every_width_are_read_as_libsndfile_reads_them(
    bits: int, valid: int | None, width: int, alike: bool, channels: int
) -> None:
    upper = (PCM.astype("<i4") << 16).view(np.uint8).reshape(-1, 4)[:, 4 - width :]
    data = (upper + 128 if width == 1 else upper).repeat(channels, axis=0)
    if channels == 2:  # a quieter voice on the other side
        data[1::2] = np.roll(data[1::2], 999, axis=0)
    file = wav_of(data.tobytes(), bits, channels, valid, 0, width=width)
    want = soundfile.read(file, dtype="int16", always_2d=True)[0].mean(axis=1)
    assert len(want) == len(PCM) and np.abs(want).max() > 4_000
    heard = pcm_of(audio.decode(file))
    np.testing.assert_allclose(heard, want, rtol=0, atol=channels - 1)
    if alike:
        np.testing.assert_array_equal(heard, ffmpeg.pcm_of_file(file, "a"))


@pytest.mark.parametrize(
    ("channels", "mask"),
    [(3, 0), (4, 0), (6, 0), (8, 0), (2, 3), (3, 7), (4, 0x33), (6, 0x3F), (6, 0x60F), (8, 0x63F)],
)
def test_channels_are_mixed_by_their_place_as_ffmpeg_mixes_them(channels: int, mask: int) -> None:
    noise = np.random.default_rng(mask).normal(0, 3_000, (22_050, channels)).astype("<i2")
    file = wav_of(noise.tobytes(), 16, channels, 16 if mask else None, mask, rate=22_050)
    heard = pcm_of(audio.decode(file))
    np.testing.assert_array_equal(heard, ffmpeg.pcm_of_file(file, "a"))


@pytest.mark.parametrize("extra", [1, 2, 36, 44, 300])
@pytest.mark.parametrize("subtype", ["PCM_16", "PCM_24", "FLOAT", "ULAW"])
def test_headers_that_count_a_little_too_much_are_read_as_libsndfile_and_ffmpeg_read_them(
    subtype: str, extra: int
) -> None:
    data = bytearray(written(SPEECH, "WAV", subtype).getvalue())
    place = data.index(b"data") + 4
    size = len(data) - place - 4
    data[place : place + 4] = struct.pack("<I", size + extra)
    whole = pcm_of(audio.decode(written(SPEECH, "WAV", subtype)))
    if extra == 300 and subtype == "ULAW":  # 19 ms
        with pytest.raises(AudioError, match="cut off"):
            audio.decode(io.BytesIO(data))
        return
    np.testing.assert_array_equal(pcm_of(audio.decode(io.BytesIO(data))), whole)
    np.testing.assert_array_equal(by_av(io.BytesIO(data)), whole)
    told = soundfile.read(io.BytesIO(data), dtype="int16")[0]
    assert len(told) == len(whole)
    data[place : place + 4] = struct.pack("<I", size + size // 50)
    with pytest.raises(AudioError, match=r"2\.99 of its 3\.05 seconds"):
        audio.decode(io.BytesIO(data))


@pytest.mark.parametrize("size", [0, 0x7FFFF000, 0x7FFFFFFF, 0xFFFFFFFF])
def test_wav_files_from_a_pipe_need_no_true_size(size: int) -> None:
    pcm = pcm_of(SPEECH).tobytes()
    heard = audio.decode(io.BytesIO(wav_bytes(pcm, declared=size)))
    np.testing.assert_array_equal(heard, SPEECH)


def test_damage_in_the_middle_of_a_file_costs_little_or_is_named(tmp_path: Path) -> None:
    data = bytearray(encode(tmp_path / "a.mp3", "libmp3lame").read_bytes())
    data[20_000:20_300] = bytes(300)
    assert abs(len(audio.decode(io.BytesIO(data))) - len(SPEECH)) < 3_000
    flac = bytearray(encode(tmp_path / "a.flac", "flac").read_bytes())
    flac[20_000:-5_000] = bytes(len(flac) - 25_000)
    with pytest.raises(AudioError, match="damaged"):
        audio.decode(io.BytesIO(flac))


@pytest.mark.parametrize("name", ["a.m4a", "a.aac"])
@pytest.mark.parametrize("rate", [8_000, 44_100])
def test_a_damaged_packet_is_skipped_as_ffmpeg_skips_it(
    tmp_path: Path, name: str, rate: int
) -> None:
    path = encode(tmp_path / name, "aac", rate)
    whole = audio.decode(path)
    with av.open(path) as container:
        packets = [p for p in container.demux(audio=0) if p.size]
    places = [(p.pos + p.size // 4, p.size // 2) for p in packets]
    data = bytearray(path.read_bytes())
    start, size = places[len(places) // 2]
    data[start : start + size] = b"\xff" * size
    heard = audio.decode(io.BytesIO(data))
    np.testing.assert_array_equal(pcm_of(heard), by_av(io.BytesIO(data)))
    assert 0 <= len(whole) - len(heard) <= 3 * 1024 * 16_000 / rate
    for start, size in places[3:]:
        data[start : start + size] = b"\xff" * size
    with pytest.raises(AudioError, match="is damaged"):
        audio.decode(io.BytesIO(data))


@pytest.mark.parametrize("name", ["a.amr", "a.3gp"])
@pytest.mark.parametrize("pause", [0.5, 9.0])
def test_the_pauses_of_a_telephone_are_left_out_as_ffmpeg_leaves_them_out(
    tmp_path: Path, name: str, pause: float
) -> None:
    silence = np.zeros(int(pause * 16_000), np.float32)
    path = tmp_path / name
    with av.open(path, "w") as container:
        stream: Any = container.add_stream("libopencore_amrnb", 8_000, {"dtx": "1"}, layout="mono")
        pcm = pcm_of(np.concatenate([SPEECH, silence, SPEECH]))
        frame = av.AudioFrame.from_ndarray(pcm[None], format="s16", layout="mono")
        frame.sample_rate = 16_000
        container.mux(stream.encode(frame))
        container.mux(stream.encode(None))
    heard = audio.decode(path)
    np.testing.assert_array_equal(pcm_of(heard), by_av(str(path)))
    assert 5 < len(heard) / 16_000 < min(6.2, 6 + pause)


CLICK = np.eye(1, 32_000, 12_345, dtype=np.float32)[0] * 0.9
NOISE = np.random.default_rng(0).integers(-1, 2, 32_000)
INAUDIBLE: list[tuple[NDArray[Any], str]] = [
    (NOISE.astype(np.int16), "noise in the lowest bits"),
    ((NOISE > 0).astype(np.int16) + 500, "noise in the lowest bits"),
    ((NOISE + 128).astype(np.uint8), "noise in the lowest bits"),
    (NOISE / 32_768, "noise in the lowest bits"),
    (np.stack([NOISE, NOISE]).astype(np.int16), "noise in the lowest bits"),
    (CLICK, r"a click of 0\.0[12] s"),
    (np.stack([CLICK, CLICK]), r"a click of 0\.0[12] s"),
    (CLICK + NOISE / 32_768, r"a click of 0\.0[12] s"),
    (np.stack([SPEECH, -SPEECH]), "channels that cancel"),
    (np.stack([SPEECH, -SPEECH, 0 * SPEECH]), "channels that cancel"),
    (np.stack([SPEECH, -0.95 * SPEECH]), "channels that cancel"),
    (np.stack([PCM, ~PCM]), "channels that cancel"),
]


@pytest.mark.parametrize("rate", [16_000, 44_100])
@pytest.mark.parametrize(("array", "says"), INAUDIBLE)
def test_what_can_hold_no_voice_says_why(array: NDArray[Any], says: str, rate: int) -> None:
    for given in (
        ((array, rate), (written(array.T),)) if array.dtype != np.uint8 else ((array, rate),)
    ):
        with pytest.raises(AudioError, match=says):
            audio.decode(*given)


@pytest.mark.parametrize(
    ("name", "codec"),
    [("a.flac", "flac"), ("a.m4a", "aac"), ("a.mp3", "libmp3lame"), ("a.opus", "libopus")],
)
def test_coded_files_that_can_hold_no_voice_say_why(tmp_path: Path, name: str, codec: str) -> None:
    for samples, says in ((NOISE / 32_768, "noise in the lowest bits"), (CLICK, "a click of")):
        path = encode(tmp_path / name, codec, 48_000, "stereo", samples=samples)
        with pytest.raises(AudioError, match=says):
            audio.decode(path)
    with av.open(path, "w") as container:
        stream: Any = container.add_stream(codec, 48_000, layout="stereo")
        pcm = np.stack([PCM, -PCM], axis=1).reshape(1, -1)
        frame = av.AudioFrame.from_ndarray(pcm, format="s16", layout="stereo")
        frame.sample_rate = 16_000
        container.mux(stream.encode(frame))
        container.mux(stream.encode(None))
    with pytest.raises(AudioError, match="channels that cancel"):
        audio.decode(path)


def test_one_quiet_voice_among_silent_channels_is_heard() -> None:
    for channels in range(2, 9):
        array = np.zeros((channels, len(SPEECH)), np.float32)
        array[0] = SPEECH / 30
        assert len(audio.decode(array, 16_000)) == len(SPEECH)
    assert audible.loud_ticks(pcm_of(audio.decode(PCM // 300, 16_000)), 1) > 100


def test_a_seek_to_nowhere_prints_nothing(capfd: pytest.CaptureFixture[str]) -> None:
    stream = ffmpeg.Stream(io.BytesIO(b"sound"))
    assert stream.seek(-5) == stream.seek(1 << 90) == -1 and stream.seek(3) == 3
    data = bytearray(written(SPEECH, "W64").getvalue())
    data[56] = 42  # the size of the format, from which FFmpeg seeks back too far
    with contextlib.suppress(AudioError):
        audio.decode(io.BytesIO(data))
    assert capfd.readouterr() == ("", "")


@pytest.mark.long
def test_mutants_end_in_sound_or_in_a_sentence(tmp_path: Path) -> None:
    seed = str(int.from_bytes(os.urandom(4)))
    script = [sys.executable, str(HELPERS / "fuzz_media.py"), "sound"]
    options = ["--minutes", "0.1", "--seed", seed, "--failures", str(tmp_path)]
    done = subprocess.run([*script, *options], capture_output=True, text=True, check=False)
    assert done.returncode == 0, f"seed {seed}: {done.stdout[-2000:]}{done.stderr[-2000:]}"


def test_titles_in_unknown_encodings_do_not_matter(tmp_path: Path) -> None:
    path = encode(tmp_path / "a.wav", rate=8_000)
    title = b"INAM" + (6).to_bytes(4, "little") + b"Gr\xfc\xdfe\0"
    note = b"LIST" + (4 + len(title)).to_bytes(4, "little") + b"INFO" + title
    data = path.read_bytes()
    place = data.index(b"data")
    path.write_bytes(data[:place] + note + data[place:])
    assert len(audio.decode(path)) == len(SPEECH)


def test_recordings_longer_than_the_limit_are_refused(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(ffmpeg, "LONGEST", 16_000 * 2)
    wav = encode(tmp_path / "a.wav")
    flac = encode(tmp_path / "a.flac", "flac")
    for given in ((wav,), (flac,), (SPEECH, 16_000), (SPEECH, 8_000)):
        with pytest.raises(AudioError, match="longer than"):
            audio.decode(*given)  # type: ignore[arg-type]
    assert len(audio.decode(SPEECH, 44_100)) < 32_000


def test_a_stream_may_change_its_rate_and_channels_midway() -> None:
    half = SPEECH[:16_000]
    mono = ffmpeg.frames_of_array(half[None], 16_000)
    stereo = ffmpeg.frames_of_array(np.stack([half, half]).repeat(3, axis=1), 48_000)
    joined = [*mono, *stereo]
    pcm = ffmpeg.collected(ffmpeg.converted(joined, "a"), "a")
    assert len(pcm) == pytest.approx(32_000, abs=40)
    np.testing.assert_array_equal(pcm[:16_000], pcm_of(half))


@pytest.fixture
def server() -> Any:
    """A web server on this machine that notes who asks."""
    asked: list[str] = []

    class Handler(http.server.BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            asked.append(self.path)
            self.send_error(404)

        def log_message(self, *_: Any) -> None:
            pass

    with http.server.HTTPServer(("127.0.0.1", 0), Handler) as running:
        thread = threading.Thread(target=running.serve_forever, daemon=True)
        thread.start()
        yield f"http://127.0.0.1:{running.server_port}", asked
        running.shutdown()
        thread.join()


@pytest.mark.long
@pytest.mark.parametrize("name", HOSTILE)
def test_playlists_open_neither_files_nor_addresses(
    tmp_path: Path, server: Any, name: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    address, asked = server
    encode(tmp_path / "secret.wav")
    encode(tmp_path / "secret.ts", "aac")
    path = tmp_path / name
    path.write_text(HOSTILE[name].format(url=f"{address}/secret.ts"))
    monkeypatch.chdir(tmp_path)
    with path.open("rb") as file, pytest.raises(AudioError):
        audio.decode(file)
    with pytest.raises(AudioError):
        audio.decode(f"{address}/secret.ts")
    with pytest.raises(AudioError):
        audio.decode(path)
    assert asked == []
    # the same file does reach out when FFmpeg is not held back
    with path.open("rb") as file:
        try:
            with av.open(file if "web" in name else name) as free:
                reached = any(free.decode(audio=0))
        except av.FFmpegError:
            reached = bool(asked)
    assert reached


def test_damaged_files_print_nothing_and_leave_no_switch_turned(tmp_path: Path) -> None:
    path = encode(tmp_path / "a.m4a", "aac", movflags="faststart")
    path.write_bytes(path.read_bytes()[:9_000])
    script = (
        "import sys, av; from vox2face.media import audio\n"
        "before = av.logging.get_level()\n"
        "try:\n audio.decode(sys.argv[1])\n"
        "except audio.AudioError: pass\n"
        "else: sys.exit('decoded')\n"
        "assert av.logging.get_level() == before"
    )
    done = subprocess.run([sys.executable, "-c", script, path], capture_output=True, text=True)
    assert (done.returncode, done.stdout, done.stderr) == (0, "", "")
