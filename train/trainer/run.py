"""What the runs of voice encoders and face decoders share: phases, best weights, bundles."""

from __future__ import annotations

import signal
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from filelock import FileLock, Timeout
from torch import nn

from vox2face.core.entry import Space
from vox2face.core.errors import UsageError
from vox2face.train.trainer import checkpoint
from vox2face.train.trainer.keeper import State
from vox2face.train.trainer.run_folder import LOCK
from vox2face.train.trainer.settings import BUNDLE
from vox2face.train.trainer.task import Task

Say = Callable[[str], None]


@contextmanager
def alone(folder: Path, main: bool) -> Iterator[None]:
    """Hold the folder of a run, in its first process, so that no other run writes into it.

    A folder that was made for it and is empty at the end is taken away again. Raises `UsageError`
    if another run does.
    """
    if not main:
        yield
        return
    made = not folder.exists()
    folder.mkdir(parents=True, exist_ok=True)
    held = FileLock(folder / LOCK, blocking=False)
    try:
        held.acquire()
    except Timeout:
        raise UsageError(
            f"{folder} is being trained by another process: wait for its end, or choose another "
            "folder."
        ) from None
    try:
        yield
    finally:
        held.release()
        if made and [path.name for path in folder.iterdir()] == [LOCK]:
            (folder / LOCK).unlink()
            folder.rmdir()


def take_best(task: Task, folder: Path) -> None:
    """Put the best weights of a phase into its task; the last where none was measured."""
    best = folder / checkpoint.BEST
    path = best if best.exists() else folder / checkpoint.LAST
    checkpoint.load_model(task.trained(), checkpoint.read(path)[0], path)


def goes_on(
    phase: str,
    state: State,
    settings: Any,
    facts: dict[str, Any],
    deadline: float,
    say: Say,
) -> bool:
    """Note how a phase of a recipe ended; return False if it was interrupted before its time.

    SIGTERM, which waited for the last checkpoint, is then left to whoever answered it before.
    """
    facts[phase] = {"steps": state.step, settings.loop.monitor: state.best.best}
    if state.finished:
        return True
    if not state.signal and time.monotonic() >= deadline:
        say(
            f"The time is over at step {state.step} of {phase}: the best weights so far become the "
            "bundle, --resume goes on."
        )
        return True
    say(f"Interrupted at step {state.step} of {phase}: --resume goes on from there.")
    if state.signal == signal.SIGTERM:
        signal.raise_signal(state.signal)
    return False


def bundled(
    folder: Path,
    entry: str,
    network: nn.Module,
    preset: str,
    space: Space,
    facts: Mapping[str, Any],
    say: Say,
    main: bool,
) -> Path:
    """Write the bundle of a trained network into the folder of its run; return the bundle's.

    Of several processes the first, `main`, writes.
    """
    from vox2face.converters.save_trained import save

    target = folder / BUNDLE
    if not main:
        return target
    save(
        entry,
        network,
        target,
        preset=preset,
        space=space,
        training=facts,
        force=target.exists(),
    )
    say(f"Bundle: {target}")
    return target
