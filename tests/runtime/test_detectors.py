"""Detectors that others bring find the face that is cut out, and say plainly what is wrong."""

from __future__ import annotations

import csv
import io
import math
import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import pytest
from numpy.typing import NDArray
from PIL import Image

import vox2face
from vox2face.core.errors import ImageError, UsageError
from vox2face.media.image import samples
from vox2face.runtime import detectors, face_detection
from vox2face.runtime.detectors import DetectedFace, detect
from vox2face.runtime.face_input import read_face
from vox2face.runtime.pipelines import FaceToFace

Pixels = NDArray[np.uint8]
Run = Callable[..., subprocess.CompletedProcess[str]]
FREE = "dlib_resnet128.dlib"
BOX = (55.0, 74.0, 167.0, 186.0)  # the astronaut's face


@pytest.fixture(scope="module")
def astronaut() -> Pixels:
    return samples()["astronaut.png"]


@pytest.fixture
def wide(astronaut: Pixels, tmp_path: Path) -> Path:
    """A photograph with her face at its right."""
    pixels = np.full((300, 500, 3), 90, np.uint8)
    pixels[40:264, 200:424] = astronaut
    Image.fromarray(pixels).save(tmp_path / "wide.png")
    return tmp_path / "wide.png"


# What a package with a detector has in it
CODE = """
print("loaded")


def left(pixels):
    print("looking")
    height, width, colours = pixels.shape
    assert colours == 3 and pixels.dtype == "uint8"
    return [{"box": (0, 0, height, height), "score": 0.5}]


none = 5
"""


@pytest.fixture
def installed(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Path]:
    """A package that brings detectors, laid down as pip would, and its folder."""
    facts = tmp_path / "site" / "facefinders-1.0.dist-info"
    facts.mkdir(parents=True)
    (facts / "METADATA").write_text("Metadata-Version: 2.1\nName: facefinders\nVersion: 1.0\n")
    names = "left = facefinders:left\nnone = facefinders:none\ngone = facefinders:gone\n"
    (facts / "entry_points.txt").write_text(f"[{detectors.GROUP}]\n{names}")
    (tmp_path / "site" / "facefinders.py").write_text(CODE)
    monkeypatch.syspath_prepend(tmp_path / "site")
    detectors.named.cache_clear()
    yield tmp_path / "site"
    detectors.named.cache_clear()
    sys.modules.pop("facefinders", None)


@pytest.fixture
def opencvs(tmp_path: Path) -> Callable[[Pixels], list[dict[str, Any]]]:
    """OpenCV's detector as one would write it, with the cascade that comes with scikit-image."""
    from skimage.data import lbp_frontal_face_cascade_filename

    file = tmp_path / "cascade.xml"
    text = Path(lbp_frontal_face_cascade_filename()).read_text()
    file.write_text(text.replace("featuhreParams", "featureParams"))  # or OpenCV does not load it
    cascade = cv2.CascadeClassifier(str(file))

    def find(pixels: Pixels) -> list[dict[str, Any]]:
        grey = cv2.cvtColor(pixels, cv2.COLOR_RGB2GRAY)
        boxes = cascade.detectMultiScale(grey, minSize=(60, 60))
        return [{"box": (x, y, x + width, y + height)} for x, y, width, height in boxes]

    return find


def test_opencvs_detector_as_a_function_gives_nearly_our_crop(
    wide: Path, opencvs: Callable[[Pixels], list[dict[str, Any]]]
) -> None:
    own = face_detection.the_face(wide)
    found = face_detection.the_face(wide, detector=opencvs)
    apart = np.linalg.norm(found.landmarks - own.landmarks, axis=1).mean()
    eyes = own.landmarks[36:42].mean(0) - own.landmarks[42:48].mean(0)
    assert found.box != own.box and apart < 0.05 * np.linalg.norm(eyes)
    encoder = vox2face.load(FREE)
    same, want = encoder([wide], crop=True, detector=opencvs), encoder([wide], crop=True)
    assert np.linalg.norm(same - want) < 0.3  # 0.6 apart are two people
    assert np.linalg.norm(encoder([wide]) - want) > 0.3


