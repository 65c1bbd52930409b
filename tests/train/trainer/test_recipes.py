"""Recipes state what they change, can be overridden, and refuse what they do not know."""

from __future__ import annotations

import json
import tomllib
from collections.abc import Iterator
from pathlib import Path
from typing import get_args

import pytest
from click.testing import CliRunner
from pydantic import BaseModel
from pydantic.fields import FieldInfo

from vox2face.cli import main
from vox2face.core.errors import UsageError, Vox2FaceWarning
from vox2face.train.decoder.recipe import DecoderRecipe
from vox2face.train.trainer import recipe, run_folder
from vox2face.train.voice.recipe import ARCHITECTURES, VoiceRecipe, recipe_of
from vox2face.zoo import registry

VOICES = sorted(set(ARCHITECTURES.values()) | {"ve_conv-speech-to-face-repo", "demo-voice"})


@pytest.mark.parametrize("name", VOICES)
def test_every_recipe_is_complete_and_names_a_network_of_the_zoo(name: str) -> None:
    found = recipe.read(name, VoiceRecipe)
    entry = registry.entry(found.network.entry)
    assert (
        entry.kind == "voice-encoder"
        and entry.any_size
        and callable(registry.architecture(entry).build)
    )
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
    assert (paper.schedule.gamma, paper.schedule.step_size, paper.loop.batch_size) == (
        0.95,
        10_000,
        8,
    )
    repo = recipe.read("ve_conv-speech-to-face-repo", VoiceRecipe)
    assert (repo.loss.distance, repo.loss.distill_reduction) == ("whole-batch", "sum")
    ast = recipe.read("ast-speech-to-face-repo", VoiceRecipe)
    weights = ast.loss.distance_weight, ast.loss.distill_weight, ast.loss.decoder_weight
    assert weights == (30.0, 2.0, 50.0)
    assert [phase.trainable for phase in ast.phases.values()] == ["head", "all"]


def test_the_demo_voice_hears_other_recordings_through_a_small_frozen_encoder() -> None:
    found = recipe.read("demo-voice", VoiceRecipe)
    assert found.data.channel and found.data.encoded and found.data.copies and not found.data.fixed
    assert found.network.init_from == "ge2e.resemblyzer" and found.network.options["hidden"] <= 64
    assert [phase.trainable for phase in found.phases.values()] == ["head"]


def test_values_are_overridden_and_whole_numbers_count_as_numbers() -> None:
    found = recipe.read(
        "tiny-ge2e",
        VoiceRecipe,
        ["loop.batch_size=7", "phases.head.lr=1", "data.crop=random", "optimizer.betas=[0, 0.9]"],
    )
    assert (found.loop.batch_size, found.phases["head"].lr, found.data.crop) == (7, 1.0, "random")
    assert found.optimizer.betas == (0.0, 0.9)
    assert type(found.phases["head"].lr) is float


