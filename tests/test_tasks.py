"""Calls in threads of their own, and the hash that is computed in one."""

from __future__ import annotations

import hashlib
import mmap
import threading
from pathlib import Path

import pytest

from vox2face.converters import chain
from vox2face.converters.tasks import Task


def test_a_task_runs_beside_its_caller_and_gives_its_result() -> None:
    go = threading.Event()

    def add(a: int, b: int) -> int:
        assert go.wait(10)
        return a + b

    task = Task(add, 2, 3)
    go.set()
    assert task.result() == 5 == task.result()


def test_what_a_task_raises_is_raised_where_its_result_is_asked_for() -> None:
    task = Task(int, "seven")
    task.wait()
    with pytest.raises(ValueError, match="seven"):
        task.result()


@pytest.mark.parametrize("more", [-1, 0, 1])
def test_a_file_is_hashed_whole_in_windows(
    tmp_path: Path, more: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(chain, "WINDOW", mmap.ALLOCATIONGRANULARITY)
    content = bytes(range(256)) * (3 * mmap.ALLOCATIONGRANULARITY // 256) + b"end"
    content = content[: 3 * mmap.ALLOCATIONGRANULARITY + more]
    path = tmp_path / "file"
    path.write_bytes(content)
    assert chain.hashed(path, threading.Event()) == hashlib.sha256(content).hexdigest()
    path.write_bytes(b"")
    assert chain.hashed(path, threading.Event()) == hashlib.sha256(b"").hexdigest()


def test_a_hash_that_nobody_waits_for_stops(tmp_path: Path) -> None:
    (tmp_path / "file").write_bytes(b"x")
    stop = threading.Event()
    stop.set()
    assert chain.hashed(tmp_path / "file", stop) == ""
