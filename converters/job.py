"""What a conversion is asked to do, and what comes of it."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from vox2face.core.entry import Entry, Source, Space
from vox2face.core.parity import Report


@dataclass(frozen=True)
class Job:
    """One conversion, all questions settled; `say` gets sentences about what is done."""

    entry: Entry
    published: Source
    source: Path
    target: Path
    onnx: bool
    verify: str
    force: bool
    say: Callable[[str], None]
    output_activation: str = ""
    state: str = ""
    space: Space | None = None


@dataclass(frozen=True)
class Converted:
    """A finished conversion: the bundle folder, the proof, and the source's facts."""

    path: Path
    report: Report
    source: dict[str, Any] = field(default_factory=dict)
