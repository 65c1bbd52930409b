"""Weight files as Keras 3, tf-keras, PyTorch, safetensors and TensorFlow.js write them are read."""

from __future__ import annotations

import argparse
import json
import zipfile
from collections.abc import Callable
from pathlib import Path

import h5py
import numpy as np
import pytest
import torch
from helpers import seeds
from helpers.paths import DATA
from safetensors.numpy import save_file
from safetensors.torch import save_file as save_torch

from vox2face.converters.readers.keras.names import layer_names, natural, weight_names
from vox2face.converters.readers.open import open_weights
from vox2face.core.errors import WeightFileError

Python = Callable[..., str]
Arrays = dict[str, np.ndarray]
REAL = DATA / "emotion_model.hdf5"


def contents(path: Path) -> Arrays:
    """Return all arrays of a file by "layer|name"."""
    with open_weights(path) as file:
        values = map(np.array, file.values(file.arrays))
        return {f"{a.layer}|{a.name}": v for a, v in zip(file.arrays, values, strict=True)}


def same(found: Arrays, wanted: Arrays) -> None:
    assert found.keys() == wanted.keys()
    for name, value in wanted.items():
        assert np.array_equal(found[name], value), name


def test_a_real_whole_model_of_keras_2_is_read_as_it_lies() -> None:
    with open_weights(REAL) as file, h5py.File(REAL) as other:
        root = other["model_weights"]
        wanted = [
            f"{layer.decode()}/{name.decode()}"
            for layer in root.attrs["layer_names"]
            for name in root[layer].attrs["weight_names"]
        ]
        assert file.format == "legacy Keras HDF5"
        assert file.named
        assert [array.path for array in file.arrays] == wanted
        assert len(wanted) == 80
        assert file.arrays[0].shape == (3, 3, 1, 8)
        for array, values in zip(file.arrays, file.values(file.arrays), strict=True):
            assert np.array_equal(values, root[array.path][()])


# ---------------------------------------------------------------- Keras writes

MODEL = """
import json, sys, warnings
from pathlib import Path
import numpy as np
warnings.simplefilter("ignore")
folder = Path(sys.argv[1])
if sys.argv[2] == "tf_keras":
    import tf_keras as keras
else:
    import keras
layers = keras.layers
x = start = keras.Input((9, 9, 3))
for i in range(12):
    x = layers.Conv2D(3, 1, name=f"c{i:02d}")(x)
x = layers.BatchNormalization(name="bn")(x)
x = layers.SeparableConv2D(4, 3, name="sep")(x)
x = layers.DepthwiseConv2D(3, name="dw")(x)
x = layers.Dropout(0.5, seed=1)(x)
x = layers.Flatten()(x)
x = layers.Dense(5, use_bias=False, name="fc")(x)
x = layers.Dense(2, name="last")(x)
model = keras.Model(start, x)
model.compile("adam", "mse", metrics=["mae"])
model.fit(np.ones((2, 9, 9, 3)), np.zeros((2, 2)), verbose=0)
values = {}
for layer in model.layers:
    for number, weight in enumerate(layer.get_weights()):
        values[f"{layer.name}|{number}"] = weight
np.savez(folder / "values.npz", **values)
model.save_weights(folder / "model.weights.h5")
model.save(folder / "model.keras")
model.save(folder / "legacy.h5")
"""


def renumbered(path: Path) -> tuple[list[str], list[np.ndarray]]:
    """Return the layers of a file's arrays, in order, and their values."""
    with open_weights(path) as file:
        return [a.layer for a in file.arrays], list(map(np.array, file.values(file.arrays)))


