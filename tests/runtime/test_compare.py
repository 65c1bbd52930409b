"""Distances and verdicts are deepface's; what has no threshold gets no verdict."""

from __future__ import annotations

import importlib.util
import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from deepface.config.threshold import thresholds
from deepface.modules.verification import find_distance, l2_normalize
from helpers.paths import ROOT
from PIL import Image

import vox2face
from vox2face.core.errors import UsageError, Vox2FaceError
from vox2face.runtime import compare as comparing
from vox2face.runtime.compare import distances
from vox2face.runtime.face_encoder import FaceEncoder
from vox2face.runtime.load import load
from vox2face.zoo import presets, registry
from vox2face.zoo.thresholds import EVALUATIONS, METRICS, PUBLISHED, measured

ASSETS = ROOT / "vox2face" / "assets"
ASTRONAUT = ASSETS / "astronaut.png"
PEOPLE = sorted((ASSETS / "gallery").glob("*.photo.jpg"))[:2]
DLIB = "dlib_resnet128.dlib"


@pytest.fixture(scope="module")
def encoder() -> FaceEncoder:
    found: FaceEncoder = load(DLIB)
    return found


def embeddings(count: int, width: int) -> np.ndarray:
    return np.random.default_rng(3).standard_normal((count, width)).astype(np.float32)


@pytest.mark.parametrize("metric", METRICS)
@pytest.mark.parametrize("unit", [False, True])
def test_distances_are_deepfaces(metric: str, unit: bool) -> None:
    one, *others = embeddings(6, 128)
    others.append(one * np.float32(1.0001) + np.float32(1e-3))  # near, where the angle is delicate
    ours = distances(one, np.stack(others), metric, unit)
    assert ours.dtype == np.float64 and ours.shape == (6,)
    given = [x.tolist() for x in (one, *others)]  # deepface's embeddings are lists
    if unit:
        given = [l2_normalize(x).tolist() for x in given]
    theirs = [find_distance(given[0], x, metric) for x in given[1:]]
    np.testing.assert_allclose(np.round(ours, 6), theirs, rtol=0, atol=1e-6)


def test_published_thresholds_are_deepfaces() -> None:
    for model, published in PUBLISHED.items():
        assert registry.entry(model).kind == "face-encoder"
        assert published.thresholds == thresholds[published.name]
        assert tuple(published.thresholds) == METRICS
        assert all(presets.face_preset(name) for name in published.presets)


def test_what_was_measured_states_sound_errors() -> None:
    assert {(e.model, e.align) for e in EVALUATIONS} == {(DLIB, False), (DLIB, True)}
    for evaluation in EVALUATIONS:
        assert tuple(row.metric for row in evaluation.rows) == METRICS
        for row in evaluation.rows:
            assert f"--people {row.people}" in evaluation.command
            for value in (value for value in vars(row).values() if isinstance(value, tuple)):
                assert value.low <= value.value <= value.high
            assert row.strict.value < row.equal.value and row.missed.value > row.equal_error.value
    assert measured("vggface.serengil", "deepface", False, "cosine") is None


@pytest.mark.long
def test_with_no_options_faces_are_found_and_told_apart(encoder: FaceEncoder) -> None:
    found = vox2face.compare(ASTRONAUT, PEOPLE[0])
    errors = measured(DLIB, "dlib", False, "cosine")
    assert errors is not None and found.synthetic == errors
    assert (found.model, found.preset, found.metric) == (DLIB, "dlib", "cosine")
    assert found.threshold == errors.equal.value and found.verified is False
    assert found.source == "equal errors on 300 synthetic people, not real ones"
    assert "no verdict on real ones should lean on it" in found.note
    with Image.open(ASTRONAUT) as picture:
        mirrored = picture.transpose(Image.Transpose.FLIP_LEFT_RIGHT)
    same = vox2face.compare(ASTRONAUT, mirrored, encoder, "euclidean", crop=True, align=True)
    assert same.verified is True and same.synthetic == measured(DLIB, "dlib", True, "euclidean")
    assert same.threshold is not None and 0 < same.distance < same.threshold


