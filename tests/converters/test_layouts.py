"""What people hold: other names and orders of the same tensors give the same bundle."""

from __future__ import annotations

import json
from collections.abc import Callable
from math import prod
from pathlib import Path
from typing import Any

import h5py
import numpy as np
import pytest
import torch
from helpers.ast_names import unwrapped
from helpers.golden import NAMES, vggface_names
from helpers.twins import checkpoint
from safetensors.torch import load_file

import vox2face
from vox2face.converters import bundle_writer
from vox2face.converters.bundle_keras import export_keras
from vox2face.converters.convert import convert
from vox2face.converters.maps import weight_map
from vox2face.converters.maps.vgg16_torch import LAYERS
from vox2face.converters.readers.open import open_weights
from vox2face.converters.verify_bundle import check
from vox2face.core.entry import Entry
from vox2face.core.errors import MappingError, UsageError
from vox2face.store import bundle as bundles
from vox2face.zoo import registry

Twin = Callable[[str], Entry]
TwinFile = Callable[..., Path]
State = dict[str, torch.Tensor]
VGG = ["vggface.serengil", "vggface.rcmalli"]
BOTH = pytest.mark.parametrize("name", VGG)
FREE = ("ve_conv.speech-to-face", "ast.speech-to-face", "face_decoder.speech-to-face")
PREFIXES = ("module.", "_orig_mod.", "model.", "_orig_mod.module.", "model.module._orig_mod.")
PICTURES = [np.full((50, 40, 3), 90, np.uint8)]


class Converter:
    """Converts files with the narrow twin of an entry and keeps what is said."""

    def __init__(self, entry: Entry, folder: Path) -> None:
        self.entry, self.folder, self.said = entry, folder, list[str]()

    def bundle(self, source: Path | State) -> Path:
        """Convert a weight file or a state dict, which is saved first; return the bundle."""
        out = self.folder / f"out{len(list(self.folder.iterdir()))}"
        if isinstance(source, dict):
            torch.save(source, file := out.with_suffix(".pt"))
            source = file
        self.said.clear()
        return convert(self.entry, source, out, onnx=False, say=self.said.append).path

    def weights(self, source: Path | State) -> bytes:
        return (self.bundle(source) / bundles.WEIGHTS).read_bytes()

    def told(self, words: str) -> bool:
        return any(words in line for line in self.said)


@pytest.fixture
def converter(twin: Twin, tmp_path: Path) -> Callable[[str], Converter]:
    folder = tmp_path / "converted"
    folder.mkdir()
    return lambda name: Converter(twin(name), folder)


def without_fc8(state: State) -> State:
    return {key: value for key, value in state.items() if not key.startswith("fc8.")}


# ---------------------------------------------------------------- names


@pytest.mark.long
@pytest.mark.parametrize("name", [*FREE, "vggface.serengil"])
def test_what_wrappers_put_in_front_of_all_names_is_taken_off_and_told(
    name: str, converter: Callable[[str], Converter], twin_file: TwinFile
) -> None:
    made = converter(name)
    if name == "vggface.serengil":
        state = load_file(made.bundle(twin_file(name)) / bundles.WEIGHTS)
    else:
        state = checkpoint(name)
    plain = made.weights(state)
    assert not made.told("taken off")
    for prefix in PREFIXES:
        assert made.weights({f"{prefix}{key}": value for key, value in state.items()}) == plain
        assert made.told(f"begin with {prefix}: taken off.")


@pytest.mark.long
def test_names_behind_a_prefix_tell_what_an_ast_ends_in(
    converter: Callable[[str], Converter],
) -> None:
    made, state = converter("ast.speech-to-face"), checkpoint("ast.speech-to-face")
    for names, end in ((state, "relu"), (unwrapped(state), "linear")):
        path = made.bundle({f"_orig_mod.module.{key}": value for key, value in names.items()})
        assert bundles.read(path).entry.output_activation == end


@pytest.mark.long
def test_a_prefix_of_some_names_only_stays(converter: Callable[[str], Converter]) -> None:
    made, state = converter("ve_conv.speech-to-face"), checkpoint("ve_conv.speech-to-face")
    first = next(iter(state))
    mixed = {key if key == first else f"module.{key}": value for key, value in state.items()}
    with pytest.raises(MappingError, match="is missing"):
        made.bundle(mixed)


def test_prefixed_files_of_another_network_are_named_with_their_command(tmp_path: Path) -> None:
    shapes = {f"module.{key}": shape for key, shape in NAMES["ve_conv"].items()}
    with (
        open_weights(declared(tmp_path, shapes)) as file,
        pytest.raises(MappingError, match=r"convert speech-to-face .* --model ve_conv"),
    ):
        bundle_writer.paired(registry.entry("vggface.rcmalli"), file)


