"""Picture files become what deepface's represent() feeds its network, whatever is in them."""

from __future__ import annotations

import io
from collections.abc import Callable
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import pytest
import torch
from helpers.twins import narrow
from numpy.typing import NDArray
from PIL import Image

from vox2face.core.errors import ImageError
from vox2face.media.image import samples
from vox2face.runtime.face_encoder import FaceEncoder
from vox2face.zoo import registry

Pixels = NDArray[np.uint8]
Fed = Callable[[object], NDArray[np.float32]]
SIZES = [(224, 224), (100, 333), (457, 200), (7, 5), (1500, 1100), (223, 225)]  # (height, width)


def photograph(height: int = 190, width: int = 260) -> Image.Image:
    """A photograph of a size, with noise so that every pixel matters."""
    photo = Image.fromarray(samples()["astronaut.png"]).resize((width, height))
    noise = np.random.default_rng(height * width).integers(-40, 40, (height, width, 3))
    return Image.fromarray(np.clip(np.asarray(photo).astype(int) + noise, 0, 255).astype("u1"))


def deep(channels: int) -> Any:
    """The photograph with 16 bits a channel."""
    pixels = np.asarray(photograph().convert("RGBA" if channels == 4 else "RGB"), np.uint16)
    low = np.random.default_rng(0).integers(0, 256, pixels.shape, np.uint16)
    return (pixels * 256 + low)[:, :, 0 if channels == 1 else slice(None)]


def turned(path: Path) -> None:
    exif = Image.Exif()
    exif[0x0112] = 6
    photograph().save(path, exif=exif)


def see_through(path: Path) -> None:
    photograph().convert("P").save(path, transparency=bytes(range(256)))


# What is in a file, and how it is written
FILES: dict[str, Callable[[Path], object]] = {
    "rgb.jpg": lambda path: photograph().save(path),
    "grey.jpg": lambda path: photograph().convert("L").save(path),
    "progressive.jpg": lambda path: photograph().save(path, progressive=True),
    "cmyk.jpg": lambda path: photograph().convert("CMYK").save(path),
    "turned.jpg": turned,
    "grey.png": lambda path: photograph().convert("L").save(path),
    "grey-alpha.png": lambda path: photograph().convert("LA").save(path),
    "bits.png": lambda path: photograph().convert("1").save(path),
    "palette.png": lambda path: photograph().convert("P").save(path),
    "palette-alpha.png": see_through,
    "rgba.png": lambda path: photograph().convert("RGBA").save(path),
    "one-colour-clear.png": lambda path: photograph().save(path, transparency=(9, 9, 9)),
    "grey16.png": lambda path: cv2.imwrite(str(path), deep(1)),
    "rgb16.png": lambda path: cv2.imwrite(str(path), deep(3)),
    "rgba16.png": lambda path: cv2.imwrite(str(path), deep(4)),
    "grey16.tif": lambda path: cv2.imwrite(str(path), deep(1)),
    "cmyk.tif": lambda path: photograph().convert("CMYK").save(path),
    "palette.gif": lambda path: photograph().convert("P").save(path),
    "rgb.avif": lambda path: photograph().save(path),
    "rgb.bmp": lambda path: photograph().save(path),
    "rgb.webp": lambda path: photograph().save(path),
    "rgb.tif": lambda path: photograph().save(path),
}


class Network:
    """What deepface takes for VGG-Face and for its detector: it keeps what it is fed."""

    input_shape = (224, 224)
    output_shape = 1

    def __init__(self) -> None:
        self.fed: list[NDArray[np.float32]] = []
        self.box = (0, 0, 0, 0)

    def forward(self, batch: NDArray[np.float32]) -> list[float]:
        self.fed.append(batch)
        return [1.0]

    def detect_faces(self, picture: Pixels) -> list[Any]:
        from deepface.models.Detector import FacialAreaRegion

        x, y, width, height = self.box
        return [FacialAreaRegion(x, y, width, height, (x, y), (x, y))]


