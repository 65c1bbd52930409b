"""A GPU that was asked for is used, or one sentence says why not; nothing here needs a GPU."""

from __future__ import annotations

import os
import re
import shutil
import subprocess
import sys
import weakref
from collections.abc import Callable, Iterator
from pathlib import Path
from subprocess import CompletedProcess
from typing import Any
from unittest.mock import MagicMock

import numpy as np
import onnxruntime
import pytest
import torch
from PIL import Image

import vox2face as package
from vox2face.converters.onnx import session as run_onnx
from vox2face.core.errors import UsageError, Vox2FaceError
from vox2face.media.audio import speech
from vox2face.media.image import samples
from vox2face.runtime.load import on_device
from vox2face.store import bundle as bundles

CPU, CUDA, TENSORRT = (f"{name}ExecutionProvider" for name in ("CPU", "CUDA", "Tensorrt"))
Run = Callable[..., CompletedProcess[str]]
Make = Callable[..., Path]


@pytest.mark.parametrize(
    ("device", "asked"),
    [
        ("cpu", [(CPU, {})]),
        ("cuda:3", [(CUDA, {"device_id": 3, "use_tf32": "0"}), (CPU, {})]),
        (
            "tensorrt",
            [(TENSORRT, {"device_id": 0}), (CUDA, {"device_id": 0, "use_tf32": "0"}), (CPU, {})],
        ),
    ],
)
def test_a_device_asks_for_its_providers_in_order(device: str, asked: list[Any]) -> None:
    assert run_onnx.providers_for(device) == asked


def test_provider_options_go_to_the_first_provider_of_the_device() -> None:
    chosen = run_onnx.providers_for("tensorrt:1", {"trt_fp16_enable": True})
    assert chosen[0] == (TENSORRT, {"device_id": 1, "trt_fp16_enable": "True"})
    assert chosen[1] == (CUDA, {"device_id": 1, "use_tf32": "0"})
    assert run_onnx.providers_for("cuda", {"use_tf32": 1})[0][1]["use_tf32"] == "1"


@pytest.mark.parametrize(
    ("options", "words"),
    [
        ({"backend": "torch", "device": "cuda"}, "use them with backend='onnx'"),
        ({"backend": "onnx", "device": "cpu"}, "'cpu' takes no provider options, and device_id is"),
        ({"backend": "onnx", "device": "cuda"}, "use 'cuda:N', not device_id"),
    ],
)
def test_provider_options_that_nothing_takes_are_refused_before_the_model_is_looked_for(
    options: dict[str, Any], words: str
) -> None:
    with pytest.raises(UsageError, match=words):
        package.load("vggface.serengil", **options, provider_options={"device_id": 1})