@pytest.mark.long
@pytest.mark.parametrize("who", ["keras", "tf_keras"])
def test_what_keras_wrote_is_read(tmp_path: Path, python: Python, who: str) -> None:
    python(MODEL, tmp_path, who)
    wanted = dict(np.load(tmp_path / "values.npz"))
    layers, values = [key.split("|")[0] for key in wanted], list(wanted.values())

    def equal(path: Path, named: bool = True) -> None:
        found_layers, found = renumbered(path)
        with open_weights(path) as file:
            assert file.named is named
        if named:
            assert found_layers == layers
            assert all(map(np.array_equal, found, values))

    equal(tmp_path / "legacy.h5")
    equal(tmp_path / "model.keras")
    with open_weights(tmp_path / "model.weights.h5") as file:
        assert file.format == "Keras 3 weights"
        assert file.named is (who == "keras")
        conv = [a for a in file.arrays if a.path.startswith("layers/conv2d")]
        assert [a.path.split("/")[1] for a in conv[::2]] == [
            "conv2d",
            *(f"conv2d_{i}" for i in range(1, 12)),
        ]
    by_layer = {
        layer: [v for key, v in wanted.items() if key.startswith(f"{layer}|")] for layer in layers
    }
    found = contents(tmp_path / ("model.weights.h5" if who == "keras" else "model.keras"))
    same(
        {key: value for key, value in found.items() if key.startswith(("bn", "sep", "last"))},
        {
            f"{layer}|{name}": value
            for layer, names in NAMES.items()
            for name, value in zip(names, by_layer[layer], strict=True)
        },
    )


NAMES = {
    "bn": ("gamma", "beta", "moving_mean", "moving_variance"),
    "sep": ("depthwise_kernel", "pointwise_kernel", "bias"),
    "last": ("kernel", "bias"),
}

NESTED = """
import sys, keras
inner = keras.Sequential([keras.Input((4,)), keras.layers.Dense(3, name="deep")], name="inner")
model = keras.Sequential([keras.Input((4,)), inner, keras.layers.Dense(2, name="top")])
model.save_weights(sys.argv[1])
"""


@pytest.mark.long
def test_nested_models_keras_wrote_give_names_in_steps(tmp_path: Path, python: Python) -> None:
    path = tmp_path / "nested.weights.h5"
    python(NESTED, path)
    assert list(contents(path)) == [
        "top|kernel",
        "top|bias",
        "inner/deep|kernel",
        "inner/deep|bias",
    ]


# ---------------------------------------------------------------- Keras 3, by hand


def test_the_layout_of_tf_2_12_gets_names_from_the_configuration(tmp_path: Path) -> None:
    """There, each layer with weights is in the list of layers twice, so numbers have gaps."""
    inner, path = tmp_path / "w.h5", tmp_path / "old.keras"
    with h5py.File(inner, "w") as file:
        for number, layer in enumerate(("conv2d", "conv2d_2", "conv2d_10", "dense")):
            group = file.create_group(f"_layer_checkpoint_dependencies/{layer}/vars")
            group["0"] = seeds.KERNEL + number
    layers = [("Dense", "fc"), ("Conv2D", "a"), ("Conv2D", "b"), ("ReLU", "r"), ("Conv2D", "c")]
    config = [{"class_name": kind, "config": {"name": name}} for kind, name in layers]
    with zipfile.ZipFile(path, "w") as archive:
        archive.write(inner, "model.weights.h5")
        archive.writestr("config.json", json.dumps({"config": {"layers": config}}))
    found = contents(path)
    assert list(found) == ["fc|kernel", "a|kernel", "b|kernel", "c|kernel"]
    assert [value.ravel()[0] for value in found.values()] == [3, 0, 1, 2]


def test_without_names_layers_are_called_by_their_groups(tmp_path: Path) -> None:
    seeds.keras3(tmp_path / "old.weights.h5", ("conv2d_10", "conv2d_2", "conv2d"), named=False)
    with open_weights(tmp_path / "old.weights.h5") as file:
        assert not file.named
        assert [a.layer for a in file.arrays[::2]] == ["conv2d", "conv2d_2", "conv2d_10"]
        assert [a.name for a in file.arrays[:2]] == ["kernel", "bias"]


