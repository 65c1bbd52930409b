"""The engine on Ray makes what one process makes, also when a worker dies."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest
from helpers.prepare_corpus import contents, corpus

from vox2face.train.prepare.options import Options
from vox2face.train.prepare.run import prepare

ray = pytest.importorskip("ray", reason="the extra 'ray' is not installed")
psutil = pytest.importorskip("psutil", reason="psutil finds the workers to kill")

STAGES = ("embeddings", "voices")
WAIT = 0.05  # s between two looks


def workers(process: psutil.Process) -> list[psutil.Process]:
    """The processes of Ray that are at work on a shard."""
    found = []
    for child in process.children(recursive=True):
        try:
            if " ".join(child.cmdline()).startswith(("ray::Map", "ray::MapWorker")):
                found.append(child)
        except (psutil.NoSuchProcess, psutil.ZombieProcess):
            continue
    return found


@pytest.mark.long
def test_ray_makes_the_same_bytes_though_a_worker_is_killed(tmp_path: Path) -> None:
    manifest = corpus(tmp_path / "people", pictures=8, clips=2)
    prepare(manifest, tmp_path / "one", Options(stages=STAGES, jobs=1, shard_rows=2))
    run = subprocess.Popen(
        [
            str(Path(sys.executable).with_name("vox2face")),
            *("data", "prepare", str(manifest), "--out", str(tmp_path / "ray")),
            *("--stages", ",".join(STAGES), "--shard-rows", "2", "--jobs", "2", "--engine", "ray"),
        ],
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )
    killed = 0
    while run.poll() is None:
        if not killed:
            for worker in workers(psutil.Process(run.pid))[:1]:
                os.kill(worker.pid, signal.SIGKILL)
                killed = worker.pid
        time.sleep(WAIT)
    said, complained = run.communicate()
    assert run.returncode == 0, complained
    assert killed, "no worker was there to be killed"
    assert complained == "", "Ray should be quiet"
    assert "embeddings/dlib_resnet128.dlib: 8 pictures" in said
    assert contents(tmp_path / "ray") == contents(tmp_path / "one")
