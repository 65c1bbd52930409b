"""What a type checker sees of the installed wheel."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
from pathlib import Path
from typing import get_args

import pytest
from helpers.paths import ROOT

from vox2face.zoo import names
from vox2face.zoo.catalog import ENTRIES

PROGRAM = """
import numpy as np
from numpy.typing import NDArray

import vox2face

encoder = vox2face.load("vggface.serengil", backend="onnx", device="cuda")
reveal_type(encoder)
reveal_type(vox2face.load("ast.tiny"))
reveal_type(vox2face.load("face_decoder.demo").to("cpu"))
voice = vox2face.load_voice_encoder("some/bundle", provider_options={"gpu_mem_limit": 2**31})
embeddings: NDArray[np.float32] = voice("a.wav", normalize=True)
faces = vox2face.load_face_decoder()(embeddings)
reveal_type(faces)
reveal_type(vox2face.load_face_encoder().classify("a.png"))
reveal_type(vox2face.SpeechToFace.from_zoo()("a.wav").image)
models: list[str] = vox2face.list_models("vggface*", kind="face-encoder")
"""
REVEALED = [
    "vox2face.runtime.face_encoder.FaceEncoder",
    "vox2face.runtime.voice_encoder.VoiceEncoder",
    "vox2face.runtime.face_decoder.FaceDecoder",
    "list[vox2face.media.decoded_face.Face]",
    "list[list[tuple[str, float]]]",
    "numpy.ndarray",
]
WRONG = """
import vox2face

vox2face.load_face_encoder("vggface.serengil", devise="cuda")
vox2face.load("ge2e.resemblyzer").classify("a.png")
"""


def test_the_names_for_type_checkers_are_those_of_the_catalogue() -> None:
    for kind, literal in {
        "face-encoder": names.FaceEncoderName,
        "voice-encoder": names.VoiceEncoderName,
        "face-decoder": names.FaceDecoderName,
    }.items():
        assert [e.name for e in ENTRIES if e.kind == kind] == list(get_args(literal))


@pytest.fixture(scope="module")
def installed(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with the wheel of the project unpacked by pip."""
    source, folder = (tmp_path_factory.mktemp(name) for name in ("source", "installed"))
    for part in ("vox2face", "converters", "zoo", "train"):
        shutil.copytree(ROOT / part, source / part, ignore=shutil.ignore_patterns("__pycache__"))
    for file in ("pyproject.toml", "README.md", "LICENSE"):
        shutil.copy(ROOT / file, source)
    command = "-m pip install --quiet --disable-pip-version-check --no-deps --no-build-isolation"
    subprocess.run([sys.executable, *command.split(), "--target", folder, source], check=True)
    return folder


def checked(program: str, installed: Path, folder: Path) -> subprocess.CompletedProcess[str]:
    (folder / "program.py").write_text(program)
    return subprocess.run(
        [sys.executable, "-m", "mypy", "--strict", "--follow-imports=silent", "program.py"],
        cwd=folder,
        env={**os.environ, "MYPYPATH": str(installed)},
        capture_output=True,
        text=True,
        check=False,
    )


@pytest.mark.long
def test_a_users_program_is_typed_against_the_installed_wheel(
    installed: Path, tmp_path: Path
) -> None:
    assert (installed / "vox2face" / "py.typed").is_file()
    done = checked(PROGRAM, installed, tmp_path)
    revealed = [line for line in done.stdout.splitlines() if "Revealed type is" in line]
    assert done.returncode == 0, done.stdout
    assert len(revealed) == len(REVEALED), done.stdout
    for line, words in zip(revealed, REVEALED, strict=True):
        assert words in line
    done = checked(WRONG, installed, tmp_path)
    assert done.returncode == 1 and "devise" in done.stdout and "classify" in done.stdout
    assert "Found 2 errors" in done.stdout, done.stdout
