"""ONNX files of PyTorch's exporters and of ours convert to the bundle that they were made of."""

from __future__ import annotations

import warnings
from collections.abc import Callable
from pathlib import Path

import numpy as np
import onnx
import pytest
import torch
from onnx import TensorProto, helper, numpy_helper

from vox2face.converters.bundle_onnx import export_file
from vox2face.converters.compare_sources import compare_sources
from vox2face.converters.convert import convert
from vox2face.converters.readers.open import open_weights
from vox2face.core import extras
from vox2face.core.entry import Entry
from vox2face.core.errors import MappingError, UsageError, WeightFileError
from vox2face.core.files import identify
from vox2face.runtime.load import load_face_encoder
from vox2face.store import bundle as bundles
from vox2face.zoo import registry

NAME = "vggface.serengil"
Twin = Callable[[str], Entry]


class ChannelsLast(torch.nn.Module):
    """A network as deepface exports it: pictures come channels last."""

    def __init__(self, model: torch.nn.Module) -> None:
        super().__init__()
        self.model = model

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        result: torch.Tensor = self.model(x.permute(0, 3, 1, 2))
        return result


@pytest.fixture
def made(twin: Twin, twin_file: Callable[..., Path], tmp_path: Path) -> Path:
    """A bundle of a narrow VGG-Face without its classifier."""
    return convert(twin(NAME), twin_file(NAME, top=False), tmp_path / "made", onnx=False).path


def exported(entry: Entry, bundle: Path, path: Path) -> onnx.ModelProto:
    """Let PyTorch's own exporter write the network of a bundle."""
    module = ChannelsLast(registry.load_module(entry, bundle / bundles.WEIGHTS))
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        torch.onnx.export(module, (torch.zeros(1, 224, 224, 3),), str(path), dynamo=False)
    return onnx.load(path)


def weights(entry: Entry, source: Path, out: Path) -> bytes:
    return (convert(entry, source, out, onnx=False).path / bundles.WEIGHTS).read_bytes()


def read(path: Path) -> None:
    with open_weights(path) as file:
        file.values(file.arrays)


def renamed(model: onnx.ModelProto, names: dict[str, str]) -> None:
    for tensor in model.graph.initializer:
        tensor.name = names.get(tensor.name, tensor.name)
    for node in model.graph.node:
        for i, name in enumerate(node.input):
            node.input[i] = names.get(name, name)


@pytest.mark.long
def test_files_of_pytorchs_exporter_convert_with_their_names_or_without(
    twin: Twin, made: Path, tmp_path: Path
) -> None:
    entry, path = twin(NAME), tmp_path / "torch.onnx"
    model = exported(entry, made, path)
    want = (made / bundles.WEIGHTS).read_bytes()
    assert identify(path) == "an ONNX model"
    with open_weights(path) as file:
        assert file.format == "ONNX" and file.named
    assert weights(entry, path, tmp_path / "named") == want
    longer = {t.name: f"m.{t.name}" for t in model.graph.initializer}  # another wrapper's word
    renamed(model, longer)
    onnx.save(model, tmp_path / "longer.onnx")
    assert weights(entry, tmp_path / "longer.onnx", tmp_path / "wrapped") == want
    numbered = {t.name: f"onnx::Conv_{i}" for i, t in enumerate(model.graph.initializer)}
    renamed(model, numbered)
    onnx.save(model, tmp_path / "numbered.onnx")
    with open_weights(tmp_path / "numbered.onnx") as file:
        assert not file.named
    assert weights(entry, tmp_path / "numbered.onnx", tmp_path / "by-order") == want
    last = model.graph.initializer[-1]
    last.CopyFrom(numpy_helper.from_array(np.zeros((7, *last.dims[1:]), np.float32), last.name))
    onnx.save(model, tmp_path / "other.onnx")
    with pytest.raises(MappingError, match="These are not the weights of serengil/deepface"):
        weights(entry, tmp_path / "other.onnx", tmp_path / "other")


