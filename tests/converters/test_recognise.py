"""`vox2face convert FILE`: whose weights a file holds is read from its names and shapes."""

from __future__ import annotations

import subprocess
from collections.abc import Callable
from pathlib import Path

import numpy as np
import onnx
import pytest
import torch
from onnx import TensorProto, helper, numpy_helper
from safetensors.torch import load_file, save_file

from vox2face.converters.convert import convert
from vox2face.converters.recognise import recognise
from vox2face.core.entry import Entry
from vox2face.core.errors import MappingError, UsageError
from vox2face.store import bundle as bundles
from vox2face.zoo import registry
from vox2face.zoo.catalog import ENTRIES

Twin = Callable[[str], Entry]
TwinFile = Callable[..., Path]
Run = Callable[..., subprocess.CompletedProcess[str]]
SERENGIL, RCMALLI = "vggface.serengil", "vggface.rcmalli"
NARROW = (SERENGIL, RCMALLI, "vggface_resnet50.rcmalli", "vggface_senet50.rcmalli")


@pytest.fixture
def narrow_zoo(twin: Twin, monkeypatch: pytest.MonkeyPatch) -> None:
    """Let the zoo's face encoders and its speaker encoder be narrow."""
    names = (*NARROW, "ge2e.resemblyzer")
    entries = [twin(entry.name) if entry.name in names else entry for entry in ENTRIES]
    monkeypatch.setattr(registry, "ENTRIES", entries)


@pytest.fixture
def bundle(narrow_zoo: None, twin: Twin, twin_file: TwinFile, tmp_path: Path) -> Path:
    """A bundle of rcmalli's VGG-Face."""
    return convert(twin(RCMALLI), twin_file(RCMALLI), tmp_path / "made", onnx=False).path


@pytest.mark.long
@pytest.mark.usefixtures("narrow_zoo")
def test_files_are_told_apart_by_what_is_in_them(twin_file: TwinFile, tmp_path: Path) -> None:
    for name in (*NARROW, "ge2e.resemblyzer"):
        said: list[str] = []
        file = twin_file(name).rename(tmp_path / "weights.bin")
        assert recognise(file, say=said.append).name == name
        assert len(said) == 1 and f"weights of {name}." in said[0]
        file.unlink()


@pytest.mark.long
def test_where_several_fit_the_file_says_or_its_name_or_commands_are_told(
    bundle: Path, tmp_path: Path
) -> None:
    said: list[str] = []
    assert recognise(bundle / bundles.WEIGHTS, say=said.append).name == RCMALLI
    assert said[0].endswith(
        "(safetensors) holds the weights of vggface.rcmalli, as it says itself."
    )
    state = load_file(bundle / bundles.WEIGHTS)
    torch.save(state, tmp_path / "vgg_face_weights.pth")
    assert recognise(tmp_path / "vgg_face_weights.pth", say=said.append).name == SERENGIL
    assert said[1].endswith("vggface.serengil, which is published as vgg_face_weights.h5.")
    save_file(state, path := tmp_path / "other.safetensors")
    with pytest.raises(UsageError) as caught:
        recognise(path)
    assert f"'vox2face convert serengil --weights {path}'" in str(caught.value)
    assert f"'vox2face convert rcmalli --variant vgg16 --weights {path}'" in str(caught.value)


@pytest.mark.long
@pytest.mark.usefixtures("narrow_zoo")
def test_an_onnx_file_is_recognised_by_the_order_of_its_arrays(twin: Twin, tmp_path: Path) -> None:
    rules = [rule for rule in twin(SERENGIL).weight_map.rules if "fc8" not in rule.target]
    rng, nodes, last = np.random.default_rng(0), [], "x"
    tensors = [rng.normal(size=rule.target_shape).astype("f") for rule in rules]
    for i in range(0, len(rules), 2):
        kind = "Conv" if tensors[i].ndim == 4 else "Gemm"
        form = {"transB": 1} if kind == "Gemm" else {}
        nodes.append(
            helper.make_node(kind, [last, f"onnx::{i}", f"onnx::{i + 1}"], [f"{i}"], **form)
        )
        last = f"{i}"
    value = helper.make_tensor_value_info
    held = [numpy_helper.from_array(array, f"onnx::{i}") for i, array in enumerate(tensors)]
    ends = [value("x", TensorProto.FLOAT, None)], [value(last, TensorProto.FLOAT, None)]
    model = helper.make_model(helper.make_graph(nodes, "g", *ends, held))
    onnx.save(model, tmp_path / "face.onnx")
    said: list[str] = []
    assert recognise(tmp_path / "face.onnx", say=said.append).name == SERENGIL
    assert said[0].endswith("face.onnx (ONNX) holds the weights of vggface.serengil.")


def test_what_fits_no_model_is_told_what_to_do(tmp_path: Path) -> None:
    torch.save({"a.weight": torch.ones(2, 3)}, tmp_path / "own.pth")
    with pytest.raises(
        MappingError, match=r"own\.pth \(PyTorch state dict\) holds the weights of no"
    ):
        recognise(tmp_path / "own.pth")


@pytest.mark.long
@pytest.mark.usefixtures("narrow_zoo")
def test_the_command_takes_a_file_alone(twin_file: TwinFile, inside: Run, tmp_path: Path) -> None:
    file = twin_file(RCMALLI)
    done = inside("convert", file, "--no-onnx")
    assert done.returncode == 0, done.stderr
    assert f"{file} (legacy Keras HDF5) holds the weights of {RCMALLI}." in done.stdout
    assert bundles.read(tmp_path / "home" / "bundles" / RCMALLI).entry_name == RCMALLI
    done = inside("convert", file, "--variant", "vgg16")
    assert done.returncode == 2 and "chooses among networks of one NAME" in done.stderr
    done = inside("convert", file, file)
    assert done.returncode == 2 and "are two files" in done.stderr


def test_names_of_models_come_before_files(
    inside: Run, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    for name in ("serengil", SERENGIL, "weights", "weights.dat"):
        (tmp_path / name).write_text("no weights")
    for name in ("serengil", SERENGIL):
        done = inside("convert", name, "--no-onnx")
        assert done.returncode == 1 and "VOX2FACE_OFFLINE forbids downloads" in done.stderr
    for name, code, words in (
        ("weights", 2, "if you mean the file, name it ./weights."),
        ("./weights", 1, "weights is plain text: download the file again"),
        ("weights.dat", 1, "weights.dat is plain text"),
        ("lost.h5", 1, "There is no file lost.h5"),
        ("lost/file", 1, "There is no file lost/file"),
        ("vggface.serengl", 2, "Did you mean vggface.serengil"),
        ("", 2, "There is no model ''"),
    ):
        done = inside("convert", name, "--no-onnx")
        assert (done.returncode, words in done.stderr) == (code, True), done.stderr
