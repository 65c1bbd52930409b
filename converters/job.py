"""What a conversion is asked to do, and whom it tells how far it is."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from vox2face.core.entry import Entry, Source, Space
from vox2face.core.parity import Report


@dataclass
class Feedback:
    """Where a conversion tells what it does: sentences to `say`, bytes (stage, done, total)."""

    say: Callable[[str], None] = lambda text: None
    advance: Callable[[str, int, int], None] = lambda stage, done, total: None

    def progress(self, stage: str) -> Callable[[int, int], None]:
        """Return the progress function of one stage."""
        return lambda done, total: self.advance(stage, done, total)


@dataclass(frozen=True)
class Job:
    """One conversion, all questions settled."""

    entry: Entry
    published: Source
    source: Path
    target: Path
    onnx: bool
    verify: str
    force: bool
    feedback: Feedback
    output_activation: str = ""
    state: str = ""
    space: Space | None = None


@dataclass(frozen=True)
class Converted:
    """A finished conversion: the bundle folder, the proof, and the source's facts."""

    path: Path
    report: Report
    source: dict[str, Any] = field(default_factory=dict)
