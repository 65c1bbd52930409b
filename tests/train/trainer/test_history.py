"""The history of a run tells how it went, to whoever looks while it goes on and after a stop."""

from __future__ import annotations

import itertools
import re
import struct
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from helpers.toy_training import changed, trained

from vox2face.core.errors import Vox2FaceError
from vox2face.train.figures import curves
from vox2face.train.trainer import history
from vox2face.train.trainer.history import History


@pytest.fixture
def clock(monkeypatch: pytest.MonkeyPatch) -> list[float]:
    """Let time stand still at the number in a list."""
    now = [100.0]
    monkeypatch.setattr(time, "monotonic", lambda: now[0])
    return now


def opened(run: Path, first: int = 0, main: bool = True) -> History:
    return History(run, first, 100, main, lambda line: None)


def steps(run: Path) -> list[float]:
    return [row["step"] for row in history.read(run / history.FILE)]


def test_rows_are_on_disk_ten_seconds_after_they_came(tmp_path: Path, clock: list[float]) -> None:
    with opened(tmp_path) as course:
        for step, now in [(1, 105.0), (2, 110.5), (3, 115.0), (4, 120.4), (5, 120.5), (6, 121.0)]:
            clock[0] = now
            course.add(step, 0, {"loss": 1.0}, timed=True)
            assert steps(tmp_path) == list(range(1, {1: 0, 2: 2, 3: 2, 4: 2}.get(step, 5) + 1))


def test_other_processes_write_no_history(tmp_path: Path, clock: list[float]) -> None:
    with opened(tmp_path, main=False) as course:
        clock[0] += 60
        course.add(1, 0, {"loss": 1.0}, timed=True)
    assert not list(tmp_path.iterdir())


def test_a_history_that_takes_long_to_write_is_written_less_often(
    tmp_path: Path, clock: list[float], monkeypatch: pytest.MonkeyPatch
) -> None:
    written: list[float] = []

    def slow(path: Path, rows: list[history.Row]) -> None:
        written.append(clock[0])
        clock[0] += 2

    monkeypatch.setattr(history, "write", slow)
    with opened(tmp_path) as course:
        for step in range(30):
            clock[0] += 20
            course.add(step, 0, {"loss": 1.0}, timed=True)
    assert len(written) >= 3
    assert min(b - a for a, b in itertools.pairwise(written)) >= 2 / history.SHARE


def test_a_run_that_fails_leaves_the_course_it_took(tmp_path: Path) -> None:
    with pytest.raises(Vox2FaceError, match="no number"), opened(tmp_path) as course:
        course.add(1, 0, {"loss": 1.0}, timed=True)
        raise Vox2FaceError("The loss is no number any more.")
    assert steps(tmp_path) == [1]


def test_the_failure_itself_is_told_where_the_history_cannot_be_written(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def full(path: Path, rows: list[history.Row]) -> None:
        raise Vox2FaceError("the disk is full")

    monkeypatch.setattr(history, "write", full)
    with pytest.raises(Vox2FaceError, match="no number"), opened(tmp_path) as course:
        course.add(1, 0, {"loss": 1.0}, timed=True)
        raise Vox2FaceError("The loss is no number any more.")


def test_a_resumed_run_drops_the_rows_beyond_its_checkpoint(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Rows that were written between two checkpoints happen again."""
    monkeypatch.setattr(history, "EVERY", 0.0)
    monkeypatch.setattr(curves, "draw", lambda rows, path: None)
    plan = changed(log_every=1, save_every=4, evaluate_every=9, epochs=9)
    trained(tmp_path, changed(plan, steps=3))  # its last checkpoint is at step 3
    ahead = [{"step": float(step), "epoch": 1.0, "loss": 7.0} for step in (4, 5)]
    history.write(tmp_path / history.FILE, history.read(tmp_path / history.FILE) + ahead)
    trained(tmp_path, changed(plan, steps=6), resume=True)
    rows = history.read(tmp_path / history.FILE)
    assert [row["step"] for row in rows if "loss" in row] == [1, 2, 3, 4, 5, 6]
    assert all(row["loss"] != 7 for row in rows if "loss" in row)


def events(path: Path) -> Iterator[Any]:
    """Yield the events of a file, which is TFRecords: a length, its sum, an event, its sum."""
    from tensorboard.compat.proto.event_pb2 import Event

    data = path.read_bytes()
    while data:
        (size,) = struct.unpack("<Q", data[:8])
        yield Event.FromString(data[12 : 12 + size])
        data = data[16 + size :]


def test_tensorboard_is_told_which_steps_happen_again(tmp_path: Path) -> None:
    """A session that starts at a step purges what earlier files have from that step on."""
    for first in (0, 3):
        with opened(tmp_path, first) as course:
            course.add(first + 1, 0, {"loss": 1.0})
        time.sleep(0.002)  # the names of the files tell their order in milliseconds
    files = [list(events(path)) for path in sorted((tmp_path / history.BOARD).iterdir())]
    for found, step in zip(files, (1, 4), strict=True):
        assert found[0].file_version == "brain.Event:2"
        assert found[1].session_log.status == found[1].session_log.START
        assert [event.step for event in found[1:]] == [step, step]


def test_every_column_is_explained() -> None:
    told = history.__doc__ or ""
    names = (*history.FIRST, curves.VAL_LOSS, curves.POOL, curves.RANK, f"{curves.RECALL}10")
    assert [name for name in names if not re.search(rf"\b{name}\b", told)] == []
    assert "--resume" in told


@pytest.mark.parametrize("value, text", [(0.12345, "0.1235"), (200, "200"), (12345, "12,345")])
def test_numbers_are_short_and_whole_ones_whole(value: float, text: str) -> None:
    assert history.summary({"step": 3, "val_pool": value}) == f"val_pool {text}"
