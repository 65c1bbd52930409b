"""A child process meets first what would hang, exhaust or crash this one."""

from __future__ import annotations

import os
import signal
import struct
from pathlib import Path

import h5py
import numpy as np
import pytest

from vox2face.converters import rehearse as rehearsing
from vox2face.converters.read import open_weights
from vox2face.converters.rehearse import rehearse
from vox2face.errors import WeightFileError

FILE = Path("weights.h5")


def loop(path: Path) -> None:
    while True:
        pass


def crash(path: Path) -> None:
    os.kill(os.getpid(), signal.SIGKILL)


def gorge(path: Path) -> None:
    np.ones(rehearsing.MEMORY, np.float32)


def devour(path: Path) -> None:
    np.ones(1 << 30, np.float32)


@pytest.mark.parametrize(
    ("read", "words"),
    [(loop, "never end"), (crash, "crashes"), (gorge, "memory"), (devour, "memory")],
)
def test_what_must_not_be_repeated_is_refused(
    read: object, words: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(rehearsing, "SECONDS", 2.0)
    with pytest.raises(WeightFileError, match=words):
        rehearse(FILE, read)  # type: ignore[arg-type]


def test_errors_come_back_explained_and_are_not_tried_again() -> None:
    here = os.getpid()

    def fails(path: Path) -> None:
        assert os.getpid() != here
        raise ValueError("out of something")

    with pytest.raises(WeightFileError, match=r"weights.h5 is damaged \(out of something\)"):
        rehearse(FILE, fails)


def test_work_without_end_is_stopped_by_its_own_time(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(rehearsing, "CPU_SECONDS", 0.2)
    with pytest.raises(WeightFileError, match="never end"):
        rehearse(FILE, loop)


def test_thousands_of_names_for_one_large_text_are_refused(tmp_path: Path) -> None:
    """A file of 1 MB whose list of names would take 1 GB: all refer to the same text."""
    path, length, count = tmp_path / "names.h5", 1 << 20, 1000
    names = ["x" * length, *(f"y{i:03d}" for i in range(count))]
    with h5py.File(path, "w") as file:
        file.attrs.create("layer_names", np.array(names, object), dtype=h5py.string_dtype("ascii"))
    content = bytearray(path.read_bytes())
    place = content.find(struct.pack("<I", length))
    while content[place + 16 : place + 20] != struct.pack("<I", 4):
        place = content.find(struct.pack("<I", length), place + 1)
    reference = bytes(content[place : place + 16])
    for number in range(1, count + 1):
        content[place + 16 * number : place + 16 * (number + 1)] = reference
    path.write_bytes(content)
    with pytest.raises(WeightFileError, match="memory"), open_weights(path):
        pass
