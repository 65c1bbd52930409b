"""Names for class scores: read from text and arrays, never unpickled, as keras-vggface has them."""

from __future__ import annotations

import ast
import csv
import importlib.metadata
import importlib.util
import io
import json
import os
import pickle
import sys
import types
from collections.abc import Callable
from functools import partial
from pathlib import Path

import numpy as np
import pytest
import torch
from click.testing import CliRunner
from PIL import Image

import vox2face
from vox2face.cli import main
from vox2face.converters.convert import convert
from vox2face.core.entry import Entry, Source
from vox2face.core.errors import BundleError, FetchError, UsageError, WeightFileError
from vox2face.core.files import home
from vox2face.media.image import samples
from vox2face.runtime.class_names import read_labels
from vox2face.runtime.resolve import exported
from vox2face.store import bundle as bundles
from vox2face.zoo.catalog import ENTRIES, LABELS

NAME = "vggface.serengil"
CLASSES = 163  # of the narrow twins
PICTURES = list(samples().values())


def people(count: int) -> list[str]:
    """Names like those of the published lists: a blank in front, some not ASCII."""
    return [f" {'Zoë' if i % 7 else 'A.'}_Person_{i}" for i in range(count)]


def header(kind: str, shape: str, version: int = 1) -> bytes:
    """The beginning of a .npy file, with every detail in the test's hand."""
    text = f"{{'descr': '{kind}', 'fortran_order': False, 'shape': {shape}, }}".encode()
    text = text.ljust(117) + b"\n"
    length = len(text).to_bytes(2 if version == 1 else 4, "little")
    return b"\x93NUMPY" + bytes([version, 0]) + length + text


def npy(names: list[str], kind: str = "U") -> bytes:
    """A .npy file of names as numpy.save writes it."""
    file = io.BytesIO()
    array = np.array([name.encode() for name in names] if kind == "S" else names)
    np.save(file, array.astype(f">U{array.itemsize // 4}") if kind == ">U" else array)
    return file.getvalue()


def objects(names: list[object]) -> bytes:
    """A .npy file of an array of objects, which is a pickle."""
    file = io.BytesIO()
    np.save(file, np.array(names, dtype=object), allow_pickle=True)
    return file.getvalue()


def lines(names: list[str]) -> bytes:
    return "\n".join(names).encode()


def write(path: Path, content: bytes) -> Path:
    path.write_bytes(content)
    return path


def into_cache(source: Source, content: bytes) -> Path:
    """Put a file where `fetch` finds it downloaded."""
    folder = home() / "downloads" / source.key
    folder.mkdir(parents=True)
    (folder / f"{source.filename}.sha256").write_text("0" * 64)
    return write(folder / source.filename, content)


WRITERS: dict[str, Callable[[list[str]], bytes]] = {
    "array of U": npy,
    "array of U, big-endian": partial(npy, kind=">U"),
    "array of S": partial(npy, kind="S"),
    "text": lines,
    "text with blank lines at the end": lambda names: lines(names) + b"\n \n\n",
    "text of Windows": lambda names: b"\xef\xbb\xbf" + lines(names).replace(b"\n", b"\r\n"),
}


@pytest.mark.parametrize("count", [1, 2622])
@pytest.mark.parametrize("kind", WRITERS)
def test_every_kind_of_file_gives_the_same_names(tmp_path: Path, kind: str, count: int) -> None:
    names = people(count)
    file = write(tmp_path / "names", WRITERS[kind](names))
    assert read_labels(file) == tuple(name.strip() for name in names)


class Hostile:
    """Runs code when it is unpickled."""

    def __init__(self, marker: Path) -> None:
        self.marker = marker

    def __reduce__(self) -> tuple[object, ...]:
        return os.mkdir, (str(self.marker),)


