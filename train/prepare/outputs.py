"""The files of a prepared corpus beside its shards, all computed from the shards."""

from __future__ import annotations

import csv
import io
import itertools
import json
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np
from numpy.typing import NDArray

from vox2face.core.errors import CorpusError
from vox2face.core.progress import Bars
from vox2face.train import storage
from vox2face.train.corpus import manifest
from vox2face.train.corpus.manifest import Manifest, rows_of
from vox2face.train.prepare import face_stages, shards, voice_stages
from vox2face.train.prepare.options import Options
from vox2face.train.prepare.reader import FILE, MEAN, SEVERAL, STATISTICS, VERSION
from vox2face.train.prepare.rows import FAILURES
from vox2face.train.prepare.shard_task import Failure
from vox2face.train.prepare.stages import STAGES, failures_in


@dataclass
class Run:
    """A run: its manifest, folder and options, where it logs, and the failures so far.

    `failures` are those of this and earlier runs by stage and number of the shard.
    """

    table: Manifest
    files: list[str]
    folder: str
    options: Options
    log: Callable[[str], None]
    bars: Bars = field(default_factory=Bars)
    failures: dict[str, dict[int, Sequence[Failure]]] = field(default_factory=dict)


def earlier_stages(run: Run, settings: Mapping[str, Any]) -> dict[str, Any]:
    """Return prepared.json's entries of stages that this run does not make; note their failures.

    Raises `CorpusError` for a folder that was prepared from another manifest or with other crops,
    without `force`.
    """
    path = storage.join(run.folder, FILE)
    same = not storage.exists(storage.join(run.folder, manifest.FILE)) or (
        manifest.read(run.folder).table.equals(run.table.table)
    )
    if not same and not run.options.force:
        raise CorpusError(
            f"{run.folder} was prepared from another manifest: choose another --out, or add "
            "--force to rebuild what does not fit."
        )
    if not storage.exists(path):
        return {}
    content = json.loads(storage.read_bytes(path))
    others = {}
    for stage, facts in content["stages"].items():
        crop_changed = facts["kind"] == "face" and content["crop"] != run.options.crop
        if stage in settings or not same:
            continue
        if crop_changed and not run.options.force:
            raise CorpusError(
                f"{run.folder} was prepared {'with' if content['crop'] else 'without'} --crop: do "
                "likewise, choose another --out, or add --force to rebuild what does not fit."
            )
        if not crop_changed:
            others[stage] = facts
            run.failures[stage] = {
                number: failures_in(
                    shards.open_shard(
                        storage.join(run.folder, *stage.split("/"), shards.file_name(number))
                    ).facts
                )
                for number in range(-(-facts["rows"] // facts["shard_rows"]))
            }
    return others


def finish_stage(run: Run, stage: str) -> None:
    """Write what is computed from a whole stage: the mean landmarks, or statistics."""
    if stage == "landmarks":
        parts = (
            np.asarray(shard.array("landmarks"))[train] for shard, train in training(run, stage)
        )
        data = io.BytesIO()
        np.save(data, face_stages.mean_landmarks(parts))
        storage.write_bytes(storage.join(run.folder, MEAN), data.getvalue())
        _write_several_faces(run)
    if stage == "voices":
        measured = [
            ({name: np.asarray(shard.array(name)) for name in shard.layout}, in_train)
            for shard, in_train in training(run, stage)
        ]
        statistics = voice_stages.statistics(measured, run.options.statistics)
        _write_json(run, STATISTICS, {**statistics, "voice_preset": run.options.voice_preset})


def training(run: Run, stage: str) -> Iterator[tuple[shards.Shard, Any]]:
    """Yield a stage's shards with masks of their rows in the train split.

    In a manifest without splits all rows are.
    """
    splits = np.array([split or "" for split in run.table.column("split")], object)
    in_train = splits == "train" if (splits != "").any() else np.ones(len(splits), bool)
    for shard, rows in _each_shard(run, stage):
        yield shard, in_train[rows]


def _each_shard(run: Run, stage: str) -> Iterator[tuple[shards.Shard, NDArray[np.int64]]]:
    """Yield a stage's shards with their rows of the manifest."""
    rows = rows_of(run.table, STAGES[stage].kind)
    for number, first in enumerate(range(0, len(rows), run.options.shard_rows)):
        path = storage.join(run.folder, stage, shards.file_name(number))
        yield shards.open_shard(path), rows[first : first + run.options.shard_rows]


def write_failures(run: Run) -> None:
    """Write failures.csv: a line for each bad file and reason, with the stages that failed."""
    met_in: dict[Failure, list[str]] = {}
    for stage, failures in run.failures.items():
        for failure in itertools.chain.from_iterable(failures.values()):
            met_in.setdefault(failure, []).append(stage)
    lines = [[row, "+".join(met_in[row, why]), run.files[row], why] for row, why in sorted(met_in)]
    write_csv(run, FAILURES, [["row", "stages", "path", "reason"], *lines])


def _write_several_faces(run: Run) -> None:
    """Write several_faces.csv: a line for each picture in which more than one face was found."""
    lines = [
        [row, run.files[row], count]
        for shard, rows in _each_shard(run, "landmarks")
        for row, count in zip(rows.tolist(), shard.array("faces").tolist(), strict=True)
        if count > 1
    ]
    write_csv(run, SEVERAL, [["row", "path", "faces"], *lines])
    if lines:
        path = storage.join(run.folder, SEVERAL)
        run.log(f"several faces in {len(lines):,} pictures, of which the largest counts: {path}")


def write_csv(run: Run, name: str, lines: Sequence[Sequence[Any]]) -> None:
    """Write a CSV table into the folder."""
    text = io.StringIO(newline="")
    csv.writer(text, lineterminator="\n").writerows(lines)
    data = text.getvalue().encode("utf-8", "surrogateescape")
    storage.write_bytes(storage.join(run.folder, name), data)


def _write_json(run: Run, name: str, content: Mapping[str, Any]) -> None:
    """Write a JSON file into the folder."""
    text = json.dumps(content, indent=1, ensure_ascii=False) + "\n"
    storage.write_bytes(storage.join(run.folder, name), text.encode("utf-8", "surrogateescape"))


def write_prepared(
    run: Run, settings: Mapping[str, Mapping[str, Any]], others: Mapping[str, Any]
) -> None:
    """Write prepared.json, which marks the folder as complete."""
    stages = dict(others)
    for stage, stage_settings in settings.items():
        definition = STAGES[stage.partition("/")[0]]
        stages[stage] = {
            **{name: value for name, value in stage_settings.items() if name != "device"},
            "kind": definition.kind,
            "shard_rows": run.options.shard_rows,
            "rows": len(rows_of(run.table, definition.kind)),
            "failures": sum(map(len, run.failures[stage].values())),
            "failing": [*definition.reads(run.options.crop), stage],
        }
    order = list(STAGES)
    ordered = sorted(stages, key=lambda stage: order.index(stage.partition("/")[0]))
    content = {stage: stages[stage] for stage in ordered}
    _write_json(run, FILE, {"version": VERSION, "crop": run.options.crop, "stages": content})
