"""A model is loaded whole and sound, or refused in one line; its files may then change."""

from __future__ import annotations

import json
import re
import struct
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import pytest
import torch
from safetensors.torch import load_file, save_file

import vox2face
from vox2face.converters.convert import convert
from vox2face.core.entry import Entry
from vox2face.core.errors import BundleError
from vox2face.core.files import sha256
from vox2face.media.audio import speech
from vox2face.media.image import samples
from vox2face.runtime.pipelines import SpeechToFace
from vox2face.store import bundle as bundles
from vox2face.zoo import registry

Make = Callable[..., Path]
NAME = "vggface.serengil"
VOICE, DECODER = "ge2e.resemblyzer", "face_decoder.cole"


@pytest.fixture
def face(
    twin: Callable[[str], Entry],
    twin_file: Callable[[str], Path],
    tmp_path: Path,
    registered: Callable[[Entry], None],
) -> Path:
    """The folder of a narrow face encoder with an ONNX file."""
    entry = twin(NAME)
    registered(entry)
    return convert(entry, twin_file(NAME), tmp_path / "face").path


def refused(path: Path, **options: Any) -> str:
    """Return the sentence with which a bundle is refused."""
    with pytest.raises(BundleError) as caught:
        vox2face.load(path, **options)
    assert "\n" not in str(caught.value) and str(path) in str(caught.value)
    return str(caught.value)


def recorded(path: Path, name: str) -> None:
    """Record a file of a bundle as it is now."""
    bundle = bundles.read(path)
    bundles.add_file(bundle.config, path / name, sha256(path / name))
    bundles.write_config(path, bundle.config)


# ---------------------------------------------------------------- afterwards


@pytest.mark.long
@pytest.mark.parametrize("backend", ["torch", "onnx"])
def test_a_loaded_model_outlives_its_files(bundle: Make, face: Path, backend: str) -> None:
    places = [face, bundle(VOICE, width=48), bundle(DECODER)]
    encoder, voice, decoder = (vox2face.load(place, backend=backend) for place in places)

    def results() -> list[Any]:
        embedding = voice(speech(), 16_000)
        drawn = decoder(embedding)[0]
        return [encoder(samples()["head.png"]), embedding, drawn.image, drawn.landmarks]

    before = results()
    for place in places:
        for name in (bundles.WEIGHTS, bundles.ONNX):
            with (place / name).open("r+b") as file:  # the same file, as a mapping would see it
                file.write(b"\xff" * (place / name).stat().st_size)
                file.truncate(100)
    for one, two in zip(before, results(), strict=True):
        np.testing.assert_array_equal(one, two)


