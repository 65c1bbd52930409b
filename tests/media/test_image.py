"""Pictures are read as Pillow reads them, within limits, and what is none is called what it is."""

from __future__ import annotations

import io
import struct
import subprocess
import sys
import warnings
import zlib
from pathlib import Path

import numpy as np
import pytest
import torch
from click.testing import CliRunner
from helpers.paths import DATA
from PIL import Image, ImageDraw, ImageFile, ImageOps

from vox2face.cli import batch, main
from vox2face.core import extras
from vox2face.core.errors import ImageError, UsageError, Vox2FaceWarning
from vox2face.core.files import PICTURES
from vox2face.media import image
from vox2face.media.image import decode, decode_file, samples
from vox2face.runtime import face_detection
from vox2face.train.corpus import layouts
from vox2face.train.corpus.skipped import Skipped
from vox2face.train.corpus.tree import open_tree
from vox2face.train.export import resize
from vox2face.zoo.frontends import face
from vox2face.zoo.frontends.face import FaceInput
from vox2face.zoo.presets import FACE_PRESETS

HEIC = DATA / "head.heic"


@pytest.fixture(scope="module")
def astronaut() -> Image.Image:
    return Image.fromarray(samples()["astronaut.png"])


def jpeg(picture: Image.Image, progressive: bool = False) -> bytes:
    data = io.BytesIO()
    picture.save(data, "JPEG", progressive=progressive)
    return data.getvalue()


def test_all_names_that_pillow_gives_to_these_formats_are_pictures() -> None:
    Image.init()
    known = {name for name, kind in Image.EXTENSION.items() if kind in image.FORMATS}
    # names of other kinds of files as well, or of floats, which are not read
    assert known - {*PICTURES} == {".icb", ".vda", ".vst", ".pfm"}


def test_folders_are_searched_for_every_kind_of_picture(
    astronaut: Image.Image, tmp_path: Path
) -> None:
    small, folder = astronaut.resize((32, 32)), tmp_path / "Ann"
    folder.mkdir()
    kinds = {"a.jfif": "JPEG", "b.avif": "AVIF", "c.gif": "GIF", "d.TIFF": "TIFF", "e.jp2": None}
    for name, kind in kinds.items():
        small.save(folder / name, kind)
    (folder / "notes.txt").write_text("no picture")
    assert [path.name for path in batch.walked(tmp_path, PICTURES)] == [*kinds]
    assert len(layouts.pictures(open_tree(tmp_path, Skipped()), "Ann")) == len(kinds)
    assert resize.resize(folder, tmp_path / "out", 16).written == len(kinds)
    assert all(decode(folder / name).shape == (32, 32, 3) for name in kinds)


@pytest.mark.parametrize(
    ("content", "words"),
    [
        (b"", "is an empty file"),
        (b"<!DOCTYPE html><html>Not found</html>", r"is a web page \(HTML\), no picture"),
        (b"\xef\xbb\xbf\n<html>", r"is a web page \(HTML\), no picture"),
        (b"version https://git-lfs.github.com/spec/v1\noid sha256:1\n", "is a Git LFS pointer"),
        (b'<?xml version="1.0"?>\n<svg xmlns="x">', "is an SVG drawing, no picture"),
        (b"hello", "is plain text, no picture"),
        (b"\x00\x01" * 300, "is data of an unknown kind, no picture"),
    ],
)
def test_what_is_no_picture_is_called_what_it_is(
    content: bytes, words: str, tmp_path: Path
) -> None:
    path = tmp_path / "a.jpg"
    path.write_bytes(content)
    for read in (lambda: decode(path), lambda: decode_file(io.BytesIO(content), str(path))):
        with pytest.raises(ImageError, match=f"a.jpg {words}"):
            read()


