"""Whole pipelines as one ONNX file, run with nothing but ONNX Runtime and NumPy."""

from __future__ import annotations

import subprocess
import sys
import venv
from collections.abc import Callable
from pathlib import Path
from subprocess import CompletedProcess
from typing import Any

import numpy as np
import onnx
import pytest
from helpers.pipeline_fixtures import VOICES

from vox2face.media.audio import speech
from vox2face.media.image import samples
from vox2face.runtime.pipelines import FaceToFace, SpeechToFace

Run = Callable[..., CompletedProcess[str]]
Make = Callable[..., Path]

# The file is all it has: a fresh environment holds ONNX Runtime, NumPy and nothing else of ours.
LONELY = """
import importlib.util, sys
for name in ("torch", "vox2face", "onnx", "PIL", "av"):
    assert importlib.util.find_spec(name) is None, name
import numpy as np
import onnxruntime
session = onnxruntime.InferenceSession(sys.argv[1], providers=["CPUExecutionProvider"])
x = np.load(sys.argv[2])
names = [output.name for output in session.get_outputs()]
np.savez(sys.argv[3], **dict(zip(names, session.run(None, {session.get_inputs()[0].name: x}))))
"""


@pytest.fixture(scope="session")
def fresh_python(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The Python of a fresh environment with ONNX Runtime and NumPy."""
    folder = tmp_path_factory.mktemp("fresh") / "env"
    venv.create(folder, with_pip=False)
    python = folder / "bin" / "python"
    where = "import sysconfig; print(sysconfig.get_path('purelib'))"
    target = subprocess.run([python, "-c", where], capture_output=True, text=True, check=True)
    pip = [sys.executable, "-m", "pip", "--disable-pip-version-check", "install", "--quiet"]
    packages = ["onnxruntime", "numpy"]
    subprocess.run([*pip, "--target", target.stdout.strip(), *packages], check=True)
    return python


@pytest.fixture
def lonely(fresh_python: Path, tmp_path: Path) -> Callable[..., dict[str, Any]]:
    """Return a function that runs an ONNX file on an input, with nothing else at hand."""

    def run(file: Path, x: Any) -> dict[str, Any]:
        np.save(tmp_path / "x.npy", x)
        command = [fresh_python, "-I", "-c", LONELY, file, tmp_path / "x.npy", tmp_path / "y.npz"]
        done = subprocess.run(list(map(str, command)), capture_output=True, text=True, check=False)
        assert done.returncode == 0, done.stderr[-2000:]
        with np.load(tmp_path / "y.npz") as values:
            return dict(values)

    return run


@pytest.mark.long
@pytest.mark.parametrize(
    ("voice", "decoder"),
    [
        (VOICES[0], "face_decoder.speech-to-face"),
        (VOICES[1], "face_decoder.cole"),
        pytest.param(VOICES[0], "face_decoder.cole", marks=pytest.mark.slow),
        pytest.param(VOICES[1], "face_decoder.speech-to-face", marks=pytest.mark.slow),
    ],
)
def test_speech2face_starts_at_the_waveform_and_equals_the_pipeline(
    voice: str,
    decoder: str,
    inside: Run,
    bundle: Make,
    tmp_path: Path,
    lonely: Callable[..., dict[str, Any]],
) -> None:
    parts, file = (bundle(voice), bundle(decoder)), tmp_path / "s2f.onnx"
    done = inside(
        *("export", "speech2face", "--voice", parts[0], "--decoder", parts[1], "--output", file)
    )
    assert done.returncode == 0, done.stderr
    assert "picture: largest difference to torch" in done.stdout
    pipeline = SpeechToFace.from_zoo(*parts)
    spoken = speech()
    for waveforms in (
        spoken[None],
        np.stack([spoken[:9000], 0.1 * spoken[9000:18000], spoken[20000:29000]]),
        spoken[None, :1600],
        np.concatenate([spoken] * 4)[None],
    ):
        got = lonely(file, np.ascontiguousarray(waveforms))
        wanted = pipeline([np.ascontiguousarray(w) for w in waveforms], rate=16_000)
        assert got["picture"].shape == (len(waveforms), 3, 224, 224)
        assert got["landmarks"].shape == (len(waveforms), 68, 2)
        for i, face in enumerate(wanted):
            largest = np.abs(face.embedding).max()
            np.testing.assert_allclose(got["embedding"][i], face.embedding, atol=2e-3 * largest)
            np.testing.assert_allclose(got["landmarks"][i], face.landmarks, atol=0.1)
            assert np.abs(got["picture"][i] - face.image).mean() < 1e-3


@pytest.mark.long
def test_face2face_starts_at_the_pixels(
    inside: Run, bundle: Make, tmp_path: Path, lonely: Callable[..., dict[str, Any]]
) -> None:
    decoder, file = bundle("face_decoder.cole", width=128), tmp_path / "f2f.onnx"
    parts = ("--face", "dlib_resnet128.dlib", "--decoder", decoder)
    done = inside("export", "face2face", *parts, "--output", file)
    assert done.returncode == 0, done.stderr
    pipeline = FaceToFace.from_zoo("dlib_resnet128.dlib", decoder)
    picture = samples()["astronaut.png"]
    for pixels in (picture[None, 20:], np.stack([picture, picture[:, ::-1]])):
        got = lonely(file, pixels)
        for i, face in enumerate(pipeline(list(pixels))):
            np.testing.assert_allclose(got["embedding"][i], face.embedding, atol=1e-5)
            np.testing.assert_allclose(got["landmarks"][i], face.landmarks, atol=1e-2)
            np.testing.assert_allclose(got["picture"][i], face.image, atol=1e-3)
    facts = {p.key: p.value for p in onnx.load(file).metadata_props}
    assert facts["pipeline"] == "face2face" and facts["decoder"] == "face_decoder.cole"
    assert "synthetic" in facts["synthetic"]


@pytest.mark.long
def test_half_precision_halves_the_file_and_states_its_parity(
    inside: Run, bundle: Make, tmp_path: Path, lonely: Callable[..., dict[str, Any]]
) -> None:
    decoder = bundle("face_decoder.cole", width=128)
    parts = ("--face", "dlib_resnet128.dlib", "--decoder", decoder)
    files = {p: tmp_path / f"{p}.onnx" for p in ("fp32", "fp16")}
    pixels, values = samples()["astronaut.png"][None], {}
    for precision, file in files.items():
        done = inside("export", "face2face", *parts, "--output", file, "--precision", precision)
        assert done.returncode == 0, done.stderr
        assert "largest difference to torch" in done.stdout
        values[precision] = lonely(file, pixels)
    sizes = {precision: file.stat().st_size for precision, file in files.items()}
    assert sizes["fp16"] < 0.56 * sizes["fp32"]
    half, full = values["fp16"]["embedding"][0], values["fp32"]["embedding"][0]
    assert half.dtype == np.float32 and not np.array_equal(half, full)
    assert half @ full / np.linalg.norm(half) / np.linalg.norm(full) > 0.9999
    held = onnx.load(files["fp16"]).graph.initializer
    kinds = {i.data_type for i in held if ".network." in i.name}
    assert kinds == {onnx.TensorProto.FLOAT16}
    single = tmp_path / "voice.onnx"
    for name, width in ((VOICES[1], 48), ("ge2e.resemblyzer", 24)):
        arguments = ("export", bundle(name), "--output", single, "--precision", "fp16")
        done = inside(*arguments, "--with-frontend")
        assert done.returncode == 0, done.stderr
        assert lonely(single, speech()[None])["embedding"].shape == (1, width)


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        (("speech2face", "--voice", "v"), "--voice and --decoder"),
        (("speech2face", "--face", "v", "--decoder", "d"), "--voice and --decoder"),
        (("face2face", "--face", "f", "--decoder", "d", "--logits"), "leave --logits out"),
        (("face2face", "--face", "f", "--decoder", "d", "--format", "keras"), "--format keras"),
        (("vggface.serengil", "--voice", "v"), "--voice is for the pipelines"),
        (("vggface.serengil", "--format", "keras", "--precision", "fp16"), "--precision"),
    ],
)
def test_what_cannot_be_exported_is_refused(
    arguments: tuple[str, ...], words: str, inside: Run, tmp_path: Path
) -> None:
    done = inside("export", *arguments, "--output", tmp_path / "a.onnx")
    assert done.returncode == 2 and words in done.stderr
    assert not (tmp_path / "a.onnx").exists()