def test_a_detector_of_an_installed_package_is_known_by_name(
    installed: Path, wide: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    face = face_detection.the_face(wide, detector="left")
    assert face.box == (0, 0, 300, 300) and face.score == 0.5
    printed = capsys.readouterr()
    assert (printed.out, printed.err) == ("", "loaded\nlooking\n")
    own = read_face(wide, crop=True)
    np.testing.assert_array_equal(read_face(wide, crop=True, detector="face-api"), own)
    assert (read_face(wide, crop=True, detector="left") != own).any()
    with pytest.raises(UsageError, match=r"no detector 'right': use one of face-api, gone, left"):
        face_detection.find(wide, "right")
    with pytest.raises(UsageError, match="The detector none is a int: give a function"):
        face_detection.find(wide, "none")
    with pytest.raises(UsageError, match=r"The detector gone cannot be used \(AttributeError: "):
        face_detection.find(wide, "gone")


def test_what_a_detector_knows_is_used(astronaut: Pixels) -> None:
    want = face_detection.the_face(astronaut)
    known = DetectedFace(BOX, 0.25, ((140, 130), (80, 90)), want.landmarks)
    larger = {"box": (0, 0, 223, 223)}
    first, second = face_detection.find(astronaut, lambda _: [known, larger])
    assert first.box == (0, 0, 223, 223) and first.score == 1 and first.eyes is None
    assert second.box == BOX and second.score == 0.25
    np.testing.assert_array_equal(second.landmarks, want.landmarks)
    assert second.tilt == pytest.approx(math.atan2(40, 60))
    assert not face_detection.find(astronaut, lambda _: ())
    with pytest.raises(ImageError, match="No face was found in the picture"):
        face_detection.the_face(astronaut, detector=lambda _: iter(()))


@pytest.mark.parametrize(
    ("faces", "words"),
    [
        (None, "a NoneType: expected a list of faces"),
        ({"box": BOX}, "a dict: expected a list of faces"),
        ([BOX], "a face that is a tuple: expected a DetectedFace or a mapping"),
        ([{"score": 1}], r"a face without a box: expected box=\(left, top, right, bottom\)"),
        ([{"box": BOX, "w": 3}], "a face with 'w': expected no more than box, score, eyes"),
        ([{"box": BOX[:3]}], r"the box \(55.0, 74.0, 167.0\): expected four numbers"),
        ([{"box": "face"}], "the box 'face': expected four numbers"),
        ([{"box": (1, 2, float("nan"), 4)}], "the box .*: expected four numbers"),
        ([{"box": (155, 74, 112, 112)}], r"the box .* = \(155, 74, 112, 112\): expected left <"),
        ([{"box": (300, 74, 400, 112)}], "the box .*: expected left < .* the 224 x 224 pixels"),
        ([{"box": (-9, -9, 0, 0)}], "the box .*: expected left < .* the 224 x 224 pixels"),
        ([{"box": BOX, "score": "high"}], "the score 'high': expected a number"),
        ([{"box": BOX, "eyes": (1, 2)}], r"the eyes \(1, 2\): expected two points"),
        ([{"box": BOX, "landmarks": np.zeros((5, 2))}], r"landmarks of shape \(5, 2\): expected"),
    ],
    ids=str,
)
def test_what_is_no_list_of_faces_gets_one_sentence(
    faces: Any, words: str, astronaut: Pixels
) -> None:
    def mine(pixels: Pixels) -> Any:
        return faces

    with pytest.raises(UsageError, match=f"^The detector mine returned {words}"):
        detect(mine, astronaut)


def test_a_detector_that_fails_costs_its_picture(astronaut: Pixels) -> None:
    def broken(pixels: Pixels) -> Any:
        raise ValueError("no\nface")

    with pytest.raises(ImageError, match=r"^The detector broken failed \(ValueError: no face\)\.$"):
        detect(broken, astronaut)
    with pytest.raises(UsageError, match="The detector given is a int: give a function"):
        detect(5, astronaut)  # type: ignore[arg-type]


def test_options_of_a_crop_need_it(wide: Path) -> None:
    for more in ({"align": True}, {"which": 0}, {"detector": "left"}):
        with pytest.raises(UsageError, match=r"are for crop=True: add it"):
            read_face(wide, **more)  # type: ignore[arg-type]
    with pytest.raises(UsageError, match="channels='gbr': the channels of an array are 'rgb'"):
        read_face(wide, channels="gbr")
    with pytest.raises(UsageError, match="'one', 'largest' or a number"):
        read_face(wide, crop=True, which="biggest")


@pytest.mark.long
def test_embed_cuts_out_faces_as_face2face_does(
    inside: Run, wide: Path, astronaut: Pixels, installed: Path, tmp_path: Path
) -> None:
    blank = tmp_path / "blank.png"
    Image.fromarray(np.full((200, 200, 3), 128, np.uint8)).save(blank)
    encoder = vox2face.load(FREE)
    for options, how in (
        (("--crop",), {}),
        (("--crop", "--align"), {"align": True}),
        (("--crop", "--face-choice", "0"), {"which": 0}),
        (("--crop", "--detector", "left", "--face-choice", "largest"), {"detector": "left"}),
    ):
        done = inside("embed", wide, "--model", FREE, *options)
        assert done.returncode == 0, done.stderr
        found = np.array([*csv.reader(io.StringIO(done.stdout))][1][1:], np.float32)
        np.testing.assert_array_equal(found, encoder(wide, crop=True, **how)[0])
        cut = face_detection.crop(
            wide,
            face_detection.the_face(wide, detector=how.get("detector")),
            align="align" in how,
        )[0]
        np.testing.assert_array_equal(found, encoder(cut)[0])
    done = inside("embed", wide, blank, "--model", FREE, "--crop")
    assert done.returncode == 1 and f"Failed: No face was found in {blank}" in done.stderr
    assert len(done.stdout.splitlines()) == 2


def test_options_of_a_crop_that_cannot_be_meant_are_refused(
    inside: Run, wide: Path, installed: Path
) -> None:
    for command in (("embed", "--model", FREE), ("face2face", "--no-crop")):
        for options, words in (
            (("--align",), "--align needs --crop"),
            (("--face-choice", "0"), "--face-choice needs --crop"),
            (("--detector", "left"), "--detector needs --crop"),
        ):
            done = inside(*command, wide, *options)
            assert done.returncode == 2 and words in done.stderr
    for command in (("embed", "--model", FREE, "--crop"), ("face2face",)):
        for options, words in (
            (("--face-choice", "big"), "--face-choice big: it is largest or a number"),
            (("--detector", "right"), "no detector 'right'"),
        ):
            done = inside(*command, wide, *options)
            assert done.returncode == 2 and words in done.stderr
    done = inside("embed", wide, "--model", "ge2e.resemblyzer", "--crop")
    assert done.returncode == 2 and "show no face: leave --crop out" in done.stderr


@pytest.mark.long
def test_a_pipeline_takes_photographs_and_arrays_of_opencv(wide: Path, astronaut: Pixels) -> None:
    pipeline = FaceToFace.from_zoo()
    want = pipeline(read_face(wide, crop=True, align=True), crop=False)
    bgr = cv2.imread(str(wide))
    for picture in (wide, wide.read_bytes(), bgr):
        face = pipeline(picture, crop=True, align=True, channels="bgr")
        np.testing.assert_array_equal(face.embedding, want.embedding)
    fused = pipeline.fuse([wide, bgr], crop=True, align=True, channels="bgr")
    np.testing.assert_allclose(fused.embedding, want.embedding, rtol=1e-4, atol=1e-6)


def test_what_a_detector_does_stays_its_own(astronaut: Pixels) -> None:
    def drawing(pixels: Pixels) -> list[Any]:
        pixels[:] = 0
        return [{"box": (10, 10, 90, 90)}]

    def late(pixels: Pixels) -> Iterator[Any]:
        yield {"box": (10, 10, 90, 90)}
        raise ZeroDivisionError

    def leaving(pixels: Pixels) -> list[Any]:
        raise SystemExit(3)

    before = astronaut.copy()
    assert len(detect(drawing, astronaut)) == 1
    np.testing.assert_array_equal(astronaut, before)
    for detector in (late, leaving):
        with pytest.raises(ImageError, match=f"The detector {detector.__name__} failed"):
            detect(detector, astronaut)
    for box in ((-1e9, -1e9, 1e9, 1e9), (-1e300, 0, 1e300, 10)):
        with pytest.raises(UsageError, match="returned the box"):
            detect(lambda pixels, box=box: [{"box": box}], astronaut)  # type: ignore[misc]
