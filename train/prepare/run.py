"""Prepare a corpus: everything training needs of its files, in shards that are never made twice.

What lies in the folder afterwards is a function of the manifest, its files and the options. It
does not depend on how many processes worked, on which machine, or how often they were stopped.
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
from vox2face.train.prepare.options import Options, allowed, checked, label, settings_of
from vox2face.train.prepare.outputs import Run, after, conclude, earlier, write_failures
from vox2face.train.prepare.reader import FILE, MEAN
from vox2face.train.prepare.rows import FAILURES
from vox2face.train.prepare.shard_task import Failure, Work, made_of
from vox2face.train.prepare.stages import CODED, STAGES, facts_there, failures_in, fits, plan

READERS = 16  # threads that look at the headers of shards
MOST_REASONS = 3


def prepare(
    source: storage.Place | Manifest,
    out: storage.Place,
    options: Options | None = None,
    tell: Callable[[str], None] = lambda line: None,
) -> None:
    """Prepare a corpus in a folder or at an address; `vox2face.train.prepare.reader` reads it.

    Run again it goes on where it was stopped. Raises `CorpusError` for what cannot be prepared:
    more failures than `max_failures`, or shards of other options without `force`; what is finished
    is kept. `tell` gets lines about what is being done.
    """
    require("data", "Preparing a corpus")
    options = checked(options or Options())
    table = source if isinstance(source, Manifest) else manifest.read(source)
    folder = str(out) if storage.is_remote(out) else os.path.abspath(out)
    run = Run(table, table.files(), folder, options, tell)
    settings = {stage: settings_of(stage, options) for stage in _instances(run)}
    if not settings:
        raise CorpusError(
            "The manifest has no rows that the stages asked for could take: see what vox2face "
            "data index found."
        )
    others = earlier(run, settings)
    looked = {stage: look(run, stage, chosen) for stage, chosen in settings.items()}
    with engines.engine(options.engine, options.jobs, options.device) as work:
        begin(run)
        try:
            for stage in settings:
                _carry_through(run, stage, looked[stage], work)
                after(run, stage)
        finally:
            run.bars.close()
            write_failures(run)
    conclude(run, settings, others)


def _instances(run: Run) -> list[str]:
    """Return the stages in the order in which they are made; those without any rows are left out.

    Embeddings are made once for each face encoder, "embeddings/NAME", and encoded copies once for
    each codec, "coded/NAME".
    """
    options = run.options
    stages = (*options.stages, CODED) if options.encode else options.stages
    asked = set(stages)
    for name in stages:
        asked.update(STAGES[name].reads(options.crop))
    found = []
    for name in (name for name in STAGES if name in asked):
        if not len(rows_of(run.table, STAGES[name].kind)):
            continue
        if name == "embeddings":
            found += [f"embeddings/{label(face)}" for face in options.faces]
        elif name == CODED:
            found += [f"{CODED}/{codec}" for codec in options.encode]
        else:
            found.append(name)
    return found


@dataclass(frozen=True)
class Looked:
    """The shards of a stage: what they have to be, what those that are there say, the others.

    `notes` are those of shards that processes died of.
    """

    works: list[Work]
    there: dict[int, shards.Facts]
    extra: list[str]
    notes: list[str]


def look(run: Run, stage: str, settings: Mapping[str, Any]) -> Looked:
    """Look at the shards of a stage that are there, and note their failures; nothing is written.

    Raises `CorpusError` for shards that do not fit, unless `force` lets them be rebuilt.
    """
    works = plan(run.table, stage, settings, run.folder, run.options.shard_rows, run.files)
    folder = storage.join(run.folder, *stage.split("/"))
    names = set(storage.names(folder)) if storage.exists(folder) else set()

    def facts(each: Work) -> shards.Facts | None:
        if shards.file_name(each.number) not in names:
            return None
        try:
            return facts_there(each)
        except CorpusError:
            if run.options.force:
                return None
            raise

    with ThreadPoolExecutor(READERS) as readers:
        seen = zip(works, readers.map(facts, works), strict=True)
        there = {each.number: found for each, found in seen if found}
    run.failures[stage] = {number: failures_in(found) for number, found in there.items()}
    others = sorted(names - {shards.file_name(each.number) for each in works})
    extra, notes = (
        [storage.join(folder, name) for name in others if name.endswith(ending)]
        for ending in (shards.ENDING, trace.ENDING)
    )
    if extra and not run.options.force:
        raise CorpusError(
            f"{extra[0]} is left of another manifest or shard size: choose another --out, or add "
            "--force to remove it."
        )
    return Looked(works, there, extra, notes)


def begin(run: Run) -> None:
    """Write what stands at the beginning of a run. From here on something is written."""
    if run.options.force and storage.exists(complete := storage.join(run.folder, FILE)):
        shards.remove(complete)  # until everything fits again
    manifest.write(run.table, storage.join(run.folder, manifest.FILE))


def _carry_through(run: Run, stage: str, looked: Looked, work: engines.Engine) -> None:
    """Make the shards of a stage that are not there yet.

    Raises `CorpusError` as soon as more files failed than may, or at the end if a shard could not
    be made.
    """
    works, there = _derived(run, stage, looked.works), looked.there
    found = run.failures[stage]
    todo = [
        each
        for each in works
        if each.number not in there
        or not fits(each, there[each.number])
        or (run.options.retry and found[each.number])
    ]
    again = {each.number for each in todo}
    for place in {*looked.extra, *looked.notes} - {trace.place_of(each.place) for each in todo}:
        shards.remove(place)
    failed = [failure for number in found.keys() - again for failure in found[number]]
    total = sum(len(each.rows) for each in works)
    limit, problems = allowed(run.options.max_failures, total), list[str]()
    rows = total - sum(len(each.rows) for each in todo)
    unit = STAGES[stage.partition("/")[0]].unit
    started, before = time.monotonic(), rows
    _too_many(run, stage, failed, limit)
    for each in work(todo):
        if each.problem:
            problems.append(each.problem)
            continue
        rows += len(each.work.rows)
        found[each.work.number] = each.failures
        failed += each.failures
        run.bars.advance(stage, rows, total, unit)
        if run.bars.bar is not None:
            run.bars.bar.set_postfix_str(f"{len(failed)} failures")
        _too_many(run, stage, failed, limit)
    if problems:
        raise CorpusError(f"{problems[0]}: run again with fewer --jobs. Everything else is kept.")
    rate = (rows - before) / max(time.monotonic() - started, 1e-9)
    new = f"{rows - before:,} new, {rate:,.1f} a second" if todo else "all there already"
    run.tell(f"{stage}: {rows:,}{unit} ({new}), {len(failed):,} failures")


def _derived(run: Run, stage: str, works: Sequence[Work]) -> list[Work]:
    """Return works with the facts that follow from the stages before."""
    facts = {}
    if stage == "textures":
        mean = storage.read_bytes(storage.join(run.folder, MEAN))
        facts["mean_landmarks"] = hashlib.sha256(mean).hexdigest()
    reads = STAGES[stage.partition("/")[0]].reads(run.options.crop)
    if not reads:
        return list(works)
    with ThreadPoolExecutor(READERS) as readers:
        marks = readers.map(lambda each: made_of(each, reads), works)
        return [
            replace(each, facts={**each.facts, **facts, "made_of": mark})
            for each, mark in zip(works, marks, strict=True)
        ]


def _too_many(run: Run, stage: str, failed: Sequence[Failure], limit: int) -> None:
    """Raise if more files of a stage failed than may, with the most frequent reasons."""
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
