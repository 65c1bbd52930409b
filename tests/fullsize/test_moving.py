"""The pages for people who come from another package: both sides of each pair give the same."""

from __future__ import annotations

import pickle
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from click.testing import CliRunner
from helpers import page_pairs
from helpers.paths import HELPERS, ROOT
from PIL import Image

from vox2face.cli import main
from vox2face.core.files import home
from vox2face.zoo.catalog import LABELS

DOCS, ASSETS = ROOT / "docs", ROOT / "vox2face" / "assets"
ASTRONAUT, HEAD = ASSETS / "astronaut.png", ASSETS / "head.png"
EQUAL = 1e-4  # of the largest value
DISTANCE = 1e-6  # what deepface rounds distances to, which are small with random weights
pytestmark = pytest.mark.fullsize


def same(got: Any, want: Any, where: str) -> None:
    """Compare what the two sides of a pair assign to a name."""
    if isinstance(want, dict):
        assert got.keys() >= want.keys(), where
        for key, value in want.items():
            same(got[key], value, f"{where}[{key!r}]")
    elif isinstance(want, (list, tuple)) and not all(isinstance(v, (int, float)) for v in want):
        assert len(got) == len(want), where
        for number, (one, other) in enumerate(zip(got, want, strict=True)):
            same(one, other, f"{where}[{number}]")
    elif isinstance(want, (str, bool)):
        assert got == want, where
    else:
        one, other = np.asarray(got, np.float64), np.asarray(want, np.float64)
        assert one.shape == other.shape and other.any(), where
        off = np.abs(one - other).max()
        assert off <= (DISTANCE if "distance" in where else EQUAL * np.abs(other).max()), where


def compare(page: Path, found: page_pairs.Values, theirs: Path) -> int:
    """Compare what the new side of a page gave with what the old side gave; count the names."""
    wanted = pickle.loads(theirs.read_bytes())
    for number, (got, want, names) in enumerate(
        zip(found, wanted, page_pairs.shared(page), strict=True), 1
    ):
        assert names == want.keys() == got.keys() and names, f"pair {number}"
        for name in names:
            same(got[name], want[name], f"pair {number}: {name}")
    return sum(map(len, wanted))


def command(*arguments: object) -> str:
    done = CliRunner().invoke(main, [str(argument) for argument in arguments])
    assert done.exit_code == 0, done.output
    return done.stdout


def said(page: Path, beginning: str) -> list[str]:
    """Return the words of the command of a page that begins so."""
    (line,) = [line for line in page.read_text().splitlines() if line.startswith(beginning)]
    return line.split()


@pytest.fixture
def pictures(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A current folder with face.png and b.png, two people, in sizes that no network takes."""
    for name, source, size in (("face.png", ASTRONAUT, (300, 260)), ("b.png", HEAD, (180, 210))):
        Image.open(source).resize(size).save(tmp_path / name)
    monkeypatch.chdir(tmp_path)
    return tmp_path


@pytest.fixture
def keras_vggface(pictures: Path) -> Iterator[Path]:
    """A folder with what keras-vggface downloads: its files, of random weights, and names."""
    folder = pictures / "vggface"
    folder.mkdir()
    for variant in ("resnet50", "vgg16"):
        owner("make", variant, folder, ASTRONAUT, HEAD)
    for made, published in (
        ("vgg16", "vgg16"),
        ("resnet50", "resnet50"),
        ("resnet50_notop", "notop_resnet50"),
    ):
        (folder / f"{made}.h5").rename(folder / f"rcmalli_vggface_tf_{published}.h5")
    for count, source in LABELS.items():
        np.save(folder / source.filename, np.array([f" Person_{i}" for i in range(count)]))
        kept = home() / "downloads" / source.key
        kept.mkdir(parents=True)
        (kept / f"{source.filename}.sha256").write_text("0" * 64)
        (kept / source.filename).write_bytes((folder / source.filename).read_bytes())
    yield folder
    for file in folder.iterdir():
        file.unlink()


def owner(*arguments: object, script: str = "keras_vggface_owner.py") -> None:
    done = subprocess.run(
        [sys.executable, str(HELPERS / script), *map(str, arguments)],
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stderr[-3000:]


@pytest.mark.slow  # test_fullsize runs vgg16 of the same owner
def test_what_stands_in_pairs_on_the_page_for_keras_vggface_gives_the_same(
    keras_vggface: Path, pictures: Path
) -> None:
    page, theirs = DOCS / "from-keras-vggface.md", pictures / "theirs.pickle"
    owner("page", page, theirs, keras_vggface)
    for variant in ("resnet50", "vgg16"):
        file = keras_vggface / f"rcmalli_vggface_tf_{variant}.h5"
        more = ("--no-onnx", "--verify", "none")
        command("convert", "rcmalli", "--variant", variant, "--weights", file, *more)
    with torch.inference_mode():
        found = page_pairs.run(page, 1)
    assert compare(page, found, theirs) == 10


def test_what_stands_in_pairs_on_the_page_for_deepface_gives_the_same(
    full_serengil: Path, pictures: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    page, sides = DOCS / "from-deepface.md", {}
    weights = pictures / ".deepface" / "weights"
    weights.mkdir(parents=True)
    (weights / "vgg_face_weights.h5").symlink_to(full_serengil)
    monkeypatch.setenv("DEEPFACE_HOME", str(pictures))
    for person in ("ann", "bob"):
        (pictures / "people" / person).mkdir(parents=True)
    for name, source in (("ann/1.png", HEAD), ("bob/1.png", ASTRONAUT)):
        (pictures / "people" / name).write_bytes(source.read_bytes())
    command("convert", "serengil", "--weights", full_serengil, "--no-onnx", "--verify", "none")
    command(*said(page, "vox2face embed people")[1:])
    for side in ("before", "after"):
        sides[side] = pictures / f"{side}.pickle"
        owner(side, page, sides[side], script="deepface_owner.py")
    assert compare(page, pickle.loads(sides["after"].read_bytes()), sides["before"]) == 16


def test_the_thresholds_on_the_page_are_those_of_deepface() -> None:
    from deepface.config.threshold import thresholds

    known = thresholds["VGG-Face"]
    assert list(known) == ["cosine", "euclidean", "euclidean_l2", "angular"]
    rows = [f"| {' | '.join(map(str, row))} |" for row in (known, known.values())]
    assert f"{rows[0]}\n|---|---|---|---|\n{rows[1]}\n" in (DOCS / "from-deepface.md").read_text()
