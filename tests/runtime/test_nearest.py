"""Saved embeddings are ranked by their distance to a picture of the same space."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from deepface.modules.verification import find_distance
from helpers.paths import ROOT

import vox2face
from vox2face.core.entry import Space
from vox2face.core.errors import UsageError, Vox2FaceError
from vox2face.runtime.face_encoder import FaceEncoder
from vox2face.runtime.load import load
from vox2face.runtime.nearest import nearest, read_saved

GALLERY = ROOT / "vox2face" / "assets" / "gallery"
FACES = sorted(GALLERY.glob("*.face.jpg"))[:4]
PHOTO = sorted(GALLERY.glob("*.photo.jpg"))[1]
DLIB = "dlib_resnet128.dlib"
Run = Callable[..., Any]


@pytest.fixture(scope="module")
def encoder() -> FaceEncoder:
    found: FaceEncoder = load(DLIB)
    return found


@pytest.fixture
def faces(inside: Run, tmp_path: Path) -> Path:
    path = tmp_path / "faces.npz"
    done = inside("embed", *FACES, "--model", DLIB, "--output", path)
    assert done.returncode == 0, done.stderr
    return path


@pytest.mark.parametrize("metric", ["cosine", "euclidean", "euclidean_l2", "angular"])
def test_the_nearest_are_those_that_deepfaces_distance_finds(
    faces: Path, encoder: FaceEncoder, metric: str
) -> None:
    found = vox2face.nearest(PHOTO, faces, top=3, model=encoder, metric=metric)
    embedded, one = encoder(FACES).tolist(), encoder(PHOTO)[0].tolist()
    far = [float(find_distance(one, x, metric)) for x in embedded]
    order = sorted(range(len(FACES)), key=far.__getitem__)[:3]
    assert [row.file for row in found] == [str(FACES[n]) for n in order]
    assert [row.distance for row in found] == pytest.approx([far[n] for n in order], abs=1e-6)


@pytest.mark.long
def test_a_picture_is_read_as_the_saved_ones_were(
    inside: Run, tmp_path: Path, encoder: FaceEncoder
) -> None:
    path = tmp_path / "cut.npz"
    options = ["--crop", "--align", "--normalize", "--output", path]
    done = inside("embed", *FACES[:2], "--model", DLIB, *options)
    assert done.returncode == 0, done.stderr
    saved = read_saved(path)
    how = {"crop": True, "align": True, "which": "one", "detector": None}
    assert saved.unit and saved.how == how
    assert (saved.model, saved.preset, saved.space) == (DLIB, "dlib", encoder.space)
    (itself, _) = nearest(FACES[1], saved, metric="euclidean")
    assert itself.file == str(FACES[1]) and itself.distance < 1e-5
    (whole, _) = nearest(FACES[1], saved, model=encoder, metric="euclidean", crop=False)
    assert whole.distance > 1e-3
    options = ["--crop", "--face-choice", "largest", "--output", path]
    assert inside("embed", *FACES[:2], "--model", DLIB, *options).returncode == 0
    assert read_saved(path).how["which"] == "largest"
    assert inside("nearest", FACES[1], path, "--top", "1").stdout.split()[1:] == [
        "0",
        str(FACES[1]),
    ]


def test_an_embedding_that_is_none_is_named(faces: Path, tmp_path: Path) -> None:
    with np.load(faces) as table:
        arrays = {name: table[name] for name in table.files}
    arrays["embeddings"][1] = 0
    np.savez(tmp_path / "zero.npz", **arrays)
    with pytest.raises(Vox2FaceError, match=f"the embedding of {FACES[1]} is no vector"):
        read_saved(tmp_path / "zero.npz")


def test_a_voice_finds_faces_of_its_space_only(faces: Path) -> None:
    clip = PHOTO.with_suffix("").with_suffix(".mp3")
    found = nearest(clip, faces, model="mlp_head.demo")
    assert {row.file for row in found} == {str(path) for path in FACES}
    saved = read_saved(faces)
    assert saved.space is not None
    other = replace(saved, space=replace(saved.space, digest="0" * 64))
    with pytest.raises(UsageError, match=r"weights 00000000, 128 values .* do not compare"):
        nearest(clip, other, model="mlp_head.demo")


def test_embeddings_of_another_space_are_refused(faces: Path, encoder: FaceEncoder) -> None:
    with pytest.raises(UsageError, match=r"preset dlib.* preset deepface.* do not compare"):
        nearest(PHOTO, faces, model=encoder.with_preset("deepface"))
    old = replace(read_saved(faces), space=None)  # of vox2face 0.2.0
    assert len(nearest(PHOTO, old, model=encoder)) == 4
    with pytest.raises(UsageError, match="do not compare"):
        nearest(PHOTO, replace(old, preset="deepface"), model=encoder)
    unknown = replace(read_saved(faces), space=Space(), embeddings=np.ones((4, 5), np.float32))
    with pytest.raises(UsageError, match="5 values each"):
        nearest(PHOTO, unknown, model=encoder)
    with pytest.raises(UsageError, match="top is 0"):
        nearest(PHOTO, faces, top=0)


@pytest.mark.parametrize(
    "arrays",
    [
        {"names": ["a"]},
        {"images": ["a"], "embeddings": np.ones((2, 3), np.float32), "model": "m", "preset": "p"},
        {"images": ["a"], "embeddings": np.ones((1, 3)), "model": "m", "preset": "p"},
        {"images": "a", "embeddings": np.ones((1, 3), np.float32), "model": "m", "preset": "p"},
        {"images": ["a"], "embeddings": np.array([None]), "model": "m", "preset": "p"},
    ],
    ids=["other", "count", "float64", "scalar", "pickle"],
)
def test_files_that_embed_did_not_write_are_refused(arrays: dict[str, Any], tmp_path: Path) -> None:
    path = tmp_path / "file.npz"
    np.savez(path, **arrays)
    with pytest.raises(Vox2FaceError, match=r"file\.npz is not a file of embeddings"):
        read_saved(path)


def test_damaged_and_missing_files_are_told(faces: Path, tmp_path: Path) -> None:
    whole = faces.read_bytes()
    faces.write_bytes(whole[: len(whole) // 2])
    with pytest.raises(Vox2FaceError, match="is not a file of embeddings"):
        read_saved(faces)
    with pytest.raises(UsageError, match="There is no file"):
        read_saved(tmp_path / "none.npz")
