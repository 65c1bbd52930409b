"""Rates of `vox2face data prepare`, each against what it is measured by, in one run.

(a) Recordings: the stages `audio` and `voices` on files as VoxCeleb2 has them (8 s, AAC), shards
written, against the route of Speech-to-face's script (see benchmarks/audio.py); one process each.
(b) Pictures: the stage `embeddings` (files read, decoded, preprocessed and embedded, shard
written) against the network alone on batches that are ready; one PyTorch thread each.
The remaining stages are timed too. Both sides of a comparison take turns; medians are printed.

`python benchmarks/prepare.py [ROUNDS [ENCODER [PICTURES]]]`; with another encoder only (b).
"""

from __future__ import annotations
from vox2face.train.prepare.shard_task import ShardJob

import os
import shutil
import statistics
import sys
import tempfile
import time
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import torch
from audio import FILES, encode, theirs
from PIL import Image

from vox2face.media import image
from vox2face.runtime.load import load
from vox2face.train.prepare import face_stages, stages
from vox2face.train.corpus import manifest
from vox2face.train.prepare.run import prepare
from vox2face.train.prepare.options import FACE, VOICE_PRESET, Options

if TYPE_CHECKING:
    from vox2face.runtime.face_encoder import FaceEncoder

CLIPS, BATCH = 64, 16
SCRIPT_FILES = 2  # a round: it takes about a second for each


def corpus(folder: Path, pictures: int) -> manifest.Manifest:
    """Write clips and pictures (JPEG, 224 x 224), each a file of its own."""
    rows: list[tuple[str, str]] = []
    name, codec, rate, layout = FILES[0]
    first = encode(folder / name, codec, rate, layout)
    for n in range(CLIPS):
        rows.append(("voice", f"{n}.m4a"))
        shutil.copy(first, folder / rows[-1][1])
    shown = list(image.samples().values())
    for n in range(pictures):
        rows.append(("face", f"{n}.jpg"))
        picture = np.roll(shown[n % len(shown)], n % 20, axis=1)
        Image.fromarray(picture).save(folder / rows[-1][1], quality=95)
    kinds, paths = (list(column) for column in zip(*rows, strict=True))
    same = {"identity": "somebody", "source": "benchmark", "root": str(folder)}
    columns = {key: [value] * len(rows) for key, value in same.items()}
    return manifest.from_columns({**columns, "kind": kinds, "path": paths})


def job_of(table: manifest.Manifest, stage: str, out: Path, **settings: Any) -> ShardJob:
    """Return all rows of a stage as one shard."""
    return stages.plan(table, stage, settings, str(out), 1 << 20, table.files())[0]


def network_alone(encoder: FaceEncoder, files: Sequence[str]) -> Callable[[], Any]:
    """Return a function that embeds the same pictures from batches that are ready."""
    ready = encoder.preprocess(list(files))

    def run() -> None:
        with stages.one_thread():
            for batch in ready.split(BATCH):
                encoder.embed(batch)

    return run


def turns(sides: dict[str, Callable[[], Any]], rounds: int) -> dict[str, list[float]]:
    """Return the seconds of each side in each round, taken in turn after one to warm up.

    Under "NAME (thread)" is how long the thread that called was at work itself.
    """
    seconds: dict[str, list[float]] = {}
    for number in range(rounds + 1):
        for name, side in sides.items():
            start, busy = time.perf_counter(), time.thread_time()
            side()
            if number:
                seconds.setdefault(name, []).append(time.perf_counter() - start)
                seconds.setdefault(f"{name} (thread)", []).append(time.thread_time() - busy)
    return seconds


def alone(job: ShardJob, other: ShardJob) -> None:
    """Run a job where that of another stage has not been run."""
    Path(other.path).unlink(missing_ok=True)
    stages.run_job(job)


def ratio(seconds: dict[str, list[float]], above: str, below: str, factor: float = 1.0) -> str:
    """Return the median of each round's ratio of two sides, its range, and that of the best."""
    each = [factor * a / b for a, b in zip(seconds[above], seconds[below], strict=True)]
    best = factor * min(seconds[above]) / min(seconds[below])
    return (
        f"{statistics.median(each):.2f} (rounds {min(each):.2f} to {max(each):.2f}; "
        f"each side's best round {best:.2f})"
    )


