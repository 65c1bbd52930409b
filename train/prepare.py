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
from dataclasses import replace
from typing import Any

from vox2face.errors import CorpusError
from vox2face.extras import require
from vox2face.train import engines, manifest, shards, storage
from vox2face.train.manifest import Manifest
from vox2face.train.prepare_files import Run, after, conclude, earlier, write_failures
from vox2face.train.prepare_options import Options, allowed, checked, label, settings_of
from vox2face.train.prepared import MEAN
from vox2face.train.prepared_rows import FAILURES
from vox2face.train.stages import STAGES, Done, Work, fitting, made_of, plan, rows_of

READERS = 16  # threads that look at the headers of shards
MOST_REASONS = 3


def prepare(
    source: storage.Place | Manifest,
    out: storage.Place,
    options: Options | None = None,
    tell: Callable[[str], None] = lambda line: None,
) -> None:
    """Prepare a corpus in a folder or at an address; see `vox2face.train.prepared` for reading it.

    Run again it goes on where it was stopped. Raises `CorpusError` for what cannot be prepared:
    more failures than `max_failures`, or shards of other options without `force`; what is finished
    is kept. `tell` gets lines about what is being done.
    """
    require("data", "Preparing a corpus")
    options = checked(options or Options())
    table = source if isinstance(source, Manifest) else manifest.read(source)
    folder = str(out) if storage.is_remote(out) else os.path.abspath(out)
    run = Run(table, table.files(), folder, options, tell)
    settings = {stage: settings_of(stage, options) for stage in instances(run)}
    if not settings:
        raise CorpusError(
            "The manifest has no rows that the stages asked for could take: see what vox2face "
            "data index found."
        )
    others = earlier(run, settings)
    manifest.write(table, storage.join(run.folder, manifest.FILE))
    try:
        with engines.engine(options.engine, options.jobs, options.device) as work:
            for stage, chosen in settings.items():
                carry_through(run, stage, chosen, work)
                after(run, stage)
    finally:
        run.bars.close()
        write_failures(run)
    conclude(run, settings, others)


def instances(run: Run) -> list[str]:
    """Return the stages in the order in which they are made; those without any rows are left out.

    Embeddings are made once for each face encoder: "embeddings/NAME".
    """
    options, asked = run.options, set(run.options.stages)
    for name in run.options.stages:
        asked.update(STAGES[name].reads(options.crop))
    found = []
    for name in (name for name in STAGES if name in asked):
        if not len(rows_of(run.table, STAGES[name].kind)):
            continue
        if name == "embeddings":
            found += [f"embeddings/{label(face)}" for face in options.faces]
        else:
            found.append(name)
    return found


def carry_through(run: Run, stage: str, settings: Mapping[str, Any], work: engines.Engine) -> None:
    """Make the shards of a stage that are not there yet.

    Raises `CorpusError` as soon as more files failed than may, or at the end if a shard could not
    be made.
    """
    works = planned(run, stage, settings)
    done, todo = there_already(run, stage, works)
    limit = allowed(run.options.max_failures, sum(len(each.rows) for each in works))
    failed = run.failures[stage] = [failure for each in done for failure in each.failures]
    rows = sum(len(each.work.rows) for each in done)
    total, problems = rows + sum(len(each.rows) for each in todo), list[str]()
    unit = STAGES[stage.partition("/")[0]].unit
    run.kept += len(done)
    started, before = time.monotonic(), rows
    too_many(run, stage, limit)
    for each in work(todo):
        if each.problem:
            problems.append(each.problem)
            continue
        run.made += 1
        rows += len(each.work.rows)
        failed += each.failures
        run.bars.advance(stage, rows, total, unit)
        if run.bars.bar is not None:
            run.bars.bar.set_postfix_str(f"{len(failed)} failures")
        too_many(run, stage, limit)
    if problems:
        raise CorpusError(f"{problems[0]}: run again with fewer --jobs. Everything else is kept.")
    rate = (rows - before) / max(time.monotonic() - started, 1e-9)
    new = f"{rows - before:,} new, {rate:,.1f} a second" if todo else "all there already"
    run.tell(f"{stage}: {rows:,}{unit} ({new}), {len(failed):,} failures")


def planned(run: Run, stage: str, settings: Mapping[str, Any]) -> list[Work]:
    """Return the works of a stage."""
    if stage == "textures":
        mean = storage.read_bytes(storage.join(run.folder, MEAN))
        settings = {**settings, "mean_landmarks": hashlib.sha256(mean).hexdigest()}
    options = run.options
    works = plan(run.table, stage, settings, run.folder, options.shard_rows, run.files)
    reads = STAGES[stage.partition("/")[0]].reads(options.crop)
    if not reads:
        return works
    with ThreadPoolExecutor(READERS) as readers:
        marks = readers.map(lambda each: made_of(each, reads), works)
        return [
            replace(each, facts={**each.facts, "made_of": mark})
            for each, mark in zip(works, marks, strict=True)
        ]


def there_already(run: Run, stage: str, works: Sequence[Work]) -> tuple[list[Done], list[Work]]:
    """Return the shards that are kept, and those that have to be made.

    Raises `CorpusError` for shards that do not fit, unless `force` lets them be made anew.
    """
    folder = storage.join(run.folder, *stage.split("/"))
    names = set(storage.names(folder)) if storage.exists(folder) else set()
    wanted = {shards.file_name(each.number) for each in works}

    def look(each: Work) -> Done | None:
        if shards.file_name(each.number) not in names:
            return None
        try:
            found = fitting(each)
        except CorpusError:
            if run.options.force:
                return None
            raise
        return None if found and found.failures and run.options.retry else found

    with ThreadPoolExecutor(READERS) as readers:
        seen = list(readers.map(look, works))
    extra = sorted(name for name in names - wanted if name.endswith(shards.ENDING))
    if extra and not run.options.force:
        raise CorpusError(
            f"{storage.join(folder, extra[0])} is left of another manifest or shard size: choose "
            "another --out, or add --force to remove it."
        )
    for name in extra:
        shards.remove(storage.join(folder, name))
    return (
        [found for found in seen if found],
        [each for each, found in zip(works, seen, strict=True) if not found],
    )


def too_many(run: Run, stage: str, limit: int) -> None:
    """Raise if more files of a stage failed than may, with the most frequent reasons."""
    failed = run.failures[stage]
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