@pytest.mark.long
@pytest.mark.parametrize("name", [NAME, "vggface_senet50.rcmalli", "ve_conv.speech-to-face"])
def test_files_of_ours_convert_back_bit_for_bit(
    name: str,
    twin: Twin,
    twin_file: Callable[..., Path],
    registered: Callable[[Entry], None],
    tmp_path: Path,
) -> None:
    entry = twin(name)
    registered(entry)
    one = convert(entry, twin_file(name), tmp_path / "one", onnx=False).path
    for form, half in (("full.onnx", False), ("half.onnx", True)):
        export_file(bundles.read(one), tmp_path / form, frontend=True, half=half)
    full = convert(entry, tmp_path / "full.onnx", tmp_path / "two", onnx=False, verify="none")
    state, want = (bundles.read(path) for path in (full.path, one))
    shared = registry.load_module(state.entry, state.weights).state_dict()
    for key, value in registry.load_module(want.entry, want.weights).state_dict().items():
        if key in shared:  # a classifier is not in the file
            assert torch.equal(shared[key], value), key
    said: list[str] = []
    options = {"onnx": False, "verify": "none", "say": said.append}
    convert(entry, tmp_path / "half.onnx", tmp_path / "three", **options)  # type: ignore[arg-type]
    assert any("float16 are converted to float32" in line for line in said)


def model_of(*nodes: onnx.NodeProto, **arrays: np.ndarray) -> onnx.ModelProto:
    inputs = [helper.make_tensor_value_info("x", TensorProto.FLOAT, [1, 4])]
    outputs = [helper.make_tensor_value_info("y", TensorProto.FLOAT, None)]
    tensors = [numpy_helper.from_array(array, name) for name, array in arrays.items()]
    return helper.make_model(helper.make_graph(nodes, "g", inputs, outputs, tensors))


def test_matrices_are_turned_as_pytorch_holds_them_in_the_order_of_use(tmp_path: Path) -> None:
    rng = np.random.default_rng(0)
    a, b, c, d = (rng.normal(size=s).astype(np.float32) for s in ((4, 3), (5, 3), (5, 2), (6, 2)))
    bias = rng.normal(size=3).astype(np.float32)
    model = model_of(
        helper.make_node("MatMul", ["x", "a"], ["1"]),
        helper.make_node("Add", ["bias", "1"], ["2"]),
        helper.make_node("Gemm", ["2", "b"], ["3"], transB=1),
        helper.make_node("Gemm", ["3", "c"], ["4"]),
        helper.make_node("Transpose", ["d"], ["turned"]),
        helper.make_node("MatMul", ["4", "turned"], ["y"]),
        d=d,
        b=b,
        c=c,
        bias=bias,
        a=a,
        unused=a,
    )
    onnx.save(model, tmp_path / "m.onnx")
    with open_weights(tmp_path / "m.onnx") as file:
        assert [array.path for array in file.arrays] == ["a", "bias", "b", "c", "d"]
        for got, want in zip(file.values(file.arrays), (a.T, bias, b, c.T, d), strict=True):
            np.testing.assert_array_equal(got, want)


