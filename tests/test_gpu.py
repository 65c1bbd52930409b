"""A GPU that was asked for is used, or one sentence says why not; nothing here needs a GPU."""

from __future__ import annotations

import os
import re
import shlex
import shutil
import subprocess
import sys
import weakref
from collections.abc import Callable, Iterator
from pathlib import Path
from subprocess import CompletedProcess
from typing import Any

import numpy as np
import onnxruntime
import pytest
import test_docs
import torch
from PIL import Image

import vox2face as package
from vox2face import bundle as bundles
from vox2face.audio import speech
from vox2face.converters import run_onnx
from vox2face.errors import UsageError, Vox2FaceError
from vox2face.image import samples
from vox2face.runtime import on_device

ROOT = Path(__file__).parents[1]
CPU, CUDA, TENSORRT = (f"{name}ExecutionProvider" for name in ("CPU", "CUDA", "Tensorrt"))
Run = Callable[..., CompletedProcess[str]]
Make = Callable[..., Path]


class Fake:
    """Stands for ONNX Runtime with a GPU: keeps what it is asked for, starts what it is told."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch) -> None:
        self.starts = [TENSORRT, CUDA, CPU]
        self.error: Exception | None = None
        self.asked: list[Any] = []
        self.kept: dict[str, Any] = {}
        self.severities: list[int] = []
        offered = [TENSORRT, CUDA, CPU]
        monkeypatch.setattr(onnxruntime, "get_available_providers", lambda: offered)
        monkeypatch.setattr(onnxruntime, "InferenceSession", self.session)
        monkeypatch.setattr(onnxruntime, "set_default_logger_severity", self.severities.append)
        monkeypatch.setattr(onnxruntime, "preload_dlls", self.preload, raising=False)

    def preload(self) -> None:
        print("Failed to load libcublas.so")

    def session(self, path: str, options: Any, providers: Any, **more: Any) -> Fake:
        self.asked, self.kept = providers, more
        assert self.severities == ([4] if len(providers) > 1 else [])
        if self.error:
            raise self.error
        return self

    def get_providers(self) -> list[str]:
        names = [name for name, _ in self.asked]
        return [name for name in self.starts if name in names]


@pytest.fixture
def fake(monkeypatch: pytest.MonkeyPatch) -> Fake:
    return Fake(monkeypatch)


@pytest.mark.parametrize(
    ("device", "asked"),
    [
        ("cpu", [(CPU, {})]),
        ("cpu:0", [(CPU, {})]),
        ("cuda", [(CUDA, {"device_id": 0, "use_tf32": "0"}), (CPU, {})]),
        ("cuda:3", [(CUDA, {"device_id": 3, "use_tf32": "0"}), (CPU, {})]),
        (
            "tensorrt:1",
            [
                (TENSORRT, {"device_id": 1}),
                (CUDA, {"device_id": 1, "use_tf32": "0"}),
                (CPU, {}),
            ],
        ),
    ],
)
def test_a_device_asks_for_its_providers_in_order(
    device: str, asked: list[Any], fake: Fake, capfd: pytest.CaptureFixture[str]
) -> None:
    assert run_onnx.session(Path("a.onnx"), device) is fake
    assert fake.asked == asked
    assert fake.kept == {"enable_fallback": 0}  # neither at the start nor when it runs
    assert fake.severities == ([] if device.startswith("cpu") else [4, 2])
    assert capfd.readouterr() == ("", "")


@pytest.mark.parametrize(
    "device",
    [
        *(
            "cuda:x",
            "cuda:-1",
            "cuda:",
            "cuda:01",
            "cuda:0:0",
            "cuda 0",
            "CUDA",
            "gpu",
            "",
            "cuda:²",
        ),
        *("cpu:1", "tensorrt:", "tensorrt:a", "None", "cuda:0\n", "cuda:99999999999999999999"),
    ],
)
def test_malformed_devices_get_one_sentence(device: str, fake: Fake) -> None:
    with pytest.raises(UsageError, match=r"There is no device .*use 'cpu', 'cuda' or") as caught:
        run_onnx.session(Path("a.onnx"), device)
    assert repr(device) in str(caught.value) and "\n" not in str(caught.value)
    assert not fake.asked and not fake.severities


@pytest.mark.parametrize(
    ("device", "offered", "label"),
    [
        ("cuda", [CPU], "CUDA"),
        ("tensorrt", [CUDA, CPU], "TensorRT"),
        ("tensorrt:2", [TENSORRT, CPU], "CUDA"),
    ],
)
def test_a_provider_that_is_not_installed_names_what_to_install(
    device: str, offered: list[str], label: str, fake: Fake, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(onnxruntime, "get_available_providers", lambda: offered)
    with pytest.raises(UsageError, match=rf"no {label}: run pip uninstall onnxruntime") as caught:
        run_onnx.session(Path("a.onnx"), device)
    assert repr(device) in str(caught.value)
    assert "pip install 'vox2face[onnx-gpu]'" in str(caught.value)
    assert not fake.asked


@pytest.mark.parametrize(
    ("device", "starts", "label"),
    [
        ("cuda", [CPU], "CUDA"),
        ("cuda:1", [], "CUDA"),
        ("tensorrt", [CPU], "TensorRT"),
        ("tensorrt", [CUDA, CPU], "TensorRT"),
        ("tensorrt", [TENSORRT, CPU], "TensorRT"),
    ],
)
def test_a_session_that_came_back_without_its_provider_is_refused(
    device: str, starts: list[str], label: str, fake: Fake
) -> None:
    fake.starts = starts
    with pytest.raises(Vox2FaceError, match=f"could not start {label} ") as caught:
        run_onnx.session(Path("a.onnx"), device)
    assert caught.value.exit_code == 1 and repr(device) in str(caught.value)
    assert fake.severities == [4, 2]


@pytest.mark.parametrize(
    ("device", "error", "words"),
    [
        (
            "cuda",
            'x.cc:63 Parse Failed to parse provider option "device_id": CUDA failure 35: CUDA '
            "driver version is insufficient ; GPU=-1 ; hostname=secret ; expr=cudaGetDevice();\n",
            r"start CUDA \(CUDA failure 35: CUDA driver version is insufficient\): check",
        ),
        (
            "tensorrt:7",
            'Failed to parse provider option "device_id": Invalid device ID: 7, must be between 0 '
            "(inclusive) and 1 (exclusive).\n",
            "TensorRT .Invalid device ID: 7, must be .*: check the NVIDIA driver .* and TensorRT",
        ),
        (
            "cuda",
            "cuda_call.cc:129 void CudaCall() CUDA failure 100: no CUDA-capable device is detected "
            "; GPU=0",
            r"\(CUDA failure 100: no CUDA-capable device is detected\)",
        ),
        ("cuda", "Protobuf parsing failed.", r"cannot load a\.onnx: Protobuf parsing failed"),
        ("cpu", "Protobuf parsing failed.", r"cannot load a\.onnx: Protobuf parsing failed"),
    ],
)
def test_what_onnx_runtime_raises_becomes_one_sentence(
    device: str, error: str, words: str, fake: Fake
) -> None:
    fake.error = RuntimeError(error)
    with pytest.raises(Vox2FaceError, match=words) as caught:
        run_onnx.session(Path("a.onnx"), device)
    assert caught.value.exit_code == 1
    assert "hostname" not in str(caught.value) and "\n" not in str(caught.value)
    assert fake.severities in ([], [4, 2])


@pytest.mark.parametrize(
    ("device", "words"),
    [
        ("tensorrt", "device='tensorrt' is for ONNX Runtime: use it with backend='onnx'"),
        ("tensorrt:1", "device='tensorrt:1' is for ONNX Runtime"),
        ("foo", "no device 'foo': use 'cpu', 'cuda', or 'cuda:N'"),
        ("cuda:x", "no device 'cuda:x'"),
        ("cuda:-1", "no device 'cuda:-1'"),
        ("", "no device ''"),
        ("hpu", "device='hpu' cannot be used by this torch"),
        ("lazy", "device='lazy' cannot be used by this torch"),
        ("meta", "holds no values"),
    ],
)
def test_torch_is_asked_for_its_own_devices_only(device: str, words: str) -> None:
    with pytest.raises(UsageError, match=words) as caught:
        on_device(torch.nn.Linear(2, 2), device)
    assert len(str(caught.value)) < 160 and "\n" not in str(caught.value)


def test_the_command_line_refuses_devices_in_one_line(inside: Run, tmp_path: Path) -> None:
    face = tmp_path / "face.png"
    Image.fromarray(samples()["head.png"]).save(face)
    for device, backend, words in (
        ("tensorrt", "torch", "backend='onnx'"),
        ("foo", "torch", "There is no device 'foo'"),
        ("cuda:x", "onnx", "There is no device 'cuda:x'"),
        ("tensorrt", "onnx", "pip install 'vox2face[onnx-gpu]'"),
    ):
        model = ("--model", "dlib_resnet128.dlib", "--backend", backend, "--device", device)
        done = inside("embed", face, *model)
        assert done.returncode == 2 and done.stdout == "", done.stdout
        assert words in done.stderr and len(done.stderr.splitlines()) == 1


def test_bound_outputs_equal_a_plain_run(bundle: Make) -> None:
    session = run_onnx.session(bundle("face_decoder.cole") / bundles.ONNX)
    assert [o.name for o in session.get_outputs()] == ["landmarks", "texture"]
    source, random = session.get_inputs()[0].name, np.random.default_rng(0)
    for count in (1, 5, 2):
        x = random.standard_normal((count, 48), np.float32)
        want = session.run(None, {source: x})
        bound = run_onnx.run_bound(session, x)
        assert [value.device_name() for value in bound] == ["cpu", "cpu"]
        for values in ([value.numpy() for value in bound], run_onnx.run(session, x)):
            assert [v.dtype for v in values] == [np.float32] * 2
            assert all(np.array_equal(a, b) for a, b in zip(values, want, strict=True))
    backwards = random.standard_normal((3, 48), np.float32)[::-1, ::-1]
    want = session.run(None, {source: np.ascontiguousarray(backwards)})
    assert np.array_equal(run_onnx.run(session, backwards)[1], want[1])


def test_an_encoders_output_goes_into_the_decoder_as_it_lies(bundle: Make) -> None:
    encoder = package.load(bundle("mlp_head.resemblyzer"), backend="onnx")
    decoder = package.load(bundle("face_decoder.cole"), backend="onnx")
    clips = [speech()[start : start + 20_000] for start in (0, 9000)]
    x = torch.cat([encoder.preprocess(clip, 16_000) for clip in clips])
    (embedding,) = run_onnx.run_bound(encoder.session, x.numpy())
    values = [value.numpy() for value in run_onnx.run_bound(decoder.session, embedding)]
    (want,) = encoder.run(x)
    assert np.array_equal(embedding.numpy(), want) and want.any()
    for value, expected in zip(values, decoder.run(torch.from_numpy(want)), strict=True):
        assert value.shape[0] == 2 and np.array_equal(value, expected)


def test_outputs_outlive_the_session_and_keep_nothing_else_alive(bundle: Make) -> None:
    session = run_onnx.session(bundle("face_decoder.cole") / bundles.ONNX)
    x = np.random.default_rng(0).standard_normal((2, 48), np.float32)
    want, before = run_onnx.run(session, x)[1].copy(), sys.getrefcount(x)
    bound = run_onnx.run_bound(session, x)
    assert sys.getrefcount(x) == before
    gone = weakref.ref(session)
    del session
    assert gone() is None
    x[:] = 0
    value = bound.pop().numpy()
    del bound
    assert np.array_equal(value, want)


class Bound:
    """A session on a GPU, and its binding, as far as run_bound touches them."""

    def __init__(self, providers: dict[str, dict[str, str]]) -> None:
        self.options, self.places = providers, [("", 0)]

    def get_provider_options(self) -> dict[str, dict[str, str]]:
        return self.options

    def get_inputs(self) -> list[Any]:
        return [type("Node", (), {"name": "x"})]

    def get_outputs(self) -> list[Any]:
        return self.get_inputs()

    def io_binding(self) -> Bound:
        return self

    def bind_cpu_input(self, name: str, x: Any) -> None:
        pass

    def bind_output(self, name: str, kind: str, number: int) -> None:
        self.places = [(kind, number)]

    def run_with_iobinding(self, binding: Any) -> None:
        assert binding is self


def test_outputs_stay_on_the_gpu_of_the_session() -> None:
    options = {"device_id": "1", "use_tf32": "0"}
    for providers, place in (
        ({CUDA: options, CPU: {}}, ("cuda", 1)),
        ({TENSORRT: {"device_id": "1"}, CUDA: options, CPU: {}}, ("cuda", 1)),
        ({CPU: {}}, ("cpu", 0)),
    ):
        session = Bound(providers)
        run_onnx.run_bound(session, np.zeros((1, 2), np.float32))
        assert session.places == [place]


@pytest.fixture(scope="module")
def gpu_build(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Path]:
    """A folder with ONNX Runtime for GPUs, in place of the one that is installed (0.4 GB)."""
    folder = tmp_path_factory.mktemp("gpu")
    command = "-m pip install -q --disable-pip-version-check --no-input --retries 1 --timeout 20"
    options = ["--no-deps", "--only-binary", ":all:", "--target", str(folder)]
    done = subprocess.run(
        [sys.executable, *command.split(), *options, "onnxruntime-gpu"],
        capture_output=True,
        text=True,
        check=False,
    )
    if done.returncode != 0:
        last = (done.stderr.strip().splitlines() or ["no reason given"])[-1]
        pytest.skip(f"needs onnxruntime-gpu, which pip could not download here: {last}")
    yield folder
    shutil.rmtree(folder)


def on_gpu_build(folder: Path) -> dict[str, str]:
    """Environment variables that prefer the build for GPUs and hide GPUs that are there."""
    paths = [str(folder), os.environ.get("PYTHONPATH", "")]
    return {"PYTHONPATH": os.pathsep.join(filter(None, paths)), "CUDA_VISIBLE_DEVICES": ""}


@pytest.mark.parametrize(("device", "label"), [("cuda", "CUDA"), ("tensorrt:0", "TensorRT")])
def test_a_gpu_that_cannot_start_ends_in_one_line_and_no_embeddings(
    device: str, label: str, gpu_build: Path, vox2face: Run, tmp_path: Path
) -> None:
    face, out = tmp_path / "face.png", tmp_path / "out.csv"
    Image.fromarray(samples()["head.png"]).save(face)
    model = ("--model", "dlib_resnet128.dlib", "--backend", "onnx")
    environment = on_gpu_build(gpu_build)
    where = ("--device", device, *(() if device == "cuda" else ("--output", out)))
    done = vox2face("embed", face, *model, *where, **environment)
    assert done.returncode == 1, done.stderr
    assert done.stdout == "" and not out.exists()
    (line,) = done.stderr.splitlines()
    assert f"device='{device}' was asked for" in line and f"could not start {label} (" in line
    assert "it gave no reason" not in line
    if device == "cuda":  # the same build works where the CPU is asked for
        done = vox2face("embed", face, *model, **environment)
        assert done.returncode == 0 and done.stdout.startswith("image,e0"), done.stderr


SCRIPT = """
import sys
from pathlib import Path
import onnxruntime
import vox2face
assert "CUDAExecutionProvider" in onnxruntime.get_available_providers()
for device in ("cuda", "cuda:5", "tensorrt"):
    try:
        vox2face.load(sys.argv[1], backend="onnx", device=device)
    except vox2face.Vox2FaceError as error:
        print(device, error.exit_code, error)
