"""The stages of preparing a corpus: what each makes of which rows, and what a worker is told.

A stage turns one shard's rows into arrays. It is a plain function of a `Work`, which any process
of any machine can carry out; the engines only decide where.
"""

from __future__ import annotations

import hashlib
import json
import re
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, replace
from importlib import import_module
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from vox2face.errors import CorpusError, Vox2FaceError
from vox2face.files import FULL_DISK, full_disk_explained
from vox2face.train import shards, storage
from vox2face.train.manifest import Manifest
from vox2face.train.trace import Trace, traced

Failure = tuple[int, str]  # the row of the manifest, and what was wrong with its file
Failures = list[Failure]


@dataclass(frozen=True)
class Stage:
    """A stage: the kind of rows it takes, the function that makes its arrays.

    `version` changes whenever the function computes anything else. `needs` are stages whose
    shards it reads, `crop_needs` those that it reads where faces are cut out.
    """

    kind: str
    function: str
    version: int
    unit: str
    needs: tuple[str, ...] = ()
    crop_needs: tuple[str, ...] = ()

    def reads(self, crop: bool) -> tuple[str, ...]:
        """Return the stages whose shards it reads."""
        return self.needs + self.crop_needs if crop else self.needs


Function = Callable[["Work"], tuple[shards.Arrays, Failures]]


FACES, VOICES = "vox2face.train.face_stages", "vox2face.train.voice_stages"
# fmt: off
STAGES: dict[str, Stage] = {
    "landmarks": Stage("face", f"{FACES}:landmarks", 1, " pictures"),
    "pictures": Stage("face", f"{FACES}:pictures", 1, " pictures", crop_needs=("landmarks",)),
    "embeddings": Stage("face", f"{FACES}:embeddings", 1, " pictures", crop_needs=("landmarks",)),
    "textures": Stage("face", f"{FACES}:textures", 1, " pictures", needs=("landmarks",)),
    "audio": Stage("voice", f"{VOICES}:audio", 1, " clips"),
    "voices": Stage("voice", f"{VOICES}:voices", 1, " clips"),
}
# fmt: on
DEFAULT = ("landmarks", "embeddings", "textures", "voices")


DERIVED = {"made_of", "mean_landmarks"}  # facts that follow from other stages


@dataclass(frozen=True)
class Work:
    """One shard to make: of which rows and files, with which settings, and where it goes.

    `stage` may name a variant: "embeddings/NAME". `facts` are written into the shard; one with
    other facts is another shard.
    """

    stage: str
    number: int
    folder: str
    rows: tuple[int, ...]
    files: tuple[str, ...]
    settings: Mapping[str, Any]
    facts: Mapping[str, Any]
    trace: Trace | None = None

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


def rows_of(manifest: Manifest, kind: str) -> NDArray[np.int64]:
    """Return the rows of a kind, ascending."""
    import pyarrow.compute as pc

    chosen = pc.equal(manifest.table["kind"].cast("string"), kind)
    return np.flatnonzero(chosen.to_numpy()).astype(np.int64)


def plan(
    manifest: Manifest,
    stage: str,
    settings: Mapping[str, Any],
    folder: str,
    shard_rows: int,
    files: Sequence[str],
) -> list[Work]:
    """Return the shards of a stage, in order. `files` are the manifest's."""
    about = STAGES[stage.partition("/")[0]]
    rows = rows_of(manifest, about.kind)
    works = []
    for number, first in enumerate(range(0, len(rows), shard_rows)):
        own = tuple(int(row) for row in rows[first : first + shard_rows])
        paths = tuple(files[row] for row in own)
        facts = {
            **{name: value for name, value in settings.items() if name != "device"},
            "stage": stage,
            "shard": number,
            "shard_rows": shard_rows,
            "version": about.version,
            "files": digest(own, paths),
        }
        works.append(Work(stage, number, folder, own, paths, settings, facts))
    return works


def made_of(work: Work, stages: Sequence[str]) -> str:
    """Return a sha256 of what the shards say that a work reads."""
    facts = [dict(shards.whole(work.beside(stage)).facts) for stage in stages]
    return hashlib.sha256(json.dumps(facts, sort_keys=True).encode()).hexdigest()


def digest(rows: Sequence[int], files: Sequence[str]) -> str:
    """Return a sha256 of which files are which rows."""
    text = "\n".join(f"{row}\t{file}" for row, file in zip(rows, files, strict=True))
    return hashlib.sha256(text.encode("utf-8", "surrogateescape")).hexdigest()


def carry_out(work: Work) -> Done:
    """Make a shard and write it. Raises `Vox2FaceError` where the shard cannot be written.

    A file that cannot be used is a line among the failures; so is one at which two processes died
    that made this shard before.
    """
    module, _, name = STAGES[work.stage.partition("/")[0]].function.partition(":")
    function: Callable[[Work], tuple[shards.Arrays, Failures]] = getattr(
        import_module(module), name
    )
    with one_thread(), full_disk_explained(Path(work.place)), traced(work.place) as trace:
        arrays, failures = function(replace(work, trace=trace))
    failures = sorted(failures)
    shards.write(work.place, arrays, {**work.facts, "failures": failures})
    return Done(work, tuple(failures))


@contextmanager
def one_thread() -> Iterator[None]:
    """Let PyTorch use one thread: a shard must not depend on how many cores there are."""
    import torch

    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    try:
        yield
    finally:
        torch.set_num_threads(threads)


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


def failures_in(facts: shards.Facts) -> tuple[Failure, ...]:
    """Return the failures that a shard lists."""
    return tuple((int(row), str(reason)) for row, reason in facts.get("failures", ()))


def failed_in(work: Work, stage: str) -> tuple[shards.Shard, frozenset[int]]:
    """Return another stage's shard of the same rows, and the places of those that failed."""
    shard = shards.whole(work.beside(stage))
    bad = {row for row, _ in shard.facts["failures"]}
    return shard, frozenset(i for i, row in enumerate(work.rows) if row in bad)


def facts_there(work: Work) -> shards.Facts | None:
    """Return what a shard that is there says of itself, None if none is there whole.

    Raises `CorpusError` for one that was made otherwise, whatever it was made of.
    """
    try:
        found = shards.read(work.place).facts
    except shards.Damaged:
        return None
    given, wanted = (
        {name: value for name, value in facts.items() if name not in {"failures", *DERIVED}}
        for facts in (found, work.facts)
    )
    if given != wanted:
        raise CorpusError(
            f"{work.place} was made otherwise: {difference(given, wanted)}. Choose another --out, "
            "or add --force to make anew what does not fit."
        )
    return found


def fits(work: Work, found: shards.Facts) -> bool:
    """Whether a shard that says this of itself is the work's, made of what is there now."""
    return {name: value for name, value in found.items() if name != "failures"} == work.facts


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