@pytest.mark.parametrize(
    ("device", "error", "label"),
    [  # what ONNX Runtime's CUDA and TensorRT raise
        ("cuda", 'Failed to parse: Unknown provider option: "gpu_memory".', "CUDA"),
        ("tensorrt", "Invalid TensorRT EP option: gpu_memory", "TensorRT"),
    ],
)
def test_an_unknown_provider_option_is_named(
    device: str, error: str, label: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(onnxruntime, "get_available_providers", lambda: [TENSORRT, CUDA, CPU])
    failing = MagicMock(side_effect=RuntimeError(error))
    monkeypatch.setattr(onnxruntime, "InferenceSession", failing)
    with pytest.raises(UsageError, match=rf"has no option 'gpu_memory' for {label}: check"):
        run_onnx.session(Path("a.onnx"), device, {"gpu_memory": 1})
    assert failing.call_args.kwargs["providers"][0][1]["gpu_memory"] == "1"


@pytest.mark.parametrize(
    "command",
    [
        ("embed", "a.png", "--model", "dlib_resnet128.dlib"),
        ("compare", "a.png", "a.png"),
        ("nearest", "a.png", "a.npz"),
        ("speech2face", "a.wav"),
        ("face2face", "a.png"),
        ("evaluate", "people", "--prepared", "prepared", "--face-to-face", "--decoder", "d"),
        ("data", "prepare", "people", "--out", "prepared"),
    ],
    ids=" ".join,
)
def test_all_commands_with_a_backend_take_provider_options(
    command: tuple[str, ...], inside: Run, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    Image.fromarray(samples()["head.png"]).save("a.png")
    Path("a.wav").touch()
    made = {"images": ["a.png"], "model": "dlib_resnet128.dlib", "preset": "dlib"}
    np.savez("a.npz", embeddings=np.ones((1, 128), np.float32), **made)
    done = inside(*command, "--device", "cuda", "--provider-option", "gpu_mem_limit=1")
    assert done.returncode == 2 and "use them with backend='onnx'" in done.stderr, done.stderr
    done = inside(*command, "--provider-option", "gpu_mem_limit")
    assert done.returncode == 2 and "'gpu_mem_limit' is not KEY=VALUE" in done.stderr


@pytest.mark.parametrize(
    "device", ["cuda:-1", "cuda:01", "CUDA", "", "cuda:²", "cpu:1", "cuda:0\n"]
)
def test_malformed_devices_get_one_sentence(device: str) -> None:
    with pytest.raises(UsageError, match=r"There is no device .*use 'cpu', 'cuda' or") as caught:
        run_onnx.session(Path("a.onnx"), device)
    assert repr(device) in str(caught.value) and "\n" not in str(caught.value)


@pytest.mark.parametrize("error", [None, "CUDA failure 35: driver too old ; hostname=secret"])
def test_a_provider_that_does_not_start_is_refused(
    error: str | None, monkeypatch: pytest.MonkeyPatch
) -> None:
    started = MagicMock(get_providers=lambda: [CPU])
    session = MagicMock(return_value=started, side_effect=error and RuntimeError(error))
    monkeypatch.setattr(onnxruntime, "get_available_providers", lambda: [TENSORRT, CUDA, CPU])
    monkeypatch.setattr(onnxruntime, "InferenceSession", session)
    reason = "it gave no reason" if error is None else "CUDA failure 35: driver too old"
    with pytest.raises(Vox2FaceError, match=rf"'cuda' was .* could not start CUDA \({reason}\)"):
        run_onnx.session(Path("a.onnx"), "cuda")
    assert session.call_args.kwargs["enable_fallback"] == 0


@pytest.mark.parametrize(
    ("error", "reason"),
    [
        (
            'Parse Failed to parse provider option "device_id": CUDA failure 100: no CUDA-capable '
            "device is detected ; GPU=-1 ; hostname=secret ; expr=cudaGetDevice();\n",
            "CUDA failure 100: no CUDA-capable device is detected",
        ),
        (
            'Failed to parse provider option "device_id": Invalid device ID: 7, must be between 0 '
            "(inclusive) and 1 (exclusive).\n",
            "Invalid device ID: 7, must be between 0 (inclusive) and 1 (exclusive).",
        ),
        ("Protobuf parsing failed.", ""),
    ],
)
def test_what_onnx_runtime_raises_tells_why_a_gpu_did_not_start(error: str, reason: str) -> None:
    assert run_onnx.fault([CUDA], error) == reason


@pytest.mark.parametrize(
    ("device", "words"),
    [
        ("tensorrt", "device='tensorrt' is for ONNX Runtime: use it with backend='onnx'"),
        ("foo", "no device 'foo': use 'cpu', 'cuda', or 'cuda:N'"),
        ("", "no device ''"),
        ("hpu", "device='hpu' cannot be used by this torch"),
        ("meta", "holds no values"),
    ],
)
def test_torch_is_asked_for_its_own_devices_only(device: str, words: str) -> None:
    with pytest.raises(UsageError, match=words) as caught:
        on_device(torch.nn.Linear(2, 2), device)
    assert len(str(caught.value)) < 160 and "\n" not in str(caught.value)


@pytest.mark.long
def test_the_command_line_refuses_devices_in_one_line(inside: Run, tmp_path: Path) -> None:
    face = tmp_path / "face.png"
    Image.fromarray(samples()["head.png"]).save(face)
    for device, backend, words in (
        ("tensorrt", "torch", "backend='onnx'"),
        ("foo", "torch", "There is no device 'foo'"),
        ("cuda:x", "onnx", "There is no device 'cuda:x'"),
        ("tensorrt", "onnx", "pip install '.[onnx-gpu]' in the clone"),
    ):
        model = ("--model", "dlib_resnet128.dlib", "--backend", backend, "--device", device)
        done = inside("embed", face, *model)
        assert done.returncode == 2 and done.stdout == "", done.stdout
        assert words in done.stderr and len(done.stderr.splitlines()) == 1


@pytest.mark.long
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


@pytest.mark.long
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


@pytest.mark.long
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


def test_outputs_stay_on_the_gpu_of_the_session() -> None:
    options = {"device_id": "1", "use_tf32": "0"}
    for providers, place in (
        ({CUDA: options, CPU: {}}, ("cuda", 1)),
        ({TENSORRT: {"device_id": "1"}, CUDA: options, CPU: {}}, ("cuda", 1)),
        ({CPU: {}}, ("cpu", 0)),
    ):
        session = MagicMock(get_inputs=lambda: [MagicMock()], get_outputs=lambda: [MagicMock()])
        session.get_provider_options.return_value = providers
        run_onnx.run_bound(session, np.zeros((1, 2), np.float32))
        assert session.io_binding().bind_output.call_args.args[1:] == place


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


@pytest.mark.network
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


@pytest.mark.network
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


@pytest.mark.gpu
@pytest.mark.parametrize("backend", ["torch", "onnx"])
def test_a_gpu_computes_what_the_cpu_computes(backend: str) -> None:
    pictures = list(samples().values())
    on_cpu = package.load("dlib_resnet128.dlib")(pictures)
    on_gpu = package.load("dlib_resnet128.dlib", backend=backend, device="cuda")(pictures)
    np.testing.assert_allclose(on_gpu, on_cpu, rtol=0, atol=1e-4 * np.abs(on_cpu).max())
