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

from vox2face.cli import main
from vox2face.core.files import home
from vox2face.zoo.catalog import LABELS

DOCS, ASSETS = ROOT / "docs", ROOT / "vox2face" / "assets"
EQUAL = 1e-4  # of the largest value
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
        assert np.abs(one - other).max() <= EQUAL * np.abs(other).max(), where


def compare(page: Path, theirs: Path) -> int:
    """Run the new side of a page and compare it with what the old side gave; count the names."""
    wanted = pickle.loads(theirs.read_bytes())
    with torch.inference_mode():
        found = page_pairs.run(page, 1)
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


@pytest.fixture
def pictures(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A current folder with face.png and b.png, two pictures of people."""
    for name, source in (("face.png", "astronaut.png"), ("b.png", "head.png")):
        (tmp_path / name).write_bytes((ASSETS / source).read_bytes())
    monkeypatch.chdir(tmp_path)
    return tmp_path


@pytest.fixture
def keras_vggface(pictures: Path) -> Iterator[Path]:
    """A folder with what keras-vggface downloads: its files, of random weights, and names."""
    folder = pictures / "vggface"
    folder.mkdir()
    for variant in ("resnet50", "vgg16"):
        owner("make", variant, folder, "face.png", "b.png")
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


def owner(*arguments: object) -> None:
    script = HELPERS / "keras_vggface_owner.py"
    done = subprocess.run(
        [sys.executable, str(script), *map(str, arguments)],
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stderr[-3000:]


def test_what_stands_in_pairs_on_the_page_for_keras_vggface_gives_the_same(
    keras_vggface: Path, pictures: Path
) -> None:
    page, theirs = DOCS / "from-keras-vggface.md", pictures / "theirs.pickle"
    owner("page", page, theirs, keras_vggface)
    for variant in ("resnet50", "vgg16"):
        file = keras_vggface / f"rcmalli_vggface_tf_{variant}.h5"
        more = ("--no-onnx", "--verify", "none")
        command("convert", "rcmalli", "--variant", variant, "--weights", file, *more)
    assert compare(page, theirs) == 10
