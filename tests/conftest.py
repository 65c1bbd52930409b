"""Fixtures: narrow twins of the networks, hand-made HDF5 files, and full-size weight files."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
from collections.abc import Callable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

import h5py
import numpy as np
import pytest
from click.testing import CliRunner
from helpers.file_server import server  # noqa: F401  (a fixture)
from helpers.pipeline_fixtures import bundle, wav  # noqa: F401  (fixtures)
from helpers.traced_once import remembered
from helpers.twins import checkpoint, narrow

from vox2face.cli import main
from vox2face.converters.keras.writer import random_layers, write_keras
from vox2face.converters.maps import weight_map
from vox2face.converters.ops import OPS, Op
from vox2face.core.entry import Entry
from vox2face.zoo import registry
from vox2face.zoo.catalog import ENTRIES

ROOT = Path(__file__).parents[1]

if signal.getsignal(signal.SIGINT) is signal.SIG_IGN:  # as a shell starts jobs in the background
    signal.signal(signal.SIGINT, signal.default_int_handler)


@pytest.fixture(autouse=True)
def isolated(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Give every test a cache folder of its own and no network."""
    monkeypatch.setenv("VOX2FACE_HOME", str(tmp_path / "home"))
    monkeypatch.setenv("VOX2FACE_OFFLINE", "1")
    monkeypatch.delenv("VOX2FACE_MIRROR", raising=False)


@pytest.fixture(autouse=True, scope="session")
def graphs_traced_once() -> Iterator[None]:
    """Let each network be traced once in a process."""
    from vox2face.converters.onnx import export

    before = export.traced
    export.traced = remembered(before)
    yield
    export.traced = before


@pytest.fixture
def twin(monkeypatch: pytest.MonkeyPatch) -> Callable[[str], Entry]:
    """Return a function that gives an entry many times narrower, which converts in no time."""
    return narrow


@pytest.fixture
def registered(monkeypatch: pytest.MonkeyPatch) -> Callable[[Entry], None]:
    """Return a function that lets the registry answer with an entry for its name."""

    def put(entry: Entry) -> None:
        entries = [entry if entry.name == known.name else known for known in ENTRIES]
        monkeypatch.setattr(registry, "ENTRIES", entries)

    return put


@pytest.fixture
def twin_file(tmp_path: Path, twin: Callable[[str], Entry]) -> Callable[..., Path]:
    """Return a function that writes a narrow weight file in the layout of an entry."""

    def make(name: str, top: bool = True) -> Path:
        if registry.entry(name).any_size:
            import torch

            path = tmp_path / f"{name}.pt"
            torch.save({"model_state_dict": checkpoint(name), "epoch": 3}, path)
            return path
        path = tmp_path / f"{name}.h5"
        table = weight_map(twin(name))
        rules = table.rules if top else table.required()
        write_keras(path, random_layers(rules, seed=1))
        return path

    return make


@pytest.fixture
def forget_fc6_order(monkeypatch: pytest.MonkeyPatch) -> Callable[[], None]:
    """Return a function that makes the public re-implementation's mistake: fc6 as it lies."""

    def forget() -> None:
        name = "hwc_rows_to_oihw_7x7"
        wrong = Op(name, lambda a: a.T.reshape(a.shape[1], -1, 7, 7), OPS[name].inverse)
        monkeypatch.setitem(OPS, name, wrong)

    return forget


Layers = Sequence[tuple[str, Mapping[str, Any]]]


@pytest.fixture
def handmade(tmp_path: Path) -> Callable[..., Path]:
    """Return a function that writes an HDF5 weight file with every detail in the test's hand."""

    def make(layers: Layers, *, below: str | None = None, text: bool = False, **more: Any) -> Path:
        path = tmp_path / "handmade.h5"
        with h5py.File(path, "w", userblock_size=more.pop("userblock", 0)) as file:
            root = file.create_group(below) if below else file

            def names(items: Sequence[str]) -> Any:
                if text:
                    return np.array(list(items), dtype=h5py.string_dtype())
                return np.array([item.encode() for item in items])

            for layer, arrays in layers:
                group = root.require_group(layer)
                group.attrs["weight_names"] = names(list(arrays))
                for name, value in arrays.items():
                    group.create_dataset(name, data=value, **more)
            root.attrs["layer_names"] = names([layer for layer, _ in layers])
        return path

    return make


def run_python(script: str, *arguments: Any, **environment: str) -> str:
    """Run a Python script in a process of its own and return what it printed."""
    done = subprocess.run(
        [sys.executable, "-c", script, *map(str, arguments)],
        env={**os.environ, "TF_CPP_MIN_LOG_LEVEL": "3", "CUDA_VISIBLE_DEVICES": "", **environment},
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stderr[-3000:]
    return done.stdout


@pytest.fixture(scope="session")
def python() -> Callable[..., str]:
    return run_python


@pytest.fixture(scope="session")
def full_serengil(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Path]:
    """A full-size vgg_face_weights.h5 made by deepface's own base_model()."""
    path = tmp_path_factory.mktemp("full") / "vgg_face_weights.h5"
    run_python(DEEPFACE_FILE, path, TF_USE_LEGACY_KERAS="1")
    yield path
    path.unlink()


DEEPFACE_FILE = """
import sys
import numpy as np
from deepface.models.facial_recognition.tf.VGGFace import base_model

model, rng = base_model(), np.random.default_rng(7)
for layer in model.layers:
    if layer.get_weights():
        kernel, bias = (w.shape for w in layer.get_weights())
        scale = np.float32((2 / np.prod(kernel[:-1])) ** 0.5)
        layer.set_weights([
            rng.standard_normal(kernel, np.float32) * scale,
            rng.standard_normal(bias, np.float32) * np.float32(0.05),
        ])
model.save_weights(sys.argv[1])
"""


@pytest.fixture
def vox2face(tmp_path: Path) -> Callable[..., subprocess.CompletedProcess[str]]:
    """Return a function that runs the command as a user does."""

    def run(*arguments: Any, **environment: str) -> subprocess.CompletedProcess[str]:
        return subprocess.run(
            [str(Path(sys.executable).with_name("vox2face")), *map(str, arguments)],
            env={**os.environ, **environment},
            capture_output=True,
            text=True,
            check=False,
        )

    return run


@pytest.fixture
def inside() -> Callable[..., subprocess.CompletedProcess[str]]:
    """Return a function that runs the command in this process, which is ten times faster."""

    def run(*arguments: Any) -> subprocess.CompletedProcess[str]:
        done = CliRunner().invoke(main, [str(argument) for argument in arguments])
        return subprocess.CompletedProcess(arguments, done.exit_code, done.stdout, done.stderr)

    return run
