"""Whenever a run is killed, the next one finds the old or the new, whole, and clears up."""

from __future__ import annotations

import os
from collections.abc import Callable
from pathlib import Path

import pytest
from helpers.paths import TESTS

pytestmark = pytest.mark.skipif(not hasattr(os, "fork"), reason="forks, so that imports come once")
Python = Callable[..., str]
HERE = str(TESTS)


def test_a_folder_whose_replacement_and_repair_were_killed_is_whole(
    python: Python, tmp_path: Path
) -> None:
    """Killed at each of its changes, and the run after it at each of its own."""
    said = python(REPLACE, tmp_path / "base", PYTHONPATH=HERE)
    assert said.split() == ["new", "old"]


REPLACE = """
import shutil, sys
from pathlib import Path
from helpers.killed import kills
from vox2face.converters.maps import weight_map
from vox2face.store.bundle import is_bundle
from vox2face.core.files import atomic_directory

base = Path(sys.argv[1])
root, left = base / "root", base / "left"
out, found = root / "out", set()

def fill(folder, word):
    for name in ("config.json", "model.safetensors"):
        (folder / name).write_text(word)

def prepare():
    shutil.rmtree(root, ignore_errors=True)
    out.mkdir(parents=True)
    fill(out, "old")

def replace():
    with atomic_directory(out, replace=True) as folder:
        fill(folder, "new")

def left_alone():
    shutil.rmtree(root)
    shutil.copytree(left, root)

for first in kills(prepare, replace):
    shutil.rmtree(left, ignore_errors=True)
    shutil.copytree(root, left)
    for second in kills(left_alone, replace):
        assert is_bundle(out), (first, second)
        words = [path.read_text() for path in out.iterdir()]
        assert len(words) == 2 and len(set(words)) == 1, (first, second, words)
        found.update(words)
        replace()
        assert list(root.iterdir()) == [out], (first, second, list(root.iterdir()))
print(*sorted(found))
"""


@pytest.mark.long
def test_killed_conversions_and_exports_leave_what_loads_checks_and_is_made_again(
    python: Python, tmp_path: Path
) -> None:
    facts = {"PYTHONPATH": HERE, "OMP_NUM_THREADS": "1", "VOX2FACE_HOME": str(tmp_path / "home")}
    assert python(CONVERT, tmp_path, **facts).split() == ["new", "old"]


CONVERT = """
import shutil, sys
from pathlib import Path
import numpy as np
import onnx.compose, onnxruntime
from helpers.killed import ended, kills, started
from helpers.twins import narrow
from vox2face.store import bundle
from vox2face.runtime.load import load
from vox2face.converters import bundle_writer as assemble, bundle_onnx as deliver, verify as prove
from vox2face.converters.convert import convert
from vox2face.converters.verify_bundle import check
from vox2face.converters.keras.writer import random_layers, write_keras
from vox2face.converters.maps import weight_map
from vox2face.zoo import registry
from vox2face.zoo.networks import vggface

NAME = "vggface.serengil"
root = Path(sys.argv[1])
out, kept, exports, found = root / "made" / "out", root / "kept", root / "home" / "exports", set()
entry = narrow(NAME)
registry.ENTRIES = [entry if known.name == NAME else known for known in registry.ENTRIES]
for seed, word in enumerate(("old", "new")):
    write_keras(root / word, random_layers(weight_map(entry).rules, seed=seed))

def made(word):
    convert(entry, root / word, out, onnx=False, verify="none", force=True)

def prepare():
    shutil.rmtree(out.parent, ignore_errors=True)
    shutil.copytree(kept, out.parent)

def used():
    load(out)(np.zeros((16, 16, 3), np.uint8))
    assert check(bundle.read(out)).ok

def exported():
    load(out, backend="onnx")

assert ended(started(lambda: made("old")))
out.parent.rename(kept)
for _ in kills(prepare, lambda: made("new"), {"os.rename"}):
    assert ended(started(used))
    found.add(bundle.read(out).config["source"]["file"])
    assert ended(started(lambda: made("new")))
    assert list(out.parent.iterdir()) == [out]
for _ in kills(lambda: shutil.rmtree(exports, ignore_errors=True), exported, {"os.rename"}):
    assert ended(started(exported))
    assert [path.name for path in exports.glob("*/*")] == ["embedding.onnx"]
print(*sorted(found))
"""


def test_a_download_whose_fetching_was_killed_is_not_lost(python: Python, tmp_path: Path) -> None:
    """Where the whole file lies in the cache it is used, even offline; nothing else stays."""
    said = python(FETCH, PYTHONPATH=HERE, VOX2FACE_HOME=str(tmp_path / "home"))
    assert set(said.split()) == {"found", "lost"}


FETCH = """
import os, shutil
from dataclasses import replace
from helpers.killed import kills
from vox2face.store import download as fetching
from vox2face.core.errors import FetchError
from vox2face.store.download import discard, fetch
from vox2face.core.files import HDF5_MAGIC, home
from vox2face.zoo.sources import SERENGIL_VGG_FACE

source = replace(SERENGIL_VGG_FACE, urls=("first", "second"), sha256=None)
folder = home() / "downloads" / source.key
target = folder / source.filename
served = [b""]

def arrive(url, partial):
    partial.write_bytes(served[0])
    fetching.note_of(partial).write_text("{}")
    if url == "first":
        raise fetching.Interrupted

def forget():
    shutil.rmtree(folder, ignore_errors=True)
    served[0] = HDF5_MAGIC + b"whole"

def fetched(offline):
    os.environ["VOX2FACE_OFFLINE"] = offline
    return fetch(source)

fetching.persist = arrive
for _ in kills(forget, lambda: fetched("0")):
    whole = target.is_file()
    print("found" if whole else "lost")
    try:
        fetched("1")
    except FetchError:
        assert not whole
    assert fetched("0").path.read_bytes() == served[0]
    assert {path.name for path in folder.iterdir()} - {"lock"} == {
        target.name, f"{target.name}.sha256"
    }

for _ in kills(lambda: (forget(), fetched("0")), lambda: discard(fetched("0"))):
    served[0] = HDF5_MAGIC + b"another"  # which the hash of the first would refuse
    discard(fetched("0"))
    assert fetched("0").path.read_bytes() == served[0]
"""