# ---------------------------------------------------------------- Speech-to-face's VGG-Face


def test_the_tables_names_are_the_owners() -> None:
    assert {ours: theirs for theirs, ours in vggface_names().items()} == {
        ours: theirs for ours, theirs, _ in LAYERS
    }


@pytest.mark.long
def test_speech_to_faces_serengil_becomes_the_bundle_of_the_keras_file(
    converter: Callable[[str], Converter], twin_file: TwinFile
) -> None:
    made = converter("vggface.serengil")
    path = made.bundle(twin_file("vggface.serengil"))
    ours = {ours: theirs for theirs, ours in vggface_names().items()}
    state = {}
    for key, value in load_file(path / bundles.WEIGHTS).items():
        layer, weight = key.split(".")
        one = layer in ("fc7", "fc8") and weight == "weight"  # 1x1 convolutions there
        state[f"{ours[layer]}.{weight}"] = value[:, :, None, None] if one else value
    assert list(state) == list(NAMES["vggface_serengil"])
    assert made.weights(state) == (path / bundles.WEIGHTS).read_bytes()


def as_their_converter_does(path: Path) -> State:
    """Return the state dict that Speech-to-face's VGGFace16_rcmalli.py makes of a Keras file."""
    state: State = {}
    with h5py.File(path) as file:
        for number, layer in enumerate((name.decode() for name in file.attrs["layer_names"]), 1):
            kernel, bias = (file[f"{layer}/{layer}/{kind}:0"][()] for kind in ("kernel", "bias"))
            kernel = kernel.transpose((3, 2, 0, 1) if kernel.ndim == 4 else (1, 0))
            place = f"layer{number}.{1 if number == 14 else 0}"  # behind nn.Flatten
            state[f"{place}.weight"] = torch.from_numpy(np.ascontiguousarray(kernel))
            state[f"{place}.bias"] = torch.from_numpy(bias)
    return state


@pytest.mark.long
def test_speech_to_faces_rcmalli_has_its_columns_put_in_order(
    converter: Callable[[str], Converter], twin_file: TwinFile
) -> None:
    made, file = converter("vggface.rcmalli"), twin_file("vggface.rcmalli")
    plain = made.weights(file)
    state = as_their_converter_does(file)
    assert state["layer14.1.weight"].shape == (256, 1568) and "layer16.0.bias" in state
    assert made.weights(state) == plain
    assert made.told("put in PyTorch's order")
    assert made.weights({f"module.{key}": value for key, value in state.items()}) == plain


# ---------------------------------------------------------------- fc6 as a matrix, no fc8


@pytest.mark.long
@BOTH
def test_fc6_as_a_matrix_is_read_as_pytorch_flattens(
    name: str, converter: Callable[[str], Converter], twin_file: TwinFile
) -> None:
    made = converter(name)
    path = made.bundle(twin_file(name))
    state = load_file(path / bundles.WEIGHTS)
    x = torch.rand(2, 32, 7, 7)
    linear = torch.nn.functional.linear(x.flatten(1), state["fc6.weight"].flatten(1))
    convolution = torch.nn.functional.conv2d(x, state["fc6.weight"]).flatten(1)
    torch.testing.assert_close(linear, convolution)
    matrix = {**state, "fc6.weight": state["fc6.weight"].flatten(1)}
    assert made.weights(matrix) == (path / bundles.WEIGHTS).read_bytes()
    assert made.told("taken to be in PyTorch's order")
    made.weights(state)
    assert not made.told("fc6")


@pytest.mark.long
@pytest.mark.parametrize("kind", ["keras", "torch", "matrix"])
@BOTH
def test_without_fc8_there_are_no_logits(
    name: str,
    kind: str,
    converter: Callable[[str], Converter],
    twin_file: TwinFile,
    registered: Callable[[Entry], None],
) -> None:
    made = converter(name)
    whole = made.bundle(twin_file(name))
    state = without_fc8(load_file(whole / bundles.WEIGHTS))
    if kind == "matrix":
        state["fc6.weight"] = state["fc6.weight"].flatten(1)
    path = made.bundle(twin_file(name, top=False) if kind == "keras" else state)
    registered(made.entry)
    bundle = bundles.read(path)
    assert list(load_file(bundle.weights)) == [k for k in state if not k.startswith("fc8.")]
    encoder, full = vox2face.load(path), vox2face.load(whole)
    assert encoder.classes == 0 and full.classes == 163
    assert encoder.space.digest == full.space.digest
    np.testing.assert_array_equal(encoder(PICTURES), full(PICTURES))
    for call in (encoder.logits, encoder.classify):
        with pytest.raises(UsageError, match="have no classifier"):
            call(PICTURES)
    with pytest.raises(UsageError, match="without a classifier"):
        encoder.module.logits(torch.zeros(1, 3, 224, 224))
    assert [row.tap for row in check(bundle).rows][-1] == "fc7"
    with pytest.raises(UsageError, match=r"lack fc8, and its owner's code builds no such network"):
        export_keras(bundle, path.parent / "back.h5")
    assert not (path.parent / "back.h5").exists()