def test_pictures_as_they_are_get_deepfaces_threshold(
    encoder: FaceEncoder,
) -> None:
    found = vox2face.compare(*PEOPLE, encoder)
    one, other = encoder(PEOPLE)
    assert found.distance == round(find_distance(one.tolist(), other.tolist(), "cosine"), 6)
    assert found.threshold == 0.07 and found.verified == (found.distance <= 0.07)
    assert found.source == "deepface 0.0.103, config/threshold.py, Dlib"
    assert found.synthetic is None and "rounded to 8 bits" in found.note


def test_other_presets_and_weights_get_no_verdict(encoder: FaceEncoder) -> None:
    found = vox2face.compare(*PEOPLE, encoder, preset="deepface")
    assert found.threshold is None is found.verified and found.synthetic is None
    assert "preset dlib, not deepface" in found.source and found.distance > 0
    random = load(DLIB, pretrained=False)
    assert "these are others" in vox2face.compare(*PEOPLE, random).source


def test_a_voice_encoder_compares_recordings() -> None:
    clips = [path.with_suffix("").with_suffix(".mp3") for path in PEOPLE]
    found = vox2face.compare(*clips, model="mlp_head.demo")
    assert found.threshold is None is found.verified and found.distance > 0
    assert "no threshold is published for mlp_head.demo" in found.source
    with pytest.raises(UsageError, match="hears voices"):
        vox2face.compare(*clips, model="mlp_head.demo", crop=True)


def test_what_cannot_be_compared_is_told() -> None:
    with pytest.raises(UsageError, match=r"no metric 'l2': choose one of cosine, euclidean"):
        vox2face.compare(*PEOPLE, metric="l2")
    with pytest.raises(UsageError, match="face-decoder, expected an encoder"):
        vox2face.compare(*PEOPLE, model="face_decoder.demo")
    zero, one = np.zeros(3), np.ones(3)
    with pytest.raises(Vox2FaceError, match="is zero and has no direction"):
        distances(zero, one[None], "angular")
    assert distances(zero, one[None], "euclidean_l2") == pytest.approx(1)
    with pytest.raises(Vox2FaceError, match="not finite"):
        distances(one * np.nan, one[None])


VERIFY = """
import json, sys
from deepface import DeepFace

a, b, name, *metrics = sys.argv[1:]
for metric in metrics:
    found = DeepFace.verify(a, b, name, detector_backend="skip", distance_metric=metric)
    print(json.dumps([found["distance"], found["threshold"], bool(found["verified"])]))
"""


@pytest.mark.long
def test_verdicts_are_those_of_deepface_with_dlib_but_for_the_rounding(
    encoder: FaceEncoder, tmp_path: Path, python: Callable[..., str]
) -> None:
    spec = importlib.util.find_spec("face_recognition_models")
    assert spec is not None and spec.submodule_search_locations
    name = "dlib_face_recognition_resnet_model_v1.dat"
    weights = tmp_path / ".deepface" / "weights" / name
    weights.parent.mkdir(parents=True)
    weights.symlink_to(Path(spec.submodule_search_locations[0]) / "models" / name)
    pictures = []
    for path in (ASTRONAUT, *PEOPLE):
        pixels = encoder.read(path, crop=True, align=True)
        pictures.append(tmp_path / f"{path.name}.png")
        Image.fromarray(pixels).resize((150, 150)).save(pictures[-1])
    said: Any = python(
        VERIFY,
        *pictures[:2],
        "Dlib",
        *METRICS,
        DEEPFACE_HOME=str(tmp_path),
        DEEPFACE_BACKEND_ENGINE="onnx",
    )
    rows = [json.loads(line) for line in said.splitlines() if line.startswith("[")]
    assert len(rows) == len(METRICS)
    for metric, (distance, threshold, verified) in zip(METRICS, rows, strict=True):
        found = comparing.compare(*pictures[:2], encoder, metric)
        assert (found.threshold, found.verified) == (threshold, verified)
        assert found.distance == pytest.approx(distance, abs=0.05)
