"""While a voice encoder is trained, its evaluation says what it measures and what it could not."""

from __future__ import annotations

import json
import os
import socket
from pathlib import Path
from typing import Any

import pytest
import torch
from helpers.toy_training import forked
from helpers.voice_training import CLIPS, WIDTH, Corpus, settings

from vox2face.core.errors import CorpusError
from vox2face.train.figures import curves
from vox2face.train.trainer import history, loop
from vox2face.train.voice import network as voice_network
from vox2face.train.voice.data import Voices
from vox2face.train.voice.loss import VoiceLosses
from vox2face.train.voice.recipe import VoiceRecipe
from vox2face.train.voice.task import VoiceTask
from vox2face.train.voice.train import train_voice
from vox2face.train.voice.validation import Validation
from vox2face.zoo import registry

PEOPLE = 2  # of the split val, the fifth and the tenth of the corpus
FIRST = 4 * 5  # row of the first clip of the first of them


@pytest.fixture(autouse=True)
def one_thread() -> None:
    torch.set_num_threads(1)


def validation_clips(corpus: Corpus, chosen: VoiceRecipe) -> Any:
    preset = registry.entry(chosen.network.entry).preprocess
    return Voices(corpus.manifest, corpus, chosen.data, preset, 0).items("val", "all-to-one")  # type: ignore[arg-type]


def validation(
    corpus: Corpus, chosen: VoiceRecipe, classifier: torch.nn.Module | None = None, **more: Any
) -> Validation:
    preset = registry.entry(chosen.network.entry).preprocess
    clips = validation_clips(corpus, chosen)
    network = voice_network.build(chosen.network, WIDTH, 0)
    losses = VoiceLosses(chosen.loss, WIDTH, 8, classifier, center=torch.zeros(WIDTH))
    task = VoiceTask(network, preset, losses, chosen.phases["train"]).eval()
    return Validation(task, clips, 0, 0, **more)


@torch.no_grad()
def measured(found: Validation, chosen: VoiceRecipe) -> dict[str, float]:
    return dict(found(loop.create_accelerator(), 1))


def test_clips_that_cannot_be_read_are_kept_with_their_reasons() -> None:
    chosen, corpus = settings(), Corpus(broken=(FIRST + 1,))
    found = validation(corpus, chosen)
    assert found.failed == {}
    values = measured(found, chosen)
    assert found.failed.keys() == {1} and f"clip {FIRST + 1} is broken" in found.failed[1]
    assert values.keys() == measured(validation(Corpus(), chosen), chosen).keys()


def test_failures_add_up_over_evaluations() -> None:
    chosen, corpus = settings(), Corpus()
    found = validation(corpus, chosen)
    for broken, known in [((FIRST + 2,), [2]), ((), [2]), ((FIRST, FIRST + 2), [0, 2])]:
        corpus.broken = broken
        measured(found, chosen)
        assert list(found.failed) == known


def test_where_no_clip_can_be_read_a_reason_is_told_before_and_while_training() -> None:
    chosen, corpus = settings(), Corpus(broken=tuple(range(50)))
    with pytest.raises(CorpusError, match=r"^Nothing of the split 'val' can be read.* is broken"):
        validation(corpus, chosen)
    found = validation(Corpus(), chosen)
    found.items = validation_clips(corpus, chosen)
    with pytest.raises(CorpusError, match=f"split 'val'.*clip {FIRST} is broken"):
        measured(found, chosen)
    assert len(found.failed) == PEOPLE * CLIPS


def test_too_many_unreadable_clips_end_the_evaluation() -> None:
    chosen, corpus = settings(), Corpus(broken=(FIRST + 1,))
    measured(validation(corpus, chosen, most=0.2), chosen)
    with pytest.raises(CorpusError, match=f"1 of {PEOPLE * CLIPS} items cannot be read, more than"):
        measured(validation(corpus, chosen, most=0.1), chosen)


