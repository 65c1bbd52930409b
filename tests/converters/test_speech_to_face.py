"""Checkpoints of the Speech-to-face repo in all their forms; see test_golden for its numbers."""

from __future__ import annotations

import json
import pickle
from collections.abc import Callable
from pathlib import Path
from subprocess import CompletedProcess
from typing import Any

import numpy as np
import pytest
import torch
from helpers import golden
from helpers.ast_names import unwrapped
from helpers.twins import SMALL, build_on_meta, checkpoint
from safetensors.torch import save_file
from torch import nn
from transformers import ASTConfig, ASTForAudioClassification

from vox2face.converters.convert import convert
from vox2face.converters.maps import weight_map
from vox2face.core.entry import Entry
from vox2face.core.errors import MappingError, WeightFileError
from vox2face.runtime.load import load
from vox2face.store import bundle as bundles
from vox2face.zoo import registry
from vox2face.zoo.networks.spectrogram_transformer import with_new_head
from vox2face.zoo.networks.ve_conv import VEConv

Twin = Callable[[str], Entry]
Run = Callable[..., CompletedProcess[str]]
NAMES = ("ve_conv.speech-to-face", "ast.speech-to-face", "face_decoder.speech-to-face")


def owners_ast() -> nn.Module:
    """The network of transformers, its classifier wrapped with a ReLU as the repo does."""
    small = SMALL["ast"]
    config = ASTConfig(
        hidden_size=small["hidden"],
        num_hidden_layers=small["layers"],
        num_attention_heads=1,
        intermediate_size=small["inner"],
        num_labels=small["width"],
    )
    torch.manual_seed(3)
    network = ASTForAudioClassification(config)
    network.classifier = nn.Sequential(network.classifier, nn.ReLU())
    for parameter in network.parameters():
        parameter.data += 0.05 * torch.randn_like(parameter)
    return network.eval()


def test_sizes_are_the_published_ones() -> None:
    with torch.device("meta"):
        assert sum(p.numel() for p in VEConv().parameters()) == 148_062_976
    for name, network in zip(NAMES, ("ve_conv", "ast", "face_decoder"), strict=True):
        module, table = build_on_meta(name), weight_map(registry.entry(name))
        renamed = {rule.target: rule.source.replace("/", ".") for rule in table.rules}
        ours = {renamed.get(k, k): list(v.shape) for k, v in module.state_dict().items()}
        assert ours == golden.NAMES[network]


def four(state: dict[str, Any]) -> dict[str, Any]:
    """Return the state dict of an AST under the names of transformers 4, whichever is installed."""
    names = (
        (".layers.", ".encoder.layer."),
        (".attention.q_proj.", ".attention.attention.query."),
        (".attention.k_proj.", ".attention.attention.key."),
        (".attention.v_proj.", ".attention.attention.value."),
        (".attention.o_proj.", ".attention.output.dense."),
        (".mlp.fc1.", ".intermediate.dense."),
        (".mlp.fc2.", ".output.dense."),
    )
    for new, old in names:
        state = {key.replace(new, old): value for key, value in state.items()}
    return state


def five(state: dict[str, Any]) -> dict[str, Any]:
    """Return the state dict of an AST under the names of transformers 5."""
    names = (
        (".encoder.layer.", ".layers."),
        (".attention.attention.query.", ".attention.q_proj."),
        (".attention.attention.key.", ".attention.k_proj."),
        (".attention.attention.value.", ".attention.v_proj."),
        (".attention.output.dense.", ".attention.o_proj."),
        (".intermediate.dense.", ".mlp.fc1."),
        (".output.dense.", ".mlp.fc2."),
    )
    for old, new in names:
        state = {key.replace(old, new): value for key, value in state.items()}
    return state


def wrapped(state: dict[str, Any]) -> dict[str, Any]:
    return {f"module.{key}": value for key, value in state.items()}


