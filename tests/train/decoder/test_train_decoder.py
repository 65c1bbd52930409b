"""Face decoders learn faces from embeddings, through the warp and a frozen face encoder."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from click.testing import CliRunner
from helpers.decoder_training import SPACE, WIDTH, Corpus, settings, task_of
from helpers.twins import random_module
from PIL import Image

import vox2face as package
from vox2face.cli import main
from vox2face.core.entry import Space
from vox2face.core.errors import CorpusError, UsageError
from vox2face.media.decoded_face import made_by
from vox2face.store import bundle as bundles
from vox2face.train.datasets.face import FaceDecoderDataset
from vox2face.train.datasets.loader import collate
from vox2face.train.decoder import morphs as decoder_data
from vox2face.train.decoder.morphs import Morphs, features, nearest
from vox2face.train.decoder.network import build, init_to_data
from vox2face.train.decoder.recipe import DecoderRecipe, Network, recipe_of
from vox2face.train.decoder.train import train_decoder
from vox2face.train.figures import curves
from vox2face.train.trainer import checkpoint, recipe, run_folder
from vox2face.zoo.networks.warp import ORDER_72
from vox2face.zoo.networks.warp_tail import FaceTail

RECIPES = ("decoder-cole", "decoder-speech-to-face-repo", "tiny-decoder")


@pytest.fixture(autouse=True)
def undrawn(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(curves, "draw", lambda rows, path: None)
    torch.set_num_threads(1)


def trained(folder: Path, chosen: DecoderRecipe, corpus: Any = None, **more: Any) -> Any:
    corpus = corpus or Corpus()
    more.setdefault("log", lambda line: None)
    return train_decoder(corpus.manifest, corpus, chosen, folder, **more)


def batch_of(corpus: Any, count: int = 4) -> dict[str, Any]:
    items = FaceDecoderDataset(corpus.manifest, corpus, "train", pictures=False)
    return collate([items[i] for i in range(count)])


def bits(path: Path) -> dict[str, torch.Tensor]:
    return checkpoint.read(path / checkpoint.LAST)[0]


def test_a_finished_run_is_a_bundle_that_load_takes(tmp_path: Path) -> None:
    said: list[str] = []
    bundle = trained(tmp_path / "run", settings("phases.shape.epochs=1", "phases.identity.steps=3"),
                     log=said.append)  # fmt: skip
    decoder = package.load(bundle)
    assert decoder.entry.name == "face_decoder.tiny" and decoder.warps and decoder.width == WIDTH
    assert decoder.preset == "dlib"
    np.testing.assert_array_equal(decoder.tail.warp.mean_landmarks, Corpus().mean_landmarks)
    face = decoder(Corpus().faces()[0])[0]
    assert face.image.shape == (3, 224, 224) and face.landmarks.shape == (68, 2)
    facts = decoder.bundle.config["source"]["training"]
    assert facts["recipe"]["network"]["entry"] == "face_decoder.tiny"
    assert facts["face_encoder"] == "toy" and facts["identity"]["steps"] == 3
    assert any("val_recall10" in line and "val_landmark_pixels" in line for line in said)


def test_every_evaluation_leaves_a_grid_that_says_it_is_synthetic(tmp_path: Path) -> None:
    trained(tmp_path / "run", settings("phases.shape.steps=4", "phases.identity.steps=2"))
    folder = tmp_path / "run" / "grids"
    found = sorted(str(path.relative_to(folder)) for path in folder.rglob("*.png"))
    assert found == ["identity/step-000002.png", "shape/step-000004.png"]
    path = folder / found[0]
    assert made_by(path) == {"step": "2"}
    page = np.asarray(Image.open(path).convert("RGB"))
    assert page.shape[1] > 2 * 144 and page.std() > 10


def test_the_embedding_loss_alone_changes_the_decoder_and_nothing_that_is_frozen() -> None:
    corpus = Corpus()
    chosen = settings(
        "loss.landmarks_weight=0", "loss.texture_weight=0", "phases.shape.embedding=true"
    )
    task = task_of(chosen, corpus).train()
    before = {k: v.clone() for k, v in task.judge.state_dict().items()}
    losses = task(batch_of(corpus))
    assert losses.keys() == {"embedding"}
    losses["embedding"].backward()
    for name in ("landmark_layers", "texture_layers", "pre_layers"):
        for key, value in task.network.get_submodule(name).named_parameters():
            assert value.grad is not None and value.grad.abs().sum() > 0, (name, key)
    assert all(p.grad is None and not p.requires_grad for p in task.judge.parameters())
    assert all(torch.equal(before[k], v) for k, v in task.judge.state_dict().items())


def test_the_embedding_loss_is_what_the_decoded_picture_gives() -> None:
    corpus = Corpus()
    task, batch = task_of(settings(), corpus).eval(), batch_of(corpus)
    with torch.no_grad():
        loss = float(task(batch)["embedding"]) / task.loss.embedding_weight
        picture = FaceTail(task.network.mean_landmarks)(*task.network(batch["embedding"]))[0]
        found = task.judge(picture)
    cosine = torch.nn.functional.cosine_similarity(found, batch["embedding"]).mean()
    assert loss == pytest.approx(1 - float(cosine), abs=2e-3)


def test_a_phase_without_the_embedding_loss_has_the_other_parts() -> None:
    corpus = Corpus()
    found = task_of(settings(), corpus, embedding=False)(batch_of(corpus))
    assert found.keys() == {"landmarks", "texture"}


@pytest.mark.long
def test_decoding_is_learnt() -> None:
    corpus = Corpus()
    task, batch = task_of(settings(), corpus).train(), batch_of(corpus, 8)
    optimizer = torch.optim.Adam(task.network.parameters(), 5e-3)
    course = []
    for _ in range(40):
        losses = task(batch)
        optimizer.zero_grad()
        torch.stack(list(losses.values())).sum().backward()
        optimizer.step()
        course.append({name: float(value.detach()) for name, value in losses.items()})
    for name in ("landmarks", "texture", "embedding"):
        assert course[-1][name] < 0.8 * course[0][name], name


def test_a_decoder_starts_at_the_mean_landmarks_and_colour() -> None:
    corpus = Corpus()
    for name, order in (("tiny-decoder", range(68)), ("decoder-speech-to-face-repo", ORDER_72)):
        chosen = settings("network.init_to_mean=true", name=name)
        network = build(chosen.network, WIDTH, 0)
        init_to_data(network, FaceDecoderDataset(corpus.manifest, corpus, "train"), chosen.network)
        bias = network.landmark_layers[-1][0].bias.detach().reshape(-1, 2)
        np.testing.assert_array_equal(bias, corpus.mean_landmarks[list(order)])
        colour = network.texture_layers[-1][1](network.texture_layers[-1][0].bias.detach())
        assert 0.3 < float(colour.mean()) < 0.6


def test_a_decoder_without_a_warp_learns_the_picture_itself(tmp_path: Path) -> None:
    class Seen(Corpus):
        pictures = 0

        def picture(self, row: int) -> np.ndarray:
            self.pictures += 1
            return super().picture(row)

    corpus, chosen = Seen(), settings(name="decoder-speech-to-face-repo")
    chosen = recipe.shortened(chosen, None, 2)
    decoder = package.load(trained(tmp_path / "run", chosen, corpus))
    assert not decoder.warps and decoder.entry.name == "face_decoder.speech-to-face"
    assert corpus.pictures >= 8
    with pytest.raises(UsageError, match="does not warp, so faces cannot be morphed"):
        morphing = chosen.model_copy(update={"data": chosen.data.model_copy(update={"morph": 0.5})})
        trained(tmp_path / "other", morphing, corpus)


def test_neighbours_are_the_nearest_in_landmarks_and_texture() -> None:
    corpus: Any = Corpus()
    rows = np.arange(0, 20, 2)
    table = [features(corpus, int(row)) for row in rows]
    found = nearest(corpus, rows, 3)
    for i, (shape, colour) in enumerate(table):
        apart = [
            10 * np.sqrt(np.mean((shape - s) ** 2)) + np.sqrt(np.mean((colour - c) ** 2))
            for s, c in table
        ]
        assert set(found[i]) == set(np.argsort(apart)[1:4]) and i not in found[i]
    with pytest.raises(CorpusError, match="too few for 10 neighbours"):
        nearest(corpus, rows, 10)


def test_neighbours_are_looked_for_among_some_pictures_only(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(decoder_data, "CANDIDATES", 5)
    corpus: Any = Corpus()
    found = nearest(corpus, np.arange(20), 2)
    assert set(found.ravel()) <= {0, 5, 9, 10, 14, 19}


def test_morphs_lie_between_two_pictures_and_follow_from_the_seed() -> None:
    corpus: Any = Corpus()
    items = FaceDecoderDataset(corpus.manifest, corpus, "train", pictures=False)
    morphs = Morphs(items, 1.0, 3, seed=1)
    item, own = morphs[2], items[2]
    others = [items[int(i)] for i in morphs.near[2]]
    assert bool(item["morphed"]) and not item["embedding"].any()
    fits = []
    for other in others:
        line = (other["landmarks"] - own["landmarks"]).flatten()
        weight = float((item["landmarks"] - own["landmarks"]).flatten() @ line / (line @ line))
        texture = torch.lerp(own["texture"].float(), other["texture"].float(), weight)
        mixed = torch.lerp(own["landmarks"], other["landmarks"], weight)
        fits.append(
            0 <= weight <= 1
            and torch.allclose(mixed, item["landmarks"], atol=1e-3)
            and (texture - item["texture"].float()).abs().max() <= 0.6
        )
    assert sum(fits) == 1
    assert torch.equal(morphs[2]["texture"], item["texture"])
    morphs.set_epoch(1)
    assert not torch.equal(morphs[2]["texture"], item["texture"])
    kept = Morphs(items, 0.0, 3, seed=1)[2]
    assert torch.equal(kept["embedding"], own["embedding"]) and not kept["morphed"]


def test_the_embeddings_of_morphs_are_those_of_their_pictures() -> None:
    corpus: Any = Corpus()
    items = FaceDecoderDataset(corpus.manifest, corpus, "train", pictures=False)
    morphs = Morphs(items, 0.5, 3, seed=0)
    batch = collate([morphs[i] for i in range(8)])
    assert 0 < int(batch["morphed"].sum()) < 8
    task = task_of(settings(), corpus)
    texture = batch["texture"].float() / 255
    found = task.embeddings(batch, texture, batch["landmarks"])
    kept = ~batch["morphed"]
    assert torch.equal(found[kept], batch["embedding"][kept])
    exact = FaceTail(task.network.mean_landmarks)
    new = batch["morphed"]
    picture = exact(batch["landmarks"][new].flatten(1), texture[new])[0]
    with torch.no_grad():
        want = task.judge(picture)
    torch.testing.assert_close(found[new], want, atol=5e-3, rtol=5e-3)
    assert not batch["embedding"][new].any() and found[new].abs().sum() > 0


@pytest.mark.long
def test_a_run_that_was_stopped_ends_with_the_same_weights(tmp_path: Path) -> None:
    chosen = settings("phases.shape.epochs=2", "phases.identity.epochs=1", "data.morph=0.5",
                      "data.neighbours=3")  # fmt: skip
    trained(tmp_path / "whole", chosen)
    assert trained(tmp_path / "cut", chosen, minutes=0.0) is not None  # a bundle of what there is
    with pytest.raises(UsageError, match="holds a run already"):
        trained(tmp_path / "cut", chosen)
    trained(tmp_path / "cut", chosen, resume=True)
    for phase in ("shape", "identity"):
        a, b = bits(tmp_path / "whole" / phase), bits(tmp_path / "cut" / phase)
        assert a.keys() == b.keys() and all(torch.equal(a[k], b[k]) for k in a)


def test_without_a_validation_split_the_last_weights_become_the_bundle(tmp_path: Path) -> None:
    said: list[str] = []
    chosen = recipe.shortened(settings(), None, 1)
    bundle = trained(tmp_path / "run", chosen, Corpus(splits=False), log=said.append)
    assert package.load(bundle).width == WIDTH
    assert said[0].startswith("Nothing is evaluated; the bundle")


def test_what_cannot_be_trained_is_refused_in_one_sentence(tmp_path: Path) -> None:
    def network(entry: str = "face_decoder.tiny", begin: str = "", **options: Any) -> Network:
        return Network(entry=entry, init_from=begin, init_to_mean=True, options=options)

    with pytest.raises(UsageError, match="is not a face decoder"):
        build(network("ve_conv.tiny"), WIDTH, 0)
    with pytest.raises(UsageError, match=r"do not fit face_decoder\.tiny"):
        build(network(widht=3), WIDTH, 0)
    first = trained(tmp_path / "run", recipe.shortened(settings(), None, 1))
    again = build(network(begin=str(first)), WIDTH, 1)
    assert torch.equal(again.mean_landmarks, torch.from_numpy(Corpus().mean_landmarks))
    with pytest.raises(UsageError, match="for embeddings of 7 values"):
        build(network(begin=str(first)), 7, 0)
    with pytest.raises(UsageError, match=r"decodes 3 landmarks and a texture \(3, 224, 224\), not"):
        build(network(points=3), WIDTH, 0)
    voice = package.save("ve_conv.tiny", random_module("ve_conv.tiny"), tmp_path / "voice")
    with pytest.raises(UsageError, match=r"is not a face_decoder\.tiny: name a decoder"):
        build(network(begin=str(voice)), WIDTH, 0)
    with pytest.raises(UsageError, match=r"data\.morph is 2: it must be at most 1"):
        settings("data.morph=2")


def test_the_bundle_has_the_space_of_the_corpus_and_other_voices_are_refused(
    tmp_path: Path,
) -> None:
    module = random_module("ast.tiny", width=WIDTH)
    other = Space("vggface.rcmalli", "dlib")
    voice = str(package.save("ast.tiny", module, tmp_path / "voice", space=other))
    chosen = recipe.shortened(settings(), None, 1)
    with pytest.raises(UsageError, match=r"of vggface\.rcmalli with .*, and the decoder was made"):
        trained(tmp_path / "no", chosen, voice=voice)
    assert bundles.read(trained(tmp_path / "run", chosen)).space == SPACE


def test_a_decoder_ends_as_the_weights_it_starts_from(tmp_path: Path) -> None:
    name = "face_decoder.speech-to-face"
    module = random_module(name, output_activation="linear", width=WIDTH)
    begin = package.save(name, module, tmp_path / "linear")
    assert build(Network(entry=name, init_from=str(begin)), WIDTH, 0).output_activation == "linear"
    assert build(Network(entry=name), WIDTH, 0).output_activation == "sigmoid"
    with pytest.raises(UsageError, match="output_activation is 'tanh', not one of linear, relu"):
        build(Network(entry=name, options={"output_activation": "tanh"}), WIDTH, 0)


def test_a_run_that_began_without_a_sigmoid_is_not_gone_on_with(tmp_path: Path) -> None:
    chosen = recipe.shortened(settings(name="decoder-speech-to-face-repo"), None, 1)
    trained(tmp_path / "run", chosen)
    record = tmp_path / "run" / "run.json"
    began = json.loads(record.read_text())
    assert began.pop("output_activation") == "sigmoid"
    record.write_text(json.dumps(began))
    with pytest.raises(UsageError, match=r"was begun by vox2face 0\.1\.0, whose network lacked"):
        trained(tmp_path / "run", chosen, resume=True)
    record.write_text(json.dumps({**began, "output_activation": "linear"}))
    with pytest.raises(UsageError, match=r"output activation linear, and .* sigmoid now"):
        trained(tmp_path / "run", chosen, resume=True)


@pytest.mark.parametrize("name", RECIPES)
def test_every_recipe_is_complete_and_can_be_shown(name: str, tmp_path: Path) -> None:
    found = recipe.read(name, DecoderRecipe)
    assert name in recipe.names() and "face_decoder" in found.network.entry
    shown = CliRunner().invoke(main, ["train", "decoder", "--recipe", name, "--show"])
    assert shown.exit_code == 0
    (tmp_path / "mine.toml").write_text(shown.output)
    assert recipe.read(tmp_path / "mine.toml", DecoderRecipe) == found
    run_folder.begin(tmp_path / "run", run_folder.RunSpec("decoder", {}, found, 1, {}), False)
    assert recipe.read(recipe_of(None, tmp_path / "run"), DecoderRecipe) == found
    assert recipe_of(None, None) == "decoder-cole" and recipe_of("mine.toml", None) == "mine.toml"


def test_the_command_asks_for_what_it_needs() -> None:
    missing = CliRunner().invoke(main, ["train", "decoder"])
    assert missing.exit_code == 2 and "--prepared DIR and --out RUN" in missing.output
    wrong = CliRunner().invoke(main, ["train", "decoder", "--show", "--set", "loss.texture=1"])
    assert wrong.exit_code == 2 and "did you mean loss.texture_weight" in wrong.output