def test_names_are_only_given_where_they_are_certain() -> None:
    assert weight_names("batch_normalization_3", ["0", "1", "2"]) == ["0", "1", "2"]
    assert weight_names("dense", ["0"]) == ["kernel"]
    assert weight_names("my_layer", ["0", "table"]) == ["0", "table"]
    assert natural("conv2d_10") > natural("conv2d_9") > natural("conv2d")
    one = {"config": {"layers": [{"class_name": "Dense", "config": {"name": "a"}}]}}
    assert layer_names(one, ["dense"]) == {"dense": "a"}
    assert layer_names(one, ["dense", "dense_1"]) is None
    assert layer_names({}, ["dense"]) is None


@pytest.mark.parametrize("method", [zipfile.ZIP_STORED, zipfile.ZIP_DEFLATED])
def test_members_of_archives_may_be_stored_or_deflated(tmp_path: Path, method: int) -> None:
    seeds.legacy(tmp_path / "w.h5", compression="gzip")
    with h5py.File(tmp_path / "w.h5", "r+") as file:
        file["fc"]["plain"] = seeds.BIAS
        file["fc"].attrs["weight_names"] = [b"plain"]
    seeds.archive(tmp_path / "m.keras", method, tmp_path / "w.h5", True)
    same(contents(tmp_path / "m.keras"), contents(tmp_path / "w.h5"))


# ---------------------------------------------------------------- other frameworks


def state() -> dict[str, torch.Tensor]:
    base = torch.arange(24.0)
    return {
        "conv1_1.weight": torch.arange(54.0).reshape(2, 3, 3, 3),
        "conv1_1.bias": torch.randn(2),
        "fc7.weight": base[:12].reshape(3, 4, 1, 1),  # two views of one storage
        "fc8.bias": base[12:],
        "scale": torch.tensor(2.5),
    }


@pytest.mark.long
@pytest.mark.parametrize("protocol", [2, 3])
@pytest.mark.parametrize("below", [None, "state_dict"])
def test_state_dicts_of_every_protocol_are_read_as_pytorch_wrote_them(
    tmp_path: Path, below: str | None, protocol: int
) -> None:
    path, values = tmp_path / "vgg_face_weights.pth", state()
    more = {"epoch": 3, "history": [0.5, None, (1, 2, 3, 4)], "long": 1 << 70}
    torch.save({below: values, **more} if below else values, path, pickle_protocol=protocol)
    if protocol == 2:
        loaded = torch.load(path, weights_only=True)
        assert all(torch.equal((loaded[below] if below else loaded)[k], values[k]) for k in values)
    with open_weights(path) as file:
        assert file.format == "PyTorch state dict"
        assert [array.path for array in file.arrays] == list(values)
        assert [(a.layer, a.name) for a in file.arrays[:2]] == [
            ("conv1_1", "weight"),
            ("conv1_1", "bias"),
        ]
        for array, found in zip(file.arrays, file.values(file.arrays), strict=True):
            assert np.array_equal(found, values[array.path].numpy())


@pytest.mark.long
def test_a_modules_state_dict_and_its_parameters_are_read(tmp_path: Path) -> None:
    module = torch.nn.Sequential(torch.nn.Conv2d(3, 4, 3), torch.nn.BatchNorm2d(4))
    torch.save(module.state_dict(), tmp_path / "a.pt")
    torch.save(dict(module.named_parameters()), tmp_path / "b.pt")
    found = contents(tmp_path / "a.pt")
    assert "1|running_mean" in found
    assert "1|num_batches_tracked" not in found  # it counts, it weighs nothing
    assert np.array_equal(found["0|weight"], module[0].weight.detach().numpy())
    assert len(contents(tmp_path / "b.pt")) == 4


def test_safetensors_are_read(tmp_path: Path) -> None:
    values = {"a.b.weight": seeds.KERNEL, "c/bias": seeds.BIAS, "plain": seeds.BIAS + 1}
    path = tmp_path / "model.safetensors"
    save_file(values, path)
    same(
        contents(path),
        {"a.b|weight": seeds.KERNEL, "c|bias": seeds.BIAS, "plain|weights": seeds.BIAS + 1},
    )