@pytest.mark.parametrize("kind", ["array", "array behind a header of text", "bare pickle"])
def test_pickles_are_refused_and_never_executed(tmp_path: Path, kind: str) -> None:
    marker = tmp_path / "executed"
    content = {
        "array": objects([Hostile(marker), "Ann"]),
        "array behind a header of text": header("<U1", "(2,)") + pickle.dumps(Hostile(marker)),
        "bare pickle": pickle.dumps(Hostile(marker)),
    }[kind]
    with pytest.raises(WeightFileError, match=r"pickle|no plain list of names"):
        read_labels(write(tmp_path / "names.npy", content))
    assert not marker.exists()


def test_the_line_told_for_an_array_of_objects_makes_a_file_that_is_read(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    file = write(tmp_path / "it's.npy", objects([" Zoë", b"Ann", "Bob"]))
    with pytest.raises(WeightFileError, match=r"a pickle, .* if you trust it, run") as caught:
        read_labels(file)
    line = str(caught.value).partition("it, run ")[2].partition(" in Python")[0]
    exec(line, {"numpy": np})
    assert read_labels("names.npy") == ("Zoë", "Ann", "Bob")


def other_array(*array: object) -> bytes:
    file = io.BytesIO()
    np.save(file, np.array(*array))  # type: ignore[call-overload]
    return file.getvalue()


@pytest.mark.parametrize(
    ("content", "words"),
    [
        (b"<html>rate limit exceeded</html>", r"a web page \(HTML\)"),
        (b"version https://git-lfs.github.com/spec/v1\n", "a Git LFS pointer"),
        (b"", "an empty file"),
        (b"PK\x03\x04", "a zip archive"),
        (b'["Ann", "Bob"]', "a JSON file"),
        (b" \n\n", "line 1 is blank"),
        (b"Ann\n\nBob\n", "line 2 is blank"),
        (b"Ann\n" * 100_001, "from 1 to 100000 are allowed"),
        (b"Ann\nB\x1b[0mob\n", "control characters"),
        (b"Ann\rBob\r", "control characters"),
        ("Zoë\n".encode("latin-1"), "utf-8"),
        (bytes(600), "control characters"),
        (b"\x93NUMPY", "no plain list of names"),
        (other_array([1.0, 2.0]), r"it is float64 \(2,\), no one-dimensional array of text"),
        (other_array([["Ann"], ["Bob"]]), "no one-dimensional array of text"),
        (other_array([(1, "a")], [("x", "i4"), ("y", "U1")]), "no one-dimensional"),
        (other_array("Ann"), "no one-dimensional array of text"),
        (other_array(["Ann", "Bob"])[:-4], "no plain list of names"),
        (other_array(["Ann", "Bob"]) + b"\0", "more in it than its names"),
        (header("<U3", "(999999999,)"), "no plain list of names"),
        (header("<U999999999", "(9,)"), "no plain list of names"),
        (header("<U0", "(999999,)"), "from 1 to 100000 are allowed"),
        (header("<U3", "(0,)"), "from 1 to 100000 are allowed"),
        (header("<U3", "(" + "9" * 5000 + ",)"), "no plain list of names"),
        (header("<U3", "(" * 5000 + ",)"), "no plain list of names"),
        (header("<U1", "(1,)") + b"\0\0\x11\0", "no plain list of names"),
        (header("<U1", "(1,)") + b"\0\xd8\0\0", "surrogate|code point"),
        (header("|S1", "(1,)") + b"\xff", "utf-8"),
        (header("<U1", "(1,)", version=3) + b"\x07\0\0\0", "control characters"),
    ],
    ids=range(29),
)
def test_other_files_get_one_clear_sentence(tmp_path: Path, content: bytes, words: str) -> None:
    file = write(tmp_path / "names.npy", content)
    with pytest.raises(WeightFileError, match=words) as caught:
        read_labels(file)
    message = str(caught.value)
    assert "name a text file" in message and str(file) in message and "\n" not in message


def test_the_header_that_python_2_wrote_is_read(tmp_path: Path) -> None:
    file = write(tmp_path / "names.npy", header("|S3", "(2L,)") + b"AnnBob")
    assert read_labels(file) == ("Ann", "Bob")


def test_later_versions_of_the_format_are_read(tmp_path: Path) -> None:
    file = write(tmp_path / "n.npy", header("<U1", "(1,)", version=2) + b"A\0\0\0")
    assert read_labels(file) == ("A",)


def test_paths_that_are_no_label_files_get_one_clear_sentence(tmp_path: Path) -> None:
    big = tmp_path / "big.npy"
    with big.open("wb") as file:
        file.truncate(16_000_001)
    for path, words in (
        (tmp_path / "none.npy", "does not exist"),
        (tmp_path, "is not a regular file"),
        (Path("/dev/zero"), "is not a regular file"),
        (big, r"16\.0 MB"),
    ):
        with pytest.raises(WeightFileError, match=words):
            read_labels(path)


def owners_utils(monkeypatch: pytest.MonkeyPatch, labels: Path) -> types.ModuleType:
    """keras-vggface's utils.py, whose imports no current Keras satisfies, with local labels."""
    data = types.ModuleType("keras.utils.data_utils")
    data.get_file = lambda *address, **cache: str(labels)  # type: ignore[attr-defined]
    keras = types.ModuleType("keras")
    keras.backend = types.ModuleType("keras.backend")  # type: ignore[attr-defined]
    for module in (keras, keras.backend, types.ModuleType("keras.utils"), data):
        monkeypatch.setitem(sys.modules, module.__name__, module)
    file = importlib.metadata.distribution("keras-vggface").locate_file("keras_vggface/utils.py")
    spec = importlib.util.spec_from_file_location("owner_utils", str(file))
    assert spec and spec.loader
    owner = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(owner)
    return owner


@pytest.mark.parametrize("classes", [2622, 8631])
def test_the_names_are_those_of_the_owners_decode_predictions(
    classes: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    file = into_cache(LABELS[classes], npy(people(classes)))
    owner = owners_utils(monkeypatch, file)
    logits = np.random.default_rng(classes).normal(0, 8, (6, classes))
    probabilities = torch.from_numpy(logits).softmax(1).numpy()
    for top in (1, 5, classes):
        wanted = owner.decode_predictions(probabilities, top=top)
        got = vox2face.decode_predictions(logits, top=top)
        for ours, theirs in zip(got, wanted, strict=True):
            names = [ast.literal_eval(text).decode().strip() for text, _ in theirs]
            assert [name for name, _ in ours] == names
            np.testing.assert_allclose([p for _, p in ours], [p for _, p in theirs], rtol=1e-12)


def test_every_entry_with_classes_has_the_list_of_its_width() -> None:
    for entry in ENTRIES:
        widths = [spec.shape[-1] for spec in entry.outputs if spec.name == "logits"]
        assert [entry.labels] == [LABELS[int(width)] for width in widths] or not widths
    for classes, source in LABELS.items():
        assert str(classes) in source.format and source.kind == "a NumPy array"


def test_large_scores_equal_scores_and_all_kinds_of_arrays_are_decoded() -> None:
    names = ["Ann", "Bob", "Cid"]
    assert vox2face.decode_predictions([[1e5, 0, 0]], 1, names) == [[("Ann", 1.0)]]
    ((first, second),) = vox2face.decode_predictions(np.zeros((1, 3)), 2, names)
    assert first == ("Ann", pytest.approx(1 / 3)) and second[0] == "Bob"
    scores = torch.tensor([[1.0, 3.0, -torch.inf], [5.0, 3.0, 1.0]])
    ours = vox2face.decode_predictions(scores, 3, names)
    assert [[name for name, _ in row] for row in ours] == [["Bob", "Ann", "Cid"], names]
    assert all(sum(p for _, p in row) == pytest.approx(1, abs=1e-12) for row in ours)
    assert all(type(p) is float for row in ours for _, p in row)
    assert vox2face.decode_predictions(scores.log_softmax(1), 3, names)[1][0][0] == "Ann"
    assert vox2face.decode_predictions(np.empty((0, 3)), 2, names) == []


GRADIENT = torch.zeros(1, 3, requires_grad=True)


@pytest.mark.long
@pytest.mark.parametrize(
    ("logits", "top", "labels", "words"),
    [
        (np.zeros(3), 1, "abc", r"float64 \(3,\): give class scores"),
        (np.zeros((1, 3, 1)), 1, None, r"\(1, 3, 1\)"),
        (np.zeros((1, 0)), 1, None, r"\(1, 0\)"),
        (np.zeros((1, 3), bool), 1, None, "bool"),
        (np.zeros((1, 3), complex), 1, None, "complex"),
        ([["a", "b"]], 1, None, "are <U1"),
        ([[1, 2], [3]], 1, None, "are no array"),
        (GRADIENT, 1, None, "requires grad"),
        ("scores", 1, None, "give class scores"),
        ([[0, np.nan, 0]], 1, None, "NaN"),
        ([[0, np.inf, 0]], 1, None, "NaN or infinity"),
        ([[0.2, 0.5, 0.3]], 1, None, "are probabilities"),
        ([[1, 2, 3]], 1, None, "No names are published for 3 classes, but for 2622 or 8631"),
        ([[1, 2, 3]], 0, ["a", "b", "c"], "top is 0: .* from 1 to 3"),
        ([[1, 2, 3]], 4, ["a", "b", "c"], "top is 4"),
        ([[1, 2, 3]], 2.5, ["a", "b", "c"], r"top is 2\.5"),
        ([[1, 2, 3]], 1, ["a", "b"], "2 names for 3 classes"),
        ([[1, 2, 3]], 1, "names.npy", r"read_labels\(path\)"),
    ],
    ids=range(18),
)
def test_what_cannot_be_meant_gets_one_sentence(
    logits: object, top: int, labels: object, words: str
) -> None:
    with pytest.raises(UsageError, match=words):
        vox2face.decode_predictions(logits, top, labels)  # type: ignore[arg-type]


def test_offline_the_option_to_give_names_is_told() -> None:
    with pytest.raises(FetchError, match=r"labels_v1\.npy.*--labels FILE"):
        vox2face.decode_predictions(np.eye(3, 2622) * 9)


def test_a_damaged_list_in_the_cache_is_forgotten() -> None:
    for content in (npy(people(2621)), b"\x93NUMPY nothing else"):
        file = into_cache(LABELS[2622], content)
        with pytest.raises(WeightFileError, match="was discarded: try again"):
            vox2face.decode_predictions(np.eye(3, 2622) * 9)
        assert list(file.parent.iterdir()) == []
        file.parent.rmdir()


def test_a_pickled_list_in_the_cache_stays_to_be_saved_as_text() -> None:
    file = into_cache(LABELS[2622], objects(list(people(2622))))
    with pytest.raises(WeightFileError, match=r"if you trust it, run .*--labels names\.npy"):
        vox2face.decode_predictions(np.eye(3, 2622) * 9)
    assert file.is_file()


@pytest.fixture
def bundle(
    twin: Callable[[str], Entry],
    twin_file: Callable[[str], Path],
    tmp_path: Path,
    registered: Callable[[Entry], None],
) -> bundles.Bundle:
    """A narrow bundle without an ONNX file, with the registry answering for it."""
    entry = twin(NAME)
    registered(entry)
    return bundles.read(convert(entry, twin_file(NAME), tmp_path / "bundle", onnx=False).path)


@pytest.mark.long
def test_scores_of_torch_and_onnx_runtime_agree(bundle: bundles.Bundle) -> None:
    by_torch = vox2face.load(bundle.path)
    by_onnx = vox2face.load(bundle.path, backend="onnx")
    x = by_torch.preprocess(PICTURES)
    scores = by_torch.logits(PICTURES, batch_size=1)
    assert scores.shape == (2, CLASSES) and scores.dtype == np.float32
    with torch.inference_mode():
        np.testing.assert_allclose(scores, by_torch.module.logits(x), rtol=0, atol=1e-5)
    assert by_torch.logits([]).shape == by_onnx.logits([]).shape == (0, CLASSES)
    np.testing.assert_allclose(by_onnx.logits(PICTURES), scores, rtol=0, atol=1e-5)
    np.testing.assert_allclose(by_onnx(PICTURES), by_torch(PICTURES), rtol=0, atol=1e-5)
    assert by_onnx.classes == by_torch.classes == CLASSES
    names = people(CLASSES)
    found = [encoder.classify(PICTURES, 3, names, batch_size=1) for encoder in (by_torch, by_onnx)]
    want = vox2face.decode_predictions(scores, 3, names)
    assert found[0] == want
    for ours, wanted in zip(found[1], want, strict=True):
        assert [name for name, _ in ours] == [name for name, _ in wanted]


@pytest.mark.long
def test_the_onnx_file_with_scores_is_exported_once_outside_the_bundle(
    bundle: bundles.Bundle,
) -> None:
    before = sorted(bundle.path.iterdir())
    digest = bundle.config["files"][bundles.WEIGHTS]["sha256"]
    path = exported(bundle, logits=True)
    assert path == home() / "exports" / digest / "logits.onnx"
    written = path.stat().st_mtime_ns
    assert exported(bundle, logits=True).stat().st_mtime_ns == written
    assert exported(bundle).name == "embedding.onnx"
    assert sorted(bundle.path.iterdir()) == before


@pytest.mark.parametrize("digest", ["0" * 64, "../../elsewhere"])
def test_weights_that_were_altered_are_not_exported(bundle: bundles.Bundle, digest: str) -> None:
    bundle.config["files"][bundles.WEIGHTS]["sha256"] = digest
    with pytest.raises(BundleError, match="has changed since it was written"):
        exported(bundle, logits=True)
    assert not (home() / "exports").exists() and not (home().parent / "elsewhere").exists()


def test_the_models_own_list_is_taken_by_default(bundle: bundles.Bundle) -> None:
    encoder = vox2face.load(bundle.path)
    with pytest.raises(FetchError, match="rcmalli_vggface_labels_v1"):
        encoder.classify(PICTURES)
    assert encoder.entry.labels is not None
    names = people(CLASSES)
    into_cache(encoder.entry.labels, npy(names))
    assert encoder.classify(PICTURES, 2) == encoder.classify(
        PICTURES, 2, labels=[name.strip() for name in names]
    )


def test_bad_requests_are_told_before_the_network_runs(bundle: bundles.Bundle) -> None:
    encoder = vox2face.load(bundle.path)
    for arguments, words in (
        ((0, people(CLASSES)), "top is 0"),
        ((CLASSES + 1, people(CLASSES)), "from 1 to 163"),
        ((5, people(9)), "9 names for 163 classes"),
    ):
        with pytest.raises(UsageError, match=words):
            encoder.classify(["nowhere.png"], *arguments)
    with pytest.raises(UsageError, match="batch_size is 0"):
        encoder.logits(PICTURES, batch_size=0)


@pytest.mark.long
def test_weights_without_a_classifier_say_so(bundle: bundles.Bundle) -> None:
    del bundle.config["outputs"][1]
    bundles.write_config(bundle.path, bundle.config)
    for backend in ("torch", "onnx"):
        encoder = vox2face.load(bundle.path, backend=backend)
        assert encoder.classes == 0 and encoder(PICTURES).shape == (2, 256)
        for call in (encoder.logits, encoder.classify):
            with pytest.raises(UsageError, match="have no classifier"):
                call(PICTURES)


def test_a_configuration_with_damaged_outputs_is_no_bundle(bundle: bundles.Bundle) -> None:
    for outputs in (None, 5, [5], [{}], [{"name": 5}], "logits"):
        config = {**bundle.config, "outputs": outputs}
        (bundle.path / bundles.CONFIG).write_text(json.dumps(config))
        with pytest.raises(BundleError, match="damaged"):
            bundles.read(bundle.path)


@pytest.fixture
def odd_pictures(tmp_path: Path) -> list[str]:
    """Two pictures whose names hold what CSV has to quote."""
    names = ['a "b", c\n.png', "Zoë\rd.png"]
    for name, pixels in zip(names, PICTURES, strict=True):
        Image.fromarray(pixels).save(tmp_path / name)
    return [str(tmp_path / name) for name in names]


@pytest.mark.long
@pytest.mark.parametrize("backend", ["torch", "onnx"])
def test_embed_classify_prints_and_writes_the_best_names(
    bundle: bundles.Bundle, tmp_path: Path, odd_pictures: list[str], backend: str
) -> None:
    labels = write(tmp_path / "names.txt", lines(people(CLASSES)))
    want = vox2face.load(bundle.path).classify(odd_pictures, 5, read_labels(labels))
    command = ["embed", *odd_pictures, "--model", str(bundle.path), "--backend", backend]
    command += ["--classify", "--labels", str(labels)]
    printed = CliRunner().invoke(main, command)
    assert printed.exit_code == 0, printed.output
    rows = list(csv.reader(io.StringIO(printed.output, newline="")))
    assert rows[0] == ["image", "rank", "name", "probability"] and len(rows) == 11
    assert [row[:2] for row in rows[1:]] == [[p, str(r)] for p in odd_pictures for r in range(1, 6)]
    named = [pair for row in want for pair in row]
    assert [row[2] for row in rows[1:]] == [name for name, _ in named]
    found = [float(row[3]) for row in rows[1:]]
    np.testing.assert_allclose(found, [p for _, p in named], rtol=1e-5)
    for name in ("c.csv", "c.npz"):
        done = CliRunner().invoke(main, [*command, "--top", "2", "--output", str(tmp_path / name)])
        assert done.exit_code == 0 and "2 pictures with 2 names each" in done.output
    text = (tmp_path / "c.csv").read_bytes().decode()
    assert len(list(csv.reader(io.StringIO(text, newline="")))) == 5
    with np.load(tmp_path / "c.npz") as stored:
        assert list(stored["images"]) == odd_pictures and str(stored["model"]) == NAME
        assert stored["names"].tolist() == [[name for name, _ in row[:2]] for row in want]
        assert stored["probabilities"].shape == (2, 2) and str(stored["preset"]) == "deepface"


@pytest.mark.long
@pytest.mark.parametrize(
    ("options", "code", "words"),
    [
        (["--classify", "--normalize"], 2, "leave out one"),
        (["--top", "3"], 2, "add --classify"),
        (["--labels", "names.npy"], 2, "--labels is for class names"),
        (["--classify", "--top", "0"], 2, "--top"),
        (["--classify", "--labels", "nowhere.npy"], 1, "nowhere.npy does not exist"),
        (["--classify", "--labels", "names.npy"], 2, "7 names for 163 classes"),
        (["--classify", "--top", "164"], 2, "from 1 to 163"),
        (["--classify"], 1, "--labels FILE"),
    ],
    ids=lambda value: " ".join(value) if isinstance(value, list) else None,
)
def test_options_that_do_not_fit_get_one_sentence(
    bundle: bundles.Bundle,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    options: list[str],
    code: int,
    words: str,
) -> None:
    monkeypatch.chdir(tmp_path)
    write(tmp_path / "names.npy", npy(people(7)))
    Image.fromarray(PICTURES[0]).save("face.png")
    done = CliRunner().invoke(main, ["embed", "face.png", "--model", str(bundle.path), *options])
    assert done.exit_code == code, done.output
    assert words in done.output and done.stdout == ""


@pytest.mark.parametrize("labels", [5, {"a": 1, "b": 2}, [1, 2], [None, None], (n for n in "ab")])
def test_names_that_are_no_text_are_refused(labels: object) -> None:
    with pytest.raises(UsageError, match="not a list of text"):
        vox2face.decode_predictions(np.zeros((1, 2)), 1, labels=labels)  # type: ignore[arg-type]