@pytest.mark.long
def test_weights_cut_short_while_they_are_read_are_refused(
    face: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    real = registry.require_same

    def cut(*arguments: Any) -> None:
        real(*arguments)
        with (face / bundles.WEIGHTS).open("r+b") as file:
            file.truncate(300_000)

    monkeypatch.setattr(registry, "require_same", cut)
    assert "is not a whole safetensors file (it ends within 'fc6.weight')" in refused(face)


# ---------------------------------------------------------------- tensors

Tensors = dict[str, torch.Tensor]


def spoilt(value: float) -> Callable[[Tensors, str], None]:
    def spoil(tensors: Tensors, name: str) -> None:
        tensors[name].view(-1)[-1] = value

    return spoil


def resized(tensors: Tensors, name: str) -> None:
    tensors[name] = torch.cat([tensors[name], tensors[name]])


DAMAGE: dict[str, tuple[Callable[[Tensors, str], Any], str]] = {
    "missing": (lambda t, name: t.pop(name), "{name} is missing"),
    "superfluous": (
        lambda t, name: t.update({"extra\nweight": torch.ones(2)}),
        r"'extra\nweight' belongs to no layer",
    ),
    "a counter": (
        lambda t, name: t.update({"x.num_batches_tracked": torch.tensor(3)}),
        "'x.num_batches_tracked' belongs to no layer",
    ),
    "of another shape": (resized, "{name} is ("),
    "half": (lambda t, name: t.update({name: t[name].half()}), "{name} holds F16, expected F32"),
    "NaN": (spoilt(torch.nan), "'{name}' holds NaN or infinity"),
    "infinite": (spoilt(-torch.inf), "'{name}' holds NaN or infinity"),
}


@pytest.mark.long
@pytest.mark.parametrize("kind", DAMAGE)
@pytest.mark.parametrize(
    ("model", "name"), [(NAME, "fc7.bias"), (VOICE, "lstm.bias_hh_l1"), (DECODER, "mean_landmarks")]
)
def test_tensors_of_another_network_are_refused(
    request: pytest.FixtureRequest, bundle: Make, model: str, name: str, kind: str
) -> None:
    path = request.getfixturevalue("face") if model == NAME else bundle(model, onnx=False)
    tensors = {key: value.clone() for key, value in load_file(path / bundles.WEIGHTS).items()}
    damage, words = DAMAGE[kind]
    if (model, kind) == (DECODER, "missing"):
        name = "texture_layers.0.0.weight"  # without mean landmarks it is a decoder too
    damage(tensors, name)
    save_file(tensors, path / bundles.WEIGHTS)
    assert words.format(name=name) in refused(path)


@pytest.mark.long
@pytest.mark.parametrize(
    ("model", "name"), [(VOICE, "linear.weight"), ("ve_conv.tiny", "layer3.0.weight")]
)
def test_tensors_that_tell_the_networks_size_are_missed(
    bundle: Make, model: str, name: str
) -> None:
    path = bundle(model)
    tensors = {key: value.clone() for key, value in load_file(path / bundles.WEIGHTS).items()}
    del tensors[name]
    save_file(tensors, path / bundles.WEIGHTS)
    for backend in ("torch", "onnx"):
        assert f"'{name}' is missing" in refused(path, backend=backend)


@pytest.mark.long
def test_only_so_many_problems_are_listed(face: Path) -> None:
    save_file({"a": torch.ones(2)}, face / bundles.WEIGHTS)
    assert "; and 27 more): convert again" in refused(face)


def with_header(header: object, values: bytes = bytes(8)) -> bytes:
    text = header if isinstance(header, bytes) else json.dumps(header).encode()
    return struct.pack("<Q", len(text)) + text + values


def one(**facts: object) -> dict[str, object]:
    return {"fc7.bias": {"dtype": "F32", "shape": [2], "data_offsets": [0, 8], **facts}}


@pytest.mark.long
@pytest.mark.parametrize(
    ("content", "words"),
    [
        (b"", "its header of 0 bytes"),
        (b"<html>", "oversized or cut short"),
        (struct.pack("<Q", 1 << 60) + b"{}", "oversized or cut short"),
        (with_header(b"{" * 100_000), "header|Expecting"),
        (with_header(b"[" * 100_000), "its header is malformed"),
        (with_header([]), "its header is malformed"),
        (with_header({"fc7.bias": 5}), "its header is malformed"),
        (with_header({"fc7.bias": {}}), "its header is malformed"),
        (with_header(b"\xff\xff"), "decode"),
        (with_header(one(dtype=5)), "its header is malformed"),
        (with_header(one(dtype="f\n")), "has the type"),
        (with_header(one(shape=[-2])), "numbers that are not valid"),
        (with_header(one(shape=[2.0])), "numbers that are not valid"),
        (with_header(one(shape=[True, 2])), "numbers that are not valid"),
        (with_header(one(shape=[1 << 62, 1 << 62])), "do not lie where they have to"),
        (with_header(one(shape=[3])), "do not lie where they have to"),
        (with_header(one(data_offsets=[0])), "unpack"),
        (with_header(one(data_offsets=[8, 0])), "do not lie where they have to"),
        (with_header(one(data_offsets=[8, 16]), bytes(16)), "do not lie where they have to"),
        (with_header(one(), bytes(7)), "its header states"),
        (with_header(one(), bytes(9)), "its header states"),
        (with_header({**one(), "again": one()["fc7.bias"]}), "do not lie where they have to"),
    ],
    ids=range(22),
)
def test_files_that_are_no_safetensors_are_refused(face: Path, content: bytes, words: str) -> None:
    (face / bundles.WEIGHTS).write_bytes(content)
    message = refused(face)
    assert "is not a whole safetensors file" in message
    assert re.search(words, message)


# ---------------------------------------------------------------- ONNX files


def renamed(model: onnx.ModelProto, old: str, new: str) -> None:
    for node in model.graph.node:
        for names in (node.input, node.output):
            for i, name in enumerate(names):
                names[i] = new if name == old else name
    for value in (*model.graph.input, *model.graph.output):
        value.name = new if value.name == old else value.name


def other_input(model: onnx.ModelProto) -> None:
    renamed(model, "input", "picture")


def other_output(model: onnx.ModelProto) -> None:
    renamed(model, "embedding", "vector")


def second_output(model: onnx.ModelProto) -> None:
    model.graph.node.append(onnx.helper.make_node("Abs", ["embedding"], ["more"]))
    model.graph.output.append(onnx.helper.make_tensor_value_info("more", 1, ["batch", 256]))


def other_width(model: onnx.ModelProto) -> None:
    node = onnx.helper.make_node("Concat", ["half", "half"], ["embedding"], axis=1)
    renamed(model, "embedding", "half")
    model.graph.node.append(node)
    del model.graph.output[:]
    model.graph.output.append(onnx.helper.make_tensor_value_info("embedding", 1, ["batch", 512]))


def other_rank(model: onnx.ModelProto) -> None:
    renamed(model, "embedding", "flat")
    model.graph.node.append(onnx.helper.make_node("Unsqueeze", ["flat", "axis"], ["embedding"]))
    model.graph.initializer.append(onnx.numpy_helper.from_array(np.array([2]), "axis"))
    del model.graph.output[:]
    model.graph.output.append(onnx.helper.make_tensor_value_info("embedding", 1, ["batch", 256, 1]))


@pytest.mark.long
@pytest.mark.parametrize(
    ("change", "words"),
    [
        (other_input, "has the input 'picture tensor(float) ('batch', 3, 224, 224)'"),
        (other_output, "has the output 'vector"),
        (second_output, "has the output 'embedding tensor(float) ('batch', 256), more"),
        (other_width, "('batch', 512)"),
        (other_rank, "('batch', 256, 1)"),
    ],
    ids=lambda value: getattr(value, "__name__", ""),
)
def test_an_onnx_file_of_another_network_is_refused(
    face: Path, change: Callable[[onnx.ModelProto], None], words: str
) -> None:
    path = face / bundles.ONNX
    model = onnx.load(path)
    change(model)
    onnx.save(model, path)
    recorded(face, bundles.ONNX)
    message = refused(face, backend="onnx")
    assert words in message.replace('"', "'") and "delete it, and it will be exported" in message
    path.unlink()
    assert vox2face.load(face, backend="onnx")(samples()["head.png"]).shape == (1, 256)


# ---------------------------------------------------------------- facts


@pytest.mark.long
@pytest.mark.parametrize(
    "content",
    [b"", b"{", b"[]", b"5", b"\xff", b'{"rows": [{}]}', b'{"rows": [], "versions": {}}'],
    ids=range(7),
)
def test_a_damaged_proof_is_refused(face: Path, content: bytes) -> None:
    (face / bundles.PARITY).write_bytes(content)
    assert "parity.json is damaged" in refused(face)


@pytest.mark.long
def test_a_missing_proof_is_refused(face: Path) -> None:
    (face / bundles.PARITY).unlink()
    assert "lacks parity.json: convert again" in refused(face)


@pytest.mark.long
@pytest.mark.parametrize("name", [bundles.CONFIG, bundles.PARITY])
def test_facts_of_absurd_size_are_not_read(face: Path, name: str) -> None:
    with (face / name).open("r+b") as file:
        file.truncate(1 << 36)
    assert f"{name} has more than 4.0 MB" in refused(face)


# ---------------------------------------------------------------- verify=True


def touched(path: Path) -> None:
    """Change the last bit of a float32 value."""
    content = bytearray(path.read_bytes())
    content[-4] ^= 1
    path.write_bytes(content)


@pytest.mark.long
def test_verify_finds_the_file_that_changed(face: Path) -> None:
    for backend in ("torch", "onnx"):
        vox2face.load(face, backend=backend, verify=True)
    touched(face / bundles.ONNX)
    vox2face.load(face, verify=True)  # that file is not used
    vox2face.load(face, backend="onnx")
    words = "has changed since it was written (sha256 differs)"
    assert f"model.onnx {words}" in refused(face, backend="onnx", verify=True)
    recorded(face, bundles.ONNX)
    touched(face / bundles.WEIGHTS)
    vox2face.load(face)
    for backend in ("torch", "onnx"):
        assert f"model.safetensors {words}" in refused(face, backend=backend, verify=True)


def test_pipelines_verify_both_networks(bundle: Make) -> None:
    parts = [bundle(VOICE, width=48, onnx=False), bundle(DECODER, onnx=False)]
    for part in parts:
        SpeechToFace.from_zoo(*parts, verify=True, any_space=True)
        original = (part / bundles.WEIGHTS).read_bytes()
        touched(part / bundles.WEIGHTS)
        with pytest.raises(BundleError, match=rf"{part}: model\.safetensors has changed"):
            SpeechToFace.from_zoo(*parts, verify=True, any_space=True)
        (part / bundles.WEIGHTS).write_bytes(original)
