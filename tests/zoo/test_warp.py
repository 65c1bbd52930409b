"""The warp against the textbook's system of equations, and where landmarks make no sense."""

from __future__ import annotations

import warnings
from pathlib import Path

import numpy as np
import onnxruntime
import pytest
import torch
from helpers.paths import DATA
from torch import Tensor

from vox2face.zoo.networks import warp as module
from vox2face.zoo.networks.warp import LandmarkWarp, reduce_72

SIZE = 224


def mean_face(size: int = SIZE, points: int = 68) -> Tensor:
    """Landmarks evenly spread over the middle of a picture."""
    number = torch.arange(points)
    radius, angle = 0.3 * size * ((number + 0.5) / points).sqrt(), 2.399963 * number
    return size / 2 + torch.stack([radius * angle.cos(), radius * angle.sin()], -1)


def moved(mean: Tensor, batch: int = 2, by: float = 5.0) -> Tensor:
    """Plausible landmarks of some faces."""
    noise = torch.randn(batch, *mean.shape, generator=torch.Generator().manual_seed(0))
    return mean + by * torch.sin(mean.flip(-1) / 40) + 0.1 * by * noise


def textures(batch: int = 2, size: int = SIZE) -> Tensor:
    return torch.rand(batch, 3, size, size, generator=torch.Generator().manual_seed(1))


def by_elimination(warp: LandmarkWarp, landmarks: Tensor, ridge: float = 0.0) -> Tensor:
    """The places by the bordered system of TensorFlow Addons' interpolate_spline, in float64."""
    last = warp.size - 1
    edge = [(x, y) for x in (0, last / 2, last) for y in (0, last / 2, last)]
    edge.remove((last / 2, last / 2))
    fixed = torch.tensor(edge, dtype=torch.float64).expand(len(landmarks), -1, -1)
    centers = torch.cat([landmarks.double(), fixed], 1)
    flow = torch.cat(
        [landmarks.double() - warp.mean_landmarks.double(), torch.zeros_like(fixed)], 1
    )
    with_one = torch.cat([centers, torch.ones_like(centers[..., :1])], -1)
    kernel = torch.cdist(centers, centers, compute_mode="donot_use_mm_for_euclid_dist")
    kernel -= ridge * torch.eye(len(kernel[0]))  # the kernel is negative: it is the distance
    kernel[:, [-8, -6, -3], [-8, -6, -3]] = 0  # the three corners that the warp eliminates
    top = torch.cat([kernel, with_one], -1)
    bottom = torch.cat([with_one.mT, torch.zeros(len(landmarks), 3, 3)], -1)
    right = torch.cat([flow, torch.zeros(len(landmarks), 3, 2)], 1)
    weights = torch.linalg.solve(torch.cat([top, bottom], 1), right)
    line = torch.arange(warp.size, dtype=torch.float64)
    pixel = torch.cartesian_prod(line, line).flip(-1).expand(len(landmarks), -1, -1)
    basis = torch.cat(
        [
            torch.cdist(pixel, centers, compute_mode="donot_use_mm_for_euclid_dist"),
            pixel,
            torch.ones_like(pixel[..., :1]),
        ],
        -1,
    )
    places: Tensor = pixel - basis @ weights
    return places.reshape(-1, warp.size, warp.size, 2)


def test_landmarks_at_the_mean_leave_every_bit_of_the_texture() -> None:
    for size in (224, 64, 57, 2):
        warp = LandmarkWarp(mean_face(size), size)
        texture = textures(size=size)
        assert torch.equal(warp(texture, mean_face(size).expand(2, -1, -1)), texture)


