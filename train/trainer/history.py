"""The course of a training run: history.csv, TensorBoard, curves.png, and a line for people.

A row of history.csv is of training or of an evaluation; what it lacks stays empty.

| column             | what |
|--------------------|---|
| step, epoch        | steps done, and the epochs that are complete by then |
| lr                 | the learning rate of the first group of parameters |
| loss, its parts    | weighted; means over all steps since the row before of this kind |
| items_per_second   | over the same steps; evaluating and saving are not counted |
| val_loss           | the loss on the split val, without dropout, augmentation and ranking |
| val_ and a part    | that part of val_loss, to be compared with the part in training |
| val_pool           | how many faces val_rank and val_recall rank for each query |
| val_rank           | mean place of the true face in the pool: 0 first, 0.5 chance, 1 last |
| val_recall10       | how often the true face is among the first ten; chance is 10 / val_pool |

The first row after `--resume` covers the steps since the checkpoint, which may be fewer than those
of the row that a run without a stop would have.
"""

from __future__ import annotations

import contextlib
import csv
import os
import time
from collections.abc import Callable, Mapping
from pathlib import Path
from types import TracebackType
from typing import Any, BinaryIO, Self

from vox2face.core.errors import Vox2FaceError
from vox2face.core.files import atomic_file
from vox2face.core.progress import Bars
from vox2face.train.figures.curves import PER_SECOND

FILE, CURVES, BOARD = "history.csv", "curves.png", "tensorboard"
Row = dict[str, float]
FIRST = ("step", "epoch", "lr", "loss", "items_per_second")  # columns; the others follow
EVERY = 10.0  # seconds between writes that no checkpoint asks for
SHARE = 0.02  # of the time that such writes may take, however long the history gets


def read(path: Path) -> list[Row]:
    """Return the rows of a history.csv; where there is none, no rows."""
    if not path.exists():
        return []
    with path.open(newline="", encoding="utf-8") as file:
        return [{k: float(v) for k, v in row.items() if v} for row in csv.DictReader(file)]


def write(path: Path, rows: list[Row]) -> None:
    """Write the rows as a whole; a value that a row lacks stays empty."""
    names = dict.fromkeys([*FIRST, *(name for row in rows for name in row)])
    with atomic_file(path) as partial, partial.open("w", newline="", encoding="utf-8") as file:
        writer = csv.DictWriter(file, list(names), lineterminator="\n")
        writer.writeheader()
        writer.writerows({k: shown(v) for k, v in row.items()} for row in rows)


def shown(value: float) -> str:
    """Return a number so that reading it gives the same number."""
    return str(int(value)) if float(value).is_integer() and abs(value) < 1e15 else repr(value)


class History:
    """The rows of a run: one every few steps with the mean losses, one for each evaluation.

    `first` is the step to go on from: what an earlier run wrote beyond it is dropped, because it
    happens again. Only the process with `main` writes: when told to `save`, with the first row
    after ten seconds, and when the run fails, so that the file tells how it came to that.
    """

    def __init__(self, run: Path, first: int, total: int, main: bool, log: Callable[[str], None]):
        self.run, self.total, self.main, self.log = run, total, main, log
        kept = read(run / FILE) if first else []
        self.rows = [row for row in kept if row["step"] <= first]
        self.board = Board(run / BOARD, first) if main else None
        self.bars, self.clock, self.items = Bars(), time.perf_counter(), 0
        self.due = time.monotonic() + EVERY

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, _: TracebackType | None
    ) -> None:
        self.bars.close()
        if error is not None and self.rows:
            with contextlib.suppress(Vox2FaceError, OSError):  # the error itself says more
                self.save(drawn=False)
        if self.board:
            self.board.close()

    def advance(self, stage: str, step: int, items: int) -> None:
        """Count a step that took in `items` items."""
        self.items += items
        if self.main:
            self.bars.advance(stage, step, self.total, " steps")

    def add(self, step: int, epoch: int, values: Mapping[str, float], timed: bool = False) -> None:
        """Add a row; `timed` also notes the items per second since the last such row."""
        row = {"step": step, "epoch": epoch, **values}
        if timed:
            elapsed = time.perf_counter() - self.clock
            row[PER_SECOND] = round(self.items / max(elapsed, 1e-9), 3)
            self.clock, self.items = time.perf_counter(), 0
            if self.main and self.bars.bar is not None:
                self.bars.bar.set_postfix_str(summary(row))
        self.rows.append(row)
        if self.board:
            self.board.add(step, row)
        if time.monotonic() >= self.due:
            self.save(drawn=False)

    def log_epoch(self, step: int, epoch: int) -> None:
        """Print a line about an epoch."""
        if not self.main:
            return
        merged: dict[str, float] = {}
        for row in self.rows[-2:]:
            merged |= row
        self.bars.close()
        self.log(f"epoch {epoch} step {step}/{self.total}: {summary(merged)}")

    def save(self, drawn: bool) -> None:
        """Write history.csv, and curves.png if `drawn`; the time this takes is not counted."""
        if self.main:
            start = time.monotonic()
            write(self.run / FILE, self.rows)
            end = time.monotonic()
            self.due = end + max(EVERY, (end - start) / SHARE)
            if self.board:
                self.board.flush()
            if drawn:
                from vox2face.train.figures.curves import draw

                draw(self.rows, self.run / CURVES)
        self.clock, self.items = time.perf_counter(), 0


def summary(row: Mapping[str, Any]) -> str:
    """Return the values of a row for people, the clips per second last."""
    skipped = ("step", "epoch", "lr", PER_SECOND)
    words = [f"{name} {word(value)}" for name, value in row.items() if name not in skipped]
    if PER_SECOND in row:
        words.append(f"{row[PER_SECOND]:.4g}/s")
    return ", ".join(words)


def word(value: float) -> str:
    """Return a number with four digits, or as a whole one: 0.1234, 12,345."""
    return f"{value:,.0f}" if 1e4 <= abs(value) < 1e9 else f"{value:.4g}"


class Board:
    """Values for TensorBoard, without importing TensorFlow where that happens to be installed.

    What the folder has of steps beyond `first`, which happen again, TensorBoard leaves out.
    """

    def __init__(self, folder: Path, first: int) -> None:
        from tensorboard.compat.proto.event_pb2 import Event, SessionLog
        from tensorboard.compat.proto.summary_pb2 import Summary
        from tensorboard.summary.writer.record_writer import RecordWriter

        self.event, self.summary = Event, Summary
        folder.mkdir(parents=True, exist_ok=True)
        name = f"events.out.tfevents.{int(time.time() * 1e3)}.{os.getpid()}"
        self.file: BinaryIO = (folder / name).open("wb")
        self.writer = RecordWriter(self.file)
        self.put(file_version="brain.Event:2")
        self.put(step=first + 1, session_log=SessionLog(status=SessionLog.START))

    def put(self, **content: Any) -> None:
        """Write one event."""
        self.writer.write(self.event(wall_time=time.time(), **content).SerializeToString())

    def add(self, step: int, values: Mapping[str, float]) -> None:
        """Write the values of a step."""
        tags = [
            self.summary.Value(tag=name, simple_value=value)
            for name, value in values.items()
            if name != "step"
        ]
        self.put(step=step, summary=self.summary(value=tags))

    def flush(self) -> None:
        """Hand what was written to the system."""
        self.writer.flush()

    def close(self) -> None:
        """Close the file."""
        self.writer.close()
