"""The command as people use it: help, start-up, output, exit codes."""

from __future__ import annotations

import csv
import io
import json
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import click
import numpy as np
import pytest
from click.testing import CliRunner
from PIL import Image

import vox2face.cli
from vox2face.cli import main
from vox2face.converters.convert import convert
from vox2face.core.entry import Entry
from vox2face.core.errors import ParityError
from vox2face.core.parity import Report, compare
from vox2face.media.image import samples
from vox2face.runtime import load
from vox2face.runtime.face_encoder import FaceEncoder
from vox2face.zoo.catalog import ENTRIES

Run = Callable[..., subprocess.CompletedProcess[str]]
ASSETS = Path(vox2face.__file__).parent / "assets"
NAME = "vggface.serengil"
FREE = "dlib_resnet128.dlib"


def commands(group: click.Group, prefix: tuple[str, ...] = ()) -> list[tuple[str, ...]]:
    found: list[tuple[str, ...]] = [prefix]
    context = click.Context(group)
    for name in group.list_commands(context):
        command = group.get_command(context, name)
        assert command is not None
        inner = (*prefix, name)
        found += commands(command, inner) if isinstance(command, click.Group) else [inner]
    return found


@pytest.mark.parametrize("command", commands(main), ids=" ".join)
def test_every_command_has_help(command: tuple[str, ...]) -> None:
    done = CliRunner().invoke(main, [*command, "--help"])
    assert done.exit_code == 0
    assert "Usage:" in done.output
    summary = " ".join(done.output.split("\n\n")[1].split())
    assert summary.endswith((".", ":"))


def test_the_names_and_options_promised_are_there() -> None:
    promised = {
        ("convert", "serengil"): {
            "--weights",
            "--out",
            "--onnx",
            "--no-onnx",
            "--verify",
            "--force",
        },
        ("convert", "rcmalli"): {
            "--variant",
            "--weights",
            "--out",
            "--onnx",
            "--no-onnx",
            "--verify",
            "--force",
        },
        ("zoo", "list"): {"--kind", "--json"},
        ("zoo", "show"): {"--json"},
        ("embed",): {"--model", "--backend", "--preset", "--output"},
        ("export",): {"--output", "--with-frontend"},
        ("check",): {"--weights"},
        ("push",): {"--private", "--revision", "--i-may-redistribute", "--message", "--force"},
    }
    for path, options in promised.items():
        text = CliRunner().invoke(main, [*path, "--help"]).output
        assert all(option in text for option in options), path


@pytest.mark.parametrize("arguments", [["--help"], ["zoo", "list"], ["convert", "--help"]])
def test_starting_imports_nothing_heavy(python: Callable[..., str], arguments: list[str]) -> None:
    script = """
import sys
from vox2face.cli import main
try:
    main(sys.argv[1:])
except SystemExit:
    pass
heavy = {"torch", "numpy", "h5py", "onnx", "onnxruntime", "tensorflow", "PIL", "requests", "tqdm"}
heavy |= {"huggingface_hub"}
print("HEAVY", sorted(heavy & sys.modules.keys()))
"""
    assert python(script, *arguments).splitlines()[-1] == "HEAVY []"


def test_importing_the_package_imports_nothing_heavy(python: Callable[..., str]) -> None:
    heavy = "{'torch', 'numpy', 'click', 'huggingface_hub'}"
    script = f"import sys, vox2face; print({heavy} & sys.modules.keys())"
    assert python(script).strip() == "set()"


def test_zoo_list_says_what_each_model_needs(vox2face: Run) -> None:
    done = vox2face("zoo", "list")
    assert done.returncode == 0
    lines = done.stdout.splitlines()
    assert lines[0].split()[0] == "NAME" and lines[1].startswith(NAME)
    assert lines[1].endswith("needs: vox2face convert serengil")
    models = json.loads(vox2face("zoo", "list", "--json").stdout)
    (free,) = [line for line in lines if line.startswith(FREE)]
    assert free.endswith("ready (comes with vox2face)")
    (tiny,) = [line for line in lines if line.startswith("ve_conv.tiny")]
    assert tiny.endswith("untrained: no weights are published")
    assert [m["name"] for m in models] == [e.name for e in ENTRIES]
    assert models[0]["width"] == 4096 and models[0]["parameters"] == 145_002_878


def test_zoo_show_tells_terms_hash_and_shapes(vox2face: Run) -> None:
    text = vox2face("zoo", "show", "VGGFace_serengil").stdout
    for words in ("759266b9", "non-commercial", "(batch, 3, 224, 224)", "deepface", "2622"):
        assert words in text
    assert json.loads(vox2face("zoo", "show", NAME, "--json").stdout)["name"] == NAME