def recordings(table: manifest.Manifest, folder: Path, rounds: int) -> None:
    """Print (a)."""
    jobs = [
        job_of(table, "audio", folder / "out"),
        job_of(table, "voices", folder / "out", voice_preset=VOICE_PRESET),
    ]
    sides: dict[str, Callable[[], Any]] = {
        # voices alone, which decodes, and then as it is where the stage audio came before
        "voices": lambda: (
            Path(jobs[0].path).unlink(missing_ok=True),
            stages.run_job(jobs[1]),
        ),
        "audio": lambda: stages.run_job(jobs[0]),
        "after audio": lambda: stages.run_job(jobs[1]),
    }
    script = theirs(folder)
    if script:
        files = [Path(file) for file in jobs[0].files[:SCRIPT_FILES]]
        sides["script"] = lambda: [script(file) for file in files]
    seconds = turns(sides, rounds)
    for side in [name for name in sides if name != "script"]:
        each = statistics.median(seconds[side]) / CLIPS
        print(f"{side:<12} {each * 1e3:8.2f} ms a clip of 8 s, {1 / each:8.1f} a second")
    if script:
        both = [sum(pair) for pair in zip(seconds["audio"], seconds["after audio"], strict=True)]
        seconds["both"] = both
        each = statistics.median(seconds["script"]) / SCRIPT_FILES
        print(f"script       {each * 1e3:8.2f} ms a clip")
        factor = CLIPS / SCRIPT_FILES
        for name in ("voices", "both"):
            print(f"script / {name}: {ratio(seconds, 'script', name, factor)}")


def faces(table: manifest.Manifest, folder: Path, name: str, rounds: int) -> None:
    """Print (b). The weights of networks other than the one that comes with vox2face are random."""
    encoder = load(name, pretrained=name == FACE)
    face_stages.load_encoder = lambda *settings: encoder  # type: ignore[assignment]
    settings = {"face": name, "preset": encoder.preset, "backend": "torch", "device": "cpu"}
    job = job_of(
        table, f"embeddings/{name}", folder / "out", crop=False, batch_size=BATCH, **settings
    )
    sides = {
        "stage": lambda: stages.run_job(job),
        "network": network_alone(encoder, job.files),
    }
    seconds = turns(sides, rounds)
    print(f"{name}, batches of {BATCH}, {len(job.rows)} pictures")
    for side in sides:
        each = statistics.median(seconds[side]) / len(job.rows)
        print(f"{side:<12} {each * 1e3:8.2f} ms a picture, {1 / each:8.1f} a second")
    print(f"network / stage: {ratio(seconds, 'network', 'stage')}; 1 is the network's own rate")
    print(
        "the same of the thread with the network, as if the other had a core of its own: "
        f"{ratio(seconds, 'network (thread)', 'stage (thread)')}"
    )


def others(table: manifest.Manifest, folder: Path) -> None:
    """Print the rates of the other stages, and the bytes of all."""
    out = folder / "whole"
    names = tuple(name for name in stages.STAGES if name != stages.CODED)
    prepare(table, out, Options(stages=names, jobs=1, max_failures="100%"), print)
    for name in names:
        size = sum(file.stat().st_size for file in (out / name).rglob("*.safetensors"))
        rows = len(table.where(kind=stages.STAGES[name].kind))
        print(f"{name:<12} {size / rows:10,.0f} bytes a row")


def main(rounds: int, encoder: str, pictures: int) -> None:
    """Print everything."""
    busy = os.getloadavg()[0] if hasattr(os, "getloadavg") else float("nan")
    print(f"{os.cpu_count()} cores, load {busy:.1f}, PyTorch {torch.__version__}")
    with tempfile.TemporaryDirectory(prefix="vox2face-bench-") as name:
        folder = Path(name)
        table = corpus(folder, pictures)
        if encoder == FACE:
            recordings(table, folder, rounds)
            others(table, folder)
        faces(table, folder, encoder, rounds)


if __name__ == "__main__":
    given = [*sys.argv[1:], *("7", FACE, "256")[len(sys.argv) - 1 :]]
    main(int(given[0]), given[1], int(given[2]))
