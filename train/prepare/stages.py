"""The stages of preparing a corpus: each one's rows and function, and the jobs for its shards.

A stage turns one shard's rows into arrays. It is a plain function of a `ShardJob`, which any
process on any machine can run; the engines only decide where.
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
    Failure,
    Failures,
    ShardJob,
    ShardResult,
    difference,
    rows_digest,
)
from vox2face.train.prepare.trace import traced

Function = Callable[[ShardJob], tuple[shards.Arrays, Failures]]


@dataclass(frozen=True)
class Stage:
    """A stage: the kind of rows it takes and the function that makes their arrays.

    `version` changes whenever the function's results change. `needs` are stages whose
    shards it reads, `crop_needs` those that it reads where faces are cut out.
    """

    kind: str
    function: Function
    version: int
    unit: str
    needs: tuple[str, ...] = ()
    crop_needs: tuple[str, ...] = ()

    def reads(self, crop: bool) -> tuple[str, ...]:
        """Return the stages whose shards this one reads."""
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
) -> list[ShardJob]:
    """Return the jobs of a stage's shards, in order. `files` are those of all rows."""
    definition = STAGES[stage.partition("/")[0]]
    rows = rows_of(manifest, definition.kind)
    whole = frozenset(np.flatnonzero(normalized(manifest)).tolist())
    shard_jobs = []
    for number, first in enumerate(range(0, len(rows), shard_rows)):
        in_shard = tuple(int(row) for row in rows[first : first + shard_rows])
        paths = tuple(files[row] for row in in_shard)
        facts = {
            **{name: value for name, value in settings.items() if name != "device"},
            "stage": stage,
            "shard": number,
            "shard_rows": shard_rows,
            "version": definition.version,
            "files": rows_digest(in_shard, paths, whole),
        }
        shard_jobs.append(
            ShardJob(
                stage,
                number,
                folder,
                in_shard,
                paths,
                settings,
                facts,
                whole.intersection(in_shard),
            )
        )
    return shard_jobs


def run_job(job: ShardJob) -> ShardResult:
    """Make a shard and write it. Raises `Vox2FaceError` where the shard cannot be written.

    A file that cannot be used is added to the failures; so is one at which two processes died
    that made this shard before.
    """
    function = STAGES[job.stage.partition("/")[0]].function
    with one_thread(), full_disk_explained(Path(job.path)), traced(job.path) as trace:
        arrays, failures = function(replace(job, trace=trace))
    failures = sorted(failures)
    shards.write(job.path, arrays, {**job.facts, "failures": failures})
    return ShardResult(job, tuple(failures))


@contextmanager
def one_thread() -> Iterator[None]:
    """Limit PyTorch to one thread: a shard must not depend on the number of cores."""
    import torch

    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    try:
        yield
    finally:
        torch.set_num_threads(threads)


def failures_in(facts: shards.Facts) -> tuple[Failure, ...]:
    """Return the failures in a shard's facts: (row, reason)."""
    return tuple((int(row), str(reason)) for row, reason in facts.get("failures", ()))


def existing_result(job: ShardJob) -> shards.Facts | None:
    """Return the facts of an existing shard, None if it is missing or damaged.

    Raises `CorpusError` if its settings or rows differ; the stages it was made from may differ.
    """
    try:
        existing = shards.read(job.path).facts
    except shards.Damaged:
        return None
    old, new = (
        {name: value for name, value in own.items() if name not in {"failures", *DERIVED}}
        for own in (existing, job.facts)
    )
    if old != new:
        raise CorpusError(
            f"{job.path} was made with other settings: {difference(old, new)}. Choose "
            "another --out, or add --force to rebuild what does not fit."
        )
    return existing


def is_current(job: ShardJob, facts: shards.Facts) -> bool:
    """Whether a shard with these facts is the job's, made from the current other stages."""
    return {name: value for name, value in facts.items() if name != "failures"} == job.facts
