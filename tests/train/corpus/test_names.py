"""Names of files: as long as the file system takes them, and of any bytes."""

from __future__ import annotations

import os
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from vox2face.cli.options import Place
from vox2face.core.errors import UsageError
from vox2face.core.files import atomic_directory, atomic_file, require_possible
from vox2face.media.image import samples

Run = Callable[..., subprocess.CompletedProcess[str]]
Make = Callable[..., Path]
VOX2FACE = str(Path(sys.executable).with_name("vox2face"))
FREE = "dlib_resnet128.dlib"


LONG = "ä" * 124  # and seven bytes more are 255


def test_a_name_of_255_bytes_is_written_and_a_longer_one_is_refused(tmp_path: Path) -> None:
    file, folder = tmp_path / f"{LONG}1234567", tmp_path / f"{LONG}7654321"
    with atomic_file(file) as partial:
        partial.write_text("whole")
    for _ in range(2):
        with atomic_directory(folder, replace=True) as half:
            (half / "config.json").write_text("{}")
    assert file.read_text() == "whole" and (folder / "config.json").exists()
    for place in (f"{LONG}12345678", f"not/there/{LONG}12345678", "a/" * 3000):
        with pytest.raises(UsageError, match="longer name than the file system takes"):
            require_possible(tmp_path / place)
    require_possible(tmp_path / "not" / "there" / f"{LONG}1234567")


@pytest.mark.parametrize(
    "line",
    [
        ("embed", "a.png", "--model", FREE, "--output"),
        ("speech2face", "a.png", "--voice", "v", "--decoder", "d", "--output"),
        ("face2face", "a.png", "--face", FREE, "--decoder", "d", "--output"),
        ("convert", "face-api", "--out"),
        ("export", FREE, "--output"),
        ("data", "index", "people", "--out"),
        ("data", "prepare", "people", "--out"),
        ("data", "synth", "--out"),
        ("data", "resize", "people", "--out"),
        ("data", "show", "people", "--out"),
        ("data", "export", "people", "--out"),
        ("evaluate", "people", "--prepared", "x", "--out"),
        ("train", "voice", "people", "--prepared", "x", "--out"),
        ("train", "decoder", "people", "--prepared", "x", "--out"),
    ],
    ids=" ".join,
)
def test_an_output_that_no_file_system_takes_is_refused_before_the_work(
    inside: Run, line: tuple[str, ...]
) -> None:
    done = inside(*line, f"{'x' * 256}.npz")
    assert done.returncode == 2 and "longer name than the file system takes" in done.stderr


def test_pictures_get_names_as_long_as_those_of_what_they_are_made_of(
    inside: Run, bundle: Make, tmp_path: Path
) -> None:
    models = ("--face", FREE, "--decoder", bundle("face_decoder.cole", width=128, onnx=False))
    (tmp_path / "in").mkdir()
    for name in (f"{'x' * 251}.png", os.fsdecode(b"caf\xe9.png")):
        Image.fromarray(samples()["head.png"]).save(tmp_path / "in" / name)
    out = tmp_path / "out"
    done = inside("face2face", tmp_path / "in", *models, "--output", out, "--compare")
    assert done.returncode == 2 and not out.exists()
    done = inside("face2face", tmp_path / "in", *models, "--output", out)
    assert done.returncode == 0, done.stderr
    assert sorted(map(os.fsencode, os.listdir(out))) == [b"caf\xe9.png", b"x" * 251 + b".png"]


@pytest.mark.long
def test_names_that_are_not_unicode_keep_their_bytes(inside: Run, tmp_path: Path) -> None:
    name = os.fsdecode(b"caf\xe9")
    picture = tmp_path / f"{name}.png"
    Image.fromarray(samples()["head.png"]).save(picture)
    for ending in (".csv", ".npz"):
        out = tmp_path / f"{name}{ending}"
        done = inside("embed", picture, "--model", FREE, "--output", out)
        assert done.returncode == 0, done.stderr
    lines = (tmp_path / f"{name}.csv").read_bytes().splitlines()
    assert lines[1].startswith(os.fsencode(picture) + b",")
    with np.load(tmp_path / f"{name}.npz") as stored:
        assert stored["images"].tolist() == [str(picture)]
    printed = subprocess.run(
        [VOX2FACE, "embed", str(picture), "--model", FREE], capture_output=True, check=True
    )
    assert printed.stdout.splitlines() == lines


@pytest.mark.long
def test_onnx_files_where_onnx_runtime_cannot_open_them_are_refused_before_the_work(
    inside: Run, tmp_path: Path
) -> None:
    odd = tmp_path / os.fsdecode(b"caf\xe9")
    done = inside("convert", "face-api", "--out", odd, "--onnx")
    assert done.returncode == 2 and "no Unicode" in done.stderr and not odd.exists()
    done = inside("convert", "face-api", "--out", odd, "--no-onnx")
    assert done.returncode == 0, done.stderr
    out = odd.with_suffix(".onnx")
    done = inside("export", odd, "--output", out)
    assert done.returncode == 2 and "no Unicode" in done.stderr and not out.exists()
    assert inside("export", odd, "--output", tmp_path / "face.onnx").returncode == 0


def test_an_empty_path_is_none() -> None:
    with pytest.raises(Exception, match="is not a path"):
        Place().convert(" ", None, None)


@pytest.mark.parametrize(
    ("kind", "recipe"), [("voice", "tiny-ve_conv"), ("decoder", "tiny-decoder")]
)
def test_a_run_whose_checkpoints_could_not_be_opened_is_refused_before_the_work(
    inside: Run, tmp_path: Path, kind: str, recipe: str
) -> None:
    run = tmp_path / os.fsdecode(b"caf\xe9")
    line = ("train", kind, "people", "--prepared", "nowhere", "--recipe", recipe)
    done = inside(*line, "--out", run)
    assert done.returncode == 2 and "no Unicode" in done.stderr