@pytest.mark.long
@pytest.mark.parametrize("relu", [True, False])
@pytest.mark.parametrize("names", [four, five, lambda s: wrapped(four(s))])
def test_an_ast_of_either_generation_computes_what_transformers_computes(
    names: Callable[[dict[str, Any]], dict[str, Any]], relu: bool, twin: Twin, tmp_path: Path
) -> None:
    theirs, file = owners_ast(), tmp_path / "ast.pt"
    if not relu:  # as the repo had it until 8 April 2024, which the names tell
        theirs.classifier = theirs.classifier[0]
    state = names(theirs.state_dict())
    assert any("encoder.layer" in key or ".layers." in key for key in state)
    torch.save({"model_state_dict": state, "epoch": 1}, file)
    done = convert(twin(NAMES[1]), file, tmp_path / "out", onnx=True)
    assert done.report.ok
    ours = load(done.path)
    x = torch.randn(2, 1024, 128)
    with torch.inference_mode():
        want = theirs(x).logits.numpy()
    assert (want > 0).any() and (want < 0).any() != relu
    assert ours.entry.output_activation == ("relu" if relu else "linear")
    np.testing.assert_allclose(ours.module(x).numpy(), want, rtol=0, atol=1e-4 * want.max())
    onnx = load(done.path, backend="onnx")
    np.testing.assert_allclose(onnx.run(x)[0], want, rtol=0, atol=1e-4 * want.max())


@pytest.mark.long
@pytest.mark.parametrize("name", NAMES)
def test_training_checkpoints_and_plain_state_dicts_become_the_same_bundle(
    name: str, twin: Twin, tmp_path: Path
) -> None:
    state = checkpoint(name)
    optimizer = torch.optim.Adam([torch.nn.Parameter(torch.randn(3, 4))])
    optimizer.param_groups[0]["params"][0].grad = torch.ones(3, 4)
    optimizer.step()
    history = [{"train": 1.5, "val": 2.5}, {"train": 1.0, "val": float("nan")}]
    full = {
        "epoch": 7,
        "loss": 0.25,
        "best_loss": 0.2,
        "model_state_dict": state,
        "optimizer_state_dict": optimizer.state_dict(),
        "history": history,
        "fine_tune_epoch_start": -1,
    }
    files = [tmp_path / f"{kind}.pt" for kind in ("full", "plain", "old", "parallel")]
    torch.save(full, files[0])
    torch.save(state, files[1])
    torch.save(full, files[2], _use_new_zipfile_serialization=False)
    torch.save({f"module.{key}": value for key, value in state.items()}, files[3])
    done = [
        convert(twin(name), file, tmp_path / f"out{i}", onnx=i == 0) for i, file in enumerate(files)
    ]
    weights = [(d.path / bundles.WEIGHTS).read_bytes() for d in done]
    assert len(set(weights)) == 1
    config = json.loads((done[0].path / bundles.CONFIG).read_text())
    training = config["source"]["training"]
    assert training["epoch"] == 7 and training["loss"] == 0.25
    assert training["history"] == [{"train": 1.5, "val": 2.5}, {"train": 1.0, "val": None}]
    assert training["fine_tune_epoch_start"] == -1 and "optimizer_state_dict" not in training
    assert "training" not in done[1].source
    assert (done[0].path / bundles.ONNX).is_file() and done[0].report.ok
    assert config["preset"] == registry.entry(name).preprocess
    assert config.get("warp") == ("none" if name == NAMES[2] else None)


