"""`vox2face demo`: faces first, as one picture and one page, then the full-size conversion."""

from __future__ import annotations

import base64
import io
import re
from collections.abc import Callable
from html.parser import HTMLParser
from pathlib import Path
from subprocess import CompletedProcess

import pytest
from helpers.paths import ROOT
from PIL import Image, ImageFont

from vox2face.cli import demo
from vox2face.cli.demo_faces import RECORDINGS, SYNTHETIC
from vox2face.cli.demo_sheet import wrapped
from vox2face.core import extras
from vox2face.media import audio
from vox2face.media.decoded_face import made_by
from vox2face.runtime import gallery

Run = Callable[..., CompletedProcess[str]]
ASSETS = ROOT / "vox2face" / "assets"


class Page(HTMLParser):
    """The tags of a page, what it loads, and its text."""

    def __init__(self, text: str) -> None:
        super().__init__()
        self.tags: list[str] = []
        self.loaded: list[str] = []
        self.words = ""
        self.feed(text)

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.tags.append(tag)
        self.loaded += [value or "" for name, value in attrs if name in ("src", "href")]

    def handle_data(self, data: str) -> None:
        self.words += f" {' '.join(data.split())}"


@pytest.fixture(scope="module")
def made(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, CompletedProcess[str]]:
    from click.testing import CliRunner

    from vox2face.cli import main

    out = tmp_path_factory.mktemp("demo")
    done = CliRunner().invoke(main, ["demo", "--faces-only", "--out", str(out)])
    return out, CompletedProcess([], done.exit_code, done.stdout, done.stderr)


@pytest.mark.long
def test_faces_only_writes_a_picture_and_a_page(
    made: tuple[Path, CompletedProcess[str]],
) -> None:
    out, done = made
    assert done.returncode == 0, done.stderr
    assert sorted(path.name for path in out.iterdir()) == ["faces.html", "faces.png"]
    assert str(out / "faces.html") in done.stdout and "synthetic people" in done.stdout
    people = len(gallery.read())
    assert f"among the {people} of the gallery (chance: {(people + 1) / 2:g})" in done.stdout
    lines = re.findall(r"by the photograph +(\d+), by the voice +(\d+)", done.stdout)
    assert len(lines) == SYNTHETIC
    assert all(1 <= int(place) <= people for line in lines for place in line)
    assert all(f"{name} " in done.stdout for name in RECORDINGS)


def test_the_picture_is_marked_and_has_a_row_for_each_person(
    made: tuple[Path, CompletedProcess[str]],
) -> None:
    facts = made_by(made[0] / "faces.png")
    assert facts and "mlp_head.demo" in facts["encoder"] and "dlib" in facts["face encoder"]
    with Image.open(made[0] / "faces.png") as picture:
        assert picture.width < 1200 and picture.height > 6 * 224
        assert picture.convert("RGB").getpixel((2, 2)) == (255, 255, 255)


def test_the_page_needs_nothing_but_itself(made: tuple[Path, CompletedProcess[str]]) -> None:
    text = (made[0] / "faces.html").read_text(encoding="utf-8")
    page = Page(text)
    assert not {"script", "link", "iframe"} & set(page.tags) and "viewport" in text
    assert page.tags.count("audio") == SYNTHETIC + len(RECORDINGS)
    assert page.tags.count("img") == 4 * (SYNTHETIC + len(RECORDINGS))
    kinds = {"image/jpeg": 0, "image/png": 0, "audio/mpeg": 0, "audio/wav": 0}
    for uri in page.loaded:
        kind, data = uri.removeprefix("data:").split(";base64,")
        kinds[kind] += 1
        content = base64.b64decode(data, validate=True)
        if kind.startswith("image"):
            with Image.open(io.BytesIO(content)) as picture:
                assert f"image/{picture.format.lower()}" == kind
            assert b"digitalsourcetype" in content
        else:
            assert audio.decode(io.BytesIO(content)).size > 16_000
    assert list(kinds.values()) == [14, 10, 4, 2]
    for words in ("people in these pictures are synthetic", "tell nothing about real persons"):
        assert words in page.words
    assert "Sex, age, origin, health or character of anybody" in page.words  # cannot be told
    assert "CC BY 3.0" in page.words


def test_the_recordings_that_ship_have_a_notice() -> None:
    notice = (ASSETS / "NOTICE.md").read_text()
    for name in RECORDINGS:
        assert f"`{name}`" in notice
        assert 2 < audio.decode(ASSETS / name).size / audio.RATE < 4
    assert "Attribution 3.0" in notice


def test_the_faces_come_before_the_conversion(
    inside: Run, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    done: list[str] = []
    monkeypatch.setattr(demo, "draw_faces", lambda out: done.append("faces"))
    monkeypatch.setattr(demo, "convert_weights", lambda weights, out: done.append("weights"))
    assert inside("demo", "--out", tmp_path).returncode == 0 and done == ["faces", "weights"]
    assert inside("demo", "--out", tmp_path, "--faces-only").returncode == 0
    assert done == ["faces", "weights", "faces"]
    wrong = inside("demo", "--out", tmp_path, "--faces-only", "--weights", "a.h5")
    assert wrong.returncode == 2 and "leave --weights out" in " ".join(wrong.stderr.split())


def test_without_what_reads_the_clips_there_is_one_sentence(
    inside: Run, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.setattr(extras, "has", lambda extra: extra != "voice")
    done = inside("demo", "--faces-only", "--out", tmp_path)
    assert done.returncode == 2 and "pip install '.[voice]'" in " ".join(done.stderr.split())


def test_text_is_broken_into_lines_that_fit() -> None:
    font = ImageFont.load_default(17)
    lines = wrapped("one two three four five six seven eight", font, 120)
    assert len(lines) > 2 and all(font.getlength(line) <= 120 for line in lines)
    assert " ".join(lines) == "one two three four five six seven eight"