def measure_into(path: Path) -> None:
    torch.set_num_threads(1)
    chosen = settings()
    found = validation(Corpus(broken=(FIRST + 1, FIRST + 2)), chosen)
    values = measured(found, chosen)
    path.write_text(json.dumps([values, sorted(found.failed.items())]))


def test_two_processes_measure_and_miss_what_one_does(tmp_path: Path) -> None:
    import accelerate.utils  # noqa: F401  (loaded once, before the forks)

    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = str(free.getsockname()[1])
    both = {"WORLD_SIZE": "2", "MASTER_ADDR": "127.0.0.1", "MASTER_PORT": port}
    pids = [
        forked(lambda: measure_into(tmp_path / os.environ["RANK"]), RANK=n, LOCAL_RANK=n, **both)
        for n in "01"
    ]
    pids.append(forked(lambda: measure_into(tmp_path / "alone")))
    assert [os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1]) for pid in pids] == [0, 0, 0]
    (values, failed), *others = (json.loads((tmp_path / n).read_text()) for n in ("alone", *"01"))
    assert [index for index, _ in failed] == [1, 2]
    for found, missed in others:
        assert missed == failed
        assert found == pytest.approx(values, rel=1e-5)


def test_the_loss_has_the_parts_of_training_but_the_ranking() -> None:
    chosen = settings("tiny-ve_conv", "loss.mse_weight=0.5", "loss.distance_weight=2")
    values = measured(validation(Corpus(), chosen), chosen)
    assert values["loss"] == pytest.approx(values["value"] + values["distance"])
    assert values["distance"] > 0 and "infonce" not in values


def test_a_recipe_that_only_ranks_has_no_loss_to_watch() -> None:
    chosen = settings("tiny-ve_conv", "loss.mse_weight=0", "loss.distance_weight=0")
    values = measured(validation(Corpus(), chosen), chosen)
    assert "loss" not in values and "rank" in values


def test_parts_that_are_sums_are_taken_over_batches_as_large_as_in_training() -> None:
    chosen = settings("tiny-ve_conv", "loss.distill_weight=1", "loss.distill_reduction=sum")
    torch.manual_seed(0)
    classifier = torch.nn.Linear(WIDTH, 7).requires_grad_(False)
    predicted, target = torch.randn(6, WIDTH), torch.randn(6, WIDTH)
    found = validation(Corpus(), chosen, classifier, batch=2)
    parts = found.losses(predicted, target, torch.device("cpu"))
    each = [
        found.task.losses.regression(predicted[i : i + 2], target[i : i + 2]) for i in (0, 2, 4)
    ]
    for name in ("value", "distill"):
        assert parts[name] == pytest.approx(sum(float(part[name]) for part in each) / 3)


@pytest.mark.parametrize(
    "ranking, told", [("infonce", "; val_loss is without infonce."), ("none", ".")]
)
def test_it_is_said_among_how_many_faces_recall_is(ranking: str, told: str) -> None:
    chosen = settings("tiny-ve_conv", f"loss.contrastive={ranking}")
    found = validation(Corpus(), chosen)
    assert found.about == (
        f"Evaluation: {PEOPLE * CLIPS} clips of the split 'val'; val_rank and val_recall are among "
        f"the mean faces of its {PEOPLE} people{told}"
    )
    assert measured(found, chosen)["pool"] == PEOPLE


@pytest.mark.long
def test_a_run_has_its_pool_and_the_evaluated_parts_in_its_history(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(curves, "draw", lambda rows, path: None)
    chosen, corpus = settings("tiny-ve_conv", "phases.train.steps=2"), Corpus()
    train_voice(corpus.manifest, corpus, chosen, tmp_path / "run", log=lambda line: None)  # type: ignore[arg-type]
    rows = history.read(tmp_path / "run" / "train" / history.FILE)
    (row,) = (row for row in rows if "val_loss" in row)
    assert row["val_pool"] == PEOPLE and row["val_value"] == row["val_loss"]