@pytest.mark.parametrize(
    ("override", "sentence"),
    [
        ("loop.bach_size=3", "no key 'loop.bach_size': did you mean loop.batch_size?"),
        ("lop.batch=3", "no key 'lop': did you mean loop?"),
        ("loop.batch_size=3.5", "loop.batch_size is 3.5: it must be a whole number"),
        ("loop.batch_size=true", "loop.batch_size is True: it must be a whole number"),
        ("loop.compile=1", "loop.compile is 1: it must be true or false"),
        ("phases.head.lr=fast", "phases.head.lr is 'fast': it must be a number"),
        ("phases.head.lr=nan", "phases.head.lr is nan: it must be a number"),
        ("optimizer.betas=0.9", "optimizer.betas is 0.9: it must be a list"),
        ("data=3", "data is 3: it must be a table"),
        (
            "loop.batch_size",
            "--set loop.batch_size is not KEY=VALUE: write --set loop.batch_size=16",
        ),
        ("=5", "--set =5 is not KEY=VALUE"),
        ("about.x.y=3", "--set about.x.y=3: about is a value, nothing is below it"),
        ("loop.batch_size=0", "loop.batch_size is 0: it must be at least 1"),
        ("loop.precision=int8", "loop.precision is 'int8': it must be one of no, bf16 or fp16"),
        ("loss.contrastive=triplet", "one of none, infonce or am-softmax"),
        ("schedule.shape=linear", "constant, decay or cosine"),
        ("optimizer.name=lion", "adam, adamw or sgd"),
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
    path.write_text(text.replace("save_every =", "safe_every ="))
    with pytest.raises(UsageError, match=r"'loop\.safe_every': did you mean loop\.save_every"):
        recipe.read(path, VoiceRecipe)
    path.write_text(text.replace("lr = 5e-5", ""))
    with pytest.raises(UsageError, match=r"lacks phases\.train\.lr: add it"):
        recipe.read(path, VoiceRecipe)
    path.write_text("no toml")
    with pytest.raises(UsageError, match="is not a TOML file"):
        recipe.read(path, VoiceRecipe)


@pytest.mark.parametrize(
    "override, words",
    [
        ("phases.train.lr=-1", r"phases\.train\.lr is -1: it must be at least 0"),
        ("loop.seed=-1", r"loop\.seed is -1: it must be at least 0"),
        ("optimizer.betas=[0.9, -0.1]", r"optimizer\.betas\.1 is -0\.1: it must be at least 0"),
        ("optimizer.betas=[0.9, 1.0]", r"optimizer\.betas\.1 is 1\.0: it must be below 1"),
        ("optimizer.betas=[0.9]", "it must be a list of 2 values"),
        ("loss.contrastive_temperature=0", "must be above 0"),
        (f"loop.seed={2**70}", "it must be at most"),
        ("loop.num_workers=5000", "it must be at most 256"),
        ("loop.batch_size=1", "infonce tells clips of a batch apart, give 2 or more"),
        ("loop.monitor=accuracy", r"use one of loss, rank, cosine, recall1, recall10"),
        ("schedule.min_lr_ratio=2", "it must be at most 1"),
        ("schedule.gamma=1.5", "it must be at most 1"),
        ("phases.train.lr=1e300", r"phases\.train\.lr is 1e\+300: it must be at most 1000"),
        ("data.seconds=1e308", r"data\.seconds is 1e\+308"),
        ("data.gain=1e308", r"data\.gain is 1e\+308"),
        ("network.options.hidden=0", r"network\.options\.hidden is 0: sizes are from 1"),
        ("network.options.width=9", "follows from the face encoder: leave it out"),
        ("loop.max_failures=5", "it must be at most 1"),
    ],
)
def test_numbers_that_cannot_be_meant_are_refused(override: str, words: str) -> None:
    with pytest.raises(UsageError, match=words):
        recipe.read("tiny-ast", VoiceRecipe, [override])


def test_a_recipe_without_any_loss_is_refused() -> None:
    with pytest.raises(UsageError, match="no loss to learn from: give one of these"):
        recipe.read("tiny-ast", VoiceRecipe, ["loss.mse_weight=0", "loss.contrastive=none"])
    with pytest.raises(UsageError, match=r"phases\.shape has no loss to learn from"):
        off = ["loss.landmarks_weight=0", "loss.texture_weight=0"]
        recipe.read("tiny-decoder", DecoderRecipe, off)


@pytest.mark.parametrize(
    ("name", "schema"), [("tiny-ast", DecoderRecipe), ("decoder-cole", VoiceRecipe)]
)
def test_a_recipe_of_the_other_kind_is_told_apart(name: str, schema: type) -> None:
    with pytest.raises(
        UsageError, match=f"{name} is a recipe for .*, which is a .* is to be trained"
    ):
        recipe.read(name, schema)


@pytest.mark.parametrize("name", ["../escaped", "bundle", "features", "", 'a"b', "zwölf"])
def test_a_phase_is_named_like_a_folder_of_its_own(name: str, tmp_path: Path) -> None:
    path = tmp_path / "own.toml"
    text = recipe.text_of("tiny-ast")
    path.write_text(text.replace("[phases.train]", f"[phases.{json.dumps(name)}]"))
    with pytest.raises(UsageError, match="is not a valid name for a phase: use letters, digits"):
        recipe.read(path, VoiceRecipe)


def test_keys_of_any_characters_are_written_so_that_they_read_back(tmp_path: Path) -> None:
    found = recipe.read("tiny-ast", VoiceRecipe)
    odd = {**found.network.options, "a b.c": 3, "in": {"x=": [1, 2]}}
    network = found.network.model_copy(update={"options": odd})
    found = found.model_copy(update={"network": network})
    recipe.write(found, tmp_path / "own.toml")
    assert recipe.read(tmp_path / "own.toml", VoiceRecipe) == found


def test_near_misses_of_names_are_answered_with_the_name() -> None:
    with pytest.raises(UsageError, match="Did you mean tiny-ge2e"):
        recipe.read("tiny-ge2", VoiceRecipe)


def test_the_recipe_follows_from_the_architecture_or_the_run(tmp_path: Path) -> None:
    assert recipe_of("tiny", None, None) == "tiny-ve_conv"
    assert recipe_of(None, "mine.toml", None) == "mine.toml"
    with pytest.raises(UsageError, match=r"stands for the recipe tiny-ve_conv, so leave one"):
        recipe_of("tiny", "mine.toml", None)
    with pytest.raises(UsageError, match="holds no run to go on with"):
        recipe_of("tiny-ast", None, tmp_path)
    asked = run_folder.RunSpec("voice", {}, recipe.read("tiny-ast", VoiceRecipe), 1, {})
    run_folder.begin(tmp_path, asked, False)
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
    with pytest.raises(UsageError, match="--epochs 2 and --steps 5 are both given"):
        recipe.shortened(found, 2, 5)


def test_a_file_states_only_what_it_changes(tmp_path: Path) -> None:
    path = tmp_path / "own.toml"
    path.write_text(
        '[network]\nentry = "ast.tiny"\n[loss]\nmse_weight = 1\n[phases.train]\nlr = 1e-3\n'
    )
    found = recipe.read(path, VoiceRecipe, ["loop.batch_size=4", "data.crop=start"])
    assert (found.loop.batch_size, found.loop.seed, found.data.crop) == (4, 0, "start")
    assert found.phases["train"].backbone_lr == found.phases["train"].lr == 1e-3
    assert found.optimizer.name == "adam" and found.loss.contrastive == "none"


def test_a_phase_is_not_made_by_an_override() -> None:
    with pytest.raises(UsageError, match="the recipe has no phase 'trian', but train"):
        recipe.read("tiny-ast", VoiceRecipe, ["phases.trian.lr=1"])


# A recipe as vox2face 0.2 wrote it, cut to what was renamed
OLD = """
about = "old"
[network]
entry = "ast.tiny"
start = ""
mean_bias = true
[loss]
value_weight = 1.0
ranking = "infonce"
ranking_weight = 0.05
ranking_temperature = 0.2
ranking_centred = true
[optimizer]
clip = 1.0
[schedule]
shape = "cosine"
decay = 0.5
every = 7
floor = 0.25
[loop]
batch = 8
accumulate = 2
workers = 1
monitor = "rank"
better = "lower"
[phases.train]
trains = "head"
epochs = 5
lr = 5e-5
body_lr = 6e-4
"""


def test_the_names_of_the_version_before_are_read_with_a_warning(tmp_path: Path) -> None:
    path = tmp_path / "old.toml"
    path.write_text(OLD)
    with pytest.warns(Vox2FaceWarning, match="which the next will refuse: start is init_from, "):
        found = recipe.read(path, VoiceRecipe)
    assert found.network.init_to_mean and found.optimizer.max_grad_norm == 1
    loss = found.loss
    assert (loss.mse_weight, loss.contrastive, loss.contrastive_weight) == (1, "infonce", 0.05)
    assert (loss.contrastive_temperature, loss.contrastive_centered) == (0.2, True)
    schedule, loop = found.schedule, found.loop
    assert (schedule.gamma, schedule.step_size, schedule.min_lr_ratio) == (0.5, 7, 0.25)
    assert (loop.batch_size, loop.grad_accum_steps, loop.num_workers) == (8, 2, 1)
    assert (found.phases["train"].trainable, found.phases["train"].backbone_lr) == ("head", 6e-4)
    (tmp_path / "recipe.toml").write_text(OLD)  # as a run that goes on has it: without a warning
    assert recipe.read(tmp_path / "recipe.toml", VoiceRecipe) == found


def test_an_override_may_have_the_name_of_the_version_before() -> None:
    with pytest.warns(Vox2FaceWarning, match="--set loop.batch=3 has names of an older version"):
        assert recipe.read("tiny-ast", VoiceRecipe, ["loop.batch=3"]).loop.batch_size == 3
    with pytest.warns(Vox2FaceWarning, match="body_lr is backbone_lr now"):
        found = recipe.read("tiny-ast", VoiceRecipe, ["phases.train.body_lr=0.5"])
    assert found.phases["train"].backbone_lr == 0.5


def fields(kind: type[BaseModel]) -> Iterator[tuple[str, FieldInfo]]:
    """Yield all fields of the tables of a recipe."""
    for name, field in kind.model_fields.items():
        inner = [t for t in (field.annotation, *get_args(field.annotation)) if isinstance(t, type)]
        tables = [t for t in inner if issubclass(t, BaseModel)]
        if not tables:
            yield f"{kind.__name__}.{name}", field
        for table in tables:
            yield from fields(table)


@pytest.mark.parametrize("kind", [VoiceRecipe, DecoderRecipe])
def test_every_value_of_a_recipe_has_a_line_of_help(kind: type[BaseModel]) -> None:
    lacking = [name for name, field in fields(kind) if not field.description]
    assert not lacking
    assert len(list(fields(kind))) > 40


def test_the_schema_takes_what_recipes_state_and_tells_what_they_may() -> None:
    result = CliRunner().invoke(main, ["train", "--schema"])
    assert result.exit_code == 0
    schema = json.loads(result.output)
    kinds = [entry["$ref"].rpartition("/")[2] for entry in schema["anyOf"]]
    assert kinds == ["VoiceRecipe", "DecoderRecipe"]
    batch_size = schema["$defs"]["Loop"]["properties"]["batch_size"]
    assert (batch_size["minimum"], batch_size["default"]) == (1, 32)
    assert "over all processes" in batch_size["description"]
    for name in recipe.names():
        table = tomllib.loads(recipe.text_of(name))
        kind = schema["$defs"]["VoiceRecipe" if name in VOICES else "DecoderRecipe"]
        assert kind["required"] == ["network", "loss", "phases"] and set(kind["required"]) <= {
            *table
        }
        assert {*table} <= {*kind["properties"]}
