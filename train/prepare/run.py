"""Prepare a corpus: all that training needs of its files, in shards that are made once.

The content of the folder is a function of the manifest, its files and the options. It
does not depend on the number of processes, the machine, or how often a run was stopped.
"""

from __future__ import annotations

import hashlib
import os
import time
from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, replace
from typing import Any

from vox2face.core.errors import CorpusError
from vox2face.core.extras import require
from vox2face.train import storage
from vox2face.train.corpus import manifest
from vox2face.train.corpus.manifest import Manifest, rows_of
from vox2face.train.prepare import engines, shards, trace
from vox2face.train.prepare.options import (
    Options,
    allowed_failures,
    check_options,
    label,
    settings_of,
)
from vox2face.train.prepare.outputs import (
    Run,
    earlier_stages,
    finish_stage,
    write_failures,
    write_prepared,
)
from vox2face.train.prepare.reader import FILE, MEAN
from vox2face.train.prepare.rows import FAILURES
from vox2face.train.prepare.shard_task import Failure, ShardJob, inputs_digest
from vox2face.train.prepare.stages import (
    CODED,
    STAGES,
    existing_result,
    failures_in,
    is_current,
    plan,
)

READERS = 16  # threads that look at the headers of shards
MOST_REASONS = 3


def prepare(
    source: storage.PathOrUri | Manifest,
    out: storage.PathOrUri,
    options: Options | None = None,
    log: Callable[[str], None] = lambda line: None,
) -> None:
    """Prepare a corpus in a folder or at an address; `vox2face.train.prepare.reader` reads it.

    A second run goes on where the first was stopped. Raises `CorpusError` for what cannot be done:
    more failures than `max_failures`, or shards of other options without `force`; finished shards
    are kept. `log` is called with lines about progress.
    """
    require("data", "Preparing a corpus")
    options = check_options(options or Options())
    table = source if isinstance(source, Manifest) else manifest.read(source)
    folder = str(out) if storage.is_remote(out) else os.path.abspath(out)
    run = Run(table, table.files(), folder, options, log)
    settings = {stage: settings_of(stage, options) for stage in _instances(run)}
    if not settings:
        raise CorpusError(
            "The manifest has no rows that the stages asked for could take: see what vox2face "
            "data index found."
        )
    others = earlier_stages(run, settings)
    existing = {stage: find_existing(run, stage, chosen) for stage, chosen in settings.items()}
    with engines.engine(options.engine, options.jobs, options.device) as engine:
        start_folder(run)
        try:
            for stage in settings:
                _make_stage(run, stage, existing[stage], engine)
                finish_stage(run, stage)
        finally:
            run.bars.close()
            write_failures(run)
    write_prepared(run, settings, others)


def _instances(run: Run) -> list[str]:
    """Return the stages in the order in which they are made; stages without rows are left out.

    Embeddings are made once for each face encoder, "embeddings/NAME", and encoded copies once for
    each codec, "coded/NAME".
    """
    options = run.options
    stages = (*options.stages, CODED) if options.encode else options.stages
    stages_to_make = set(stages)
    for name in stages:
        stages_to_make.update(STAGES[name].reads(options.crop))
    names = []
    for name in (name for name in STAGES if name in stages_to_make):
        if not len(rows_of(run.table, STAGES[name].kind)):
            continue
        if name == "embeddings":
            names += [f"embeddings/{label(face)}" for face in options.faces]
        elif name == CODED:
            names += [f"{CODED}/{codec}" for codec in options.encode]
        else:
            names.append(name)
    return names


@dataclass(frozen=True)
class ExistingShards:
    """The shards of a stage: the jobs, the facts of existing shards by number, and other files.

    `extra` are shards of no job; `notes` are those beside shards at which processes died.
    """

    jobs: list[ShardJob]
    facts: dict[int, shards.Facts]
    extra: list[str]
    notes: list[str]