@pytest.fixture
def network(monkeypatch: pytest.MonkeyPatch) -> Network:
    """The network that deepface finds when it asks for one."""
    from deepface.modules import modeling

    made = Network()
    monkeypatch.setattr(modeling, "build_model", lambda **_: made)
    return made


@pytest.fixture
def fed(network: Network) -> Fed:
    """What deepface feeds VGG-Face of a picture, with no detector: float32 (1, 224, 224, 3)."""
    from deepface.modules import representation

    def run(picture: object) -> NDArray[np.float32]:
        representation.represent(picture, detector_backend="skip")
        return network.fed.pop()

    return run


@pytest.fixture(scope="module")
def encoder() -> FaceEncoder:
    """deepface's network, narrow and with random weights that let its input through."""
    entry = narrow("vggface.serengil")
    network = registry.build(entry).eval()
    for layer in network.modules():
        if isinstance(layer, torch.nn.Conv2d):
            torch.nn.init.kaiming_normal_(layer.weight, nonlinearity="relu")
    return FaceEncoder(entry, "deepface-skip", "cpu", module=network)


def ours(encoder: FaceEncoder, picture: object) -> NDArray[np.float32]:
    return encoder.preprocess([picture]).permute(0, 2, 3, 1).numpy()


@pytest.mark.parametrize("name", FILES)
def test_files_are_read_as_deepface_reads_them(
    name: str, fed: Fed, encoder: FaceEncoder, tmp_path: Path
) -> None:
    path = tmp_path / name
    FILES[name](path)
    np.testing.assert_allclose(ours(encoder, path), fed(str(path)), rtol=0, atol=1e-6)
    content = path.read_bytes()
    np.testing.assert_array_equal(ours(encoder, content), ours(encoder, path))
    np.testing.assert_array_equal(fed(io.BytesIO(content)), fed(str(path)))


@pytest.mark.parametrize("size", SIZES, ids=str)
def test_embeddings_are_those_of_what_deepface_feeds(
    size: tuple[int, int], fed: Fed, encoder: FaceEncoder, tmp_path: Path
) -> None:
    path = tmp_path / "a.png"
    photograph(*size).save(path)
    want = encoder.embed(torch.from_numpy(fed(str(path))).permute(0, 3, 1, 2))
    np.testing.assert_allclose(encoder(path), want, rtol=0, atol=1e-5 * np.abs(want).max())
    others = encoder.with_preset("deepface")(path)
    assert (np.abs(others - want).max() > 1e-4 * np.abs(want).max()) == (size != (224, 224))


def test_faces_of_deepfaces_detectors_and_its_verify_are_resized_as_floats(
    network: Network, encoder: FaceEncoder, tmp_path: Path
) -> None:
    from deepface.modules import representation, verification

    path, floats = tmp_path / "a.png", encoder.with_preset("deepface")
    photograph(300, 260).save(path)
    network.box = (40, 30, 170, 210)
    representation.represent(str(path), detector_backend="ours", align=False)
    cut = np.asarray(photograph(300, 260))[30:240, 40:210]
    np.testing.assert_allclose(ours(floats, cut), network.fed.pop(), rtol=0, atol=2e-5)
    verification.verify(str(path), str(path), detector_backend="skip", silent=True)
    for batch in network.fed:
        np.testing.assert_allclose(ours(floats, path), batch, rtol=0, atol=2e-5)
    assert len(network.fed) == 2
    assert np.abs(ours(encoder, path) - ours(floats, path)).max() > 1e-3


def test_grey_of_16_bits_is_read_for_deepface_alone(encoder: FaceEncoder, tmp_path: Path) -> None:
    FILES["grey16.png"](tmp_path / "a.png")
    with pytest.raises(ImageError, match="has more than 8 bits a channel: convert it"):
        encoder.with_preset("keras-vggface-v1").preprocess(tmp_path / "a.png")