@pytest.mark.long
@pytest.mark.parametrize(
    ("arguments", "code", "words"),
    [
        (["zoo", "show", "vggface.serengill"], 2, "Did you mean vggface.serengil"),
        (["zoo", "list", "--kind", "x"], 2, "face-encoder"),
        (["convert", "serengil", "--verify", "maybe"], 2, "--verify"),
        (["convert", "rcmalli", "--variant", "vgg19"], 2, "vgg16"),
        (["convert", "face-api", "--variant", "vgg16"], 2, "leave it out"),
        (["convert", "vggface.serengill"], 2, "Did you mean vggface.serengil"),
        (["convert", "ve_conv.tiny"], 2, "no weights that can be fetched"),
        (["convert", NAME, "a.h5", "--weights", "b.h5"], 2, "give one of them"),
        (["convert", NAME, "--face", NAME], 2, "leave --face out"),
        (["convert", "serengil", "--weights", "nowhere.h5"], 1, "no file nowhere.h5"),
        (["convert", "serengil"], 1, "VOX2FACE_OFFLINE"),
        (["embed", "--model", NAME], 2, "FILE"),
        (["embed", "nowhere.png", "--model", NAME], 2, "There is no nowhere.png"),
        (["embed", str(ASSETS / "head.png"), "--model", NAME], 1, "vox2face convert serengil"),
        (["embed", "a.png", "--model", NAME, "--output", "a.txt"], 2, ".npz or .csv"),
        (["export", NAME, "--output", "a.onnx"], 1, "vox2face convert serengil"),
        (["export", "zzzz", "--output", "a.onnx"], 2, "There is no model 'zzzz'"),
        (["check", "nowhere"], 2, "There is no model 'nowhere', nor a bundle's folder"),
        (
            ["convert", "serengil", "--weights", "x.h5", "--out", ""],
            2,
            "'' is not a path: name one",
        ),
        (["check", "no/where"], 1, "not a folder"),
        (["check", NAME], 1, "run vox2face convert serengil first"),
        (["zoo", "list", "--json", "--markdown"], 2, "two forms"),
        (["embed", str(ASSETS / "head.png"), "--model", FREE, "--classify"], 2, "no classes apart"),
        (["convert", "face-api", "--verify", "keras"], 2, "no owner's graph"),
        (["export", NAME, "--output", "a.txt"], 2, "FILE.onnx"),
        (["export", NAME, "--output", "a.h5"], 2, "needs --format keras"),
        (["export", NAME, "--format", "keras", "--output", "a.onnx"], 2, "FILE.h5"),
        (["export", NAME, "--format", "keras", "--output", "a.h5", "--logits"], 2, "--logits"),
        (["export", NAME, "--output", "a.onnx", "--preset", "x"], 2, "no preset"),
        (["embed", "/dev/zero", "--model", FREE], 1, "a pipe or a device"),
        (["nonsense"], 2, "nonsense"),
    ],
    ids=lambda value: " ".join(value) if isinstance(value, list) else None,
)
def test_bad_input_gets_one_clear_sentence_and_an_exit_code(
    vox2face: Run, arguments: list[str], code: int, words: str
) -> None:
    done = vox2face(*arguments)
    assert done.returncode == code, done.stderr
    assert words in done.stderr
    assert "Traceback" not in done.stderr
    assert done.stdout == ""


def test_an_html_page_as_weights_keeps_nothing(vox2face: Run, tmp_path: Path) -> None:
    page = tmp_path / "vgg_face_weights.h5"
    page.write_text("<html>rate limit exceeded</html>")
    done = vox2face("convert", "serengil", "--weights", page, "--out", tmp_path / "out")
    assert done.returncode == 1 and "a web page (HTML)" in done.stderr
    assert not (tmp_path / "out").exists()


@pytest.fixture
def bundle(
    twin: Callable,
    twin_file: Callable,
    tmp_path: Path,  # type: ignore[type-arg]
    registered: Callable[[Entry], None],
) -> Path:
    """A narrow bundle, with the registry answering for it."""
    entry = twin(NAME)
    registered(entry)
    return convert(entry, twin_file(NAME), tmp_path / "bundle").path


@pytest.mark.long
def test_embed_writes_csv_npz_and_prints(bundle: Path, tmp_path: Path) -> None:
    images = [str(ASSETS / name) for name in samples()]
    want = load.load(bundle)(images)
    printed = CliRunner().invoke(main, ["embed", *images, "--model", str(bundle)])
    assert printed.exit_code == 0, printed.output
    rows = list(csv.reader(io.StringIO(printed.output)))
    assert rows[0][:2] == ["image", "e0"] and [row[0] for row in rows[1:]] == images
    assert np.array_equal(np.array([row[1:] for row in rows[1:]], np.float32), want)
    for name in ("e.csv", "e.npz"):
        command = ["embed", *images, "--model", str(bundle), "--output", str(tmp_path / name)]
        done = CliRunner().invoke(main, command)
        assert done.exit_code == 0 and "2 embeddings of 256 values" in done.output
    assert (tmp_path / "e.csv").read_text() == printed.output
    with np.load(tmp_path / "e.npz") as stored:
        assert np.array_equal(stored["embeddings"], want)
        assert list(stored["images"]) == images and str(stored["preset"]) == "deepface"
    by_onnx = ["embed", *images, "--model", str(bundle), "--backend", "onnx", "--normalize"]
    rows = list(csv.reader(io.StringIO(CliRunner().invoke(main, by_onnx).output)))
    lengths = np.linalg.norm(np.array([row[1:] for row in rows[1:]], float), axis=1)
    np.testing.assert_allclose(lengths, 1, rtol=1e-5)


