"""The way back to Keras: the same arrays, names and order, or nothing at all."""

from __future__ import annotations

import resource
import signal
from collections.abc import Callable
from pathlib import Path

import h5py
import numpy as np
import pytest
import torch
from safetensors.torch import load_file

from vox2face.converters import bundle_keras as exporting
from vox2face.converters.bundle_keras import export_keras
from vox2face.converters.convert import convert
from vox2face.converters.keras import writer as writing
from vox2face.converters.keras.writer import write_layers
from vox2face.converters.maps import weight_map
from vox2face.core import progress
from vox2face.core.entry import Entry
from vox2face.core.errors import BundleError, UsageError, Vox2FaceError
from vox2face.store import bundle as bundles
from vox2face.store.bundle import Bundle
from vox2face.zoo.catalog import ENTRIES

Twin = Callable[[str], Entry]
TwinFile = Callable[..., Path]
KERAS = [entry.name for entry in ENTRIES if weight_map(entry).original]
RESIDUAL = ["vggface_resnet50.rcmalli", "vggface_senet50.rcmalli"]


@pytest.fixture
def made(
    twin: Twin, twin_file: TwinFile, registered: Callable[[Entry], None], tmp_path: Path
) -> Callable[..., tuple[Path, Bundle]]:
    """Return a function that gives a narrow weight file and the bundle made of it."""

    def make(name: str, **options: bool) -> tuple[Path, Bundle]:
        file, entry = twin_file(name, **options), twin(name)
        convert(entry, file, tmp_path / "bundle", onnx=False, verify="none")
        registered(entry)
        return file, bundles.read(tmp_path / "bundle")

    return make


def content(path: Path) -> dict[str, np.ndarray]:
    found: dict[str, np.ndarray] = {}
    with h5py.File(path) as file:
        for layer in file.attrs["layer_names"]:
            group = file[layer.decode()]
            for name in group.attrs["weight_names"]:
                found[f"{layer.decode()} {name.decode()}"] = group[name.decode()][()]
    return found


def assert_same(first: Path, second: Path) -> None:
    one, two = content(first), content(second)
    assert list(one) == list(two)  # names and order
    assert all(np.array_equal(one[n].view("u4"), two[n].view("u4")) for n in one)
    assert all(one[n].shape == two[n].shape for n in one)


