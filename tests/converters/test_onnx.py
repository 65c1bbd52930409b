"""ONNX files: names, axes, metadata, values; from pixels too; readable by any protobuf reader."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import onnxruntime
import pytest
import torch
from helpers.twins import build_on_meta, random_module
from PIL import Image

import vox2face
from vox2face.converters import bundle_onnx, pipeline_onnx
from vox2face.converters.convert import convert
from vox2face.converters.onnx import export
from vox2face.converters.onnx import session as run_onnx
from vox2face.converters.verify import in_batches
from vox2face.converters.verify_bundle import check
from vox2face.core.entry import Entry, TensorSpec
from vox2face.core.errors import ParityError, UsageError, Vox2FaceError
from vox2face.media.image import samples
from vox2face.store import bundle as bundles
from vox2face.zoo import registry
from vox2face.zoo.frontends.face import FaceInput
from vox2face.zoo.networks.composed import Composed, Pipeline
from vox2face.zoo.networks.face_decoder import FaceDecoder
from vox2face.zoo.networks.warp_tail import FaceTail
from vox2face.zoo.presets import FACE_PRESETS, face_preset
from vox2face.zoo.registry import load_module

NAME = "vggface.serengil"
# Operators that have CUDA kernels at opset 20 for the types here; source: docs/OperatorKernels.md
# of microsoft/onnxruntime, CUDAExecutionProvider. Shapes and constants are the host's anyway.
ON_CUDA = {
    "Abs",
    "Add",
    "And",
    "AveragePool",
    "BatchNormalization",
    "Cast",
    "Clip",
    "Concat",
    "Constant",
    "Conv",
    "DepthToSpace",
    "Div",
    "Einsum",
    "Equal",
    "Exp",
    "Expand",
    "Floor",
    "Gather",
    "GatherND",
    "Gelu",
    "Gemm",
    "Greater",
    "GreaterOrEqual",
    "GridSample",
    "LSTM",
    "LayerNormalization",
    "Less",
    "Log",
    "MatMul",
    "Max",
    "MaxPool",
    "Min",
    "Mod",
    "Mul",
    "MultiHeadAttention",
    "Neg",
    "Pad",
    "Pow",
    "Range",
    "ReduceL2",
    "ReduceMax",
    "ReduceMean",
    "ReduceSum",
    "Relu",
    "Reshape",
    "Round",
    "Shape",
    "Sigmoid",
    "Sign",
    "Slice",
    "Split",
    "Sqrt",
    "Squeeze",
    "Sub",
    "Transpose",
    "Unsqueeze",
    "Where",
}


@pytest.fixture
def entry(twin: Callable[[str], Entry], registered: Callable[[Entry], None]) -> Entry:
    made = twin(NAME)
    registered(made)
    return made


@pytest.fixture
def bundle(entry: Entry, twin_file: Callable[[str], Path], tmp_path: Path) -> bundles.Bundle:
    return bundles.read(convert(entry, twin_file(NAME), tmp_path / "bundle").path)


@pytest.mark.long
def test_the_file_is_self_contained_and_says_what_it_is(bundle: bundles.Bundle) -> None:
    onnx.checker.check_model(str(bundle.onnx), full_check=True)
    model = onnx.load(bundle.onnx, load_external_data=False)
    assert model.opset_import[0].version == export.OPSET
    assert not any(t.external_data for t in model.graph.initializer)
    facts = {p.key: p.value for p in model.metadata_props}
    assert facts["entry"] == NAME and facts["preset"] == "deepface"
    assert facts["licence"] == "vgg-face-non-commercial"
    assert facts["source_sha256"] == bundle.config["source"]["sha256"]
    assert facts["weights_sha256"] == bundle.config["files"]["model.safetensors"]["sha256"]
    assert "BGR" in facts["input"]


@pytest.mark.long
def test_names_axes_and_dynamic_batch(bundle: bundles.Bundle) -> None:
    session = onnxruntime.InferenceSession(str(bundle.onnx))
    (source,), (output,) = session.get_inputs(), session.get_outputs()
    assert (source.name, source.shape, source.type) == (
        "input",
        ["batch", 3, 224, 224],
        "tensor(float)",
    )
    assert (output.name, output.shape) == ("embedding", ["batch", 256])
    x = np.random.default_rng(0).random((5, 3, 224, 224), np.float32)
    together = session.run(None, {"input": x})[0]
    alone = [session.run(None, {"input": x[i : i + 1]})[0] for i in range(5)]
    np.testing.assert_allclose(together, np.concatenate(alone), rtol=0, atol=1e-5)


@pytest.mark.long
def test_initialisers_equal_the_safetensors(bundle: bundles.Bundle) -> None:
    from safetensors.numpy import load_file

    tensors = load_file(bundle.weights)
    model = onnx.load(bundle.onnx)
    for tensor in model.graph.initializer:
        if tensor.data_type == onnx.TensorProto.FLOAT:
            want = tensors.pop(tensor.name.removeprefix("network."))
            assert np.array_equal(onnx.numpy_helper.to_array(tensor).ravel(), want.ravel())
    assert tensors.keys() == {"fc8.weight", "fc8.bias"}  # not needed for the embedding


@pytest.mark.long
def test_logits_on_request(entry: Entry, bundle: bundles.Bundle, tmp_path: Path) -> None:
    path = tmp_path / "with_logits.onnx"
    bundle_onnx.export_file(bundle, path, logits=True)
    session = onnxruntime.InferenceSession(str(path))
    x = np.random.default_rng(0).random((2, 3, 224, 224), np.float32)
    embedding, logits = session.run(["embedding", "logits"], {"input": x})
    module = load_module(entry, bundle.weights)
    with torch.inference_mode():
        np.testing.assert_allclose(embedding, module(torch.from_numpy(x)), rtol=0, atol=1e-5)
        np.testing.assert_allclose(logits, module.logits(torch.from_numpy(x)), rtol=0, atol=1e-5)


@pytest.mark.long
@pytest.mark.parametrize("preset", FACE_PRESETS)
def test_from_pixels_every_size_equals_the_module(
    entry: Entry, bundle: bundles.Bundle, tmp_path: Path, preset: str
) -> None:
    path = tmp_path / "pixels.onnx"
    report = bundle_onnx.export_file(bundle, path, preset=preset, frontend=True)
    assert report.ok and [p.name for p in tmp_path.glob("pixels*")] == ["pixels.onnx"]
    session = onnxruntime.InferenceSession(str(path))
    (source,) = session.get_inputs()
    assert (source.name, source.type) == ("image", "tensor(uint8)")
    assert source.shape == ["batch", "height", "width", 3]
    assert [o.name for o in session.get_outputs()] == ["embedding"]
    front, module = FaceInput(face_preset(preset)), load_module(entry, bundle.weights)
    photo = Image.fromarray(samples()["astronaut.png"])
    for count, height, width in ((1, 224, 224), (3, 100, 333), (2, 457, 200), (1, 640, 480)):
        pixels = np.asarray(photo.resize((width, height)))
        batch = np.stack([np.roll(pixels, 9 * i, 1) for i in range(count)])
        with torch.inference_mode():
            want = module(front(torch.from_numpy(batch))).numpy()
        got = session.run(None, {"image": batch})[0]
        np.testing.assert_allclose(got, want, rtol=0, atol=1e-4 * np.abs(want).max())
    facts = {p.key: p.value for p in onnx.load(path).metadata_props}
    assert facts["preset"] == preset and "RGB" in facts["input"]
    onnx.checker.check_model(str(path), full_check=True)


@pytest.mark.long
def test_a_file_that_computes_something_else_is_not_kept(
    bundle: bundles.Bundle, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    real = in_batches

    def other(*arguments: Any) -> dict[str, np.ndarray]:
        return {name: value * 1.01 for name, value in real(*arguments).items()}

    monkeypatch.setattr(bundle_onnx, "in_batches", other)
    with pytest.raises(ParityError, match="was not written"):
        bundle_onnx.export_file(bundle, tmp_path / "new" / "a.onnx")
    assert list((tmp_path / "new").iterdir()) == []


@pytest.mark.long
def test_damaged_onnx_files_and_wrong_names_get_one_sentence(
    bundle: bundles.Bundle, tmp_path: Path
) -> None:
    with pytest.raises(UsageError, match=r"FILE\.onnx"):
        bundle_onnx.export_file(bundle, tmp_path / "model.pt")
    (tmp_path / "bad.onnx").write_bytes(b"\x00\x01nonsense")
    with pytest.raises(Vox2FaceError, match="cannot load"):
        run_onnx.session(tmp_path / "bad.onnx")


@pytest.mark.parametrize("number", [0, 1, 127, 128, 300, 2**31, 2**40])
def test_varints_are_protobufs(number: int) -> None:
    from onnx import TensorProto

    assert TensorProto(dims=[number]).SerializeToString()[1:] == export.varint(number)


def test_networks_beyond_protobufs_limit_are_refused() -> None:
    huge = export.Traced(onnx.ModelProto(), (export.Weight("w", (1 << 15, 1 << 14), False),))
    with pytest.raises(UsageError, match="2 GB"):
        export.beginning(huge)


def traced(name: str, form: bundle_onnx.Form) -> export.Traced:
    network = build_on_meta(name)
    shapes = {k: tuple(v.shape) for k, v in network.state_dict().items() if "num_batches" not in k}
    return bundle_onnx.traced(registry.sized(registry.entry(name), shapes), shapes, form)


@pytest.mark.long
@pytest.mark.parametrize(
    "name",
    [
        *("vggface.serengil", "vggface_senet50.rcmalli", "dlib_resnet128.dlib"),
        *("ve_conv.tiny", "ast.tiny", "mlp_head.resemblyzer"),
    ],
)
def test_graphs_run_on_cuda_as_a_whole_and_are_the_same_anywhere(name: str) -> None:
    form = bundle_onnx.Form(registry.entry(name).preprocess, frontend=True)
    model = traced(name, form).model
    assert {node.op_type for node in model.graph.node} <= ON_CUDA
    text = model.SerializeToString()
    assert b".py" not in text and not model.functions  # no traces of the source


@pytest.mark.long
@pytest.mark.parametrize("warps", [True, False])
def test_what_stands_behind_a_decoder_runs_on_cuda(warps: bool) -> None:
    points = torch.rand(68, 2) * 224
    decoder = FaceDecoder(16, (8, 8), (8,), (8, 8, 8, 8, 8), 68 if warps else 72, warps)
    encoder = Composed(torch.nn.Linear(8, 16))
    tail = FaceTail(points if warps else None)
    source = TensorSpec("input", ("batch", 8), "float32", "NC", "")
    outputs = (
        pipeline_onnx.PICTURE,
        pipeline_onnx.LANDMARKS,
        dataclasses.replace(source, name="embedding"),
    )
    module = Pipeline(encoder, Composed(decoder), tail)
    model = export.traced(module, source, outputs).model
    assert {node.op_type for node in model.graph.node} <= ON_CUDA


@pytest.mark.long
def test_the_same_bytes_come_out_twice(bundle: bundles.Bundle, tmp_path: Path) -> None:
    bundle_onnx.export_file(bundle, tmp_path / "again.onnx")
    assert (tmp_path / "again.onnx").read_bytes() == bundle.onnx.read_bytes()


@pytest.mark.long
def test_tensors_that_are_copied_are_proven_bit_for_bit(tmp_path: Path) -> None:
    path = vox2face.save("face_decoder.tiny", random_module("face_decoder.tiny"), tmp_path / "made")
    report = bundles.read_parity(path)
    assert report.verify == "bits" and report.ok and not report.rows
    assert report.verdict() == "PROVEN: all values bit for bit."
    again = vox2face.save(
        "face_decoder.tiny", random_module("face_decoder.tiny"), tmp_path / "onnx", onnx=True
    )
    report = check(bundles.read(again))
    assert report.ok and [row.tap for row in report.rows] == ["landmarks", "texture"]
    assert report.verdict().startswith("PROVEN: all values bit for bit, onnx file within ")


@pytest.mark.long
def test_a_file_for_deepface_takes_channels_last_and_gives_the_same(
    bundle: bundles.Bundle, tmp_path: Path
) -> None:
    path = tmp_path / "vgg_face_weights.onnx"
    bundle_onnx.export_file(bundle, path, layout="deepface")
    session = onnxruntime.InferenceSession(path)
    (source,) = session.get_inputs()
    assert source.shape[1:] == [224, 224, 3] and len(session.get_outputs()) == 1
    encoder = vox2face.load(bundle.path)
    x = encoder.preprocess(list(samples().values()))
    (got,) = session.run(None, {source.name: x.permute(0, 2, 3, 1).contiguous().numpy()})
    want = encoder.embed(x)
    assert np.abs(got - want).max() <= 1e-5 * want.max() and want.any()
    other = bundles.read(vox2face.load("dlib_resnet128.dlib").bundle.path)
    with pytest.raises(UsageError, match=r"dlib_resnet128\.dlib is not one"):
        bundle_onnx.export_file(other, tmp_path / "other.onnx", layout="deepface")
