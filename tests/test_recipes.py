"""Recipes state every value, can be overridden key by key, and refuse what they do not know."""

from __future__ import annotations

import tomllib
from pathlib import Path

import pytest

from vox2face.errors import UsageError
from vox2face.spec import resolve
from vox2face.train import recipe, run_folder
from vox2face.train.voice_recipe import ARCHITECTURES, VoiceRecipe, recipe_of
from vox2face.zoo import registry

VOICES = sorted(set(ARCHITECTURES.values()) | {"ve_conv-speech-to-face-repo"})


@pytest.mark.parametrize("name", VOICES)
def test_every_recipe_is_complete_and_names_a_network_of_the_zoo(name: str) -> None:
    found = recipe.read(name, VoiceRecipe)
    entry = registry.entry(found.network.entry)
    assert entry.kind == "voice-encoder" and entry.settings and callable(resolve(entry.build))
    for phase in found.phases.values():
        assert found.plan(phase).lr == phase.lr > 0
    assert name in recipe.names()


@pytest.mark.parametrize("name", VOICES)
def test_a_written_recipe_reads_back_as_the_same(name: str, tmp_path: Path) -> None:
    found = recipe.read(name, VoiceRecipe, ['about="Zoë\'s \\"own\\""', "network.options.hidden=8"])
    recipe.write(found, tmp_path / "own.toml")
    assert recipe.read(tmp_path / "own.toml", VoiceRecipe) == found
    assert found.network.options["hidden"] == 8
    assert tomllib.loads(recipe.dump(found)) == recipe.facts(found)


def test_the_published_numbers_stand_where_they_belong() -> None:
    paper = recipe.read("ve_conv-speech2face", VoiceRecipe)
    assert (paper.loss.distance_weight, paper.loss.distill_weight) == (0.025, 200.0)
    assert (paper.loss.temperature, paper.loss.distance) == (2.0, "per-sample")
    assert (paper.schedule.decay, paper.schedule.every, paper.loop.batch) == (0.95, 10_000, 8)
    repo = recipe.read("ve_conv-speech-to-face-repo", VoiceRecipe)
    assert (repo.loss.distance, repo.loss.distill_reduction) == ("whole-batch", "sum")
    ast = recipe.read("ast-speech-to-face-repo", VoiceRecipe)
    weights = ast.loss.distance_weight, ast.loss.distill_weight, ast.loss.decoder_weight
    assert weights == (30.0, 2.0, 50.0)
    assert [phase.trains for phase in ast.phases.values()] == ["head", "all"]


def test_values_are_overridden_and_whole_numbers_count_as_numbers() -> None:
    found = recipe.read(
        "tiny-ge2e",
        VoiceRecipe,
        ["loop.batch=7", "phases.head.lr=1", "data.crop=random", "optimizer.betas=[0, 0.9]"],
    )
    assert (found.loop.batch, found.phases["head"].lr, found.data.crop) == (7, 1.0, "random")
    assert found.optimizer.betas == (0.0, 0.9)
    assert type(found.phases["head"].lr) is float


@pytest.mark.parametrize(
    ("override", "sentence"),
    [
        ("loop.bach=3", "no key 'loop.bach': did you mean loop.batch?"),
        ("lop.batch=3", "no key 'lop': did you mean loop?"),
        ("loop.batch=3.5", "loop.batch is 3.5: it must be a whole number"),
        ("loop.batch=true", "loop.batch is True: it must be a whole number"),
        ("loop.compile=1", "loop.compile is 1: it must be true or false"),
        ("phases.head.lr=fast", "phases.head.lr is 'fast': it must be a number"),
        ("phases.head.lr=nan", "phases.head.lr is nan: it must be a number"),
        ("optimizer.betas=0.9", "optimizer.betas is 0.9: it must be a list"),
        ("data=3", "data is 3: it must be a table"),
        ("loop.batch", "--set loop.batch has no value"),
        ("loop.batch=0", "loop.batch is 0: it must be 1 or more"),
        ("loop.precision=int8", "loop.precision no, bf16, fp16"),
        ("loss.ranking=triplet", "use one of none, infonce, am-softmax"),
        ("schedule.shape=linear", "constant, decay, cosine"),
        ("optimizer.name=lion", "adam, adamw, sgd"),
    ],
)
def test_what_a_recipe_cannot_hold_is_told_in_one_sentence(override: str, sentence: str) -> None:
    with pytest.raises(UsageError) as caught:
        recipe.read("tiny-ge2e", VoiceRecipe, [override])
    assert sentence in str(caught.value)
    assert "\n" not in str(caught.value)


def test_unknown_and_missing_keys_of_a_file_are_named(tmp_path: Path) -> None:
    path = tmp_path / "own.toml"
    text = recipe.text_of("tiny-ast")
    path.write_text(text.replace("patience =", "patiance ="))
    with pytest.raises(UsageError, match=r"'loop\.patiance': did you mean loop\.patience"):
        recipe.read(path, VoiceRecipe)
    path.write_text(text.replace("save_every = 200\n", ""))
    with pytest.raises(UsageError, match=r"lacks loop\.save_every"):
        recipe.read(path, VoiceRecipe)
    path.write_text("no toml")
    with pytest.raises(UsageError, match="is no TOML file"):
        recipe.read(path, VoiceRecipe)


@pytest.mark.parametrize(
    "override, words",
    [
        ("phases.train.lr=-1", "no number of a recipe is below 0"),
        ("loop.seed=-1", "no number of a recipe is below 0"),
        ("optimizer.betas=[0.9, -0.1]", "no number of a recipe is below 0"),
        ("optimizer.betas=[0.9, 1.0]", "both must be below 1"),
        ("loss.ranking_temperature=0", "must be above 0"),
        ("loop.max_failures=5", "it is a part, 0 to 1"),
    ],
)
def test_numbers_that_cannot_be_meant_are_refused(override: str, words: str) -> None:
    with pytest.raises(UsageError, match=words):
        recipe.read("tiny-ast", VoiceRecipe, [override])


def test_near_misses_of_names_are_answered_with_the_name() -> None:
    with pytest.raises(UsageError, match="Did you mean tiny-ge2e"):
        recipe.read("tiny-ge2", VoiceRecipe)


def test_the_recipe_follows_from_the_architecture_or_the_run(tmp_path: Path) -> None:
    assert recipe_of("tiny", None, None) == "tiny-ve_conv"
    assert recipe_of("tiny", "mine.toml", None) == "mine.toml"
    with pytest.raises(UsageError, match="holds no run to go on with"):
        recipe_of("tiny-ast", None, tmp_path)
    run_folder.begin(tmp_path, "voice", {}, recipe.read("tiny-ast", VoiceRecipe), 1, False)
    for arch in (None, "tiny-ast"):
        assert recipe_of(arch, None, tmp_path) == tmp_path / "recipe.toml"
    with pytest.raises(UsageError, match="--arch tiny is another: leave"):
        recipe_of("tiny", None, tmp_path)
    with pytest.raises(UsageError, match="use one of ve_conv, ast"):
        recipe_of("lstm", None, None)
    with pytest.raises(UsageError, match="--arch or --recipe"):
        recipe_of(None, None, None)


def test_epochs_and_steps_replace_those_of_every_phase() -> None:
    found = recipe.shortened(recipe.read("ast-speech-to-face-repo", VoiceRecipe), 2, None)
    assert {(p.epochs, p.steps) for p in found.phases.values()} == {(2, 0)}
    assert {p.steps for p in recipe.shortened(found, None, 5).phases.values()} == {5}
