"""A run's folder: never shared, never overwritten, and gone on with only as what it is."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
import torch

from vox2face.errors import UsageError, WeightFileError
from vox2face.train import checkpoint, recipe, run_folder
from vox2face.train.voice_recipe import VoiceRecipe

NAMES = {"face": "toy", "decoder": ""}


def settings(*overrides: str) -> VoiceRecipe:
    return recipe.read("tiny-ast", VoiceRecipe, overrides)


def content(folder: Path) -> dict[str, bytes]:
    return {str(p): p.read_bytes() for p in sorted(folder.rglob("*")) if p.is_file()}


@pytest.fixture
def run(tmp_path: Path) -> Path:
    """The folder of a run that has done 7 steps on 64 items."""
    folder = tmp_path / "run"
    run_folder.begin(folder, "voice", NAMES, settings(), 64, False)
    facts = {"items": 64, "step": 7}
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
            run_folder.begin(tmp_path / taken, "voice", NAMES, settings(), 64, False)
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
        with pytest.raises(UsageError, match=r"run\.json is damaged"):
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
    "loop.batch=16": r"loop\.batch = 32 and 16 is asked for",
    "loop.seed=1": r"loop\.seed = 0 and 1",
    "optimizer.name=sgd": r'optimizer\.name = "adamw" and "sgd"',
    "network.options.hidden=64": r"network\.options\.hidden = 128 and 64",
    "network.options.relu=true": r"network\.options\.relu = nothing and true",
    "phases.train.trains=head": r'phases\.train\.trains = "all" and "head"',
    "loss.ranking_weight=1": r"loss\.ranking_weight = 0\.05 and 1\.0",
    "loop.monitor=loss": r'loop\.monitor = "rank" and "loss"',
}


@pytest.mark.parametrize("override", REFUSED)
def test_what_makes_another_run_cannot_be_changed_when_it_goes_on(run: Path, override: str) -> None:
    before = content(run)
    with pytest.raises(UsageError, match=REFUSED[override]):
        run_folder.begin(run, "voice", NAMES, settings(override), 64, True)
    assert content(run) == before


def test_how_long_fast_and_often_can_be_changed_when_a_run_goes_on(run: Path) -> None:
    free = ("phases.train.epochs=9", "phases.train.lr=1e-6", "loop.save_every=1",
            "optimizer.clip=0.1", "schedule.floor=0.1", "about=again")  # fmt: skip
    run_folder.begin(run, "voice", NAMES, settings(*free), 64, True)
    assert recipe.read(run / "recipe.toml", VoiceRecipe) == settings(*free)


def test_data_steps_and_damage_are_checked_before_anything_is_written(run: Path) -> None:
    def begin(items: int, *overrides: str) -> None:
        run_folder.begin(run, "voice", NAMES, settings(*overrides), items, True)

    before = content(run)
    with pytest.raises(UsageError, match="was trained on 64 items and these are 63"):
        begin(63)
    with pytest.raises(UsageError, match="has done 7 steps and 6 are asked for"):
        begin(64, "phases.train.steps=6")
    assert content(run) == before
    file = run / "train" / checkpoint.LAST
    file.write_bytes(file.read_bytes()[:-1])
    with pytest.raises(WeightFileError, match="is damaged"):
        begin(64)
    assert content(run).keys() == before.keys()
    assert (run / "recipe.toml").read_bytes() == before[str(run / "recipe.toml")]
