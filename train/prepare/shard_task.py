"""One shard's work: what it is made of, doing it, and what failed."""

from __future__ import annotations

import hashlib
import json
import re
from collections.abc import Container, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any

from vox2face.core.errors import Vox2FaceError
from vox2face.core.files import FULL_DISK
from vox2face.train import storage
from vox2face.train.prepare import shards
from vox2face.train.prepare.trace import Trace

Failure = tuple[int, str]  # the row of the manifest, and what was wrong with its file
Failures = list[Failure]

NORMALIZED = "\tnormalized"
DERIVED = {"made_of", "mean_landmarks"}  # facts that follow from other stages


@dataclass(frozen=True)
class Work:
    """One shard to make: of which rows and files, with which settings, and where it goes.

    `stage` may name a variant: "embeddings/NAME". `normalized` are the rows whose pictures are
    normalised, which are never cropped. `facts` are written into the shard; one with other facts is
    another shard.
    """

    stage: str
    number: int
    folder: str
    rows: tuple[int, ...]
    files: tuple[str, ...]
    settings: Mapping[str, Any]
    facts: Mapping[str, Any]
    normalized: frozenset[int] = frozenset()
    trace: Trace | None = None

    def crops(self, place: int) -> bool:
        """Whether the face is to be cut out of the picture at a place of the shard."""
        return bool(self.settings["crop"]) and self.rows[place] not in self.normalized

    def file(self, place: int) -> str:
        """Return the file at a place of the shard, which is going to be read.

        Raises `CorpusError` for one at which processes died.
        """
        if self.trace is not None:
            self.trace.at(self.rows[place], self.files[place])
        return self.files[place]

    @property
    def place(self) -> str:
        """Where the shard goes."""
        return self.beside(self.stage)

    def beside(self, stage: str) -> str:
        """Return where another stage has the same rows."""
        return storage.join(self.folder, *stage.split("/"), shards.file_name(self.number))


@dataclass(frozen=True)
class Done:
    """What became of a shard; `problem` is a sentence if it could not be made."""

    work: Work
    failures: tuple[Failure, ...] = ()
    problem: str = ""


def made_of(work: Work, stages: Sequence[str]) -> str:
    """Return a sha256 of what the shards say that a work reads."""
    facts = [dict(shards.whole(work.beside(stage)).facts) for stage in stages]
    return hashlib.sha256(json.dumps(facts, sort_keys=True).encode()).hexdigest()


def digest(rows: Sequence[int], files: Sequence[str], normalized: Container[int] = ()) -> str:
    """Return a sha256 of which files are which rows, and which of them are normalised pictures."""
    text = "\n".join(
        f"{row}\t{file}{NORMALIZED * (row in normalized)}"
        for row, file in zip(rows, files, strict=True)
    )
    return hashlib.sha256(text.encode("utf-8", "surrogateescape")).hexdigest()


@contextmanager
def failing(work: Work, place: int, failures: Failures) -> Iterator[None]:
    """Note what is wrong with a row's file, whatever a decoder raises, and go on."""
    try:
        yield
    except MemoryError:
        raise
    except Exception as error:
        if isinstance(error, OSError) and error.errno in FULL_DISK:
            raise  # no fault of the file
        known = isinstance(error, Vox2FaceError | OSError)
        reason = str(error) if known else f"{type(error).__name__}: {error}"
        # addresses in memory differ from run to run
        failures.append((work.rows[place], re.sub(r" at 0x[0-9a-f]+", "", reason)))


def failed_in(work: Work, stage: str) -> tuple[shards.Shard, frozenset[int]]:
    """Return another stage's shard of the same rows, and the places of those that failed."""
    shard = shards.whole(work.beside(stage))
    bad = {row for row, _ in shard.facts["failures"]}
    return shard, frozenset(i for i, row in enumerate(work.rows) if row in bad)


def difference(found: Mapping[str, Any], wanted: Mapping[str, Any]) -> str:
    """Return in words what differs between the facts of two shards."""
    words = []
    if found.get("shard_rows") != wanted.get("shard_rows"):  # then the files differ too
        sizes = found.get("shard_rows"), wanted.get("shard_rows")
        return "its rows are in shards of {} rows, not of {}".format(*sizes)
    for name in sorted({*found, *wanted}):
        if found.get(name) == wanted.get(name):
            continue
        if name == "files":
            words.append("of other rows or files of a manifest")
        else:
            label = name.replace("_", " ")
            words.append(f"{label} was {found.get(name)!r} and is now {wanted.get(name)!r}")
    return "; ".join(words)