def find_existing(run: Run, stage: str, settings: Mapping[str, Any]) -> ExistingShards:
    """Read the facts of a stage's existing shards and note their failures; nothing is written.

    Raises `CorpusError` for shards that do not fit, unless `force` lets them be rebuilt.
    """
    jobs = plan(run.table, stage, settings, run.folder, run.options.shard_rows, run.files)
    folder = storage.join(run.folder, *stage.split("/"))
    names = set(storage.names(folder)) if storage.exists(folder) else set()

    def facts(job: ShardJob) -> shards.Facts | None:
        if shards.file_name(job.number) not in names:
            return None
        try:
            return existing_result(job)
        except CorpusError:
            if run.options.force:
                return None
            raise

    with ThreadPoolExecutor(READERS) as readers:
        results = zip(jobs, readers.map(facts, jobs), strict=True)
        existing = {job.number: read for job, read in results if read}
    run.failures[stage] = {number: failures_in(read) for number, read in existing.items()}
    strange = sorted(names - {shards.file_name(job.number) for job in jobs})
    extra, notes = (
        [storage.join(folder, name) for name in strange if name.endswith(ending)]
        for ending in (shards.ENDING, trace.ENDING)
    )
    if extra and not run.options.force:
        raise CorpusError(
            f"{extra[0]} is left from another manifest or shard size: choose another --out, or add "
            "--force to remove it."
        )
    return ExistingShards(jobs, existing, extra, notes)


def start_folder(run: Run) -> None:
    """Write the manifest, the first file of a run; with `force` remove prepared.json before."""
    if run.options.force and storage.exists(complete := storage.join(run.folder, FILE)):
        shards.remove(complete)  # until the folder is complete again
    manifest.write(run.table, storage.join(run.folder, manifest.FILE))


def _make_stage(run: Run, stage: str, existing: ExistingShards, engine: engines.Engine) -> None:
    """Make the shards of a stage that are missing or not current.

    Raises `CorpusError` as soon as more files failed than allowed, or at the end if a shard could
    not be made.
    """
    jobs, facts = _with_inputs(run, stage, existing.jobs), existing.facts
    failures = run.failures[stage]
    todo = [
        job
        for job in jobs
        if job.number not in facts
        or not is_current(job, facts[job.number])
        or (run.options.retry and failures[job.number])
    ]
    redone = {job.number for job in todo}
    for path in {*existing.extra, *existing.notes} - {trace.note_path(job.path) for job in todo}:
        shards.remove(path)
    failed = [failure for number in failures.keys() - redone for failure in failures[number]]
    total = sum(len(job.rows) for job in jobs)
    limit, problems = allowed_failures(run.options.max_failures, total), list[str]()
    rows = total - sum(len(job.rows) for job in todo)
    unit = STAGES[stage.partition("/")[0]].unit
    started, rows_before = time.monotonic(), rows
    _require_few_failures(run, stage, failed, limit)
    for result in engine(todo):
        if result.problem:
            problems.append(result.problem)
            continue
        rows += len(result.job.rows)
        failures[result.job.number] = result.failures
        failed += result.failures
        run.bars.advance(stage, rows, total, unit)
        if run.bars.bar is not None:
            run.bars.bar.set_postfix_str(f"{len(failed)} failures")
        _require_few_failures(run, stage, failed, limit)
    if problems:
        raise CorpusError(f"{problems[0]}: run again with fewer --jobs. Everything else is kept.")
    rate = (rows - rows_before) / max(time.monotonic() - started, 1e-9)
    new = f"{rows - rows_before:,} new, {rate:,.1f} a second" if todo else "all there already"
    run.log(f"{stage}: {rows:,}{unit} ({new}), {len(failed):,} failures")


def _with_inputs(run: Run, stage: str, jobs: Sequence[ShardJob]) -> list[ShardJob]:
    """Return jobs with the facts that depend on the stages they read."""
    inputs = {}
    if stage == "textures":
        mean = storage.read_bytes(storage.join(run.folder, MEAN))
        inputs["mean_landmarks"] = hashlib.sha256(mean).hexdigest()
    reads = STAGES[stage.partition("/")[0]].reads(run.options.crop)
    if not reads:
        return list(jobs)
    with ThreadPoolExecutor(READERS) as readers:
        marks = readers.map(lambda job: inputs_digest(job, reads), jobs)
        return [
            replace(job, facts={**job.facts, **inputs, "made_of": mark})
            for job, mark in zip(jobs, marks, strict=True)
        ]


def _require_few_failures(run: Run, stage: str, failed: Sequence[Failure], limit: int) -> None:
    """Raise `CorpusError` with the most frequent reasons if more files failed than allowed."""
    if len(failed) <= limit:
        return
    reasons = Counter(reason.replace(run.files[row], "FILE") for row, reason in failed)
    words = "; ".join(
        f"{count} x {reason.rstrip('.')}" for reason, count in reasons.most_common(MOST_REASONS)
    )
    raise CorpusError(
        f"{len(failed):,} files failed in stage {stage}, but only {limit:,} may "
        f"({words}). Everything made so far is kept and {storage.join(run.folder, FAILURES)} lists "
        "the files: repair them and add --retry, or allow more with --max-failures."
    )
