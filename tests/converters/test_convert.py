"""The whole chain on narrow twins that Keras itself built, and everything that must stop it."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from helpers.twins import narrow

from vox2face.converters import bundle_onnx, bundle_writer, verify
from vox2face.converters.convert import convert
from vox2face.converters.maps import weight_map
from vox2face.converters.onnx import export, session
from vox2face.converters.test_inputs import probes
from vox2face.converters.verify_bundle import check
from vox2face.core import extras
from vox2face.core.entry import Entry
from vox2face.core.errors import BundleError, MappingError, ParityError, UsageError, Vox2FaceError
from vox2face.store import bundle as bundles
from vox2face.zoo.registry import load_module

Twin = Callable[[str], Entry]
TwinFile = Callable[[str], Path]
NAMES = ("vggface.serengil", "vggface.rcmalli")
BOTH = pytest.mark.parametrize("name", NAMES)

FLAVOURS = ("weights", "whole")

# Builds the owner's graphs, narrow, saves them the legacy way and writes every activation.
KERAS = """
import json, sys, numpy as np
from importlib import import_module
from vox2face.converters.reference import keras_graphs

k = import_module(sys.argv[1])
for match, file, probe, flavour in json.loads(sys.argv[2]):
    build = {"order": keras_graphs.convolutional, "name": keras_graphs.dense}[match]
    model, outputs = build(k, (4, 8, 16, 32, 32), 256, 163)
    rng = np.random.default_rng(5)
    model.set_weights([
        rng.standard_normal(w.shape).astype("f") * (2 / max(1, np.prod(w.shape[:-1]))) ** 0.5
        for w in model.get_weights()
    ])
    if flavour == "whole":
        model.save(file)
    elif sys.argv[1] == "keras":  # Keras 3 writes the legacy weights format only through this
        import h5py
        from keras.src.legacy.saving.legacy_h5_format import save_weights_to_hdf5_group
        with h5py.File(file, "w") as target:
            save_weights_to_hdf5_group(target, model)
    else:
        model.save_weights(file)
    x = np.load(probe)
    values = k.Model(model.inputs, list(outputs.values())).predict_on_batch(x)
    np.savez(file + ".npz", **dict(zip(outputs, values)))
