"""Every preset computes what its owner's own function computes."""

from __future__ import annotations

import importlib.metadata
import importlib.util
import re
import sys
import types
from collections.abc import Callable

import cv2
import numpy as np
import pytest
import torch
from helpers.paths import ROOT
from PIL import Image

from vox2face.core.errors import UsageError
from vox2face.media.image import samples
from vox2face.zoo.frontends.face import FaceInput
from vox2face.zoo.presets import FACE_PRESETS, face_preset

# (height, width): square, wide, tall, tiny, huge, odd, and the size that needs no resampling
SIZES = [(224, 224), (100, 333), (457, 200), (7, 5), (1500, 1100), (223, 225), (225, 224), (1, 30)]


def picture(height: int, width: int) -> np.ndarray:
    """A photograph resampled to a size, with noise so that every pixel matters."""
    photo = Image.fromarray(samples()["astronaut.png"]).resize((width, height))
    noise = np.random.default_rng(height * width).integers(-40, 40, (height, width, 3))
    return np.clip(np.asarray(photo).astype(int) + noise, 0, 255).astype(np.uint8)


def ours(name: str, pixels: np.ndarray) -> np.ndarray:
    """Our preprocessing as (224, 224, 3) in the network's colour order."""
    result = FaceInput(face_preset(name))(torch.from_numpy(pixels[None]))
    assert result.dtype == torch.float32 and result.shape == (1, 3, 224, 224)
    return result[0].permute(1, 2, 0).numpy()


def owners_module(package: str, file: str) -> types.ModuleType:
    """Load one source file of an installed package without importing the package."""
    distribution = importlib.metadata.distribution(package)
    spec = importlib.util.spec_from_file_location(
        f"owner_{package}", str(distribution.locate_file(file))
    )
    assert spec and spec.loader
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


@pytest.mark.long
@pytest.mark.parametrize("size", SIZES, ids=str)
def test_deepface_letterbox_equals_resize_image(size: tuple[int, int]) -> None:
    owner = owners_module("deepface", "deepface/modules/preprocessing.py")
    pixels = picture(*size)
    bgr = pixels[:, :, ::-1].astype(np.float64) / 255  # as represent() hands it over
    want = owner.normalize_input(owner.resize_image(bgr, (224, 224)), "base")[0]
    assert want.dtype == np.float32
    np.testing.assert_allclose(ours("deepface", pixels), want, rtol=0, atol=2e-5)


@pytest.mark.long
@pytest.mark.parametrize("size", SIZES, ids=str)
def test_deepface_skip_equals_resize_image_of_uint8(size: tuple[int, int]) -> None:
    owner = owners_module("deepface", "deepface/modules/preprocessing.py")
    pixels = picture(*size)
    want = owner.resize_image(pixels[:, :, ::-1], (224, 224))[0]
    np.testing.assert_allclose(ours("deepface-skip", pixels), want, rtol=0, atol=1e-7)


