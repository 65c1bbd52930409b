"""The stages of preparing a corpus: what each makes of which rows, and what a worker is told.

A stage turns one shard's rows into arrays. It is a plain function of a `Work`, which any process
of any machine can carry out; the engines only decide where.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np

from vox2face.core.errors import CorpusError
from vox2face.core.files import full_disk_explained
from vox2face.train.corpus.manifest import Manifest, normalized, rows_of
from vox2face.train.prepare import face_stages, shards, voice_stages
from vox2face.train.prepare.shard_task import (
    DERIVED,
    Done,
    Failure,
    Failures,
    Work,
    difference,
    digest,
)
from vox2face.train.prepare.trace import traced

Function = Callable[[Work], tuple[shards.Arrays, Failures]]


@dataclass(frozen=True)
class Stage:
    """A stage: the kind of rows it takes, the function that makes its arrays.

    `version` changes whenever the function computes anything else. `needs` are stages whose
    shards it reads, `crop_needs` those that it reads where faces are cut out.
    """

    kind: str
    function: Function
    version: int
    unit: str
    needs: tuple[str, ...] = ()
    crop_needs: tuple[str, ...] = ()

    def reads(self, crop: bool) -> tuple[str, ...]:
        """Return the stages whose shards it reads."""
        return self.needs + self.crop_needs if crop else self.needs


# fmt: off
STAGES: dict[str, Stage] = {
    "landmarks": Stage("face", face_stages.landmarks, 1, " pictures"),
    "pictures": Stage("face", face_stages.pictures, 1, " pictures", crop_needs=("landmarks",)),
    "embeddings": Stage("face", face_stages.embeddings, 1, " pictures", crop_needs=("landmarks",)),
    "textures": Stage("face", face_stages.textures, 1, " pictures", needs=("landmarks",)),
    "audio": Stage("voice", voice_stages.audio, 1, " clips"),
    "coded": Stage("voice", voice_stages.coded, 1, " clips", needs=("audio",)),
    "voices": Stage("voice", voice_stages.voices, 1, " clips"),
}

# fmt: on
CODED = "coded"  # made for each codec that is asked for: "coded/NAME"
DEFAULT = ("landmarks", "embeddings", "textures", "voices")


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
    whole = frozenset(np.flatnonzero(normalized(manifest)).tolist())
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
            "files": digest(own, paths, whole),
        }
        works.append(
            Work(stage, number, folder, own, paths, settings, facts, whole.intersection(own))
        )
    return works


def carry_out(work: Work) -> Done:
    """Make a shard and write it. Raises `Vox2FaceError` where the shard cannot be written.

    A file that cannot be used is a line among the failures; so is one at which two processes died
    that made this shard before.
    """
    function = STAGES[work.stage.partition("/")[0]].function
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


def failures_in(facts: shards.Facts) -> tuple[Failure, ...]:
    """Return the failures that a shard lists."""
    return tuple((int(row), str(reason)) for row, reason in facts.get("failures", ()))


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