def test_places_are_those_of_the_closed_formula() -> None:
    warp = LandmarkWarp(mean_face())
    landmarks = moved(mean_face())
    places = warp.places(landmarks)
    assert places.shape == (2, SIZE, SIZE, 2) and places.dtype == torch.float32
    assert (places - by_elimination(warp, landmarks, module.RIDGE)).abs().max() < 2e-4
    assert (places - by_elimination(warp, landmarks)).abs().max() < 1e-3
    assert (places - by_elimination(warp, landmarks.flip(0))).abs().max() > 1
    exact = warp.double().places(landmarks.double())
    assert (exact - by_elimination(warp, landmarks, module.RIDGE)).abs().max() < 1e-5


def test_it_computes_what_tensorflow_addons_does() -> None:
    """The numbers are those of its sparse_image_warp; see tests/data/golden."""
    numbers = np.load(DATA / "golden" / "sparse_image_warp.npz")
    mean, landmarks = (torch.from_numpy(numbers[name]) for name in ("mean", "landmarks"))
    warp, line = LandmarkWarp(mean, 64), torch.arange(64.0)
    y, x = torch.meshgrid(line, line, indexing="ij")
    flow = torch.stack([x, y], -1) - warp.places(landmarks)
    assert np.abs(numbers["flow"]).max() > 4  # pixels
    assert np.abs(flow[:, ::4, ::4].numpy() - numbers["flow"]).max() < 5e-3
    waves = [torch.sin(x / 7 + c) * torch.cos(y / 5 - c) / 2 + 0.5 for c in range(3)]
    picture = warp(torch.stack(waves).expand(2, -1, -1, -1), landmarks)
    assert np.abs(picture[..., ::4, ::4].numpy() - numbers["picture"]).max() < 5e-4


def test_landmarks_as_close_as_those_of_lips_are_told_apart() -> None:
    mean = mean_face()
    mean[61] = mean[67] + 0.1
    warp, landmarks = LandmarkWarp(mean), moved(mean)
    landmarks[:, 61] = landmarks[:, 67] + 0.5
    places = warp.places(landmarks)
    assert (places - by_elimination(warp, landmarks, module.RIDGE)).abs().max() < 5e-3


def test_what_is_at_a_mean_landmark_is_at_the_landmark_and_the_border_stays() -> None:
    warp = LandmarkWarp(mean_face())
    landmarks = moved(mean_face(), 1).round()  # so that every landmark is a pixel
    places = warp.places(landmarks)[0]
    x, y = landmarks[0].long().unbind(-1)
    assert (places[y, x] - mean_face()).abs().max() < 5e-3
    for row, column in ((0, 0), (0, -1), (-1, 0), (-1, -1)):
        stays = torch.tensor([column % SIZE, row % SIZE])
        assert (places[row, column] - stays).abs().max() < 5e-3
    spot = torch.zeros(1, 3, SIZE, SIZE)
    column, row = mean_face()[30].round().long().tolist()
    spot[:, :, row - 2 : row + 3, column - 2 : column + 3] = 1
    assert warp(spot, landmarks)[0, 0, y[30], x[30]] > 0.99


def test_the_spline_is_linear_in_the_displacements_and_zero_at_the_corners() -> None:
    """Its affine part is zero at three corners, so of affine displacements only zero is left."""
    warp = LandmarkWarp(mean_face()).double()
    line = torch.arange(SIZE, dtype=torch.float64)
    pixel = torch.cartesian_prod(line, line).flip(-1).reshape(SIZE, SIZE, 2)
    centers = torch.cat([moved(mean_face())[0].double(), warp.border])[None]
    generator = torch.Generator().manual_seed(6)
    one, two = torch.randn(2, 1, len(centers[0]), 2, generator=generator, dtype=torch.float64)
    parts = 3 * warp.flow(centers, one, pixel) - warp.flow(centers, two, pixel)
    flow = warp.flow(centers, 3 * one - two, pixel)
    assert (flow - parts).abs().max() < 1e-9 < flow.abs().max()
    assert flow[0, [0, 0, -1], [0, -1, 0]].abs().max() < 1e-3


