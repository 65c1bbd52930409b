"""Decoders learn the normalised picture of a person from the embedding of a photograph."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from helpers.decoder_training import PEOPLE, PICTURES, WIDTH, Corpus, settings

import vox2face as package
from vox2face.core.errors import UsageError
from vox2face.train.datasets.face import FaceDecoderDataset
from vox2face.train.datasets.loader import collate
from vox2face.train.decoder.blends import Blends, within
from vox2face.train.decoder.critic import Critic
from vox2face.train.decoder.loss import features_mae, laplacian, texture_mae
from vox2face.train.decoder.morphs import Targets
from vox2face.train.decoder.network import build, init_to_data, mean_shape
from vox2face.train.decoder.recipe import DecoderRecipe
from vox2face.train.decoder.task import DecoderTask, FrozenFaceEncoder, face_weights
from vox2face.train.decoder.train import train_decoder
from vox2face.train.decoder.validation import unlearnt
from vox2face.train.figures import curves
from vox2face.train.trainer import checkpoint, recipe


@pytest.fixture(autouse=True)
def undrawn(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(curves, "draw", lambda rows, path: None)
    torch.set_num_threads(1)


def chosen(*more: str) -> DecoderRecipe:
    return settings('loss.features=["conv"]', "loss.judged=2", *more, name="tiny-normalized")


def items(corpus: Corpus) -> FaceDecoderDataset:
    return FaceDecoderDataset(corpus.manifest, corpus, "train", textures=False)  # type: ignore[arg-type]


def test_an_item_has_a_photographs_embedding_and_the_normalised_picture() -> None:
    corpus = Corpus(normalized=True)
    data = items(corpus)
    assert len(data) == 8  # of ten people eight are to train on, each with one photograph
    for item in (data[i] for i in range(len(data))):
        photo = int(item["row"])
        assert photo % PICTURES == 0
        np.testing.assert_array_equal(item["embedding"], corpus.faces()[photo])
        np.testing.assert_array_equal(item["wanted"], corpus.faces()[photo + 1])
        np.testing.assert_array_equal(item["landmarks"], corpus.landmarks[photo + 1])
        shown = item["picture"].permute(1, 2, 0)
        np.testing.assert_array_equal(shown, corpus.picture(photo + 1))
    del corpus.rows[1]  # the normalised picture of the first person was not prepared
    assert len(items(corpus)) == 7 and 0 not in items(corpus).groups.pictures


def test_embeddings_are_blended_between_pictures_of_a_person() -> None:
    corpus = Corpus()
    data = items(corpus)
    calm, shaken = Blends(data, 0.0, 3), Blends(data, 0.5, 3)
    assert within(data) > 0
    for i in (0, 5):
        item, first = calm[i], data[i]
        own = [corpus.faces()[int(row)] for row in data.groups.pictures_of(int(first["identity"]))]
        low, high = np.minimum(*own), np.maximum(*own)
        blended = item["embedding"].numpy()
        assert (blended >= low - 1e-5).all() and (blended <= high + 1e-5).all()
        assert torch.equal(calm[i]["embedding"], item["embedding"])
        assert not torch.equal(shaken[i]["embedding"], item["embedding"])
    before = torch.stack([calm[i]["embedding"] for i in range(len(data))])
    calm.set_epoch(1)
    assert not torch.equal(torch.stack([calm[i]["embedding"] for i in range(len(data))]), before)


def test_features_that_there_are_not_are_found_before_the_first_step(tmp_path: Path) -> None:
    corpus = Corpus(normalized=True)
    found = chosen('loss.features=["conv", "foo"]')
    with pytest.raises(UsageError, match="names 'foo', which the face encoder has not: use some"):
        train_decoder(corpus.manifest, corpus, found, tmp_path / "run")  # type: ignore[arg-type]
    assert not (tmp_path / "run").exists()
    with pytest.raises(
        UsageError, match=r"loss\.features_weight is set and loss\.features names no"
    ):
        chosen("loss.features=[]")


@pytest.mark.long
def test_a_run_of_both_stages_is_a_bundle_and_resumes_bit_for_bit(tmp_path: Path) -> None:
    corpus = Corpus(normalized=True)
    found = chosen("phases.shape.steps=4", "phases.detail.steps=4")

    def trained(name: str, **more: Any) -> Path | None:
        more = {"log": lambda line: None, **more}
        return train_decoder(corpus.manifest, corpus, found, tmp_path / name, **more)  # type: ignore[arg-type]

    bundle = trained("whole")
    assert bundle is not None
    decoder = package.load(bundle)
    assert decoder.entry.name == "face_decoder.small" and not decoder.warps
    assert decoder(corpus.faces()[0][None])[0].image.shape == (3, 224, 224)
    shape, detail = (
        checkpoint.read(tmp_path / "whole" / name / checkpoint.BEST)[0]
        for name in ("shape", "detail")
    )
    key = "model/network/last.weight"
    mixed = torch.lerp(shape[key], detail[key], 0.75)
    torch.testing.assert_close(decoder.module.last.weight.data, mixed)
    trained("cut", minutes=0.0)
    trained("cut", resume=True)
    for phase in ("shape", "detail"):
        a, b = (
            checkpoint.read(tmp_path / n / phase / checkpoint.LAST)[0] for n in ("whole", "cut")
        )
        assert a.keys() == b.keys() and all(torch.equal(a[k], b[k]) for k in a)
        assert any("critic" in name for name in a) == (phase == "detail")


def test_the_critic_and_the_decoder_learn_from_their_own_losses() -> None:
    corpus = Corpus(normalized=True)
    found = chosen()
    network = build(found.network, WIDTH, 0)
    data = items(corpus)
    init_to_data(network, data, found.network)
    judge = FrozenFaceEncoder(corpus.encoder())
    task = DecoderTask(network, found.loss, judge, True, 1e-3, mean_shape(data))
    source = Targets(data)
    parts = task(collate([source[i] for i in range(4)]))
    assert {"critic", "adversarial", "laplacian", "ssim", "embedding"} <= parts.keys()
    parts["critic"].backward(retain_graph=True)
    assert all(p.grad is None for p in network.parameters())
    assert all(p.grad is not None for p in task.critic.parameters())  # type: ignore[union-attr]
    task.zero_grad()
    parts["adversarial"].backward()
    assert all(p.grad is None for p in task.critic.parameters())  # type: ignore[union-attr]
    assert network.last.weight.grad.abs().sum() > 0  # type: ignore[union-attr]
    assert [group.get("lr") for group in task.groups()] == [None, 1e-3]
    with pytest.raises(UsageError, match="exclude each other"):
        chosen("data.morph=0.5")


def test_losses_are_zero_for_equal_pictures_and_weigh_the_face() -> None:
    pictures = torch.rand(2, 3, 64, 64)
    assert laplacian(pictures, pictures) == 0
    blurred = torch.nn.functional.avg_pool2d(pictures, 3, 1, 1)
    assert laplacian(blurred, pictures) > laplacian(0.9 * blurred + 0.1 * pictures, pictures)
    assert features_mae({"a": 1.1 * pictures}, {"a": pictures}) == pytest.approx(0.1, abs=1e-5)
    weights = face_weights(torch.full((68, 2), 20.0), 3.0)
    assert weights.mean() == pytest.approx(1) and weights[20, 20] == weights.max()
    assert weights[20, 20] / weights[200, 200] == pytest.approx(4, rel=1e-3)
    ones = torch.ones(1, 3, 224, 224)
    assert texture_mae(ones, 0 * ones, weights) == pytest.approx(1)
    assert Critic()(ones).shape == (1, 1, 28, 28)


def test_what_is_found_no_better_than_by_chance_is_told() -> None:
    assert "find 6%, and chance is 5%" in unlearnt(0.06, 60, 215)
    assert "chance is 50%" in unlearnt(0.6, 60, 20)
    assert not unlearnt(0.98, 60, 20) and not unlearnt(0.2, 60, 215)
    assert "only 8 people" in unlearnt(1.0, 4, 8)


def test_recipes_of_normalised_faces_are_complete() -> None:
    for name in ("decoder-normalized", "tiny-normalized"):
        found = recipe.read(name, DecoderRecipe)
        assert found.network.entry == "face_decoder.small" and found.data.blend
        assert [bool(phase.critic_lr) for phase in found.phases.values()] == [False, True]
    assert PEOPLE > WIDTH