print("---", file=sys.stderr, flush=True)
onnxruntime.InferenceSession(sys.argv[1] + "/model.onnx", providers=["CUDAExecutionProvider"])
"""


def test_python_gets_the_error_and_the_log_speaks_again_afterwards(
    gpu_build: Path, bundle: Make
) -> None:
    done = subprocess.run(
        [sys.executable, "-c", SCRIPT, str(bundle("face_decoder.cole"))],
        env={**os.environ, **on_gpu_build(gpu_build)},
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    found = re.findall(r"^(\S+) 1 device='\1' .* could not start (\S+) ", done.stdout, re.M)
    assert found == [("cuda", "CUDA"), ("cuda:5", "CUDA"), ("tensorrt", "TensorRT")]
    assert len(done.stdout.splitlines()) == 3
    before, _, after = done.stderr.partition("---\n")
    assert before == "" and "onnxruntime" in after


def test_the_commands_of_the_page_about_gpus_are_understood() -> None:
    page = (ROOT / "docs" / "gpu.md").read_text()
    blocks = re.findall(r"```sh\n(.*?)```", page, re.DOTALL)
    lines = [shlex.split(line, comments=True) for block in blocks for line in block.splitlines()]
    commands = [line for line in lines if line[:1] == ["vox2face"]]
    assert len(commands) >= 3
    for line in commands:
        test_docs.test_every_command_line_of_the_readme_is_understood(line)