@pytest.mark.long
@pytest.mark.parametrize("name", KERAS)
def test_there_and_back_is_the_same_file(
    name: str,
    made: Callable[..., tuple[Path, Bundle]],
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    file, bundle = made(name)
    steps: list[tuple[str, int, int]] = []
    monkeypatch.setattr(progress, "advance", lambda *step: steps.append(step))
    count = export_keras(bundle, tmp_path / "back.h5")
    assert count == len(content(file))
    assert_same(file, tmp_path / "back.h5")
    for stage in ("write", "compare"):
        shown = [step for step in steps if step[0] == stage]
        assert shown == sorted(shown) and shown[-1][1] == shown[-1][2] > 0


@pytest.mark.long
@pytest.mark.parametrize("name", RESIDUAL)
def test_weights_without_a_classifier_go_back_without_one(
    name: str, made: Callable[..., tuple[Path, Bundle]], tmp_path: Path
) -> None:
    file, bundle = made(name, top=False)
    export_keras(bundle, tmp_path / "back.h5")
    assert_same(file, tmp_path / "back.h5")
    assert not [n for n in content(file) if "classifier" in n]


@pytest.mark.long
def test_tensors_that_came_from_torch_go_to_keras(
    made: Callable[..., tuple[Path, Bundle]], twin: Twin, tmp_path: Path
) -> None:
    file, bundle = made("vggface.serengil")
    torch.save(load_file(bundle.weights), tmp_path / "vgg_face_weights.pth")
    weights, out = tmp_path / "vgg_face_weights.pth", tmp_path / "torch"
    convert(twin("vggface.serengil"), weights, out, onnx=False, verify="none")
    export_keras(bundles.read(out), tmp_path / "back.hdf5")
    assert_same(file, tmp_path / "back.hdf5")


def test_blocks_of_any_size_give_the_same(
    made: Callable[..., tuple[Path, Bundle]], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    file, bundle = made("vggface.rcmalli")
    monkeypatch.setattr(writing, "BLOCK", 1000)
    export_keras(bundle, tmp_path / "back.h5")
    assert_same(file, tmp_path / "back.h5")


def test_a_network_without_a_keras_graph_is_refused(
    made: Callable[..., tuple[Path, Bundle]], tmp_path: Path
) -> None:
    _, bundle = made("dlib_resnet128.dlib")
    with pytest.raises(UsageError, match="has no graph in Keras"):
        export_keras(bundle, tmp_path / "back.h5")


def test_nothing_is_kept_of_a_file_that_reads_back_otherwise(
    made: Callable[..., tuple[Path, Bundle]], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    _, bundle = made("vggface.serengil")
    real = write_layers

    def faulty(path: Path, *more: object) -> None:
        real(path, *more)  # type: ignore[arg-type]
        with h5py.File(path, "r+") as file:
            file["conv3_2/conv3_2/kernel:0"][0, 0, 0, 0] += 1

    monkeypatch.setattr(exporting, "write_layers", faulty)
    (tmp_path / "out").mkdir()
    with pytest.raises(Vox2FaceError, match=r"conv3_2\.weight"):
        export_keras(bundle, tmp_path / "out" / "back.h5")
    assert list((tmp_path / "out").iterdir()) == []


def test_an_interrupt_keeps_the_old_file(
    made: Callable[..., tuple[Path, Bundle]], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    _, bundle = made("vggface.serengil")
    (tmp_path / "out").mkdir()
    path = tmp_path / "out" / "back.h5"
    path.write_text("old")

    def interrupt(stage: str, done: int, total: int) -> None:
        if stage == "write" and 2 * done > total:
            signal.raise_signal(signal.SIGINT)

    monkeypatch.setattr(progress, "advance", interrupt)
    with pytest.raises(KeyboardInterrupt):
        export_keras(bundle, path)
    assert [p.name for p in path.parent.iterdir()] == ["back.h5"] and path.read_text() == "old"


def test_altered_weights_do_not_go_back(
    made: Callable[..., tuple[Path, Bundle]], tmp_path: Path
) -> None:
    _, bundle = made("vggface.serengil")
    with bundle.weights.open("r+b") as file:
        file.seek(-4, 2)
        file.write(b"\0\0\0\1")
    with pytest.raises(BundleError, match="has changed since it was written"):
        export_keras(bundle, tmp_path / "back.h5")


def test_a_file_of_the_bundle_is_not_replaced_and_a_link_is_followed(
    made: Callable[..., tuple[Path, Bundle]], tmp_path: Path
) -> None:
    file, bundle = made("vggface.serengil")
    with pytest.raises(UsageError, match="must not replace"):
        bundles.place_for_export(bundle.path / "model.onnx")
    (tmp_path / "link.h5").symlink_to(tmp_path / "elsewhere.h5")
    export_keras(bundle, tmp_path / "link.h5")
    assert (tmp_path / "link.h5").is_symlink()
    assert_same(file, tmp_path / "elsewhere.h5")


def test_a_full_disk_is_named(made: Callable[..., tuple[Path, Bundle]], tmp_path: Path) -> None:
    _, bundle = made("vggface.serengil")
    (tmp_path / "out").mkdir()
    before = resource.getrlimit(resource.RLIMIT_FSIZE)
    ignored = signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
    try:
        resource.setrlimit(resource.RLIMIT_FSIZE, (200_000, before[1]))
        with pytest.raises(Vox2FaceError, match="the disk is full or the quota is used up"):
            export_keras(bundle, tmp_path / "out" / "back.h5")
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, before)
        signal.signal(signal.SIGXFSZ, ignored)
    assert list((tmp_path / "out").iterdir()) == []


@pytest.mark.parametrize("name", ["a.onnx", "weights", "weights.keras", "a.weights.h5"])
def test_the_name_must_be_one_keras_takes_for_hdf5(name: str, tmp_path: Path) -> None:
    with pytest.raises(UsageError, match=r"FILE\.h5"):
        exporting.require_writable(tmp_path / name)
    (tmp_path / "folder.h5").mkdir()
    with pytest.raises(UsageError, match="is a folder"):
        exporting.require_writable(tmp_path / "folder.h5")
