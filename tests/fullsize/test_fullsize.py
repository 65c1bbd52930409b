"""Full-size files made by the owners' own code, through the command line, against the owners."""

from __future__ import annotations

import dataclasses
import json
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path

import h5py
import numpy as np
import pytest
import torch
from helpers.paths import HELPERS, ROOT
from PIL import Image

from vox2face.converters.maps import weight_map
from vox2face.converters.readers.open import open_weights
from vox2face.converters.verify import channels_last
from vox2face.core.parity import compare
from vox2face.runtime.compare import compare as compare_faces
from vox2face.runtime.face_encoder import FaceEncoder
from vox2face.runtime.load import load, load_kind
from vox2face.store import bundle as bundles
from vox2face.zoo.registry import entry
from vox2face.zoo.thresholds import METRICS, PUBLISHED

ASSETS = ROOT / "vox2face" / "assets"
PICTURES = [ASSETS / "astronaut.png", ASSETS / "head.png"]
Run = Callable[..., subprocess.CompletedProcess[str]]
pytestmark = pytest.mark.fullsize

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

OWNER = HELPERS / "keras_vggface_owner.py"


def keras_vggface(*arguments: object) -> str:
    """Run keras-vggface's own code."""
    done = subprocess.run(
        [sys.executable, str(OWNER), *map(str, arguments)],
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stderr[-3000:]
    return done.stdout


def embeddings(vox2face: Run, model: Path, backend: str, *more: str) -> np.ndarray:
    output = model.with_suffix(f".{backend}.npz")
    done = vox2face(
        "embed", *PICTURES, "--model", model, "--backend", backend, "--output", output, *more
    )
    assert done.returncode == 0, done.stderr
    with np.load(output) as stored:
        return np.asarray(stored["embeddings"])


def assert_equal(got: np.ndarray, want: np.ndarray) -> None:
    assert got.shape == want.shape and len(got) == 2
    assert np.abs(got - want).max() <= 1e-4 * np.abs(want).max()
    for a, b in zip(got.astype(float), want.astype(float), strict=True):
        assert a @ b / np.linalg.norm(a) / np.linalg.norm(b) >= 0.999999


@pytest.fixture(scope="module")
def space(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Path]:
    folder = tmp_path_factory.mktemp("bundles")
    yield folder
    subprocess.run(["rm", "-rf", str(folder)], check=True)


@pytest.fixture
def serengil(full_serengil: Path, space: Path, vox2face: Run) -> Path:
    """The bundle of the full-size file, which the first test below proves."""
    out = space / "serengil"
    if not out.exists():
        done = vox2face("convert", "serengil", "--weights", full_serengil, "--out", out)
        assert done.returncode == 0, done.stderr
    return out


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
    assert max(row["max_rel"] for row in report["rows"]) <= entry("vggface.serengil").measured
    stages = [row["stage"] for row in report["rows"]]
    assert [stages.count(s) for s in ("torch", "onnx file", "keras")] == [21, 1, 21]
    assert report["hashes"].keys() == {full_serengil.name, "model.safetensors", "model.onnx"}
    assert {"torch", "onnxruntime", "numpy"} <= report["versions"].keys()
    python(DEEPFACE, full_serengil, theirs, *PICTURES, TF_USE_LEGACY_KERAS="1")
    for backend in ("torch", "onnx"):
        assert_equal(embeddings(vox2face, out, backend, "--normalize"), np.load(theirs))
    done = vox2face("check", out, "--weights", full_serengil)
    assert done.returncode == 0, done.stderr
    assert "bit for bit" in done.stdout


VERIFY = """
import json, sys
from deepface import DeepFace

one, other, *metrics = sys.argv[1:]
for metric in metrics:
    found = DeepFace.verify(one, other, detector_backend="skip", distance_metric=metric)
    print(json.dumps([metric, found["distance"], found["threshold"]]))
"""


def test_distances_of_compare_are_those_of_deepfaces_verify(
    full_serengil: Path, space: Path, python: Callable[..., str]
) -> None:
    weights = space / ".deepface" / "weights" / full_serengil.name
    weights.parent.mkdir(parents=True)
    weights.symlink_to(full_serengil)
    home = {"DEEPFACE_HOME": str(space), "DEEPFACE_BACKEND_ENGINE": "tensorflow"}
    pictures = [space / path.name for path in PICTURES]
    for path, small in zip(PICTURES, pictures, strict=True):  # of a size that nobody resizes
        Image.open(path).convert("RGB").resize((224, 224)).save(small)
    told = python(VERIFY, *pictures, *METRICS, **home, TF_USE_LEGACY_KERAS="1")
    rows = [json.loads(line) for line in told.splitlines() if line.startswith("[")]
    assert [row[0] for row in rows] == list(METRICS)
    encoder = load_kind(FaceEncoder, space / "serengil")
    for metric, distance, threshold in rows:
        found = compare_faces(*pictures, encoder, metric)
        assert 0 < distance == pytest.approx(found.distance, abs=1.001e-6)  # both have six digits
        assert threshold == PUBLISHED["vggface.serengil"].thresholds[metric]
        assert found.verified is None and "these are others" in found.source


@pytest.mark.parametrize(
    "legacy", ["1", pytest.param("0", marks=pytest.mark.slow)], ids=["tf-keras", "keras-3"]
)
def test_serengil_goes_back_to_deepface(
    full_serengil: Path,
    serengil: Path,
    space: Path,
    vox2face: Run,
    python: Callable[..., str],
    legacy: str,
) -> None:
    back = space / f"back-{legacy}.h5"
    done = vox2face("export", serengil, "--format", "keras", "--output", back)
    assert done.returncode == 0, done.stderr
    assert "All 32 arrays of vggface.serengil equal the bundle's, bit for bit" in done.stdout
    script = """
import sys
import numpy as np
from deepface.models.facial_recognition.tf.VGGFace import base_model

theirs, ours = base_model(), base_model()
theirs.load_weights(sys.argv[1])
ours.load_weights(sys.argv[2])
pairs = list(zip(theirs.get_weights(), ours.get_weights(), strict=True))
assert all(a.any() and np.array_equal(a.view("u4"), b.view("u4")) for a, b in pairs)
print("EQUAL", len(pairs))
"""
    assert "EQUAL 32" in python(script, full_serengil, back, TF_USE_LEGACY_KERAS=legacy)


# deepface's own network for PyTorch with the weights of a bundle, exported channels last as its own
# ONNX file is; then deepface itself runs that file and one of ours, each in its place
DEEPFACE_ONNX = """
import os, sys, warnings
from pathlib import Path
import numpy as np, torch
from safetensors.torch import load_file

bundle, ours, theirs, out, *pictures = sys.argv[1:]
home = Path(theirs).parent
os.environ.update(DEEPFACE_HOME=str(home), DEEPFACE_BACKEND_ENGINE="onnx")
from deepface import DeepFace
from deepface.models.facial_recognition.pytorch.VGGFace import VggFaceBaseModel, VggFaceDescriptor
from deepface.modules import modeling

class ChannelsLast(torch.nn.Module):
    def __init__(self, model):
        super().__init__()
        self.model = model
    def forward(self, x):
        return self.model(x.permute(0, 3, 1, 2))

network = VggFaceBaseModel()
state = load_file(f"{bundle}/model.safetensors")
for name, held in network.state_dict().items():
    held.copy_(state[name].reshape(held.shape))
warnings.simplefilter("ignore")
wrapped = ChannelsLast(VggFaceDescriptor(network).eval())
torch.onnx.export(wrapped, (torch.zeros(1, 224, 224, 3),), theirs, dynamo=False)
place = home / ".deepface" / "weights" / "vgg_face_weights.onnx"
place.parent.mkdir(parents=True, exist_ok=True)
rows = []
for file in (theirs, ours):
    place.unlink(missing_ok=True)
    place.symlink_to(file)
    getattr(modeling, "cached_models", {"facial_recognition": {}})["facial_recognition"].clear()
    for picture in pictures:
        found = DeepFace.represent(picture, model_name="VGG-Face", detector_backend="skip")
        rows.append(found[0]["embedding"])
np.save(out, np.array(rows).reshape(2, len(pictures), -1))
"""


@pytest.mark.slow
def test_serengil_comes_from_deepfaces_onnx_file_and_goes_back_as_one(
    serengil: Path, space: Path, vox2face: Run, python: Callable[..., str]
) -> None:
    bundle, folder = serengil, space / "onnx"
    folder.mkdir()
    ours, theirs, rows = (folder / name for name in ("ours.onnx", "theirs.onnx", "rows.npy"))
    done = vox2face("export", bundle, "--layout", "deepface", "--output", ours)
    assert done.returncode == 0, done.stderr
    python(DEEPFACE_ONNX, bundle, ours, theirs, rows, *PICTURES)
    own, dropped_in = np.load(rows)
    assert own.shape == (2, 4096) and np.abs(own - dropped_in).max() <= 1e-5 * own.max()
    for file in (theirs, ours):
        out = folder / file.stem
        done = vox2face("convert", "serengil", "--weights", file, "--out", out, "--no-onnx")
        assert done.returncode == 0, done.stderr
        more = ("--preset", "deepface-skip", "--normalize")
        assert np.abs(embeddings(vox2face, out, "torch", *more) - own).max() <= 1e-5 * own.max()
        assert bundles.read(out).space == bundles.read(bundle).space


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


def test_vgg16_equals_keras_vggface_on_torch_and_onnx(space: Path, vox2face: Run) -> None:
    keras_vggface("make", "vgg16", space, *PICTURES)
    file, out, back = space / "vgg16.h5", space / "vgg16", space / "vgg16_back.h5"
    with h5py.File(file) as content:
        assert sorted(content["fc6"]) == ["fc6", "relu"]  # the layer group nests another layer
    done = vox2face("convert", "rcmalli", "--variant", "vgg16", "--weights", file, "--out", out)
    assert done.returncode == 0, done.stderr
    assert "PROVEN at 21 layers" in done.stdout
    report = json.loads((out / "parity.json").read_text())
    assert max(row["max_rel"] for row in report["rows"]) <= entry("vggface.rcmalli").measured
    for backend in ("torch", "onnx"):
        assert_equal(embeddings(vox2face, out, backend), np.load(space / "vgg16.npz")["fc7"])
    done = vox2face("convert", "serengil", "--weights", file, "--out", space / "wrong")
    assert done.returncode == 1
    assert "holds the weights of vggface.rcmalli: run vox2face convert rcmalli" in done.stderr
    assert not (space / "wrong").exists()
    done = vox2face("export", out, "--format", "keras", "--output", back)
    assert done.returncode == 0, done.stderr
    assert "All 32 arrays" in done.stdout and same_arrays(file, back) == 32
    assert "vgg16 32 arrays" in keras_vggface("load", "vgg16", back, file)


@pytest.mark.slow
@pytest.mark.parametrize(
    ("variant", "count"),
    [("resnet50", 267), ("senet50", 331)],
)
def test_residual_networks_equal_keras_vggface_at_every_block_and_go_back(
    space: Path, vox2face: Run, variant: str, count: int
) -> None:
    keras_vggface("make", variant, space, *PICTURES)
    theirs, loads = np.load(space / f"{variant}.npz"), []
    for name, arrays in ((variant, count), (f"{variant}_notop", count - 2)):
        file, out, back = (space / f"{name}{end}" for end in (".h5", "", "_back.h5"))
        done = vox2face(
            *("convert", "rcmalli", "--variant", variant, "--weights", file, "--out", out),
            *([] if name == variant else ["--verify", "keras"]),
        )
        assert done.returncode == 0, done.stderr
        assert f"PROVEN at {20 if name == variant else 19} layers" in done.stdout
        rows = json.loads((out / "parity.json").read_text())["rows"]
        assert max(row["max_rel"] for row in rows) <= entry(f"vggface_{variant}.rcmalli").measured
        assert_equal(load(out, backend="onnx")(PICTURES), theirs["avg_pool"])
        compare_blocks(load(out), theirs)
        done = vox2face("export", out, "--format", "keras", "--output", back)
        assert done.returncode == 0, done.stderr
        assert f"All {arrays} arrays" in done.stdout and same_arrays(file, back) == arrays
        loads += [variant, back, file]
    said = keras_vggface("load", *loads)
    assert f"{variant} {count} arrays" in said and f"{variant} {count - 2} arrays" in said


def compare_blocks(encoder: FaceEncoder, theirs: Mapping[str, np.ndarray]) -> None:
    """Compare the torch module with the owner's activations at every block, on both pictures."""
    x = encoder.preprocess(PICTURES)
    seen = set()
    with torch.inference_mode():
        for tap, value in encoder.module.taps(x):  # type: ignore[operator]
            if tap in theirs:
                seen.add(tap)
                row = compare("torch", tap, channels_last(value.numpy()), theirs[tap])
                assert row.ok and row.max_rel <= encoder.entry.measured, row
    assert len(seen) == (18 if encoder.classes else 17)


@pytest.mark.slow
@pytest.mark.parametrize("backend", ["torch", "onnx"])
def test_the_audioset_network_equals_transformers(
    backend: str, audioset: Path, space: Path
) -> None:
    from transformers import ASTForAudioClassification

    theirs = ASTForAudioClassification.from_pretrained(audioset).eval()
    x = torch.randn(2, 1024, 128, generator=torch.Generator().manual_seed(4))
    with torch.inference_mode():
        want = theirs(x).logits.numpy()
    assert want.shape == (2, 527) and (want < 0).any()
    got = load(space / "audioset", backend=backend).run(x)[0]
    assert np.abs(got - want).max() <= 1e-4 * np.abs(want).max()


@pytest.fixture(scope="module")
def audioset(space: Path) -> Path:
    """A full-size file written by transformers, which the command then converts."""
    from transformers import ASTConfig, ASTForAudioClassification

    torch.manual_seed(5)
    network = ASTForAudioClassification(ASTConfig(num_labels=527))
    for parameter in network.parameters():
        parameter.data += 0.02 * torch.randn_like(parameter)
    network.save_pretrained(space / "ast")
    command = str(Path(sys.executable).with_name("vox2face"))
    file = space / "ast" / "model.safetensors"
    arguments = ["--weights", file, "--onnx", "--out", space / "audioset"]
    subprocess.run([command, "convert", "ast-audioset", *map(str, arguments)], check=True)
    return space / "ast"


def same_arrays(first: Path, second: Path) -> int:
    """Return how many arrays two weight files share, after comparing all of both bit for bit."""
    with open_weights(first) as a, open_weights(second) as b:
        found = {
            array.layer + array.name.rsplit("/", 1)[-1].partition(":")[0]: array
            for array in b.arrays
        }
        assert len(a.arrays) == len(b.arrays) == len(found)
        for array in a.arrays:
            other = found[array.layer + array.name.rsplit("/", 1)[-1].partition(":")[0]]
            (one,), (two,) = a.values([array]), b.values([other])
            assert one.shape == two.shape and np.array_equal(one.view("u4"), two.view("u4"))
    return len(a.arrays)


def test_the_names_reported_for_the_real_file_convert(
    handmade: Callable[..., Path],
    twin: Callable,
    tmp_path: Path,  # type: ignore[type-arg]
) -> None:
    """Groups named for layers, arrays below names that TensorFlow 1 made unique: conv1_1_2."""
    from vox2face.converters.convert import convert
    from vox2face.converters.keras.writer import random_layers

    entry, layers = twin("vggface.serengil"), []
    for layer, arrays in random_layers(weight_map(entry).rules, seed=3):
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
    assert process.returncode == {signal.SIGTERM: 143, signal.SIGINT: 130}[number]
    assert "Traceback" not in said
    assert list(folder.iterdir()) == []
