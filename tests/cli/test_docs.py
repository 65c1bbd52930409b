"""What README and CONTRIBUTING tell people to type exists."""

from __future__ import annotations

import re
import shlex
from collections.abc import Callable
from pathlib import Path

import click
import pytest
from helpers.paths import ROOT

from vox2face.cli import main

README = (ROOT / "README.md").read_text()
TROUBLE = (ROOT / "docs/troubleshooting.md").read_text()
DOCS = ("gpu", "from-deepface", "from-keras-vggface", "from-speech-to-face")
PAGES = README + "".join((ROOT / "docs" / f"{name}.md").read_text() for name in DOCS)
ROOMS = ("vox2face", "converters", "train", "zoo")


def typed(page: str) -> list[list[str]]:
    """Return the words of every line of a page's shell blocks."""
    blocks = re.findall(r"```sh\n(.*?)```", page, re.DOTALL)
    return [shlex.split(line, comments=True) for block in blocks for line in block.splitlines()]


def python_of(page: str) -> list[str]:
    return re.findall(r"```python\n(.*?)```", page, re.DOTALL)


def lines() -> list[list[str]]:
    """Return the command lines of the pages, those in tables included."""
    tables = re.findall(r"^\|.*\|$", PAGES, re.MULTILINE)
    cells = [shlex.split(code) for row in tables for code in re.findall(r"`(vox2face [^`]+)`", row)]
    return [line for line in [*typed(PAGES), *cells] if line[:1] == ["vox2face"]]


@pytest.mark.parametrize("line", lines(), ids=" ".join)
def test_every_command_line_of_the_pages_is_understood(line: list[str]) -> None:
    arguments, command, context = line[1:], main, click.Context(main)
    while isinstance(command, click.Group):
        found = command.get_command(context, arguments[0])
        assert found is not None, arguments[0]
        command, arguments = found, arguments[1:]  # type: ignore[assignment]
    made = command.make_context(line[0], list(arguments))
    assert made.params


def test_every_make_target_of_the_readme_exists() -> None:
    makefile = (ROOT / "Makefile").read_text()
    targets = set(re.findall(r"^(\w+):", makefile, re.MULTILINE))
    named = {line[1] for line in typed(README) if line[:1] == ["make"]}
    assert named >= {"demo", "test"} and named <= targets
    assert {"demo", "test", "lint", "types", "bench"} <= targets


def test_the_python_of_the_readme_runs(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    import numpy as np

    from vox2face.media.image import samples
    from vox2face.runtime import load

    code = python_of(README)[0]
    assert len(code.strip().splitlines()) <= 5
    import PIL.Image

    for name, pixels in zip(("a.png", "b.png"), samples().values(), strict=True):
        PIL.Image.fromarray(pixels).save(tmp_path / name)
    monkeypatch.chdir(tmp_path)
    real = load.load
    monkeypatch.setattr(load, "load", lambda name: real(name, pretrained=False))
    space: dict[str, object] = {}
    exec(code, space)
    embeddings = space["embeddings"]
    assert isinstance(embeddings, np.ndarray) and embeddings.shape == (2, 4096)


def test_the_pipeline_of_the_readme_runs(
    bundle: Callable[..., Path],
    wav: Callable[..., Path],
    monkeypatch: pytest.MonkeyPatch,
    tmp_path: Path,
) -> None:
    _, code = python_of(README)
    for name, entry in (("VOICE", "ve_conv.tiny"), ("DECODER", "face_decoder.cole")):
        assert name in code
        code = code.replace(name, str(bundle(entry, onnx=False)))
    wav("speech.wav")
    monkeypatch.chdir(tmp_path)
    exec(code, {})
    assert (tmp_path / "face.png").is_file()


def test_files_the_readme_links_to_exist() -> None:
    links = re.findall(r"\]\((?!http)([^)#]+)\)", README)
    assert links and all((ROOT / link).exists() for link in links)


def test_the_readme_states_what_people_must_know() -> None:
    assert "non-commercial research" in README
    assert "unrelated to the paper of 2026" in README


@pytest.mark.long
def test_the_pool_of_processes_of_the_troubleshooting_page_runs(
    python: Callable[..., str], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    import PIL.Image

    from vox2face.media.image import samples

    (code,) = python_of(TROUBLE)
    (tmp_path / "pool.py").write_text(code)
    for name, pixels in zip(("a.png", "b.png"), samples().values(), strict=True):
        PIL.Image.fromarray(pixels).save(tmp_path / name)
    monkeypatch.chdir(tmp_path)
    run = "import runpy, sys; sys.argv = ['pool.py']; runpy.run_path('pool.py', {}, '__main__')"
    assert python(run).strip() == "[128, 128]"


def test_the_troubleshooting_page_names_all_variables_that_are_read() -> None:
    code = [path.read_text() for room in ROOMS for path in (ROOT / room).rglob("*.py")]
    read = set(re.findall(r"environ\.get\(\"(VOX2FACE_\w+)\"", "".join(code)))
    assert read == set(re.findall(r"`(VOX2FACE_\w+)=", TROUBLE)) and len(read) == 4


@pytest.mark.long
def test_a_model_of_onnx_runtime_cannot_be_pickled_and_one_of_torch_can() -> None:
    import pickle

    from vox2face.runtime.load import load

    name = "dlib_resnet128.dlib"
    with pytest.raises(TypeError, match=r"cannot pickle .*InferenceSession"):
        pickle.dumps(load(name, backend="onnx"))
    assert pickle.loads(pickle.dumps(load(name))).width == 128
