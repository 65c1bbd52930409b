"""Faces and landmarks in photographs: found where they are, refused in words where they are not."""

from __future__ import annotations

import importlib.util
import math
from collections import Counter
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from numpy.typing import NDArray
from PIL import Image

from vox2face.core.errors import ImageError, UsageError
from vox2face.media.image import samples
from vox2face.runtime import face_detection
from vox2face.runtime.face_detection import Face68, Square, crop, find, the_face
from vox2face.zoo.networks import face_api

Pixels = NDArray[np.uint8]


@pytest.fixture(scope="module")
def astronaut() -> Pixels:
    return samples()["astronaut.png"]


@pytest.fixture(scope="module")
def face(astronaut: Pixels) -> Face68:
    return the_face(astronaut)


@pytest.fixture(scope="module")
def two(astronaut: Pixels) -> Pixels:
    """A photograph of her, and a smaller one of her mirrored beside it."""
    small = np.asarray(Image.fromarray(astronaut).resize((160, 160)))[:, ::-1]
    both = np.full((224, 400, 3), 128, np.uint8)
    both[:, 176:], both[30:190, 8:168] = astronaut, small
    return both


def eye_distance(points: NDArray[Any]) -> float:
    return float(np.linalg.norm(points[36:42].mean(0) - points[42:48].mean(0)))


def error(points: NDArray[Any], want: NDArray[Any]) -> float:
    """The mean distance between landmarks as a part of the distance between the eyes."""
    return float(np.linalg.norm(points - want, axis=1).mean()) / eye_distance(want)


def test_the_landmarks_of_a_photograph_are_where_eyes_nose_and_mouth_are(face: Face68) -> None:
    assert face.landmarks.dtype == np.float32 and face.landmarks.shape == (68, 2)
    left, top, right, bottom = face.box
    assert 40 < left < 65 and 60 < top < 90 and 155 < right < 185 and 170 < bottom < 195
    assert face.score > 0.9
    # read off the picture by eye, to within three pixels
    for points, place in (
        (face.landmarks[36:42], (87, 99)),
        (face.landmarks[42:48], (134, 101)),
        (face.landmarks[30:31], (111, 126)),
        (face.landmarks[48:60], (112, 147)),
    ):
        assert np.abs(points.mean(0) - place).max() < 5, points.mean(0)
    assert abs(face.tilt) < math.radians(6)


def test_the_networks_compute_what_face_api_computes(astronaut: Pixels) -> None:
    """The numbers are those of @vladmandic/face-api 1.7.15 itself, on TensorFlow.js."""
    detector, landmark_net = face_api.networks()
    with torch.inference_mode():
        scores, boxes = detector(face_detection.as_tensor([astronaut]))
        marks = landmark_net(face_detection.as_tensor([astronaut[74:186, 55:167]]))[0]
    best = int(scores[0].argmax())
    assert float(scores[0, best]) == pytest.approx(0.95672738, abs=1e-6)
    left, top, width, height = 42.275062, 73.078345, 133.473625, 113.572338
    want = torch.tensor((left, top, left + width, top + height))
    assert (boxes[0, best] - want).abs().max() < 1e-3
    for number, place in {
        0: (0.082644, 0.240202),
        8: (0.487286, 0.927765),
        30: (0.505761, 0.479781),
        36: (0.253611, 0.236321),
        45: (0.768566, 0.264614),
        57: (0.496531, 0.717728),
    }.items():
        assert (marks[number] - torch.tensor(place)).abs().max() < 1e-5


def test_a_rendered_head_is_a_face() -> None:
    head = the_face(samples()["head.png"])
    left, top, right, bottom = head.box
    for points in (head.landmarks[36:48], head.landmarks[48:]):
        x, y = points.mean(0)
        assert left < x < right and top < y < bottom


def test_landmarks_agree_with_dlibs(astronaut: Pixels, face: Face68) -> None:
    dlib = pytest.importorskip("dlib")
    spec = importlib.util.find_spec("face_recognition_models")
    if spec is None or not spec.submodule_search_locations:
        pytest.skip("face_recognition_models is not installed")
    models = Path(spec.submodule_search_locations[0]) / "models"
    predictor = dlib.shape_predictor(str(models / "shape_predictor_68_face_landmarks.dat"))
    padded = np.pad(astronaut, ((60, 60), (60, 60), (0, 0)), "edge")
    (box,) = dlib.get_frontal_face_detector()(padded, 1)
    want = np.array([(p.x - 60, p.y - 60) for p in predictor(padded, box).parts()])
    assert error(face.landmarks, want) < 0.05
    without_jaw = np.linalg.norm(face.landmarks - want, axis=1)[17:].mean()
    assert without_jaw < 0.04 * eye_distance(want)
    assert np.abs((face.landmarks - want).mean(0)).max() < 0.03 * eye_distance(want)


