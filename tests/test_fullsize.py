"""Full-size files made by the owners' own code, through the command line, against the owners."""

from __future__ import annotations

import dataclasses
import json
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import h5py
import numpy as np
import pytest

from vox2face import bundle as bundles

ASSETS = Path(bundles.__file__).parent / "assets"
PICTURES = [ASSETS / "astronaut.png", ASSETS / "head.png"]
Run = Callable[..., subprocess.CompletedProcess[str]]

# deepface's network, its loading, its preprocessing and its normalisation, as represent() runs them
DEEPFACE = """
import sys
import cv2, numpy as np
from deepface.models.facial_recognition.tf.VGGFace import base_model
from deepface.modules import preprocessing, verification
from tensorflow.keras.models import Model
from tensorflow.keras.layers import Flatten

model = base_model()
model.load_weights(sys.argv[1])
descriptor = Model(inputs=model.layers[0].input, outputs=Flatten()(model.layers[-5].output))
rows = []
for path in sys.argv[3:]:
    bgr = cv2.imread(path) / 255.0
    x = preprocessing.normalize_input(preprocessing.resize_image(bgr, (224, 224)), "base")
    rows.append(verification.l2_normalize(descriptor(x, training=False).numpy()[0].tolist()))
np.save(sys.argv[2], np.array(rows, np.float32))
"""

# The graph of keras_vggface/models.py, VGG16(include_top=True), with its layer names, on tf-keras,
# and preprocess_input(version=1); keras-vggface itself imports on no current Keras.
KERAS_VGGFACE = """
import sys
import numpy as np
from PIL import Image
from tf_keras import Model
from tf_keras.layers import Activation, Conv2D, Dense, Flatten, Input, MaxPooling2D

x = image = Input((224, 224, 3))
for stage, (width, depth) in enumerate(((64, 2), (128, 2), (256, 3), (512, 3), (512, 3)), 1):
    for i in range(1, depth + 1):
        x = Conv2D(width, (3, 3), activation="relu", padding="same", name=f"conv{stage}_{i}")(x)
    x = MaxPooling2D((2, 2), strides=(2, 2), name=f"pool{stage}")(x)
x = Flatten(name="flatten")(x)
x = Activation("relu", name="fc6/relu")(Dense(4096, name="fc6")(x))
x = fc7 = Activation("relu", name="fc7/relu")(Dense(4096, name="fc7")(x))
x = Activation("softmax", name="fc8/softmax")(Dense(2622, name="fc8")(x))
model, rng = Model(image, x, name="vggface_vgg16"), np.random.default_rng(11)
model.set_weights([
    rng.standard_normal(w.shape, np.float32)
    * np.float32((2 / np.prod(w.shape[:-1])) ** 0.5 if w.ndim > 1 else 0.05)
    for w in model.get_weights()
])
model.save_weights(sys.argv[1])
pixels = [np.asarray(Image.open(path).convert("RGB"), np.float32) for path in sys.argv[3:]]
x = np.stack(pixels)[..., ::-1] - np.array([93.5940, 104.7624, 129.1863], np.float32)
np.save(sys.argv[2], Model(image, fc7).predict_on_batch(x))
"""


def embeddings(vox2face: Run, model: Path, backend: str, *more: str) -> np.ndarray:
    output = model.with_suffix(f".{backend}.npz")
    done = vox2face(
        "embed", *PICTURES, "--model", model, "--backend", backend, "--output", output, *more
    )
    assert done.returncode == 0, done.stderr
    with np.load(output) as stored:
        return np.asarray(stored["embeddings"])


def assert_equal(got: np.ndarray, want: np.ndarray) -> None:
    assert got.shape == want.shape == (2, 4096)
    assert np.abs(got - want).max() <= 1e-4 * np.abs(want).max()
    for a, b in zip(got.astype(float), want.astype(float), strict=True):
        assert a @ b / np.linalg.norm(a) / np.linalg.norm(b) >= 0.999999


@pytest.fixture(scope="module")
def space(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Path]:
    folder = tmp_path_factory.mktemp("bundles")
    yield folder
    subprocess.run(["rm", "-rf", str(folder)], check=True)


def test_serengil_equals_deepface_on_torch_and_onnx(
    full_serengil: Path, space: Path, vox2face: Run, python: Callable[..., str]
) -> None:
    out, theirs = space / "serengil", space / "deepface.npy"
    done = vox2face(
        "convert",
        "serengil",
        "--weights",
        full_serengil,
        "--out",
        out,
        "--onnx",
        "--verify",
        "keras",
    )
    assert done.returncode == 0, done.stderr
    assert "NOT the published file" in done.stdout and "PROVEN at 21 layers" in done.stdout
    report = json.loads((out / "parity.json").read_text())
    assert report["ok"] and report["verify"] == "keras"
    stages = [row["stage"] for row in report["rows"]]
    assert [stages.count(s) for s in ("torch", "onnx", "onnx file", "keras")] == [21, 21, 2, 21]
    assert report["hashes"].keys() == {full_serengil.name, "model.safetensors", "model.onnx"}
    assert {"torch", "onnxruntime", "numpy"} <= report["versions"].keys()
    python(DEEPFACE, full_serengil, theirs, *PICTURES, TF_USE_LEGACY_KERAS="1")
    for backend in ("torch", "onnx"):
        assert_equal(embeddings(vox2face, out, backend, "--normalize"), np.load(theirs))
    done = vox2face("check", out, "--weights", full_serengil)
    assert done.returncode == 0, done.stderr
    assert "bit for bit" in done.stdout