"""


@pytest.fixture(scope="module", params=["tf_keras", "keras"])
def keras_files(
    request: pytest.FixtureRequest,
    tmp_path_factory: pytest.TempPathFactory,
    python: Callable[..., str],
) -> Path:
    """A folder with the files that one Keras wrote: NAME-FLAVOUR.h5, their values, NAME.npy."""
    folder, tasks = tmp_path_factory.mktemp(request.param), []
    for name in NAMES:
        entry, probe = narrow(name), folder / f"{name}.npy"
        np.save(probe, probes(entry, entry.preprocess)[1][:1].transpose(0, 2, 3, 1))
        for flavour in FLAVOURS:
            file = folder / f"{name}-{flavour}.h5"
            tasks.append((weight_map(entry).match, str(file), str(probe), flavour))
    python(KERAS, request.param, json.dumps(tasks))
    return folder


@pytest.mark.long
@pytest.mark.parametrize("flavour", FLAVOURS)
@BOTH
def test_a_file_keras_wrote_computes_what_keras_computes(
    keras_files: Path, twin: Twin, tmp_path: Path, flavour: str, name: str
) -> None:
    entry, file = twin(name), keras_files / f"{name}-{flavour}.h5"
    x = np.load(keras_files / f"{name}.npy").transpose(0, 3, 1, 2)
    done = convert(entry, file, tmp_path / "out", onnx=True)
    assert done.report.ok
    assert len(done.report.rows) == 21 + 1
    module = load_module(entry, done.path / bundles.WEIGHTS)
    with torch.inference_mode():
        taps = dict(module.taps(torch.from_numpy(x)))
    taps["file"] = torch.from_numpy(session.run(session.session(done.path / bundles.ONNX), x)[0])
    with np.load(f"{file}.npz") as stored:
        theirs = dict(stored)
    assert len(theirs) == 21
    for tap, got in taps.items():
        want = theirs["fc7" if tap == "file" else tap]
        want = want.reshape(1, -1) if tap[:2] in ("fc", "fi") else want
        difference = np.abs(verify.channels_last(got.numpy()) - want).max()
        assert difference <= 1e-4 * np.abs(want).max(), tap


@pytest.mark.long
@BOTH
def test_a_bundle_holds_config_weights_onnx_proof_and_card(
    twin: Twin, twin_file: TwinFile, tmp_path: Path, name: str
) -> None:
    said: list[str] = []
    file, out = twin_file(name), tmp_path / "made" / "out"
    done = convert(twin(name), file, out, say=said.append)
    assert sorted(p.name for p in out.iterdir()) == [
        "README.md",
        "config.json",
        "model.onnx",
        "model.safetensors",
        "parity.json",
    ]
    assert [p.name for p in out.parent.iterdir()] == ["out"]
    bundle = bundles.read(out)
    assert (bundle.entry_name, bundle.preset) == (name, twin(name).preprocess)
    assert bundle.altered() == []
    assert bundle.config["source"]["sha256"] == done.source["sha256"]
    assert any(done.source["sha256"] in line for line in said)
    card = (out / "README.md").read_text()
    assert card.startswith("---\nlicense: other\n")
    assert done.report.verdict() in card


def test_only_serengil_states_whether_the_file_is_the_published_one(
    twin: Twin, twin_file: TwinFile, tmp_path: Path
) -> None:
    facts = {
        name: convert(
            twin(name), twin_file(name), tmp_path / name, onnx=False, verify="none"
        ).source["published"]
        for name in ("vggface.serengil", "vggface.rcmalli")
    }
    assert facts == {"vggface.serengil": False, "vggface.rcmalli": None}


def test_a_failing_tap_fails_the_conversion_and_keeps_nothing(
    twin: Twin, twin_file: TwinFile, tmp_path: Path, forget_fc6_order: Callable[[], None]
) -> None:
    forget_fc6_order()
    file, folder = twin_file("vggface.rcmalli"), tmp_path / "made"
    with pytest.raises(ParityError, match="FAILED at fc6") as caught:
        convert(twin("vggface.rcmalli"), file, folder / "out")
    failed = caught.value.report.first_failure
    assert failed is not None and (failed.tap, failed.stage) == ("fc6", "torch")
    assert failed.cosine < 0.9
    assert all(row.ok for row in caught.value.report.rows[:18])  # conv1_1 ... pool5
    assert list(folder.iterdir()) == []


def test_the_proof_sees_a_wrong_onnx_graph(
    twin: Twin, twin_file: TwinFile, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    right = export.taken_out

    def wrong(graph: Any) -> Any:
        relu = [node for node in graph if node.op_type == "Relu"][9]  # a forgotten ReLU
        relu.outputs[0].replace_all_uses_with(relu.inputs[0])
        return right(graph)

    monkeypatch.setattr(export, "taken_out", wrong)
    with pytest.raises(ParityError, match=r"embedding \(onnx file\)"):
        convert(twin("vggface.serengil"), twin_file("vggface.serengil"), tmp_path / "out")
    assert not (tmp_path / "out").exists()


@pytest.mark.long
def test_nan_in_the_source_keeps_nothing(
    handmade: Callable[..., Path], twin: Twin, tmp_path: Path
) -> None:
    entry, layers = twin("vggface.serengil"), {}
    for rule in weight_map(entry).rules:
        layer, weight = rule.source.split("/")
        layers.setdefault(layer, {})[f"{weight}:0"] = np.zeros(rule.shape, np.float32)
    layers["fc7"]["kernel:0"][..., 5, 5] = np.nan
    with pytest.raises(Vox2FaceError, match="fc7/kernel holds NaN"):
        convert(entry, handmade(list(layers.items())), tmp_path / "made" / "out")
    assert list((tmp_path / "made").iterdir()) == []


@pytest.mark.parametrize("storage", [{"compression": "gzip"}, {"chunks": True}], ids=str)
def test_packed_files_convert_to_the_same_weights(
    handmade: Callable[..., Path],
    twin: Twin,
    twin_file: TwinFile,
    tmp_path: Path,
    storage: dict[str, object],
) -> None:
    import h5py

    entry, plain = twin("vggface.serengil"), twin_file("vggface.serengil")
    layers: dict[str, dict[str, np.ndarray]] = {}
    with h5py.File(plain) as file:
        for rule in weight_map(entry).rules:
            layer, weight = rule.source.split("/")
            layers.setdefault(layer, {})[f"{weight}:0"] = file[f"{layer}/{layer}/{weight}:0"][()]
    packed = handmade(list(layers.items()), **storage)
    for name, path in (("plain", plain), ("packed", packed)):
        convert(entry, path, tmp_path / name, onnx=False)
    assert (tmp_path / "plain" / bundles.WEIGHTS).read_bytes() == (
        tmp_path / "packed" / bundles.WEIGHTS
    ).read_bytes()


def test_the_other_owners_file_is_recognised(twin_file: TwinFile, tmp_path: Path) -> None:
    from vox2face.converters.maps import vggface_rcmalli
    from vox2face.converters.readers.open import open_weights
    from vox2face.zoo.registry import entry

    path = tmp_path / "full.h5"
    declare(path, vggface_rcmalli.RULES)
    command = "run vox2face convert rcmalli --variant vgg16"
    with open_weights(path) as file, pytest.raises(MappingError, match=command):
        bundle_writer.paired(entry("vggface.serengil"), file)


def declare(path: Path, rules: object) -> None:
    """Write a file that declares full-size arrays and whose values are a hole in the file."""
    import h5py

    with h5py.File(path, "w") as file:
        layers: dict[str, list[bytes]] = {}
        for rule in rules:  # type: ignore[attr-defined]
            layer, weight = rule.source.split("/")
            plan = h5py.h5p.create(h5py.h5p.DATASET_CREATE)
            plan.set_alloc_time(h5py.h5d.ALLOC_TIME_EARLY)
            plan.set_fill_time(h5py.h5d.FILL_TIME_NEVER)
            space = h5py.h5s.create_simple(rule.shape)
            group = file.require_group(layer)
            h5py.h5d.create(group.id, weight.encode(), h5py.h5t.IEEE_F32LE, space, plan)
            layers.setdefault(layer, []).append(weight.encode())
        for layer, names in layers.items():
            file[layer].attrs["weight_names"] = np.array(names)
        file.attrs["layer_names"] = np.array([layer.encode() for layer in layers])


# ---------------------------------------------------------------- extras


def test_without_the_onnx_extra_torch_is_proven_and_one_line_says_so(
    twin: Twin, twin_file: TwinFile, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(extras, "find_spec", lambda name: None)
    said: list[str] = []
    entry, file = twin("vggface.serengil"), twin_file("vggface.serengil")
    done = convert(entry, file, tmp_path / "out", say=said.append)
    assert done.report.ok and done.report.stages == ["torch"]
    assert [line for line in said if "'.[onnx]'" in line]
    assert not (done.path / bundles.ONNX).exists()
    with pytest.raises(UsageError, match="'onnx' extra"):
        convert(entry, file, tmp_path / "other", onnx=True)


def test_verify_keras_without_tensorflow_names_the_extra(
    twin: Twin, twin_file: TwinFile, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(extras, "find_spec", lambda name: None)
    with pytest.raises(UsageError, match="'keras' extra"):
        convert(twin("vggface.serengil"), twin_file("vggface.serengil"), verify="keras")


def test_unknown_verification_lists_the_known_ones(twin: Twin, twin_file: TwinFile) -> None:
    with pytest.raises(UsageError, match="reference, keras, none"):
        convert(twin("vggface.serengil"), twin_file("vggface.serengil"), verify="hope")


# ---------------------------------------------------------------- check


@pytest.mark.long
def test_check_proves_a_bundle_again_and_notices_changes(
    twin: Twin, twin_file: TwinFile, registered: Callable[[Entry], None], tmp_path: Path
) -> None:
    entry, file = twin("vggface.rcmalli"), twin_file("vggface.rcmalli")
    done = convert(entry, file, tmp_path / "out")
    registered(entry)
    assert check(bundles.read(done.path), file).ok
    assert check(bundles.read(done.path)).stages == ["torch", "onnx file"]
    report = bundle_onnx.export_file(bundles.read(done.path), tmp_path / "a.onnx", logits=True)
    assert [row.tap for row in report.rows] == ["embedding", "logits"]
    other = tmp_path / "other.h5"
    chain_file(entry, other)
    with pytest.raises(Vox2FaceError, match="other values"):
        check(bundles.read(done.path), other)
    weights = done.path / bundles.WEIGHTS
    content = bytearray(weights.read_bytes())
    content[-1] ^= 1
    weights.write_bytes(content)
    with pytest.raises(BundleError, match=r"model.safetensors has changed"):
        check(bundles.read(done.path))
    weights.unlink()
    with pytest.raises(BundleError, match=r"lacks model\.safetensors"):
        bundles.read(done.path)


def chain_file(entry: Entry, path: Path) -> None:
    """Write a file of other random weights."""
    from vox2face.converters.keras.writer import random_layers, write_keras

    write_keras(path, random_layers(weight_map(entry).rules, seed=2))


def test_damaged_configs_are_refused(tmp_path: Path) -> None:
    (tmp_path / "config.json").write_text("{")
    with pytest.raises(BundleError, match="damaged"):
        bundles.read(tmp_path)
    (tmp_path / "config.json").write_text(
        '{"format": 99, "entry": "a", "preset": "b", "files": {}}'
    )
    with pytest.raises(BundleError, match="format 99"):
        bundles.read(tmp_path)
    with pytest.raises(BundleError, match="not a folder"):
        bundles.read(tmp_path / "nowhere")