def test_heic_pictures_need_their_extra(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(extras.EXTRAS, "heic", ("there_is_no_such_package",))
    with pytest.raises(UsageError, match=r"head\.heic is a HEIC .*pip install '\.\[heic\]'"):
        decode(HEIC)


def test_heic_pictures_are_read_with_their_extra() -> None:
    pytest.importorskip("pillow_heif")
    want = np.asarray(Image.fromarray(samples()["head.png"]).resize((64, 64)), float)
    assert np.abs(decode(HEIC) - want).mean() < 4


@pytest.mark.parametrize("mode", ["RGB", "L", "LA", "P", "PA", "RGBA", "1", "CMYK", "YCbCr", "HSV"])
def test_colours_are_those_of_pillow(
    astronaut: Image.Image, mode: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    picture = astronaut.convert("P" if mode == "PA" else "RGB").convert(mode)
    want = np.asarray(picture.convert("RGB"))
    np.testing.assert_array_equal(decode(picture), want)
    monkeypatch.setattr(image, "BLOCK", 1000)  # in bands of four rows
    monkeypatch.setattr(image, "IN_MEMORY", 5000)  # through a temporary file
    np.testing.assert_array_equal(decode(picture), want)
    np.testing.assert_array_equal(np.asarray(picture.convert("RGB")), want)  # it is still there


@pytest.mark.parametrize("orientation", range(10))
def test_pictures_are_turned_as_pillow_does_it(
    astronaut: Image.Image, orientation: int, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(image, "BLOCK", 1000)
    exif = Image.Exif()
    exif[0x0112] = orientation
    path = tmp_path / "a.png"
    astronaut.crop((0, 0, 150, 100)).save(path, exif=exif)
    with Image.open(path) as opened:
        want = np.asarray(ImageOps.exif_transpose(opened))
    found = decode(path)
    np.testing.assert_array_equal(found, want)
    assert found.flags.c_contiguous and found.flags.writeable


@pytest.mark.parametrize("progressive", [False, True])
@pytest.mark.parametrize("mode", ["RGB", "L"])
def test_a_jpeg_file_that_lacks_its_end_is_read_with_a_warning(
    astronaut: Image.Image,
    mode: str,
    progressive: bool,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    whole, path = jpeg(astronaut.convert(mode), progressive), tmp_path / "a.jpg"
    for lacking in (2, 10, len(whole) // 5):
        path.write_bytes(whole[:-lacking])
        with pytest.warns(Vox2FaceWarning, match=r"a\.jpg is cut short: \d+ of its 224 rows"):
            found = decode(path)
        with monkeypatch.context() as patched:
            patched.setattr(ImageFile, "LOAD_TRUNCATED_IMAGES", True)
            with Image.open(path) as opened:
                np.testing.assert_array_equal(found, np.asarray(opened.convert("RGB")))


def test_a_jpeg_file_that_lacks_more_than_half_is_refused(
    astronaut: Image.Image, tmp_path: Path
) -> None:
    path = tmp_path / "a.jpg"
    whole = jpeg(astronaut)
    path.write_bytes(whole[: len(whole) // 3])
    with pytest.raises(ImageError, match=r"cut short: \d\d of its 224 rows .* copy it again"):
        decode(path)
    path.write_bytes(whole[:700])
    with pytest.raises(ImageError, match=r"of its 224 rows|cannot be decoded"):
        decode(path)


def test_the_command_tells_of_a_cut_in_one_line(astronaut: Image.Image, tmp_path: Path) -> None:
    path = tmp_path / "a.jpg"
    path.write_bytes(jpeg(astronaut)[:-9])
    arguments = ("data", "resize", str(tmp_path), "--out", str(tmp_path / "out"))
    with warnings.catch_warnings():
        warnings.simplefilter("default")
        done = CliRunner().invoke(main, arguments)
    assert done.exit_code == 0
    (line,) = (line for line in done.stderr.splitlines() if "cut short" in line)
    assert line == f"Warning: {path} is cut short: 224 of its 224 rows are there."


REFUSED = """
import sys
from pathlib import Path
from vox2face.core.errors import ImageError
from vox2face.media.image import decode
for path in sys.argv[1:]:
    try:
        decode(path)
    except ImageError as error:
        assert "more than" in str(error), error
    else:
        raise AssertionError(path)
print(Path("/proc/self/status").read_text().partition("VmHWM:")[2].split()[0])
"""

LARGE = """
import sys
from pathlib import Path
import torch
from vox2face.runtime import face_detection as faces
from vox2face.media import image
from vox2face.zoo.frontends.face import FaceInput
from vox2face.zoo.presets import face_preset
pixels = image.decode(sys.argv[1])
assert pixels.shape == (11_000, 10_000, 3)
front = FaceInput(face_preset("dlib"), 32)  # small: it computes for a minute otherwise
assert front(torch.from_numpy(pixels[None])).shape == (1, 3, 32, 32)
assert faces.find(pixels) == []
print(Path("/proc/self/status").read_text().partition("VmHWM:")[2].split()[0])
"""


def peak(script: str, *arguments: object) -> int:
    """The most memory in bytes that a script had resident; it prints the number of kB.

    That is not its ru_maxrss, which begins at what the process that started it has.
    """
    command = [sys.executable, "-c", script, *map(str, arguments)]
    return 1024 * int(subprocess.run(command, check=True, capture_output=True, text=True).stdout)


linux = pytest.mark.skipif(sys.platform != "linux", reason="needs /proc")


@pytest.mark.long
@linux
def test_pictures_of_110_million_pixels_work_in_1_gb_of_memory(tmp_path: Path) -> None:
    path = tmp_path / "a.jpg"
    exif = Image.Exif()
    exif[0x0112] = 3
    large = Image.new("RGB", (10_000, 11_000), (90, 120, 60))
    ImageDraw.Draw(large).ellipse((2000, 2000, 8000, 9000), (200, 180, 160))
    large.save(path, exif=exif)
    del large
    assert peak(LARGE, path) < 1_000_000_000


TALL = """
from pathlib import Path

import torch

from vox2face.zoo.frontends.face import FaceInput
from vox2face.zoo.presets import FACE_PRESETS

pixels = torch.zeros((1, 55_000, 250, 3), dtype=torch.uint8)
before = int(Path("/proc/self/status").read_text().partition("VmHWM:")[2].split()[0])
for preset in FACE_PRESETS.values():
    FaceInput(preset)(pixels)
print(int(Path("/proc/self/status").read_text().partition("VmHWM:")[2].split()[0]) - before)
"""


@pytest.mark.long
@linux
def test_preprocessing_of_a_tall_picture_takes_little_memory() -> None:
    assert peak(TALL) < 450_000_000


@linux
def test_larger_and_deeper_pictures_are_refused_before_they_take_memory(tmp_path: Path) -> None:
    paths = [tmp_path / name for name in ("a.tif", "b.png", "c.png", "d.tif")]
    Image.new("1", (11_000, 10_001)).save(paths[0], compression="group4")
    Image.new("1", (8, 8)).save(paths[1])
    data = bytearray(paths[1].read_bytes())
    data[16:24] = struct.pack(">II", 60_000, 60_000)
    data[29:33] = struct.pack(">I", zlib.crc32(data[12:29]))
    paths[1].write_bytes(data)
    Image.new("I;16", (9000, 9000)).save(paths[2])
    Image.new("F", (3000, 3000)).save(paths[3], compression="tiff_deflate")
    assert paths[0].stat().st_size < 9_000
    assert peak(REFUSED, *paths) < 100_000_000


@pytest.mark.parametrize(
    ("kind", "options"),
    [
        ("WEBP", {}),
        ("AVIF", {}),
        ("JPEG2000", {}),
        ("JPEG", {"progressive": True}),
        ("TIFF", {"compression": "tiff_deflate", "strip_size": 1 << 20}),
        ("TIFF", {"compression": "tiff_lzw", "tiffinfo": {322: 4096, 323: 4096}}),
    ],
)
def test_formats_that_take_more_memory_have_lower_limits(
    astronaut: Image.Image,
    kind: str,
    options: dict[str, object],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(image, "MOST_MEMORY", 224 * 224 * 4)
    plain, dear = io.BytesIO(), io.BytesIO()
    astronaut.save(plain, "TIFF")
    assert decode_file(plain, "plain").shape == (224, 224, 3)
    astronaut.save(dear, kind, **options)
    with pytest.raises(ImageError, match=rf"224 x 224 pixels, which take .* kind of {kind}: "):
        decode_file(dear, "dear")


@pytest.mark.parametrize("size", [(50, 60), (300, 20), (700, 500)])
def test_resizing_in_bands_is_pillows(
    astronaut: Image.Image, size: tuple[int, int], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(image, "BLOCK", 1000)
    want = astronaut.resize((size[0], 224), Image.Resampling.BILINEAR)
    want = want.resize(size, Image.Resampling.BILINEAR)
    found = image.resized(np.asarray(astronaut), size)
    np.testing.assert_array_equal(found, np.asarray(want))


@pytest.mark.parametrize("name", FACE_PRESETS)
def test_preprocessing_in_bands_changes_nothing(name: str, monkeypatch: pytest.MonkeyPatch) -> None:
    pixels = torch.from_numpy(np.stack([*samples().values()]))
    front = FaceInput(FACE_PRESETS[name], 150)
    want = front(pixels)
    monkeypatch.setattr(image, "BLOCK", 1000)
    monkeypatch.setattr(face, "BLOCK", 1000)
    torch.testing.assert_close(front(pixels), want, rtol=0, atol=0)


def test_cutting_in_bands_changes_nothing(monkeypatch: pytest.MonkeyPatch) -> None:
    pixels = samples()["astronaut.png"]
    squares = [
        face_detection.Square(100, 90, 180, 0.4),
        face_detection.Square(10, 220, 700),
        face_detection.Square(-90, 0, 9),
    ]
    whole = [square.cut(pixels, 40) for square in squares]
    monkeypatch.setattr(face_detection, "BLOCK", 3000)
    for square, want in zip(squares, whole, strict=True):
        np.testing.assert_array_equal(square.cut(pixels, 40), want)
