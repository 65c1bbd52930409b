"""A child process meets what would hang, exhaust or crash this one."""

from __future__ import annotations

import fcntl
import os
import signal
import subprocess
import sys
import time
import zlib
from collections.abc import Callable
from pathlib import Path

import h5py
import numpy as np
import pytest
import torch

from vox2face.converters.readers import sandbox
from vox2face.converters.readers.__main__ import held
from vox2face.converters.readers.open import open_weights
from vox2face.core.errors import WeightFileError

Make = Callable[..., Path]
# A reader in place of the real one: it is told which way to go wrong by the name of its file
WRONG = """
import os, signal, sys, time
sys.argv = ["reader", *sys.argv[1:]]
from vox2face.converters.readers import __main__ as child
way = os.path.basename(sys.argv[1]).partition(".")[0]
def wrong(path, state):
    if way != "gorge_mac":
        child.limit(0)
    if way == "crash":
        os.kill(os.getpid(), signal.SIGSEGV)
    if way == "gorge_mac":  # where the system does not tell what a process has
        child.data = lambda: None
        child.limit(0)
    if way.startswith("gorge"):
        held = [b"x" * (1 << 24) for _ in range(1000)]
    if way == "leave":
        os._exit(7)
    while way == "loop":
        pass
    while way == "sleep":
        time.sleep(1)
child.reader_of = wrong
if os.path.basename(sys.argv[1]).startswith("loop"):
    child.SECONDS = 0
child.MEMORY = 64 << 20  # soon taken on a slow machine too, long before its time is up
child.main(sys.argv[1:])
"""


@pytest.mark.long
@pytest.mark.parametrize(
    ("way", "words"),
    [
        ("crash", "the library that reads it crashes on it"),
        ("gorge", "takes too much memory"),
        ("gorge_mac", "takes too much memory"),
        ("leave", "its reader ended with code 7"),
        ("loop", "takes far longer than files of its size do"),
        ("sleep", "took longer than 7 s"),
    ],
)
def test_what_breaks_the_reader_costs_a_sentence(
    way: str, words: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    file, script = tmp_path / f"{way}.h5", tmp_path / "wrong.py"
    file.write_bytes(b"\x89HDF\r\n\x1a\n")
    os.truncate(file, 4 << 20)  # which may take 4 s more, as a slow disk does
    script.write_text(WRONG)
    real = subprocess.Popen

    def popen(command: list[str], **more: object) -> object:
        return real([command[0], str(script), *command[4:]], **more)  # type: ignore[call-overload]

    monkeypatch.setattr(sandbox.subprocess, "Popen", popen)
    monkeypatch.setattr(sandbox, "WALL_SECONDS", 3.0 if way == "sleep" else 20.0)
    start = time.monotonic()
    with pytest.raises(WeightFileError, match=words) as caught, open_weights(file):
        pass
    assert str(file) in str(caught.value) and "\n" not in str(caught.value)
    assert time.monotonic() - start < 60


@pytest.mark.long
def test_chunks_that_do_not_fill_their_place_are_refused(handmade: Make, tmp_path: Path) -> None:
    """libhdf5 would hand out whatever lies in memory."""
    values = np.arange(2000, dtype="<f4")
    cases: dict[str, tuple[bytes, int, dict[str, object]]] = {
        "filter left out": (values.tobytes()[:4000], 1, {"compression": "gzip"}),
        "gzip of less": (zlib.compress(values.tobytes()[:4000]), 0, {"compression": "gzip"}),
        "gzip of more": (zlib.compress(values.tobytes() * 2), 0, {"compression": "gzip"}),
        "shuffled": (zlib.compress(bytes(40)), 0, {"compression": "gzip", "shuffle": True}),
    }
    for name, (content, mask, storage) in cases.items():
        path = handmade([("fc", {"kernel:0": values})], chunks=(2000,), **storage)
        with open_weights(path) as file:
            assert np.array_equal(file.values(file.arrays)[0], values)
        with h5py.File(path, "r+") as file:
            file["fc/kernel:0"].id.write_direct_chunk((0,), content, filter_mask=mask)
        with pytest.raises(WeightFileError, match="has a chunk of"), open_weights(path):
            pytest.fail(name)


def test_a_file_that_is_being_written_is_called_locked(handmade: Make) -> None:
    path = handmade([("fc", {"kernel:0": np.ones(3, np.float32)})])
    with path.open("r+b") as file:
        fcntl.flock(file, fcntl.LOCK_EX)
        locked = pytest.raises(WeightFileError, match="is locked by another process")
        with locked, open_weights(path):
            pass


def test_a_file_that_is_replaced_or_changed_while_it_is_read_is_refused(
    handmade: Make, tmp_path: Path
) -> None:
    first = handmade([("fc", {"kernel:0": np.ones(3, np.float32)})]).rename(tmp_path / "first.h5")
    other = handmade([("fc", {"kernel:0": np.zeros(3, np.float32)})])
    with open_weights(first) as file:
        os.replace(other, first)
        with pytest.raises(WeightFileError, match="has changed while it was read"):
            file.values(file.arrays)


def test_a_stricter_limit_of_the_system_and_chatter_at_the_start_do_no_harm(
    handmade: Make, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    path, script = handmade([("fc", {"kernel:0": np.ones(3, np.float32)})]), tmp_path / "open.py"
    (tmp_path / "sitecustomize.py").write_text("print('hello')\n")
    script.write_text(
        "import sys, pathlib, resource\n"
        "resource.setrlimit(resource.RLIMIT_CPU, (20, 20))\n"
        "from vox2face.converters.readers.open import open_weights\n"
        "with open_weights(pathlib.Path(sys.argv[1])) as file:\n"
        "    print(file.values(file.arrays)[0].sum())\n"
    )
    monkeypatch.setenv("PYTHONPATH", str(tmp_path))
    command = [sys.executable, str(script), str(path)]
    done = subprocess.run(command, capture_output=True, text=True, check=True)
    assert done.stdout == "hello\n3.0\n"


def test_holes_of_a_file_lift_no_limit(tmp_path: Path) -> None:
    path = tmp_path / "holes.pt"
    torch.save({"a": torch.ones(3)}, path, _use_new_zipfile_serialization=False)
    os.truncate(path, 1 << 34)
    assert held(path) < 1 << 20


@pytest.mark.long
def test_a_child_that_is_killed_leaves_nothing(tmp_path: Path) -> None:
    torch.save({"a": torch.ones(3)}, tmp_path / "a.pt")
    folder = tmp_path / "folder"
    folder.mkdir()
    with open_weights(tmp_path / "a.pt") as file:
        os.kill(file.child.process.pid, signal.SIGKILL)
        with pytest.raises(WeightFileError, match="was ended from outside"):
            file.values(file.arrays, folder)
    assert not list(folder.iterdir())