def test_the_fast_path_imports_no_torch(
    full_serengil: Path, space: Path, python: Callable[..., str]
) -> None:
    script = """
import sys
from vox2face.cli import main
try:
    main(sys.argv[1:])
except SystemExit:
    heavy = {"torch", "onnx", "onnxruntime", "tensorflow", "keras", "tf_keras"}
    print("HEAVY", sorted(heavy & sys.modules.keys()))
"""
    arguments = [
        "convert",
        "serengil",
        "--weights",
        full_serengil,
        "--out",
        space / "fast",
        "--no-onnx",
        "--verify",
        "none",
    ]
    said = python(script, *arguments)
    assert said.splitlines()[-1] == "HEAVY []"
    assert bundles.read(space / "fast").altered() == []


def test_a_real_kill_while_writing_leaves_no_bundle_and_the_next_run_succeeds(
    full_serengil: Path, space: Path, vox2face: Run
) -> None:
    folder = space / "killed"
    arguments = [
        "convert",
        "serengil",
        "--weights",
        str(full_serengil),
        "--out",
        str(folder / "out"),
        "--no-onnx",
        "--verify",
        "none",
    ]
    command = [str(Path(sys.executable).with_name("vox2face")), *arguments]
    with subprocess.Popen(command, stdout=subprocess.DEVNULL) as process:
        while not list(folder.glob(".out.partial-*/model.safetensors")):
            assert process.poll() is None, "it ended before it could be killed"
            time.sleep(0.005)
        time.sleep(0.1)
        process.send_signal(signal.SIGKILL)
    assert not (folder / "out").exists()
    assert vox2face(*arguments).returncode == 0
    assert [p.name for p in folder.iterdir()] == ["out"]
    subprocess.run(["rm", "-rf", str(folder)], check=True)


def test_rcmalli_equals_keras_vggface_on_torch_and_onnx(
    space: Path, vox2face: Run, python: Callable[..., str]
) -> None:
    file, out, theirs = space / "rcmalli_vggface_tf_vgg16.h5", space / "rcmalli", space / "k.npy"
    python(KERAS_VGGFACE, file, theirs, *PICTURES)
    with h5py.File(file) as content:
        assert sorted(content["fc6"]) == ["fc6", "relu"]  # the layer group nests another layer
    done = vox2face("convert", "rcmalli", "--variant", "vgg16", "--weights", file, "--out", out)
    assert done.returncode == 0, done.stderr
    assert "PROVEN at 21 layers" in done.stdout
    for backend in ("torch", "onnx"):
        assert_equal(embeddings(vox2face, out, backend), np.load(theirs))
    done = vox2face("convert", "serengil", "--weights", file, "--out", space / "wrong")
    assert done.returncode == 1
    assert "(25088, 4096)" in done.stderr and "vox2face convert rcmalli" in done.stderr
    assert not (space / "wrong").exists()


def test_the_names_reported_for_the_real_file_convert(
    handmade: Callable[..., Path],
    twin: Callable,
    tmp_path: Path,  # type: ignore[type-arg]
) -> None:
    """Groups named for layers, arrays below names that TensorFlow 1 made unique: conv1_1_2."""
    from vox2face.converters.chain import convert
    from vox2face.converters.write_keras import random_layers
    from vox2face.spec import resolve

    entry, layers = twin("vggface.serengil"), []
    for layer, arrays in random_layers(resolve(entry.table).rules, seed=3):
        suffix = "_2" if layer in ("conv1_1", "conv1_2", "conv2_1", "conv2_2") else "_1"
        layers.append((layer, {f"{layer}{suffix}/{w}:0": a for w, a in arrays.items()}))
        layers.append((f"zero_padding2d_{layer}", {}))
    done = convert(dataclasses.replace(entry), handmade(layers), tmp_path / "out")
    assert done.report.ok


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT])
def test_a_command_asked_to_stop_cleans_up(
    full_serengil: Path, tmp_path: Path, number: signal.Signals
) -> None:
    folder = tmp_path / "made"
    command = [str(Path(sys.executable).with_name("vox2face")), "convert", "serengil"]
    command += ["--weights", str(full_serengil), "--out", str(folder / "out"), "--no-onnx"]
    with subprocess.Popen(
        command, stdout=subprocess.DEVNULL, stderr=subprocess.PIPE, text=True
    ) as process:
        while not list(folder.glob(".out.partial-*/model.safetensors")):
            assert process.poll() is None, "it ended before it could be stopped"
            time.sleep(0.005)
        process.send_signal(number)
        _, said = process.communicate(timeout=60)
    assert process.returncode == {signal.SIGTERM: 143, signal.SIGINT: 1}[number]
    assert "Traceback" not in said
    assert list(folder.iterdir()) == []
