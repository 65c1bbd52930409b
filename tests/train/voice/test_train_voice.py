"""Voice encoders learn faces from voices, in phases, and end as bundles of the zoo."""

from __future__ import annotations

import csv
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from helpers.twins import SMALL, random_module
from helpers.voice_training import CLIPS, PEOPLE, SPACE, WIDTH, Corpus, Faces, settings
from PIL import Image

import vox2face as package
from vox2face.core.entry import Space
from vox2face.core.errors import CorpusError, UsageError
from vox2face.store import bundle as bundles
from vox2face.train.corpus import manifest
from vox2face.train.figures import curves
from vox2face.train.trainer import checkpoint, recipe, run
from vox2face.train.voice import features as voice_data
from vox2face.train.voice import network as voice_network
from vox2face.train.voice.data import augmented
from vox2face.train.voice.loss import VoiceLosses
from vox2face.train.voice.recipe import Loss, Network, VoiceRecipe
from vox2face.train.voice.task import VoiceTask
from vox2face.train.voice.train import train_voice
from vox2face.zoo import registry

Make = Callable[..., Path]


@pytest.fixture(autouse=True)
def undrawn(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(curves, "draw", lambda rows, path: None)
    torch.set_num_threads(1)


def trained(folder: Path, chosen: VoiceRecipe, corpus: Corpus | None = None, **more: Any) -> Any:
    corpus = corpus or Corpus()
    more.setdefault("log", lambda line: None)
    return train_voice(corpus.manifest, corpus, chosen, folder, **more)  # type: ignore[arg-type]


def bits(path: Path) -> dict[str, torch.Tensor]:
    return checkpoint.read(path / checkpoint.LAST)[0]


def equal(a: dict[str, torch.Tensor], b: dict[str, torch.Tensor]) -> bool:
    return a.keys() == b.keys() and all(torch.equal(a[k], b[k]) for k in a)


@pytest.mark.long
def test_a_finished_run_is_a_bundle_that_load_takes(tmp_path: Path) -> None:
    said: list[str] = []
    bundle = trained(tmp_path / "run", settings("tiny-ve_conv", "phases.train.epochs=2"),
                     log=said.append)  # fmt: skip
    loaded = package.load(bundle)
    assert loaded.entry.name == "ve_conv.tiny" and loaded.width == WIDTH
    wave = Corpus().waveform(0)
    assert loaded(wave, rate=16_000).shape == (1, WIDTH)
    facts = loaded.bundle.config["source"]["training"]
    assert facts["recipe"]["network"]["entry"] == "ve_conv.tiny"
    assert facts["face_encoder"] == "toy" and facts["train"]["steps"] == 2 * (8 * CLIPS // 8)
    assert {p.name for p in (tmp_path / "run").iterdir()} == {
        ".lock",
        "recipe.toml",
        "run.json",
        "train",
        "bundle",
    }
    assert any("val_recall10" in line for line in said)


@pytest.mark.long
def test_voices_that_tell_the_face_are_learnt(tmp_path: Path) -> None:
    chosen = settings(
        "tiny-ve_conv", "phases.train.epochs=12", "phases.train.lr=1e-2", "loop.patience=0",
        "phases.train.backbone_lr=1e-2", "schedule.shape=constant", "schedule.warmup=0",
        "loop.evaluate_every=12",
    )  # fmt: skip
    trained(tmp_path / "run", chosen)
    with (tmp_path / "run" / "train" / "history.csv").open() as file:
        losses = [float(row["value"]) for row in csv.DictReader(file) if row["value"]]
    assert np.mean(losses[-3:]) < 0.6 * np.mean(losses[:3])


@pytest.mark.long
def test_a_frozen_encoder_is_run_once_and_gives_what_it_gives_every_time(
    tmp_path: Path, bundle: Make, monkeypatch: pytest.MonkeyPatch
) -> None:
    start = bundle("ge2e.resemblyzer", onnx=False)
    chosen = settings("tiny-ge2e", f"network.init_from={start}", "phases.head.epochs=3",
                      "network.init_to_mean=false")  # fmt: skip
    trained(tmp_path / "once", chosen)
    shards = sorted((tmp_path / "once" / "features").rglob("*.safetensors"))
    assert [p.parent.name for p in shards] == ["head-train", "head-val"]
    monkeypatch.setattr(voice_network, "has_frozen_backbone", lambda network: False)
    trained(tmp_path / "always", chosen)
    assert not (tmp_path / "always" / "features").exists()
    a, b = bits(tmp_path / "once" / "head"), bits(tmp_path / "always" / "head")
    for name in a:
        torch.testing.assert_close(a[name], b[name], atol=2e-4, rtol=1e-3)


def test_features_are_computed_again_only_where_they_are_missing(
    tmp_path: Path, bundle: Make, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(voice_data, "SHARD", 8)
    start = bundle("ge2e.resemblyzer", onnx=False)
    chosen = settings("tiny-ge2e", f"network.init_from={start}", "phases.head.epochs=1")
    trained(tmp_path / "run", chosen)
    shards = sorted((tmp_path / "run" / "features" / "head-train").iterdir())
    assert len(shards) == 3
    before = [p.read_bytes() for p in shards]
    shards[1].unlink()
    asked: list[range] = []
    features_of = voice_data._features_of

    def noting(machine: Any, clips: Any, rows: range, *more: Any) -> torch.Tensor:
        asked.append(rows)
        return features_of(machine, clips, rows, *more)

    monkeypatch.setattr(voice_data, "_features_of", noting)
    trained(tmp_path / "run", chosen, resume=True)
    assert asked == [range(8, 16)]
    assert [p.read_bytes() for p in shards] == before


def two_phases(*more: str) -> VoiceRecipe:
    return settings("ast-speech-to-face-repo", "network.init_from=", "phases.head.epochs=1",
                    "phases.tune.epochs=1", "phases.tune.trainable=top-1", "loop.batch_size=12",
                    "loop.save_every=1",
                    *more)  # fmt: skip


@pytest.mark.long
def test_ast_trains_its_head_first_and_then_its_top_layers(tmp_path: Path) -> None:
    trained(tmp_path / "run", two_phases())
    head = checkpoint.read(tmp_path / "run" / "head" / checkpoint.BEST)[0]
    tune = bits(tmp_path / "run" / "tune")
    fresh = voice_network.build(two_phases().network, WIDTH, 0).state_dict()

    def moved(a: dict[str, torch.Tensor], b: dict[str, torch.Tensor]) -> set[str]:
        return {k.split(".")[0] + "." + k.split(".")[1] if "blocks" in k else k.split(".")[0]
                for k in b if not torch.equal(a[k], b[k])}  # fmt: skip

    def own(tensors: dict[str, torch.Tensor]) -> dict[str, torch.Tensor]:
        start = "model/network/"
        return {k.removeprefix(start): v for k, v in tensors.items() if k.startswith(start)}

    assert moved(fresh, own(head)) == {"head", "head_norm"}
    assert moved(own(head), own(tune)) == {"head", "head_norm", "norm", "blocks.1"}


@pytest.mark.long
def test_either_phase_can_be_resumed(tmp_path: Path) -> None:
    class Stopped(Corpus):
        left = 0

        def waveform(self, row: int) -> np.ndarray:
            self.left -= 1
            if not self.left:
                raise KeyboardInterrupt
            return super().waveform(row)

    trained(tmp_path / "whole", two_phases())
    trained(tmp_path / "head", two_phases(), minutes=0.0)  # after its first step
    assert not (tmp_path / "head" / "tune").exists()
    for name, clips in (("features", 10), ("tune", 24 + 6 + 20)):
        corpus = Stopped()
        corpus.left = clips
        with pytest.raises(KeyboardInterrupt):
            trained(tmp_path / name, two_phases(), corpus)
    assert (tmp_path / "tune" / "tune").exists() and not (tmp_path / "features" / "head").exists()
    for name in ("head", "features", "tune"):
        trained(tmp_path / name, two_phases(), resume=True)
        assert equal(bits(tmp_path / name / "tune"), bits(tmp_path / "whole" / "tune"))


def test_head_and_body_have_learning_rates_of_their_own() -> None:
    network = voice_network.build(two_phases().network, WIDTH, 0)
    voice_network.set_trained(network, "all")
    head, body = voice_network.parameter_groups(network, 1e-3, 1e-5)
    names = {id(p): n for n, p in network.named_parameters()}
    assert {names[id(p)].split(".")[0] for p in head["params"]} == {"head", "head_norm"}
    assert len(head["params"]) + len(body["params"]) == len(names)
    assert (head["lr"], body["lr"]) == (1e-3, 1e-5)


def test_the_head_of_an_ast_starts_small_and_without_bias(bundle: Make) -> None:
    base = bundle("ast.audioset", onnx=False, width=9)
    chosen = Network(entry="ast.speech-to-face", init_from=str(base), options={})
    network = voice_network.build(chosen, 500, 0)
    assert network.head.bias.abs().max() == 0
    assert network.head.weight.detach().std() == pytest.approx(0.02, rel=0.05)
    want = package.load(base).module.state_dict()
    got = network.state_dict()
    assert all(torch.equal(got[k], v) for k, v in want.items() if not k.startswith("head."))


def test_weights_of_another_architecture_are_refused(bundle: Make) -> None:
    base = bundle("ve_conv.tiny", onnx=False)
    for entry in ("ast.tiny", "mlp_head.resemblyzer"):
        with pytest.raises(UsageError, match="do not fit"):
            voice_network.build(Network(entry=entry, init_from=str(base), options={}), WIDTH, 0)
    with pytest.raises(UsageError, match="has no head for faces"):
        voice_network.build(Network(entry="ge2e.resemblyzer", options={}), WIDTH, 0)
    with pytest.raises(UsageError, match="cannot be trained here"):
        voice_network.build(Network(entry="vggface.serengil", options={}), WIDTH, 0)
    with pytest.raises(UsageError, match="options do not fit"):
        voice_network.build(Network(entry="ast.tiny", options={"hiden": 3}), WIDTH, 0)
    with pytest.raises(UsageError, match="frames are 16, 24, 32 and so on, and not 286"):
        odd = {"patches": "deltas", "frames": 286}
        voice_network.build(Network(entry="ast.tiny", options=odd), WIDTH, 0)
    with pytest.raises(UsageError, match="use all, head, or top-N with N up to 10"):
        tiny = registry.build(registry.entry("ve_conv.tiny"))
        voice_network.set_trained(tiny, "top-11")


LOSS = recipe.read("tiny-ge2e", VoiceRecipe).loss


def changed(table: Any, **values: Any) -> Any:
    """Return a table of a recipe with other values."""
    return table.model_copy(update=values)


def parts(loss: Loss, **more: Any) -> dict[str, float]:
    torch.manual_seed(2)
    predicted, target = torch.randn(4, WIDTH), torch.randn(4, WIDTH)
    losses = VoiceLosses(loss, WIDTH, 3, **more)
    return {
        k: float(v.detach())
        for k, v in losses(predicted, target, torch.tensor([0, 1, 2, 0])).items()
    }


def test_a_loss_has_the_parts_that_its_recipe_weighs() -> None:
    off = changed(LOSS, mse_weight=0.0, distance_weight=0.0, contrastive="none")
    assert parts(off) == {}
    on = changed(off, distance_weight=1.0, contrastive="am-softmax", contrastive_weight=0.5)
    assert parts(on).keys() == {"distance", "am_softmax"}
    doubled = changed(on, distance_weight=2.0)
    assert parts(doubled)["distance"] == pytest.approx(2 * parts(on)["distance"])
    judged = changed(off, distill_weight=1.0, decoder_weight=1.0)
    assert parts(judged) == {}
    decoder = random_module("face_decoder.tiny", width=WIDTH)
    found = parts(judged, classifier=torch.nn.Linear(WIDTH, 5), decoder=decoder)
    assert found.keys() == {"distill", "decoder"}
    two = changed(judged, decoder_layers=2)
    assert parts(two, decoder=decoder)["decoder"] != found["decoder"]


def test_people_are_ranked_around_the_mean_embedding_if_the_recipe_says_so() -> None:
    ranked = changed(LOSS, contrastive="infonce", contrastive_weight=1.0, mse_weight=0.0)
    plain = changed(ranked, contrastive_centered=False)
    centred = changed(ranked, contrastive_centered=True)
    center = torch.ones(WIDTH)
    assert parts(plain) == parts(plain, center=center) == parts(centred, center=0 * center)
    assert parts(centred, center=center) != parts(plain)
    assert "center" not in VoiceLosses(centred, WIDTH, 3, center=center).state_dict()


@pytest.mark.long
def test_a_head_starts_with_standardised_inputs_and_what_lies_below_it_has_a_hash() -> None:
    network: Any = voice_network.build(settings("tiny-ge2e").network, WIDTH, 0)
    known, features = voice_network.backbone_hash(network), torch.rand(500, 256) * torch.arange(256)
    features[7] = torch.nan
    features[:, 3] = 5
    before = network.fc1(torch.zeros(1, 256)), network.fc1.weight.clone()
    voice_network.standardize(network, features)
    good = features[~features[:, 0].isnan()]
    even = (good - good.mean(0)) / good.std(0, correction=0)
    even[:, [0, 3]] = 0  # always the same
    want = even @ before[1].T + before[0]
    torch.testing.assert_close(network.fc1(good), want, atol=1e-3, rtol=1e-3)
    assert voice_network.backbone_hash(network) == known
    with torch.no_grad():
        network.base.linear.bias[0] += 1
    assert voice_network.backbone_hash(network) != known


@pytest.mark.long
def test_losses_that_are_off_and_files_that_were_not_prepared_are_told(tmp_path: Path) -> None:
    said, corpus = list[str](), Corpus()
    corpus.failed_rows = frozenset(corpus.numbers("voice")[:1].tolist())
    del corpus.rows[min(corpus.rows)]
    chosen = settings("tiny-ve_conv", "loss.distill_weight=1", "loss.decoder_weight=1",
                      "phases.train.steps=1")  # fmt: skip
    trained(tmp_path / "run", chosen, corpus, log=said.append)
    assert "The distillation loss is off: toy has no class scores." in said
    assert "The decoder's loss is off: no --decoder is given." in said
    assert "2 files of the split train were not prepared and are left out." in said


def test_a_decoder_of_another_width_is_refused(tmp_path: Path, bundle: Make) -> None:
    decoder = bundle("face_decoder.tiny", onnx=False)
    chosen = settings("tiny-ve_conv", "loss.decoder_weight=1")
    with pytest.raises(UsageError, match="48 values and the corpus has 6"):
        trained(tmp_path / "run", chosen, decoder=str(decoder))


def test_a_network_ends_as_the_weights_it_starts_from_if_its_head_is_kept(tmp_path: Path) -> None:
    name = "ast.speech-to-face"
    module = random_module(name, output_activation="linear")
    begin = str(package.save(name, module, tmp_path / "linear"))

    def ends(width: int, start: str) -> str:
        options = {**SMALL["ast"]} if not start else {}
        options.pop("width", None)
        network = voice_network.build(
            Network(entry=name, init_from=start, options=options), width, 0
        )
        return str(network.output_activation)

    assert ends(48, begin) == "linear" and ends(7, begin) == "relu" and ends(48, "") == "relu"


@pytest.mark.long
def test_a_decoder_of_another_space_is_refused_and_the_bundle_has_the_corpus(
    tmp_path: Path,
) -> None:
    module = random_module("face_decoder.tiny", width=WIDTH)
    other = Space("vggface.serengil", "speech-to-face")
    decoder = str(package.save("face_decoder.tiny", module, tmp_path / "decoder", space=other))
    chosen = settings("tiny-ve_conv", "phases.train.steps=1")
    with pytest.raises(UsageError, match=r"preset deepface, and .* preset speech-to-face"):
        trained(tmp_path / "no", chosen, decoder=decoder)
    out = trained(tmp_path / "run", chosen, decoder=decoder, any_space=True)
    assert bundles.read(out).space == SPACE


@pytest.mark.long
@pytest.mark.parametrize("arch, phase", [("tiny-ve_conv", "train"), ("tiny-ge2e", "head")])
def test_with_a_decoder_every_evaluation_leaves_a_grid(
    tmp_path: Path, bundle: Make, arch: str, phase: str
) -> None:
    decoder = bundle("face_decoder.tiny", onnx=False, width=WIDTH)
    start = bundle("ge2e.resemblyzer", onnx=False) if arch == "tiny-ge2e" else ""
    chosen = settings(arch, f"phases.{phase}.steps=2", f"network.init_from={start}")
    trained(tmp_path / "run", chosen, decoder=str(decoder))
    path = tmp_path / "run" / "grids" / phase / "step-000002.png"
    with Image.open(path) as page:
        assert page.width > 3 * 144  # original, face-to-face, speech-to-face


@pytest.mark.long
def test_am_softmax_classes_are_saved_and_resumed(tmp_path: Path) -> None:
    chosen = settings("tiny-ve_conv", "loss.contrastive=am-softmax", "phases.train.epochs=2")
    trained(tmp_path / "whole", chosen)
    assert "model/classes/weight" in bits(tmp_path / "whole" / "train")
    trained(tmp_path / "cut", changed(
        chosen, phases={"train": changed(chosen.phases["train"], steps=6)}),
        minutes=0.0)  # fmt: skip
    trained(tmp_path / "cut", chosen, resume=True)
    assert equal(bits(tmp_path / "whole" / "train"), bits(tmp_path / "cut" / "train"))


@pytest.mark.long
def test_broken_clips_are_listed_and_the_run_goes_on(tmp_path: Path, bundle: Make) -> None:
    corpus = Corpus(broken=(1,))
    trained(tmp_path / "a", settings("tiny-ve_conv", "phases.train.epochs=1"), corpus)
    assert "clip 1 is broken" in (tmp_path / "a" / "train" / "failures.csv").read_text()
    start = bundle("ge2e.resemblyzer", onnx=False)
    chosen = settings("tiny-ge2e", f"network.init_from={start}", "phases.head.epochs=1")
    trained(tmp_path / "b", chosen, corpus)
    assert "cannot be used" in (tmp_path / "b" / "head" / "failures.csv").read_text()
    none = Corpus(broken=tuple(range(5 * PEOPLE)))
    with pytest.raises(CorpusError, match="broken"):
        trained(tmp_path / "c", settings(), none)


def test_a_corpus_without_overlap_is_refused(tmp_path: Path) -> None:
    corpus = Corpus()
    columns = {name: corpus.manifest.column(name) for name in manifest.COLUMNS}
    columns["identity"] = [
        f"{name} {kind}" for name, kind in zip(columns["identity"], columns["kind"], strict=True)
    ]
    corpus.manifest = manifest.from_columns(columns)
    with pytest.raises(CorpusError, match="both a usable clip and a usable picture"):
        trained(tmp_path / "run", settings(), corpus)


@pytest.mark.long
def test_without_a_validation_split_the_last_weights_become_the_bundle(tmp_path: Path) -> None:
    corpus = Corpus()
    columns = {name: corpus.manifest.column(name) for name in manifest.COLUMNS}
    corpus.manifest = manifest.from_columns({**columns, "split": ["train"] * len(corpus.manifest)})
    said: list[str] = []
    chosen = settings("tiny-ve_conv", "phases.train.steps=2")
    bundle = trained(tmp_path / "run", chosen, corpus, log=said.append)
    assert package.load(bundle).width == WIDTH
    assert any(line.startswith("Nothing is evaluated; the bundle") for line in said)


def test_a_run_is_not_overwritten(tmp_path: Path) -> None:
    trained(tmp_path / "run", settings("tiny-ve_conv", "phases.train.steps=1"))
    before = (tmp_path / "run" / "recipe.toml").read_bytes()
    with pytest.raises(UsageError, match="--resume"):
        trained(tmp_path / "run", settings("tiny-ve_conv", "loop.seed=4"))
    assert (tmp_path / "run" / "recipe.toml").read_bytes() == before


@pytest.mark.parametrize("name", ["tiny-ve_conv", "ast-speech-to-face-repo"])
def test_a_network_that_starts_at_a_mean_is_near_it_whatever_it_hears(name: str) -> None:
    network = voice_network.build(settings(name, "network.init_from=").network, WIDTH, 0).eval()
    shape = (4, 2, 257, 270) if name == "tiny-ve_conv" else (4, 1024, 128)
    heard, mean = torch.randn(shape, generator=torch.Generator().manual_seed(0)), torch.ones(WIDTH)
    with torch.no_grad():
        before = network(heard)
        voice_network.init_to_mean(network, mean)
        after = network(heard)
    assert (after - mean).abs().max() < 0.2 * max(1.0, float(before.abs().max()))
    assert (after - mean).abs().max() > 0


@pytest.mark.long
def test_a_run_never_goes_on_with_other_faces_or_other_people(tmp_path: Path) -> None:
    chosen = settings("tiny-ve_conv", "phases.train.steps=1")
    trained(tmp_path / "run", chosen)
    longer = settings("tiny-ve_conv", "phases.train.steps=2")
    other = Corpus()
    other.rows = Faces({row: face + 1 for row, face in other.rows.items()})
    with pytest.raises(UsageError, match=r"\(faces of the split train, faces of the split val\)"):
        trained(tmp_path / "run", longer, other, resume=True)
    splits = ["test" if s == "val" else s for s in Corpus().manifest.column("split")]
    moved = Corpus()
    columns = {n: moved.manifest.column(n) for n in moved.manifest.table.column_names}
    moved.manifest = manifest.from_columns({**columns, "split": splits})
    with pytest.raises(UsageError, match="people of the split val"):
        trained(tmp_path / "run", longer, moved, resume=True)
    assert trained(tmp_path / "run", longer, resume=True)


def test_a_time_that_is_no_number_is_refused(tmp_path: Path) -> None:
    with pytest.raises(UsageError, match="--minutes nan: give a number of minutes"):
        trained(tmp_path / "run", settings(), minutes=float("nan"))
    assert not (tmp_path / "run").exists()


def test_two_runs_do_not_share_a_folder(tmp_path: Path) -> None:
    with run.run_lock(tmp_path / "run", main=True):
        with pytest.raises(UsageError, match="being trained by another process"):
            trained(tmp_path / "run", settings("tiny-ve_conv", "phases.train.steps=1"))
        with run.run_lock(tmp_path / "run", main=False):
            pass
    assert not (tmp_path / "run").exists()
    trained(tmp_path / "run", settings("tiny-ve_conv", "phases.train.steps=1"))


def test_gain_and_noise_are_drawn_for_each_item_and_stay_in_range() -> None:
    item = {"waveform": torch.from_numpy(Corpus().waveform(0)), "identity": 3}
    random = np.random.default_rng(0)
    louder = augmented(item, random, 6.0, 0.0)["waveform"]
    ratio = (louder / item["waveform"])[item["waveform"].abs() > 0.01]
    assert ratio.std() < 1e-3 and 10 ** (-6 / 20) < ratio.mean() < 10 ** (6 / 20)
    noisy = augmented(item, random, 0.0, 10.0)["waveform"]
    power = [float(x.square().mean()) for x in (item["waveform"], noisy - item["waveform"])]
    assert 10 <= 10 * np.log10(power[0] / power[1]) <= 40.5
    chosen = settings("tiny-ve_conv", "data.gain=3", "data.crop=random")
    assert not chosen.data.fixed


def test_the_front_end_stays_in_float32_under_autocast() -> None:
    chosen = settings("tiny-ve_conv")
    network = voice_network.build(chosen.network, WIDTH, 0)
    losses = VoiceLosses(chosen.loss, WIDTH, 3)
    task = VoiceTask(network, "ve-conv", losses, chosen.phases["train"])
    wave = torch.from_numpy(Corpus().waveform(0))[None]
    with torch.autocast("cpu", dtype=torch.bfloat16):
        assert task.spectrogram(wave).dtype == torch.float32
        assert task.network(task.spectrogram(wave)).dtype == torch.bfloat16


def test_the_statistics_of_layers_that_a_phase_does_not_train_stay(tmp_path: Path) -> None:
    more = "phases.train.trainable=head", "phases.train.steps=2", "data.crop=random"
    chosen = settings("tiny-ve_conv", *more)
    fresh = voice_network.build(chosen.network, WIDTH, 0).state_dict()
    trained(tmp_path / "run", chosen)
    start = "model/network/"
    after = {k.removeprefix(start): v for k, v in bits(tmp_path / "run" / "train").items()}
    means = [name for name in fresh if name.endswith("running_mean")]
    assert means and all(torch.equal(after[name], fresh[name]) for name in means)
    assert not torch.equal(after["layer11.0.bias"], fresh["layer11.0.bias"])


@pytest.mark.parametrize(
    ("override", "sentence"),
    [
        ("data.seconds=1", "do not go together for ve_conv.tiny: .*input size"),
        ("network.options.channels=[8, 8]", "channels are 9, one for each layer, not 2"),
        ("network.options.foo=3", r"options do not fit ve_conv\.tiny: there is no foo"),
        (
            "phases.train.trainable=top-12",
            r"phases\.train\.trainable is 'top-12': use all, head, or top-N",
        ),
        ("loop.precision=fp16", "needs a GPU: use 'bf16' or 'no'"),
    ],
)
def test_what_does_not_go_together_is_told_before_anything_is_written(
    tmp_path: Path, override: str, sentence: str
) -> None:
    with pytest.raises(UsageError, match=sentence):
        trained(tmp_path / "run", settings("tiny-ve_conv", override))
    assert not (tmp_path / "run").exists()


def test_a_run_whose_only_loss_is_off_is_refused(tmp_path: Path) -> None:
    only = "loss.mse_weight=0", "loss.contrastive=none", "loss.decoder_weight=1"
    with pytest.raises(UsageError, match="No loss is left to learn from"):
        trained(tmp_path / "run", settings("tiny-ve_conv", *only))