def test_mirroring_a_photograph_mirrors_its_landmarks(astronaut: Pixels, face: Face68) -> None:
    mirrored = the_face(np.ascontiguousarray(astronaut[:, ::-1])).landmarks[face_detection.MIRRORED]
    mirrored[:, 0] = 223 - mirrored[:, 0]
    assert error(mirrored, face.landmarks) < 0.02
    assert Counter(face_detection.MIRRORED) == Counter(range(68))
    assert [face_detection.MIRRORED[n] for n in face_detection.MIRRORED] == [*range(68)]


@pytest.mark.parametrize("scale", [0.5, 2.3])
def test_landmarks_do_not_depend_on_the_resolution(
    astronaut: Pixels, face: Face68, scale: float
) -> None:
    size = round(224 * scale)
    other = Image.fromarray(astronaut).resize((size, size), Image.Resampling.BICUBIC)
    landmarks = (the_face(other).landmarks + 0.5) * (224 / size) - 0.5
    assert error(landmarks, face.landmarks) < 0.02


def test_faces_that_fill_the_picture_are_found(astronaut: Pixels, face: Face68) -> None:
    tight = np.ascontiguousarray(astronaut[80:182, 55:165])
    assert error(np.add(the_face(tight).landmarks, (55, 80)), face.landmarks) < 0.05


@pytest.mark.parametrize("degrees", [-30, 20])
def test_tilted_faces_are_found_and_levelled(
    astronaut: Pixels, face: Face68, degrees: float
) -> None:
    padded = np.pad(astronaut, ((60, 60), (60, 60), (0, 0)), "edge")
    tilted = np.array(Image.fromarray(padded).rotate(degrees, Image.Resampling.BICUBIC))
    found = the_face(tilted)
    assert abs(math.degrees(found.tilt - face.tilt) + degrees) < 2
    _, level = crop(tilted, found, align=True)
    eyes = level[42:48].mean(0) - level[36:42].mean(0)
    assert eyes[0] > 0 and abs(eyes[1]) < 0.01 * eyes[0]
    again = the_face(crop(tilted, found, align=True)[0])
    assert error(again.landmarks, level) < 0.03 and abs(again.tilt) < math.radians(2)


def test_no_face_is_said_in_words(tmp_path: Path) -> None:
    noise = np.random.default_rng(0).integers(0, 256, (150, 260, 3)).astype(np.uint8)
    assert find(noise) == []
    assert find(np.full((1, 1, 3), 7, np.uint8)) == []
    assert find(np.full((2, 1000, 3), 7, np.uint8)) == []
    with pytest.raises(ImageError, match=r"No face was found in the picture: use a photograph"):
        the_face(noise)
    Image.fromarray(noise).save(tmp_path / "noise.png")
    with pytest.raises(ImageError, match=r"No face was found in .*noise\.png: "):
        the_face(tmp_path / "noise.png", "largest")


def test_of_several_faces_one_has_to_be_chosen(two: Pixels) -> None:
    large, small = find(two)
    assert large.area > small.area and large.box[0] > 176 > small.box[2]
    with pytest.raises(ImageError, match=r"2 faces .* 0 at 2\d\d, .*; 1 at .*--face-choice"):
        the_face(two)
    np.testing.assert_array_equal(the_face(two, "largest").landmarks, large.landmarks)
    for choice in (1, "1"):
        np.testing.assert_array_equal(the_face(two, choice).landmarks, small.landmarks)
    with pytest.raises(UsageError, match="Face 2 was asked for, but the picture has 2"):
        the_face(two, 2)


@pytest.mark.parametrize("choice", ["biggest", -1, "-1", "1.0", "", True, 0.0])
def test_choices_that_cannot_be_meant_are_refused(astronaut: Pixels, choice: Any) -> None:
    with pytest.raises(UsageError, match="'one', 'largest' or a number"):
        the_face(astronaut, choice)


