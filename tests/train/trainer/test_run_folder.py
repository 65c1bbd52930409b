"""A run's folder: never shared, never overwritten, and gone on with only as what it is."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from vox2face.core.errors import UsageError, Vox2FaceError, WeightFileError
from vox2face.train.corpus import manifest
from vox2face.train.corpus.groups import people
from vox2face.train.corpus.manifest import Manifest
from vox2face.train.datasets import fingerprint
from vox2face.train.trainer import checkpoint, recipe, run_folder
from vox2face.train.voice.recipe import VoiceRecipe

NAMES = {"face": "toy", "decoder": ""}
DATA = {"people of the split train": "1", "files of the split train": "2"}


def settings(*overrides: str) -> VoiceRecipe:
    return recipe.read("tiny-ast", VoiceRecipe, overrides)


def begin(folder: Path, items: int = 64, *overrides: str, resume: bool = True, **more: Any) -> None:
    asked = run_folder.RunSpec("voice", NAMES, settings(*overrides), items, DATA)
    run_folder.begin(folder, replace(asked, **more), resume)


def content(folder: Path) -> dict[str, bytes]:
    return {str(p): p.read_bytes() for p in sorted(folder.rglob("*")) if p.is_file()}


@pytest.fixture
def run(tmp_path: Path) -> Path:
    """The folder of a run that has done 7 steps on 64 items."""
    folder = tmp_path / "run"
    begin(folder, resume=False)
    facts = checkpoint.Facts(7, items=64)
    checkpoint.write(folder / "train" / checkpoint.LAST, {"model/a": torch.ones(2)}, facts)
    return folder


def test_a_new_run_takes_an_empty_folder_only(tmp_path: Path, run: Path) -> None:
    (tmp_path / "empty").mkdir()
    (tmp_path / "empty" / run_folder.LOCK).touch()
    for free in ("empty", "absent"):
        run_folder.require_free(tmp_path / free)
    with pytest.raises(UsageError, match="holds a run already: add --resume"):
        run_folder.require_free(run)
    (tmp_path / "mine").mkdir()
    (tmp_path / "mine" / "recipe.toml").write_text("about = 'mine'")
    (tmp_path / "file").touch()
    for taken, words in (("mine", r"such as recipe\.toml: choose an empty"), ("file", "is a file")):
        with pytest.raises(UsageError, match=words):
            begin(tmp_path / taken, resume=False)
    assert (tmp_path / "mine" / "recipe.toml").read_text() == "about = 'mine'"


def test_only_a_run_can_be_gone_on_with_and_only_as_what_it_is(tmp_path: Path, run: Path) -> None:
    assert run_folder.recipe_file(run, "voice") == run / "recipe.toml"
    with pytest.raises(UsageError, match="trains a voice: go on with it by vox2face train voice"):
        run_folder.recipe_file(run, "decoder")
    for absent in (tmp_path / "missing", tmp_path):
        with pytest.raises(UsageError, match="holds no run to go on with"):
            run_folder.recipe_file(absent, "voice")
    for damage in ("{", "[]", json.dumps({"kind": "voice"})):
        (run / run_folder.RUN).write_text(damage)
        with pytest.raises(Vox2FaceError, match=r"run\.json is damaged"):
            run_folder.recipe_file(run, "voice")


def test_the_networks_of_a_run_are_remembered_and_others_refused(run: Path) -> None:
    def remembered(**given: str | None) -> dict[str, str]:
        return run_folder.remembered(run, "voice", given)

    assert remembered(face=None, decoder="") == remembered(face="toy", decoder="") == NAMES
    with pytest.raises(UsageError, match="began with --face toy, and --face other is given"):
        remembered(face="other", decoder="")
    with pytest.raises(UsageError, match="began with none, and --decoder d is given"):
        remembered(face=None, decoder="d")


REFUSED = {
    "loop.batch_size=16": r"loop\.batch_size = 32 and 16 is asked for",
    "loop.seed=1": r"loop\.seed = 0 and 1",
    "optimizer.name=sgd": r'optimizer\.name = "adamw" and "sgd"',
    "network.options.hidden=64": r"network\.options\.hidden = 128 and 64",
    "network.options.relu=true": r"network\.options\.relu = nothing and true",
    "phases.train.trainable=head": r'phases\.train\.trainable = "all" and "head"',
    "loss.contrastive_weight=1": r"loss\.contrastive_weight = 0\.05 and 1\.0",
    "loop.precision=bf16": r'loop\.precision = "no" and "bf16"',
    "loop.evaluate_every=9": r"loop\.evaluate_every = \d+ and 9",
    "loop.monitor=loss": r'loop\.monitor = "rank" and "loss"',
}


@pytest.mark.parametrize("override", REFUSED)
def test_what_makes_another_run_cannot_be_changed_when_it_goes_on(run: Path, override: str) -> None:
    before = content(run)
    with pytest.raises(UsageError, match=REFUSED[override]):
        begin(run, 64, override)
    assert content(run) == before


def test_how_long_fast_and_often_can_be_changed_when_a_run_goes_on(run: Path) -> None:
    free = ("phases.train.epochs=9", "phases.train.lr=1e-6", "loop.save_every=1",
            "optimizer.max_grad_norm=0.1", "schedule.min_lr_ratio=0.1", "about=again")  # fmt: skip
    begin(run, 64, *free)
    assert recipe.read(run / "recipe.toml", VoiceRecipe) == settings(*free)


def test_data_steps_and_damage_are_checked_before_anything_is_written(run: Path) -> None:
    before = content(run)
    with pytest.raises(UsageError, match="was trained on 64 items and these are 63"):
        begin(run, 63)
    with pytest.raises(UsageError, match="has done 7 steps and 6 are asked for"):
        begin(run, 64, "phases.train.steps=6")
    with pytest.raises(UsageError, match="does not divide into 1 processes x 5 parts"):
        begin(run, 64, "loop.grad_accum_steps=5")
    with pytest.raises(UsageError, match="does not divide into 3 processes"):
        begin(run, 64, processes=3)
    assert content(run) == before
    file = run / "train" / checkpoint.LAST
    file.write_bytes(file.read_bytes()[:-1])
    with pytest.raises(WeightFileError, match="is damaged"):
        begin(run)
    assert content(run).keys() == before.keys()
    assert (run / "recipe.toml").read_bytes() == before[str(run / "recipe.toml")]


def test_a_batch_that_cannot_be_divided_leaves_no_run_behind(tmp_path: Path) -> None:
    with pytest.raises(UsageError, match="as a multiple of 64"):
        begin(tmp_path / "run", 64, "loop.grad_accum_steps=64", resume=False)
    assert not (tmp_path / "run").exists()


@pytest.mark.parametrize(
    ("data", "words"),
    [
        ({**DATA, "files of the split train": "3"}, r"other data \(files of the split train\)"),
        ({"people of the split train": "1"}, r"\(files of the split train\)"),
        ({**DATA, "people of the split val": "4"}, r"\(people of the split val\)"),
    ],
)
def test_a_run_never_goes_on_with_other_data(run: Path, data: dict[str, str], words: str) -> None:
    before = content(run)
    with pytest.raises(UsageError, match=words):
        begin(run, data=data)
    assert content(run) == before


def test_what_is_not_of_a_run_is_found_in_its_bundle_before_it_goes_on(run: Path) -> None:
    bundle = run / "bundle"
    bundle.mkdir()
    (bundle / "config.json").touch()
    begin(run)
    (bundle / "notes.txt").touch()
    with pytest.raises(UsageError, match=r"notes\.txt is not of the run.*move it away and go on"):
        begin(run)
    (bundle / "notes.txt").unlink()
    (bundle / "config.json").unlink()
    bundle.rmdir()
    bundle.touch()
    with pytest.raises(UsageError, match="bundle is not of the run"):
        begin(run)


def test_a_last_checkpoint_that_must_have_been_there_is_missed(run: Path) -> None:
    last, best = (run / "train" / name for name in (checkpoint.LAST, checkpoint.BEST))
    last.unlink()
    begin(run)  # killed before the first one was written
    checkpoint.write(
        best, {"model/a": torch.ones(2)}, checkpoint.Facts(2)
    )  # an epoch of 64 in batches
    begin(run)
    checkpoint.write(best, {"model/a": torch.ones(2)}, checkpoint.Facts(4))
    with pytest.raises(WeightFileError, match=r"last\.safetensors is missing, without which"):
        begin(run)
    best.unlink()
    (run / "bundle").mkdir()
    with pytest.raises(WeightFileError, match=r"last\.safetensors is missing, without which"):
        begin(run)


def test_the_best_checkpoint_is_missed_and_read_before_a_run_goes_on(run: Path) -> None:
    last, best = (run / "train" / name for name in (checkpoint.LAST, checkpoint.BEST))
    checkpoint.write(last, {"model/a": torch.ones(2)}, checkpoint.Facts(7, 64, 0.5))
    with pytest.raises(WeightFileError, match=r"best\.safetensors is missing, without which"):
        begin(run)
    checkpoint.write(best, {"model/a": torch.ones(2)}, checkpoint.Facts(4))
    begin(run)
    best.write_bytes(best.read_bytes()[:-1])
    with pytest.raises(
        WeightFileError, match=r"best\.safetensors is not a checkpoint or is damaged"
    ):
        begin(run)


def test_a_run_without_its_recipe_says_so(run: Path) -> None:
    (run / "recipe.toml").unlink()
    with pytest.raises(Vox2FaceError, match=r"recipe\.toml is missing, the recipe of the run"):
        run_folder.recipe_file(run, "voice")


def corpus(
    split: str = "train", names: str = "ab", seconds: float = 2.0, root: str = "/one"
) -> Manifest:
    rows = [(name, kind, f"{name}/{kind}") for name in names for kind in ("voice", "face")]
    who, kind, path = map(list, zip(*rows, strict=True))
    columns = {"identity": who, "kind": kind, "path": path, "root": [root] * len(rows)}
    columns |= {"source": ["toy"] * len(rows), "split": [split] * len(rows)}
    return manifest.from_columns({**columns, "duration": [seconds] * len(rows)})


def test_digests_tell_people_files_and_faces_apart_and_not_where_they_lie() -> None:
    def found(table: Manifest, shift: float = 0.0, split: str = "train") -> dict[str, str]:
        names, groups = people(table, split, ())
        faces: Any = {row: np.full(3, row + shift, np.float32) for row in range(len(table))}
        return fingerprint.fingerprint(split, table, names, groups, faces)

    def other(a: dict[str, str], b: dict[str, str]) -> list[str]:
        return [what.split()[0] for what in a if a[what] != b[what]]

    first = found(corpus())
    assert other(first, found(corpus(root="/two"))) == []
    assert other(first, found(corpus(names="ac"))) == ["people", "files"]
    assert other(first, found(corpus(seconds=3.0))) == ["files"]
    assert other(first, found(corpus(), shift=1e-3)) == ["faces"]
    assert list(found(corpus("val"), split="val")) == [
        f"{what} of the split val" for what in ("people", "files", "faces")
    ]
    digests = [fingerprint.manifest_digest(corpus(split)) for split in ("train", "val", "train")]
    assert digests[0] == digests[2] != digests[1]