def test_without_fc8_onnx_gives_the_embedding_alone(
    twin: Twin, twin_file: TwinFile, registered: Callable[[Entry], None], tmp_path: Path
) -> None:
    file = twin_file("vggface.serengil", top=False)
    entry = twin("vggface.serengil")
    done = convert(entry, file, tmp_path / "out", onnx=True)
    registered(entry)
    assert done.report.ok and done.report.stages == ["torch", "onnx file"]
    encoder = vox2face.load(done.path, backend="onnx")
    assert encoder.classes == 0 and encoder(PICTURES).shape == (1, 256)


def test_irregular_names_of_keras_layers_hide_no_fc8(
    handmade: Callable[..., Path],
    twin: Twin,
    registered: Callable[[Entry], None],
    tmp_path: Path,
) -> None:
    entry, rng = twin("vggface.serengil"), np.random.default_rng(0)
    registered(entry)
    rules = weight_map(entry).rules
    for count, classes in ((32, 163), (30, 0)):
        layers: dict[str, dict[str, Any]] = {}
        for place, rule in enumerate(rules[:count]):
            values = rng.standard_normal(rule.shape, np.float32) / 10
            layers.setdefault(f"conv2d_{place // 2}", {})[rule.source.split("/")[1]] = values
        file = handmade(list(layers.items()))
        path = convert(entry, file, tmp_path / f"{count}", onnx=False).path
        assert vox2face.load(path).classes == classes


# ---------------------------------------------------------------- misfits


def declared(folder: Path, shapes: dict[str, Any]) -> Path:
    """Write a safetensors file that declares full-size tensors, whose values are a hole."""
    content, end = {}, 0
    for key, shape in shapes.items():
        if "num_batches" not in key:
            start, end = end, end + 4 * prod(shape)
            content[key] = {"dtype": "F32", "shape": list(shape), "data_offsets": [start, end]}
    head = json.dumps(content).encode()
    path = folder / "declared.safetensors"
    with path.open("wb") as file:
        file.write(len(head).to_bytes(8, "little") + head)
        file.truncate(8 + len(head) + end)
    return path


@pytest.mark.parametrize(
    ("asked", "command"),
    [
        ("vggface.rcmalli", "run vox2face convert serengil --weights "),
        ("vggface.serengil", "run vox2face convert rcmalli --variant vgg16 --weights "),
        ("ve_conv.speech-to-face", "run vox2face convert serengil --weights "),
    ],
)
def test_the_wrong_one_of_speech_to_faces_two_is_named_with_its_command(
    asked: str, command: str, tmp_path: Path
) -> None:
    shapes: dict[str, Any] = dict(NAMES["vggface_serengil"])
    if asked == "vggface.serengil":
        theirs = {one: two for _, one, two in LAYERS}
        flat = {"layer14.0.weight": [4096, 25088], "layer15.0.weight": [4096, 4096]}
        shapes = {**shapes, **flat, "layer16.1.weight": [2622, 4096]}
        shapes = {
            f"{theirs[layer]}.{weight}": shape
            for (layer, weight), shape in ((k.rsplit(".", 1), v) for k, v in shapes.items())
        }
    with open_weights(declared(tmp_path, shapes)) as file, pytest.raises(MappingError) as caught:
        bundle_writer.paired(registry.entry(asked), file)
    assert command in str(caught.value)


@pytest.mark.long
@BOTH
def test_other_misfits_are_described_in_the_layout_they_are_in(
    name: str, converter: Callable[[str], Converter], twin_file: TwinFile
) -> None:
    made = converter(name)
    state = load_file(made.bundle(twin_file(name)) / bundles.WEIGHTS)
    wrong = {**state, "fc6.weight": torch.zeros(256, 1569)}
    with pytest.raises(MappingError, match=r"\(256, 1569\) in the file, expected \(256, 32, 7"):
        made.bundle(wrong)
    with pytest.raises(MappingError, match=r"\(1 problem\): fc8/bias is missing"):
        made.bundle({key: value for key, value in state.items() if key != "fc8.bias"})
