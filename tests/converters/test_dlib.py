"""The free network that comes with vox2face, against dlib itself, which is where it comes from."""

from __future__ import annotations

import importlib.util
import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import dlib
import numpy as np
import pytest
import torch

import vox2face
from vox2face.converters.maps.dlib_resnet_face_api import TABLE
from vox2face.core.parity import Report
from vox2face.media.image import samples
from vox2face.runtime.face_encoder import FaceEncoder
from vox2face.store import bundle as bundles
from vox2face.zoo.sources import FACE_API

NAME = "dlib_resnet128.dlib"
Pixels = np.ndarray[Any, np.dtype[np.uint8]]


@pytest.fixture
def encoder() -> Iterator[FaceEncoder]:
    yield vox2face.load(NAME)


def owners_model(name: str) -> str:
    """A model file of face_recognition_models, whose own module imports what is long gone."""
    spec = importlib.util.find_spec("face_recognition_models")
    assert spec is not None and spec.submodule_search_locations
    return str(Path(spec.submodule_search_locations[0]) / "models" / name)


def chips() -> Iterator[Pixels]:
    """The face of the astronaut as dlib cuts it out, from several pictures of her."""
    detector = dlib.get_frontal_face_detector()
    shape = dlib.shape_predictor(owners_model("shape_predictor_5_face_landmarks.dat"))
    picture = samples()["astronaut.png"]
    darker = (picture * 0.6).astype(np.uint8)
    for pixels in (picture, picture[:, ::-1], darker, picture[6:, 12:]):
        pixels = np.ascontiguousarray(np.pad(pixels, ((60, 60), (60, 60), (0, 0)), "edge"))
        (face,) = detector(pixels, 1)
        yield dlib.get_face_chip(pixels, shape(pixels, face), size=150, padding=0.25)


@pytest.mark.long
def test_descriptors_are_dlibs_but_for_the_rounding_of_the_weights(encoder: FaceEncoder) -> None:
    owner = dlib.face_recognition_model_v1(
        owners_model("dlib_face_recognition_resnet_model_v1.dat")
    )
    faces = list(chips())
    theirs = np.array([owner.compute_face_descriptor(face) for face in faces], np.float32)
    ours = encoder(faces)
    assert ours.shape == theirs.shape == (4, 128)
    distances = np.linalg.norm(ours - theirs, axis=1)
    assert distances.max() < 0.05  # one person's pictures lie within 0.6 of each other
    for a, b in zip(ours, theirs, strict=True):
        assert a @ b / np.linalg.norm(a) / np.linalg.norm(b) > 0.999
    again = rounded_again(encoder, faces)
    assert distances.max() < 2 * np.median(again)


def rounded_again(encoder: FaceEncoder, faces: list[Pixels]) -> np.ndarray[Any, Any]:
    """How far descriptors move when all weights move by a random part of their rounding step."""
    assert FACE_API.embedded is not None
    (part,) = json.loads(FACE_API.embedded.read_text())
    steps = {
        w["name"].removesuffix("/weights"): w.get("quantization", {"scale": 0})["scale"]
        for w in part["weights"]
    }
    before, generator = encoder(faces), torch.Generator().manual_seed(0)
    tensors = dict(encoder.module.named_parameters())
    kept = {name: tensor.clone() for name, tensor in tensors.items()}
    moved = []
    for _ in range(3):
        for rule in TABLE.rules:
            noise = torch.rand(tensors[rule.target].shape, generator=generator) - 0.5
            noise *= steps[rule.source.removesuffix("/weights")]
            tensors[rule.target].data = kept[rule.target] + noise
        moved.append(np.linalg.norm(encoder(faces) - before, axis=1))
    return np.concatenate(moved)


def test_it_loads_from_the_first_minute_and_tells_pictures_apart(encoder: FaceEncoder) -> None:
    assert encoder.bundle is not None and encoder.bundle.config["source"]["published"] is True
    report = Report.from_json((encoder.bundle.path / bundles.PARITY).read_text())
    assert report.ok and max(row.max_rel for row in report.rows) <= encoder.entry.measured
    assert bundles.default_path(encoder.entry) == encoder.bundle.path
    pictures = samples()
    astronaut, head = pictures["astronaut.png"], pictures["head.png"]
    same, mirrored, other = encoder([astronaut, np.ascontiguousarray(astronaut[:, ::-1]), head])
    assert np.linalg.norm(same - mirrored) < 0.6 < np.linalg.norm(same - other)


def test_its_weights_may_be_passed_on_and_the_card_says_mit() -> None:
    folder = vox2face.load(NAME).bundle
    assert folder is not None and folder.config["licence"]["redistributable"] is True
    card = (folder.path / "README.md").read_text()
    assert "license: mit\n" in card and "TensorFlow.js" in card and "from Keras" not in card