def test_tensorflow_js_values_are_read_or_computed(tmp_path: Path) -> None:
    seeds.tensorflow_js(tmp_path)
    path = tmp_path / "w-weights_manifest.json"
    wanted = {
        "conv|filters": seeds.KERNEL,
        "conv|bias": np.array([-0.75, -0.25, 0.25, 126.25], np.float32),
        "fc|weights": (np.array([1, 65535, 3], np.float64) * 1e-3).astype(np.float32),
        "split|weights": np.array([1.5, -2.5], np.float32),
    }
    same(contents(path), wanted)
    with open_weights(path) as file:
        assert [part.name for part in file.parts] == ["w.bin", "w2.bin"]
        assert file.size == sum(p.stat().st_size for p in (path, *file.parts))
    model = {"format": "layers-model", "weightsManifest": json.loads(path.read_text())}
    (tmp_path / "model.json").write_text(json.dumps(model))
    same(contents(tmp_path / "model.json"), wanted)


@pytest.mark.long
def test_other_floating_point_types_become_float32_and_that_is_told(tmp_path: Path) -> None:
    values = torch.linspace(-3, 3, 24).reshape(2, 3, 4)
    kinds = {"half": torch.float16, "brain": torch.bfloat16, "double": torch.float64}
    state = {name: values.to(kind) for name, kind in kinds.items()}
    torch.save(state, tmp_path / "a.pt")
    save_torch(state, tmp_path / "a.safetensors")
    for path in (tmp_path / "a.pt", tmp_path / "a.safetensors"):
        with open_weights(path) as file:
            assert file.told == (
                "Its values of bfloat16, float16, float64 are converted to float32.",
            )
            for array, found in zip(file.arrays, file.values(file.arrays), strict=True):
                assert np.array_equal(found, state[array.path].float().numpy())


@pytest.mark.long
def test_negated_transposed_and_expanded_tensors_are_read_as_pytorch_reads_them(
    tmp_path: Path,
) -> None:
    values = torch.arange(12.0).reshape(3, 4)
    negated = torch._neg_view(values)
    assert negated.is_neg()
    state = {"neg": negated, "turned": values.T, "wide": values[:1].expand(5, 4)}
    torch.save(state, tmp_path / "a.pt")
    found = contents(tmp_path / "a.pt")
    for name, value in state.items():
        assert np.array_equal(found[f"{name}|weights"], value.resolve_neg().numpy()), name


@pytest.mark.long
def test_of_several_state_dicts_the_models_is_taken_and_another_on_request(tmp_path: Path) -> None:
    one, two = {"a": torch.ones(2)}, {"a": torch.zeros(2)}
    torch.save({"ema": two, "model": one, "epoch": 3}, tmp_path / "a.pt")
    with open_weights(tmp_path / "a.pt") as file:
        assert file.told == ("Its 'model' is taken, not 'ema' (--state).",)
        assert file.values(file.arrays)[0].all() and file.facts == {"epoch": 3}
    with open_weights(tmp_path / "a.pt", "ema") as file:
        assert file.told == () and not file.values(file.arrays)[0].any()
    with (
        pytest.raises(WeightFileError, match=r"tensors 'x' \(--state\), but 'ema', 'model'"),
        open_weights(tmp_path / "a.pt", "x"),
    ):
        pass


@pytest.mark.long
def test_what_checkpoints_hold_beside_weights_does_not_matter(tmp_path: Path) -> None:
    beside = {
        "args": argparse.Namespace(lr=0.1, out=Path("runs")),
        "loss": np.float64(0.5),
        "curve": np.arange(3.0),
        "best": np.int64(7),
        "where": Path("a/b"),
        "kind": np.dtype("float32"),
    }
    torch.save({"state_dict": {"a.weight": torch.ones(2)}, **beside}, tmp_path / "a.ckpt")
    with open_weights(tmp_path / "a.ckpt") as file:
        assert file.values(file.arrays)[0].tolist() == [1, 1]
        assert file.facts == {"loss": 0.5, "best": 7}