def test_damaged_files_and_weights_in_other_files_are_refused(tmp_path: Path) -> None:
    path, node = tmp_path / "m.onnx", helper.make_node("MatMul", ["x", "a"], ["y"])
    model = model_of(node, a=np.ones((4, 40), np.float32))
    onnx.save(model, path)
    whole = path.read_bytes()
    for size in (*range(3, len(whole), 37), len(whole) - 1):
        path.write_bytes(whole[:size])
        with pytest.raises(WeightFileError, match=r"m\.onnx (is|holds)") as caught:
            read(path)
        assert "\n" not in str(caught.value)
    for name, change, words in (
        ("external", {"data_location": TensorProto.EXTERNAL}, "a lies in another file"),
        ("integers", {"data_type": TensorProto.INT32}, "a holds int32 values"),
        ("short", {"dims": [4, 41]}, "a holds 160 values"),
    ):
        model = model_of(node, a=np.ones((4, 40), np.float32))
        for field, value in change.items():
            tensor = model.graph.initializer[0]
            if field == "dims":
                tensor.dims[:] = value  # type: ignore[call-overload]
            else:
                setattr(tensor, field, value)
        path.write_bytes(model.SerializeToString())
        with pytest.raises(WeightFileError, match=words), open_weights(path) as file:
            file.values(file.arrays)
        assert name
    onnx.save(model_of(helper.make_node("Relu", ["x"], ["y"])), path)
    with pytest.raises(WeightFileError, match="no convolution or matrix with weights"):
        read(path)


@pytest.mark.long
def test_no_other_file_is_opened_and_no_size_is_believed(tmp_path: Path) -> None:
    node, path = helper.make_node("MatMul", ["x", "a"], ["y"]), tmp_path / "in" / "m.onnx"
    path.parent.mkdir()
    (tmp_path / "s").write_bytes(bytes(640))

    def external(model: onnx.ModelProto, marked: bool) -> None:
        tensor = model.graph.initializer[0]
        tensor.ClearField("raw_data")
        tensor.external_data.add(key="location", value="../s")
        if marked:
            tensor.data_location = TensorProto.EXTERNAL

    def huge(model: onnx.ModelProto) -> None:
        model.graph.initializer[0].dims[:] = [1 << 40, 1 << 30]  # type: ignore[index]

    def twice(model: onnx.ModelProto) -> None:
        model.graph.initializer.append(model.graph.initializer[0])

    for change, words in (
        (lambda model: external(model, True), "a lies in another file"),
        (lambda model: external(model, False), "a lies in another file"),
        (huge, "it declares .* of values, which .* do not hold"),
        (twice, "a is listed twice"),
    ):
        model = model_of(node, a=np.ones((4, 40), np.float32))
        change(model)
        path.write_bytes(model.SerializeToString())
        with pytest.raises(WeightFileError, match=words):
            read(path)
    for body in (b"\x08\x08\x3a\xff\xff\xff\xff\x0f", b"\x08\x08\x12\x05" + b"\xff" * 999):
        path.write_bytes(body)
        with pytest.raises(WeightFileError, match="no ONNX model, or is cut short"):
            read(path)


@pytest.mark.long
def test_without_a_classifier_the_bundle_says_so_and_gives_no_class_scores(
    twin: Twin, twin_file: Callable[..., Path], registered: Callable[[Entry], None], tmp_path: Path
) -> None:
    entry = twin(NAME)
    registered(entry)
    whole = convert(entry, twin_file(NAME), tmp_path / "whole", onnx=False).path
    export_file(bundles.read(whole), tmp_path / "vgg_face_weights.onnx")
    path = convert(entry, tmp_path / "vgg_face_weights.onnx", tmp_path / "out", onnx=False).path
    made, source = bundles.read(path), bundles.read(whole)
    assert source.outputs == ["embedding", "logits"] and made.outputs == ["embedding"]
    assert made.space == source.space
    found = compare_sources(source, tmp_path / "vgg_face_weights.onnx")
    assert found.equal and found.missing == ["fc8.bias", "fc8.weight"]
    encoder = load_face_encoder(path)
    with pytest.raises(UsageError, match="class scores"):
        encoder.logits(np.zeros((1, 224, 224, 3), np.uint8))


def test_without_the_onnx_package_the_extra_is_named(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    onnx.save(model_of(helper.make_node("Relu", ["x"], ["y"])), tmp_path / "m.onnx")
    monkeypatch.setattr(extras, "find_spec", lambda package: None)
    with pytest.raises(UsageError, match=r"needs the 'onnx' extra: run pip install"):
        read(tmp_path / "m.onnx")