def test_gradients_are_those_of_finite_differences() -> None:
    size, mean = 5, mean_face(5, 3)
    warp = LandmarkWarp(mean, size).double()
    generator = torch.Generator().manual_seed(2)
    landmarks = (mean + 0.3 * torch.rand(1, 3, 2, generator=generator)).double()
    landmarks.requires_grad_()
    texture = textures(1, size).double().requires_grad_()
    assert torch.autograd.gradcheck(lambda t, p: warp(t, p), (texture, landmarks), eps=1e-7)


NONSENSE = {
    "all at one point": torch.full((1, 68, 2), 50.0),
    "all at the first corner": torch.zeros(1, 68, 2),
    "all at the last corner": torch.full((1, 68, 2), SIZE - 1.0),
    "on a line": torch.linspace(0, SIZE - 1, 68)[:, None].expand(1, -1, 2),
    "within a pixel": torch.rand(1, 68, 2, generator=torch.Generator().manual_seed(3)),
    "within a hundredth": 0.01 * torch.rand(1, 68, 2, generator=torch.Generator().manual_seed(4)),
    "anywhere": 1000 * torch.randn(1, 68, 2, generator=torch.Generator().manual_seed(5)),
    "far away": torch.full((1, 68, 2), -1e30),
    "infinite": torch.full((1, 68, 2), float("inf")),
    "a pair on one point": torch.cat([mean_face()[:1], mean_face()[:1], mean_face()[2:]])[None],
}


@pytest.mark.parametrize("name", NONSENSE)
def test_nonsense_gives_finite_pictures_and_gradients(name: str) -> None:
    texture = textures(1).requires_grad_()
    landmarks = NONSENSE[name].clone().requires_grad_()
    picture = LandmarkWarp(mean_face())(texture, landmarks)
    assert picture.min() >= -1e-6 and picture.max() <= 1 + 1e-6  # NaN fails both
    (picture * torch.linspace(0, 1, SIZE)).mean().backward()
    for tensor in (texture, landmarks):
        assert tensor.grad is not None and bool(tensor.grad.isfinite().all())


def test_landmarks_that_coincide_meet_halfway() -> None:
    mean, landmarks = mean_face(), mean_face()[None].clone()
    landmarks[:, 40] = landmarks[:, 41] = (mean[40] + mean[41]).div(2).round()
    places = LandmarkWarp(mean).places(landmarks)
    column, row = landmarks[0, 40].long()
    assert (places[0, row, column] - (mean[40] + mean[41]) / 2).abs().max() < 0.1


def test_half_precision_textures_and_autocast_do_not_change_the_places() -> None:
    warp, texture, landmarks = LandmarkWarp(mean_face()), textures(), moved(mean_face())
    picture = warp(texture, landmarks)
    assert warp(texture.half(), landmarks).dtype == torch.float16
    assert (warp(texture.half(), landmarks) - picture).abs().max() < 2e-3
    with torch.autocast("cpu", torch.bfloat16):
        assert torch.equal(warp(texture, landmarks), picture)


def test_only_the_mean_landmarks_are_saved() -> None:
    assert [*LandmarkWarp(mean_face()).state_dict()] == ["mean_landmarks"]


class WithReduction(torch.nn.Module):
    """A warp behind a decoder of 72 points."""

    def __init__(self) -> None:
        super().__init__()
        self.warp = LandmarkWarp(mean_face())

    def forward(self, texture: Tensor, points: Tensor) -> tuple[Tensor, Tensor]:
        points = reduce_72(points)
        return self.warp(texture, points), points


