"""Audio file to spectrogram: vox2face in one process against the route of Speech-to-face's script.

That script (data_preprocessing/audio_spectrograms.py of Kacper-Pietkun/Speech-to-face) starts
ffmpeg and ffmpeg-normalize for every file and goes on with librosa. Both sides handle the same
files in turn, warmed up; medians, ratios and the largest differences are printed. Its side needs
ffmpeg (on the PATH, or the package imageio-ffmpeg), ffmpeg-normalize and librosa; where one is
missing, only ours is timed. `python benchmarks/audio.py [ROUNDS]`
"""

from __future__ import annotations

import importlib.util
import os
import shutil
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import av
import numpy as np
import torch

from vox2face.media import audio
from vox2face.zoo.frontends.voice import voice_frontend

SECONDS = 6
# name, codec, rate, layout: a file as VoxCeleb2 has it, one from a telephone camera, one from a CD
FILES = (
    ("voxceleb.m4a", "aac", 16_000, "mono"),
    ("camera.m4a", "aac", 48_000, "stereo"),
    ("disc.wav", "pcm_s16le", 44_100, "stereo"),
)
Route = Callable[[Path], Any]


def encode(path: Path, codec: str, rate: int, layout: str) -> Path:
    """Write 8 s of the sample that comes with vox2face."""
    samples = np.rint(audio.fit(audio.speech(), 8 * audio.RATE) * audio.FULL_SCALE)
    frame = av.AudioFrame.from_ndarray(samples.astype(np.int16)[None], layout="mono")
    frame.sample_rate = audio.RATE
    with av.open(path, "w") as container:
        stream = container.add_stream(codec, rate=rate, layout=layout)
        container.mux(stream.encode(frame))
        container.mux(stream.encode(None))
    return path


def ours() -> Route:
    """Return our route from a file to a spectrogram (2, 257, 601)."""
    frontend = voice_frontend("ve-conv")

    def route(path: Path) -> Any:
        waveform = audio.read(path, samples=SECONDS * audio.RATE)
        with torch.inference_mode():
            return frontend(torch.from_numpy(waveform)[None])[0].numpy()

    return route


def program(name: str) -> str | None:
    """Return a program of this environment or of the PATH."""
    beside = Path(sys.executable).with_name(name)
    return str(beside) if beside.exists() else shutil.which(name)


def ffmpeg_program() -> str | None:
    """Return ffmpeg from the PATH or from the package imageio-ffmpeg."""
    if importlib.util.find_spec("imageio_ffmpeg"):
        import imageio_ffmpeg

        return str(imageio_ffmpeg.get_ffmpeg_exe())
    return program("ffmpeg")


def theirs(folder: Path) -> Route | None:
    """Return the script's route, or say what it lacks."""
    ffmpeg, normalize = ffmpeg_program(), program("ffmpeg-normalize")
    librosa = importlib.util.find_spec("librosa")
    if not (ffmpeg and normalize and librosa):
        lacking = {"ffmpeg": ffmpeg, "ffmpeg-normalize": normalize, "librosa": librosa}
        missing = ", ".join(name for name, found in lacking.items() if not found)
        print(f"The script's route is not timed, because this machine lacks {missing}.")
        return None
    environment = {**os.environ, "FFMPEG_PATH": ffmpeg}
    wav = folder / "normalized.wav"

    def route(path: Path) -> Any:
        import librosa

        convert = [ffmpeg, "-y", "-i", str(path), "-ac", "1", "-ar", "16000"]
        for command in (
            [*convert, "-acodec", "pcm_s16le", "-loglevel", "quiet", str(wav)],
            [normalize, str(wav), "--normalization-type", "rms", "-t", "-23", "-o", str(wav), "-f"],
        ):
            subprocess.run(command, check=True, env=environment, capture_output=True)
        heard, _ = librosa.load(wav, sr=audio.RATE, mono=True, duration=SECONDS)
        spectrum = librosa.stft(heard, n_fft=512, hop_length=160, win_length=400, window="hann")
        wav.unlink()
        parts = np.stack((np.abs(spectrum), np.angle(spectrum)))
        return np.sign(parts) * np.abs(parts) ** 0.3

    return route


def timed(routes: dict[str, Route], path: Path, rounds: int) -> tuple[dict[str, float], list[Any]]:
    """Return each route's median seconds on a file, taken in turn, and its result."""
    results = [route(path) for route in routes.values()]  # warm: imports, windows, caches
    seconds: dict[str, list[float]] = {name: [] for name in routes}
    for _ in range(rounds):
        for name, route in routes.items():
            start = time.perf_counter()
            route(path)
            seconds[name].append(time.perf_counter() - start)
    return {name: statistics.median(each) for name, each in seconds.items()}, results


def main(rounds: int) -> None:
    """Print medians and ratios."""
    with tempfile.TemporaryDirectory(prefix="vox2face-bench-") as name:
        folder = Path(name)
        script = theirs(folder)
        routes = {"vox2face": ours(), **({"script": script} if script else {})}
        for file, codec, rate, layout in FILES:
            path = encode(folder / file, codec, rate, layout)
            medians, results = timed(routes, path, rounds)
            line = f"{file:<14} vox2face {medians['vox2face'] * 1e3:7.1f} ms"
            if script:
                ratio = medians["script"] / medians["vox2face"]
                apart = np.abs(results[0][0] - results[1][0])
                line += f"; script {medians['script'] * 1e3:7.1f} ms: {ratio:5.0f} times slower; "
                line += f"magnitudes differ by {apart.mean():.1e} on average, {apart.max():.1e}"
            print(line)


if __name__ == "__main__":
    main(int(sys.argv[1]) if len(sys.argv) > 1 else 7)
