"""The job of making one shard, its result, and the failures of its files."""

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
class ShardJob:
    """One shard to make: its rows and files, the settings, and the folder of the corpus.

    `stage` may name a variant: "embeddings/NAME". `normalized` are the rows whose pictures are
    normalised, which are never cropped. `facts` are written into the shard; a shard with other
    facts is rebuilt.
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

    def crops(self, index: int) -> bool:
        """Whether the face is cut out of the picture at an index of the shard."""
        return bool(self.settings["crop"]) and self.rows[index] not in self.normalized

    def file(self, index: int) -> str:
        """Return the file at an index of the shard, and note that it is about to be read.

        Raises `CorpusError` for a file at which processes died.
        """
        if self.trace is not None:
            self.trace.reading(self.rows[index], self.files[index])
        return self.files[index]

    @property
    def path(self) -> str:
        """The path or address of the shard."""
        return self.path_of(self.stage)

    def path_of(self, stage: str) -> str:
        """Return the path or address of the same rows' shard of another stage."""
        return storage.join(self.folder, *stage.split("/"), shards.file_name(self.number))


@dataclass(frozen=True)
class ShardResult:
    """The failures of a shard's files, or a `problem` if the shard could not be made."""

    job: ShardJob
    failures: tuple[Failure, ...] = ()
    problem: str = ""


def inputs_digest(job: ShardJob, stages: Sequence[str]) -> str:
    """Return a sha256 of the facts of the shards that a job reads."""
    facts = [dict(shards.open_shard(job.path_of(stage)).facts) for stage in stages]
    return hashlib.sha256(json.dumps(facts, sort_keys=True).encode()).hexdigest()


def rows_digest(rows: Sequence[int], files: Sequence[str], normalized: Container[int] = ()) -> str:
    """Return a sha256 of rows, their files, and which of them are normalised pictures."""
    text = "\n".join(
        f"{row}\t{file}{NORMALIZED * (row in normalized)}"
        for row, file in zip(rows, files, strict=True)
    )
    return hashlib.sha256(text.encode("utf-8", "surrogateescape")).hexdigest()


@contextmanager
def catch_failures(job: ShardJob, index: int, failures: Failures) -> Iterator[None]:
    """Add any error that a row's file causes to `failures`; a lack of memory or disk is raised."""
    try:
        yield
    except MemoryError:
        raise
    except Exception as error:
        if isinstance(error, OSError) and error.errno in FULL_DISK:
            raise  # not the file's fault
        explained = isinstance(error, Vox2FaceError | OSError)
        reason = str(error) if explained else f"{type(error).__name__}: {error}"
        # addresses in memory differ from run to run
        failures.append((job.rows[index], re.sub(r" at 0x[0-9a-f]+", "", reason)))


def shard_with_failures(job: ShardJob, stage: str) -> tuple[shards.Shard, frozenset[int]]:
    """Return another stage's shard of the same rows, and the indices of those that failed."""
    shard = shards.open_shard(job.path_of(stage))
    failed = {row for row, _ in shard.facts["failures"]}
    return shard, frozenset(i for i, row in enumerate(job.rows) if row in failed)


def difference(old: Mapping[str, Any], new: Mapping[str, Any]) -> str:
    """Describe how the facts of two shards differ."""
    parts = []
    if old.get("shard_rows") != new.get("shard_rows"):  # then the files differ too
        sizes = old.get("shard_rows"), new.get("shard_rows")
        return "its rows are in shards of {} rows, not of {}".format(*sizes)
    for name in sorted({*old, *new}):
        if old.get(name) == new.get(name):
            continue
        if name == "files":
            parts.append("of other rows or files of a manifest")
        else:
            setting = name.replace("_", " ")
            parts.append(f"{setting} was {old.get(name)!r} and is now {new.get(name)!r}")
    return "; ".join(parts)