@pytest.mark.long
@pytest.mark.parametrize("more", [[], ["--classify", "--top", "1", "--labels", "names.txt"]])
def test_a_bad_picture_among_good_ones_costs_a_line(
    bundle: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, more: list[str]
) -> None:
    monkeypatch.chdir(tmp_path)
    Path("names.txt").write_text("".join(f"person {i}\n" for i in range(classes_of(bundle))))
    Path("bad.png").write_bytes(b"no picture")
    Image.new("RGB", (1, 1000)).save("thin.png")
    good = [str(ASSETS / name) for name in samples()]
    command = ["embed", good[0], "bad.png", good[1], "thin.png", "--model", str(bundle), *more]
    alone = CliRunner().invoke(main, ["embed", *good, "--model", str(bundle), *more])
    assert alone.exit_code == 0, alone.stderr
    done = CliRunner().invoke(main, command)
    assert done.exit_code == 1 and done.stdout == alone.stdout
    failed = done.stderr.splitlines()
    assert failed[0].startswith("Failed: bad.png is plain text, no picture")
    assert failed[1].startswith("Failed: thin.png: A picture of 1 x 1000")
    assert failed[2:] == ["Error: 2 of 4 files could not be used and are left out."]
    assert CliRunner().invoke(main, [*command, "--output", "e.csv"]).exit_code == 1
    assert Path("e.csv").read_text() == done.stdout
    assert CliRunner().invoke(main, [*command, "--output", "e.npz"]).exit_code == 1
    with np.load("e.npz") as stored:
        assert list(stored["images"]) == good
    before = Path("e.csv").read_bytes()
    only = ["embed", "bad.png", "thin.png", "--model", str(bundle), *more, "--output", "e.csv"]
    done = CliRunner().invoke(main, only)
    assert done.exit_code == 1 and "None of the 2 files can be used" in done.stderr
    assert Path("e.csv").read_bytes() == before


def classes_of(bundle: Path) -> int:
    encoder = load.load(bundle)
    assert isinstance(encoder, FaceEncoder)
    return encoder.classes


@pytest.mark.long
def test_export_and_check_print_what_was_proven(bundle: Path, tmp_path: Path) -> None:
    path = tmp_path / "face.onnx"
    command = ["export", str(bundle), "--output", str(path), "--with-frontend", "--logits"]
    done = CliRunner().invoke(main, command)
    assert done.exit_code == 0, done.output
    assert "logits: largest difference" in done.output and path.is_file()
    done = CliRunner().invoke(main, ["check", str(bundle)])
    assert done.exit_code == 0, done.output
    assert "conv1_1" in done.output and "PROVEN at 21 layers" in done.output


@pytest.mark.long
def test_a_failed_proof_prints_the_table_and_exits_1(
    bundle: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    want = np.ones((1, 4), np.float32)
    rows = [compare("torch", f"tap{i}", want, want) for i in range(4)]
    report = Report([*rows, compare("torch", "fc6", -want, want)])

    def failing(*arguments: object) -> Report:
        raise ParityError("It failed.", report)

    monkeypatch.setattr("vox2face.converters.verify_bundle.check", failing)
    done = CliRunner().invoke(main, ["check", str(bundle)])
    assert done.exit_code == 1
    assert "FAILED at fc6" in done.output and "Error: It failed." in done.output


def test_a_file_that_is_not_there_is_told_before_a_model_is_loaded(inside: Run) -> None:
    done = inside("embed", ASSETS / "head.png", "gone.png", "--model", NAME)
    assert done.returncode == 2 and "There is no gone.png" in done.stderr


@pytest.mark.long
def test_what_comes_with_vox2face_is_checked_without_being_asked_for(vox2face: Run) -> None:
    done = vox2face("check", FREE)
    assert done.returncode == 0, done.stderr
    assert "PROVEN at 18 layers" in done.stdout


def test_a_limit_of_the_disk_is_not_blamed_on_the_weights(vox2face: Run, tmp_path: Path) -> None:
    command = str(Path(sys.executable).with_name("vox2face"))
    out = tmp_path / "made" / "out"
    done = subprocess.run(
        ["bash", "-c", f"ulimit -f 5000; {command} convert face-api --out {out} --no-onnx"],
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 1
    assert "the disk is full or the quota is used up" in done.stderr
    assert list(out.parent.iterdir()) == []


def test_a_signal_behind_another_error_ends_the_command_quietly(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    def interrupted(*arguments: object) -> None:
        try:
            sys.exit(143)
        except SystemExit as signal:
            raise RuntimeError("Error calling __set_name__") from signal

    monkeypatch.setattr("vox2face.cli.zoo.list_models", interrupted)
    done = CliRunner().invoke(main, ["zoo", "list"])
    assert done.exit_code == 143 and "unforeseen" not in done.output + done.stderr