def test_boxes_of_one_face_become_one() -> None:
    boxes = np.array([(0, 0, 9, 9), (100, 0, 110, 9), (1, 0, 10, 9), (8, 0, 17, 9)], np.float32)
    scores = np.array([0.6, 0.7, 0.9, 0.8], np.float32)
    # the third covers most of the first, and less than 0.3 of the last
    assert [*face_detection.separate(scores, boxes)] == [2, 3, 1]
    # halves and parts of a face, as the detector sees them in rendered people
    boxes = np.array([(2, 52, 187, 201), (29, -2, 227, 149), (54, 54, 109, 109)], np.float32)
    scores = np.array([0.95, 0.7, 0.55], np.float32)
    assert [*face_detection.separate(scores, boxes)] == [0]
    assert not [*face_detection.separate(scores[:0], boxes[:0])]


@pytest.mark.parametrize("align", [False, True])
def test_a_crop_shows_the_face_and_its_landmarks(
    astronaut: Pixels, face: Face68, align: bool
) -> None:
    picture, landmarks = crop(astronaut, face, size=180, margin=0.1, align=align)
    assert picture.shape == (180, 180, 3) and picture.dtype == np.uint8
    assert landmarks.dtype == np.float32
    assert landmarks.min() > 5 and landmarks.max() < 175
    assert landmarks[:, 1].min() > 180 - landmarks[:, 1].max()  # the forehead is in it
    assert error(the_face(picture).landmarks, landmarks) < 0.03
    wider = crop(astronaut, face, size=180, margin=0.5, align=align)[1]
    ratio = eye_distance(landmarks) / eye_distance(wider)
    assert ratio == pytest.approx(2 / 1.2, rel=1e-4)


def test_pixels_and_landmarks_of_a_crop_move_together() -> None:
    """Bright spots of a picture are found in its cut where their coordinates say."""
    pixels = np.zeros((90, 120, 3), np.uint8)
    spots = np.array([(40, 30), (80, 35), (60, 70)])
    for x, y in spots:
        pixels[y - 1 : y + 2, x - 1 : x + 2] = 255
    for square in (Square(60, 45, 88, 0.3), Square(60, 45, 300, -0.2), Square(59.5, 44.5, 90)):
        size = 90
        cut = square.cut(pixels, size)[..., 0].astype(float)
        places = square.inward(spots, size)
        np.testing.assert_allclose(square.outward(places, size), spots, atol=1e-4)
        for place in places:
            rows, columns = np.mgrid[:size, :size]
            near = cut * (np.hypot(columns - place[0], rows - place[1]) < 6)
            found = (near * columns).sum() / near.sum(), (near * rows).sum() / near.sum()
            np.testing.assert_allclose(found, place, atol=0.1)


def test_what_a_square_has_beyond_the_picture_is_black(astronaut: Pixels) -> None:
    same = Square(111.5, 111.5, 224).cut(astronaut, 224)
    np.testing.assert_array_equal(same, astronaut)
    beside = Square(0.5, 111.5, 224).cut(astronaut, 224)
    assert not beside[:, :111].any()
    np.testing.assert_array_equal(beside[:, 111:], astronaut[:, :113])


def test_a_large_square_is_averaged_and_not_sampled(astronaut: Pixels) -> None:
    lines = np.zeros((800, 800, 3), np.uint8)
    lines[:, ::2] = 255
    cut = Square(399.5, 399.5, 800).cut(lines, 100)
    assert np.abs(cut.astype(int) - 127).max() <= 2


@pytest.mark.parametrize("odd", [{"size": 0}, {"margin": float("nan")}, {"margin": -0.5}])
def test_odd_crops_are_refused(astronaut: Pixels, face: Face68, odd: dict[str, Any]) -> None:
    with pytest.raises(UsageError, match="size of at least 1 and a margin"):
        crop(astronaut, face, **odd)


def test_files_grey_and_transparent_pictures_are_read_as_everywhere(
    astronaut: Pixels, face: Face68, tmp_path: Path
) -> None:
    path = tmp_path / "a.png"
    Image.fromarray(astronaut).convert("RGBA").save(path)
    np.testing.assert_array_equal(the_face(path).landmarks, face.landmarks)
    grey = the_face(Image.fromarray(astronaut).convert("L"))
    assert error(grey.landmarks, face.landmarks) < 0.04
    with pytest.raises(ImageError, match="There is no picture"):
        find(tmp_path / "b.png")


def test_the_networks_come_with_their_licence_and_a_notice() -> None:
    assert "MIT" in (face_api.ASSETS / "LICENSE").read_text()
    notice = (face_api.ASSETS.parent / "NOTICE.md").read_text()
    for file in (face_api.DETECTOR, face_api.LANDMARKS):
        assert f"`{file.removesuffix('.safetensors')}`" in notice
    detector, landmark_net = face_api.networks()
    assert not detector.training and not landmark_net.training
    assert face_api.networks()[0] is detector
