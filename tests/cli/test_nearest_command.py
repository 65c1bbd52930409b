"""`vox2face nearest` ranks what `vox2face embed` saved."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from helpers.paths import ROOT

ASSETS = ROOT / "vox2face" / "assets"
PHOTOS = sorted((ASSETS / "gallery").glob("*.photo.jpg"))[:3]
DLIB = "dlib_resnet128.dlib"
Run = Callable[..., Any]


@pytest.mark.long
def test_nearest_ranks_what_embed_saved(inside: Run, tmp_path: Path) -> None:
    path = tmp_path / "people.npz"
    done = inside("embed", *PHOTOS, "--model", DLIB, "--crop", "--align", "--output", path)
    assert done.returncode == 0, done.stderr
    done = inside("nearest", PHOTOS[2], path, "--top", "2", "--json")
    assert done.returncode == 0, done.stderr
    first, second = json.loads(done.stdout)
    assert first == {"file": str(PHOTOS[2]), "distance": pytest.approx(0, abs=1e-6)}
    assert second["distance"] > 0.01
    done = inside("nearest", PHOTOS[2], path, "--top", "1", "--no-crop")
    assert done.returncode == 0, done.stderr
    rank, distance, file = done.stdout.split()
    assert rank == "1" and float(distance) > 0.001 and Path(file) in PHOTOS
    clip = PHOTOS[0].with_suffix("").with_suffix(".mp3")
    done = inside("nearest", clip, path, "--model", "mlp_head.demo")
    assert done.returncode == 0 and len(done.stdout.splitlines()) == 3
    done = inside("nearest", clip, path, "--model", "mlp_head.demo", "--crop")
    assert done.returncode == 2 and "hears voices" in done.stderr


def test_nearest_refuses_another_space_in_a_sentence(inside: Run, tmp_path: Path) -> None:
    path = tmp_path / "people.npz"
    options = ["--model", DLIB, "--preset", "deepface", "--output", path]
    assert inside("embed", PHOTOS[0], *options).returncode == 0
    done = inside("nearest", PHOTOS[0], path, "--model", DLIB)
    assert done.returncode == 2 and "do not compare" in done.stderr
    assert len(done.stderr.strip().splitlines()) == 1
    done = inside("nearest", PHOTOS[0], tmp_path / "none.npz")
    assert done.returncode == 2 and "There is no" in done.stderr