@pytest.fixture(scope="module")
def exported(tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("warp") / "warp.onnx"
    batch = torch.export.Dim("batch")
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # the exporter warns of its own code
        torch.onnx.export(
            WithReduction().eval(),
            (textures(2), torch.rand(2, 72, 2)),
            path,
            input_names=["texture", "points"],
            output_names=["picture", "landmarks"],
            dynamic_shapes=({0: batch}, {0: batch}),
            dynamo=True,
            opset_version=20,
            verbose=False,
        )
    return path


@pytest.mark.long
@pytest.mark.parametrize("batch", [1, 2, 5])
def test_the_graph_computes_the_same_for_every_batch(exported: Path, batch: int) -> None:
    session = onnxruntime.InferenceSession(str(exported), providers=["CPUExecutionProvider"])
    texture, points = textures(batch), moved(mean_face(), batch)
    points = points[:, list(module.ORDER_72)]
    picture, landmarks = session.run(None, {"texture": texture.numpy(), "points": points.numpy()})
    want, reduced = WithReduction()(texture, points)
    np.testing.assert_allclose(picture, want.numpy(), rtol=0, atol=1e-4)
    np.testing.assert_array_equal(landmarks, reduced.numpy())
    stays = mean_face()[list(module.ORDER_72)].expand(batch, -1, -1).numpy()
    picture, _ = session.run(None, {"texture": texture.numpy(), "points": stays})
    np.testing.assert_array_equal(picture, texture.numpy())


def as_face_recognition_lists_them(points: list[tuple[float, float]]) -> dict[str, list[object]]:
    """The dictionary of face_recognition's face_landmarks, from the 68 points."""
    return {
        "chin": [*points[0:17]],
        "left_eyebrow": [*points[17:22]],
        "right_eyebrow": [*points[22:27]],
        "nose_bridge": [*points[27:31]],
        "nose_tip": [*points[31:36]],
        "left_eye": [*points[36:42]],
        "right_eye": [*points[42:48]],
        "top_lip": [*points[48:55], *(points[n] for n in (64, 63, 62, 61, 60))],
        "bottom_lip": [*points[54:60], points[48], *(points[n] for n in (60, 67, 66, 65, 64))],
    }


def test_72_points_are_reduced_to_the_68_they_were_made_of() -> None:
    marks = [(float(n), 100.0 + n) for n in range(68)]
    listed = [point for part in as_face_recognition_lists_them(marks).values() for point in part]
    assert len(listed) == 72
    points = np.array(listed, np.float32)
    np.testing.assert_array_equal(reduce_72(points), np.array(marks))
    assert torch.equal(reduce_72(torch.from_numpy(points).expand(3, 72, 2))[2], torch.tensor(marks))


def test_points_that_are_there_twice_are_averaged() -> None:
    marks: list[tuple[float, float]] = [(float(n), 0.0) for n in range(68)]
    parts = as_face_recognition_lists_them(marks)
    shifted = as_face_recognition_lists_them([(x, 1.0) for x, _ in marks])
    parts["bottom_lip"] = shifted["bottom_lip"]
    points = torch.tensor([point for part in parts.values() for point in part])
    lower = reduce_72(points)[:, 1]
    assert [n for n in range(68) if lower[n] == 0.5] == [48, 54, 60, 64]
    assert [n for n in range(68) if lower[n] == 1] == [55, 56, 57, 58, 59, 65, 66, 67]


def test_a_coarse_spline_is_close_and_passes_gradients_to_the_landmarks() -> None:
    mean = mean_face()
    exact, coarse = LandmarkWarp(mean), LandmarkWarp(mean, step=4)
    landmarks = moved(mean).requires_grad_()
    apart = (exact.places(landmarks) - coarse.places(landmarks)).detach().norm(dim=-1)
    assert 0 < apart.mean() < 0.05 and apart.quantile(0.99) < 0.5
    near = [
        g
        for w in (exact, coarse)
        for g in torch.autograd.grad(w.places(landmarks).sum(), landmarks)
    ]
    torch.testing.assert_close(near[0], near[1], rtol=0.1, atol=0.02 * float(near[0].abs().max()))
    assert torch.equal(coarse(textures(), mean.expand(2, -1, -1)), textures())