@pytest.mark.long
def test_the_hubs_base_model_converts_and_takes_a_new_head(twin: Twin, tmp_path: Path) -> None:
    theirs, file = owners_ast(), tmp_path / "model.safetensors"
    theirs.classifier = theirs.classifier[0]  # as the hub has it, without a ReLU
    save_file(unwrapped(four(theirs.state_dict())), file)
    done = convert(twin("ast.audioset"), file, tmp_path / "out")
    ours, x = load(done.path), torch.randn(2, 1024, 128)
    with torch.inference_mode():
        want = theirs(x).logits.numpy()
    assert (want < 0).any()
    np.testing.assert_allclose(ours.module(x).numpy(), want, rtol=0, atol=1e-4 * want.max())
    network = with_new_head(ours.module.state_dict(), width=32)
    with torch.inference_mode():
        assert network(x).shape == (2, 32)
        torch.testing.assert_close(network.at("pooled", x), ours.module.at("pooled", x))
    assert not network.head.bias.any() and network.head.weight.std() < 0.03
    assert network.head.weight.requires_grad


@pytest.mark.long
def test_a_checkpoint_of_another_model_is_named_with_its_command(
    vox2face: Run, tmp_path: Path
) -> None:
    file = tmp_path / "mine.pt"
    torch.save(
        {"model_state_dict": registry.build(registry.entry("FaceDecoder")).state_dict()}, file
    )
    done = vox2face(
        "convert", "speech-to-face", file, "--model", "ve_conv", "--out", tmp_path / "o"
    )
    assert done.returncode == 1 and len(done.stderr.splitlines()) == 1
    assert f"run vox2face convert speech-to-face {file} --model face_decoder" in done.stderr
    assert not (tmp_path / "o").exists()


@pytest.mark.long
def test_a_checkpoint_that_would_run_code_is_refused(twin: Twin, tmp_path: Path) -> None:
    class Evil:
        def __reduce__(self) -> Any:
            return (print, ("run",))

    for old in (False, True):
        file = tmp_path / f"evil{old}.pt"
        content = {"model_state_dict": checkpoint(NAMES[0]), "history": Evil()}
        torch.save(content, file, _use_new_zipfile_serialization=not old)
        with pytest.raises(WeightFileError, match="wants to run"):
            convert(twin(NAMES[0]), file, tmp_path / "out")
    (tmp_path / "pickle.pt").write_bytes(pickle.dumps({"a": 1}))
    with pytest.raises(WeightFileError, match="is a Python pickle"):
        convert(twin(NAMES[0]), tmp_path / "pickle.pt", tmp_path / "out")


@pytest.mark.long
def test_damaged_files_of_old_pytorch_are_refused(twin: Twin, tmp_path: Path) -> None:
    file = tmp_path / "old.pt"
    torch.save(checkpoint(NAMES[0]), file, _use_new_zipfile_serialization=False)
    content = file.read_bytes()
    for size in (30, 200, len(content) // 2, len(content) - 1):
        file.write_bytes(content[:size])
        with pytest.raises(WeightFileError):
            convert(twin(NAMES[0]), file, tmp_path / "out")


@pytest.mark.long
def test_missing_tensors_are_listed(twin: Twin, tmp_path: Path) -> None:
    state = checkpoint(NAMES[2])
    del state["pre_layers.0.0.bias"]
    torch.save(state, tmp_path / "a.pt")
    with pytest.raises(MappingError, match=r"pre_layers\.0\.0/bias is missing"):
        convert(twin(NAMES[2]), tmp_path / "a.pt", tmp_path / "out")


@pytest.mark.long
def test_entries_without_published_weights_say_what_to_do(vox2face: Run) -> None:
    done = vox2face("embed", "x.png", "--model", "ve_conv.tiny")
    assert done.returncode
    for name, words in (
        (
            "face_decoder.speech-to-face",
            "convert speech-to-face CHECKPOINT.pt --model face_decoder",
        ),
        ("face_decoder.tiny", "pretrained=False"),
    ):
        done = vox2face("check", name)
        assert done.returncode == 1 and words in done.stderr
    shown = vox2face("zoo", "show", "ast.speech-to-face").stdout
    assert "https://github.com/Kacper-Pietkun/Speech-to-face" in shown
    assert "vox2face convert speech-to-face CHECKPOINT --model ast" in shown
