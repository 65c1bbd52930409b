"""What the runs of voice encoders and face decoders share: phases, best weights, bundles."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from pathlib import Path
from typing import Any

from torch import nn

from vox2face.errors import UsageError
from vox2face.train import checkpoint
from vox2face.train.task import Task

BUNDLE = "bundle"
Say = Callable[[str], None]


def require_new(folder: Path, phases: Iterable[str], resume: bool) -> None:
    """Raise `UsageError` if a folder holds a run, unless it is to be resumed."""
    if not resume and any((folder / name / checkpoint.LAST).exists() for name in phases):
        raise UsageError(
            f"{folder} holds a run already: add --resume to go on with it, or choose another "
            "folder."
        )


def take_best(task: Task, folder: Path) -> None:
    """Put the best weights of a phase into its task; the last where none was measured."""
    best = folder / checkpoint.BEST
    path = best if best.exists() else folder / checkpoint.LAST
    checkpoint.load_model(task.trained(), checkpoint.read(path)[0], path)


def bundled(
    folder: Path, entry: str, network: nn.Module, preset: str, facts: Mapping[str, Any], say: Say
) -> Path:
    """Write the bundle of a trained network into the folder of its run; return the bundle's."""
    from vox2face.converters.save import save

    target = folder / BUNDLE
    save(entry, network, target, preset=preset, training=facts, force=target.exists())
    say(f"Bundle: {target}")
    return target