@pytest.mark.parametrize("seed", range(5))
def test_deepface_skip_rounds_as_opencv_does(seed: int) -> None:
    """Every level of every pixel is OpenCV's, for shapes that nobody chose."""
    random = np.random.default_rng(seed)
    for height, width in random.integers(3, 700, (12, 2)):
        pixels = random.integers(0, 256, (height, width, 3), np.uint8)
        factor = min(224 / height, 224 / width)
        inside = int(width * factor), int(height * factor)
        want = cv2.resize(pixels, inside)
        top, left = ((224 - n) // 2 for n in reversed(inside))
        levels = ours("deepface-skip", pixels)[:, :, ::-1] * 255
        shown = levels[top : top + inside[1], left : left + inside[0]]
        np.testing.assert_allclose(shown, want, rtol=0, atol=1e-3)


@pytest.fixture
def keras_vggface(monkeypatch: pytest.MonkeyPatch) -> types.ModuleType:
    """keras-vggface's utils.py, whose imports no current Keras satisfies."""
    keras = types.ModuleType("keras")
    backend = types.ModuleType("keras.backend")
    backend.image_data_format = lambda: "channels_last"  # type: ignore[attr-defined]
    keras.backend = backend  # type: ignore[attr-defined]
    data = types.ModuleType("keras.utils.data_utils")
    data.get_file = None  # type: ignore[attr-defined]
    for name, module in {
        "keras": keras,
        "keras.backend": backend,
        "keras.utils": types.ModuleType("keras.utils"),
        "keras.utils.data_utils": data,
    }.items():
        monkeypatch.setitem(sys.modules, name, module)
    return owners_module("keras-vggface", "keras_vggface/utils.py")


@pytest.fixture(scope="module")
def loaded(
    tmp_path_factory: pytest.TempPathFactory, python: Callable[..., str]
) -> Callable[[tuple[int, int]], np.ndarray]:
    """What Keras itself loads, as keras-vggface's own example does, of a picture of a size."""
    folder = tmp_path_factory.mktemp("pictures")
    for size in SIZES:
        Image.fromarray(picture(*size)).save(folder / f"{size[0]}x{size[1]}.png")
    script = (
        "import sys, numpy, pathlib\n"
        "from tf_keras.preprocessing import image\n"
        "for path in pathlib.Path(sys.argv[1]).glob('*.png'):\n"
        "    loaded = image.load_img(path, target_size=(224, 224))\n"
        "    numpy.save(path.with_suffix('.npy'), image.img_to_array(loaded))\n"
    )
    python(script, folder)
    return lambda size: np.asarray(np.load(folder / f"{size[0]}x{size[1]}.npy"))


@pytest.mark.long
@pytest.mark.parametrize("size", SIZES, ids=str)
@pytest.mark.parametrize("version", [1, 2])
def test_keras_vggface_equals_load_img_and_preprocess_input(
    keras_vggface: types.ModuleType,
    loaded: Callable[[tuple[int, int]], np.ndarray],
    size: tuple[int, int],
    version: int,
) -> None:
    want = keras_vggface.preprocess_input(loaded(size)[None].copy(), version=version)[0]
    shown = ours(f"keras-vggface-v{version}", picture(*size))
    np.testing.assert_allclose(shown, want, rtol=0, atol=1e-5)


# Pillow 13 resamples the rows of this one first, older Pillows the columns, as we do. Both round
# to whole grey levels in between, so the results differ by one level here and there.
ROWS_FIRST = (457, 200)


@pytest.mark.parametrize("size", SIZES, ids=str)
def test_speech_to_face_equals_pillows_resize(size: tuple[int, int]) -> None:
    pixels = picture(*size)
    resized = Image.fromarray(pixels).resize((224, 224), Image.Resampling.BILINEAR)
    levels = np.rint(ours("speech-to-face", pixels) * 255) - np.asarray(resized, float)
    assert np.abs(levels).max() <= (1 if size == ROWS_FIRST else 0)


@pytest.mark.parametrize("size", [s for s in SIZES if s != ROWS_FIRST], ids=str)
def test_vggface_original_is_rgb_minus_the_means_of_the_release(size: tuple[int, int]) -> None:
    pixels = picture(*size)
    resized = np.asarray(Image.fromarray(pixels).resize((224, 224), Image.Resampling.BILINEAR))
    want = resized - np.array([129.1863, 104.7624, 93.5940])
    np.testing.assert_allclose(ours("vggface-original", pixels), want, rtol=0, atol=1e-4)


@pytest.mark.parametrize("name", FACE_PRESETS)
def test_presets_state_colour_and_range(name: str) -> None:
    preset = FACE_PRESETS[name]
    values = ours(name, picture(100, 100))
    assert preset.meaning.startswith(preset.color)
    stated = re.fullmatch(
        r"..., 0\.\.(\d+)(?: minus the means \((.*?)\)(?:, divided by (\d+))?)?", preset.meaning
    )
    assert stated, preset.meaning
    means = [float(n) for n in stated[2].split(", ")] if stated[2] else [0]
    highest = (float(stated[1]) - min(means)) / float(stated[3] or 1)
    lowest = -max(means) / float(stated[3] or 1)
    assert lowest - 1e-4 <= values.min() and values.max() <= highest + 1e-4
    assert values.max() > 0.8 * highest
    red = np.zeros((8, 8, 3), np.uint8)
    red[..., 0] = 255
    shown = ours(name, red)[112, 112] + np.array(preset.mean) * preset.scale
    assert np.argmax(shown) == preset.color.index("R")


def test_a_batch_equals_its_pictures_one_by_one() -> None:
    pixels = np.stack([picture(90, 130), picture(90, 130)[:, ::-1]])
    for preset in FACE_PRESETS.values():
        both = FaceInput(preset)(torch.from_numpy(pixels.copy())).numpy()
        for one, single in zip(both, pixels, strict=True):
            np.testing.assert_array_equal(one.transpose(1, 2, 0), ours(preset.name, single.copy()))


def test_unknown_presets_list_the_known_ones() -> None:
    with pytest.raises(UsageError, match="deepface, deepface-skip, keras-vggface-v1"):
        face_preset("caffe")


def test_samples_are_the_two_pictures_named_in_the_notice() -> None:
    notice = (ROOT / "vox2face/assets/NOTICE.md").read_text()
    pictures = samples()
    assert {p.shape for p in pictures.values()} == {(224, 224, 3)}
    assert all(f"`{name}`" in notice for name in pictures)


@pytest.mark.parametrize("name", sorted(FACE_PRESETS))
def test_the_smooth_front_end_is_within_rounding_and_passes_gradients(name: str) -> None:
    pixels = torch.from_numpy(next(iter(samples().values()))[None].copy())
    preset = face_preset(name)
    exact = FaceInput(preset, 150)(pixels)
    given = pixels.float().requires_grad_()
    smooth = FaceInput(preset, 150, smooth=True)(given)
    # each axis is rounded by half a grey level at most, which the second axis averages
    assert (exact - smooth).detach().abs().max() <= 1.01 * preset.scale
    (slope,) = torch.autograd.grad(smooth.sum(), given)
    assert slope.sum() == pytest.approx(3 * 150 * 150 * preset.scale, rel=0.5)
