"""Plain HDF5 files are read by their bytes, exactly as the HDF5 library reads them."""

from __future__ import annotations

import random
from collections.abc import Callable
from pathlib import Path
from typing import Any

import h5py
import numpy as np
import pytest
import seeds
from damage import blind

from vox2face.converters.readers import hdf5
from vox2face.converters.readers.h5_quick import declared

REAL = Path(__file__).with_name("data") / "emotion_model.hdf5"
Change = Callable[[h5py.File], Any]


def rows(path: Path) -> list[tuple[object, ...]] | None:
    arrays = declared(path)
    return arrays and [(a.layer, a.name, a.path, a.shape, a.offset) for a in arrays]


def by_the_library(path: Path) -> list[tuple[object, ...]]:
    return [tuple(row) for row in hdf5.structure(path)["arrays"]]


@pytest.mark.parametrize("below", ["", "model_weights"])
def test_plain_files_are_read_as_the_library_reads_them(tmp_path: Path, below: str) -> None:
    path = tmp_path / "w.h5"
    seeds.legacy(path, below)
    with h5py.File(path, "r+") as file:
        (file[below] if below else file).attrs["backend"] = b"tensorflow"
    assert rows(path) == by_the_library(path)
    assert len(by_the_library(path)) == 4


def test_a_published_file_is_read_as_the_library_reads_it() -> None:
    assert rows(REAL) == by_the_library(REAL)
    assert len(by_the_library(REAL)) == 80


def test_groups_of_many_members_are_read_whole(tmp_path: Path) -> None:
    path = tmp_path / "w.h5"
    names = [f"block{i}/layer{i % 7}" for i in range(700)]
    with h5py.File(path, "w") as file:
        file.attrs["layer_names"] = np.array([name.encode() for name in names])
        for number, name in enumerate(names):
            group = file.create_group(name)
            group.attrs["weight_names"] = np.array([b"a/b/kernel:0"])
            group["a/b/kernel:0"] = np.full(3, number, np.float32)
    assert rows(path) == by_the_library(path)
    assert [row[0] for row in rows(path) or ()] == names


def test_reading_a_plain_file_imports_no_library(python: Callable[..., str]) -> None:
    script = """
import sys
from pathlib import Path
from vox2face.converters.read import open_weights
with open_weights(Path(sys.argv[1])) as file:
    print(len(file.arrays), "h5py" in sys.modules)
"""
    assert python(script, REAL).split() == ["80", "False"]


KERNEL = "conv/conv/kernel:0"
# Changes that leave a file to the library, which reads or refuses it.
CHANGES: dict[str, Change] = {
    "a soft link": lambda file: file.__setitem__("conv/soft", h5py.SoftLink("/fc")),
    "a second name": lambda file: (
        file["fc"].attrs.__setitem__("weight_names", np.array([b"fc/bias:0", b"again"]))
        or file.__setitem__("fc/again", file["fc/fc/bias:0"])
    ),
    "no array": lambda file: file.__delitem__(KERNEL),
    "other values": lambda file: (
        file.__delitem__(KERNEL) or file.__setitem__(KERNEL, np.ones(3, np.float64))
    ),
    "big-endian values": lambda file: (
        file.__delitem__(KERNEL) or file.__setitem__(KERNEL, np.ones(3, ">f4"))
    ),
    "values in the header": lambda file: file.__delitem__(KERNEL) or compact(file),
    "no values": lambda file: file.__delitem__(KERNEL) or file.create_dataset(KERNEL, (3,), "f4"),
    "an empty array": lambda file: (
        file.__delitem__(KERNEL) or file.create_dataset(KERNEL, data=np.ones((0, 3), "f4"))
    ),
    "a layer twice": lambda file: file.attrs.__setitem__("layer_names", np.array([b"fc", b"fc"])),
    "no list of layers": lambda file: file.attrs.__delitem__("layer_names"),
    "numbers as names": lambda file: file.attrs.__setitem__("layer_names", np.arange(3)),
    "names of any length": lambda file: file.attrs.__setitem__(
        "layer_names", np.array(["conv", "fc"], dtype=h5py.string_dtype())
    ),
    "another backend": lambda file: file.attrs.__setitem__("backend", b"theano"),
    "a list in parts": lambda file: (
        file["fc"].attrs.__delitem__("weight_names")
        or file["fc"].attrs.__setitem__("weight_names0", np.array([b"fc/bias:0"]))
    ),
    "an odd path": lambda file: file.attrs.__setitem__("layer_names", np.array([b"/conv"])),
}


def compact(file: h5py.File) -> None:
    creation = h5py.h5p.create(h5py.h5p.DATASET_CREATE)
    creation.set_layout(h5py.h5d.COMPACT)
    space = h5py.h5s.create_simple((3,))
    kind = h5py.h5t.IEEE_F32LE
    made = h5py.h5d.create(file["conv/conv"].id, b"kernel:0", kind, space, creation)
    made.write(h5py.h5s.ALL, h5py.h5s.ALL, np.ones(3, np.float32))


@pytest.mark.parametrize("change", CHANGES.values(), ids=CHANGES.keys())
def test_whatever_is_not_plain_is_left_to_the_library(tmp_path: Path, change: Change) -> None:
    path = tmp_path / "w.h5"
    seeds.legacy(path)
    assert rows(path) is not None
    with h5py.File(path, "r+") as file:
        change(file)
    unused = change is CHANGES["a soft link"]  # libraries make another kind of group of it
    assert rows(path) is None or (unused and rows(path) == by_the_library(path))


@pytest.mark.parametrize(
    "storage",
    [{"libver": "latest"}, {"chunks": True}, {"compression": "gzip"}, {"fletcher32": True}],
    ids=str,
)
def test_packed_and_newer_files_are_left_to_the_library(tmp_path: Path, storage: Any) -> None:
    seeds.legacy(tmp_path / "w.h5", **storage)
    assert rows(tmp_path / "w.h5") is None


def test_a_file_cut_short_anywhere_is_left_to_the_library(tmp_path: Path) -> None:
    path = tmp_path / "w.h5"
    seeds.legacy(path)
    whole = path.read_bytes()
    for length in {*range(0, len(whole), 97), len(whole) - 1}:
        path.write_bytes(whole[:length])
        assert rows(path) is None


def test_trees_without_end_are_given_up(tmp_path: Path) -> None:
    path = tmp_path / "w.h5"
    seeds.legacy(path)
    content = bytearray(path.read_bytes())
    tree = content.index(b"TREE")
    for level in (0, 1, 255):
        content[tree + 5] = level
        content[tree + 6 : tree + 8] = (0xFFFF).to_bytes(2, "little")
        child = tree + 32
        content[child : child + 8] = tree.to_bytes(8, "little")
        path.write_bytes(content + bytes(1 << 20))
        assert rows(path) is None


def test_damaged_files_give_arrays_inside_the_file_or_none(tmp_path: Path) -> None:
    path, rng = tmp_path / "w.h5", random.Random(7)
    seeds.legacy(path)
    whole, read = path.read_bytes(), 0
    for _ in range(1500):
        damaged = blind(whole, rng)
        path.write_bytes(damaged)
        arrays = declared(path) or ()
        read += bool(arrays)
        assert all(a.offset and a.offset + a.nbytes <= len(damaged) for a in arrays)
    assert 0 < read < 1500
