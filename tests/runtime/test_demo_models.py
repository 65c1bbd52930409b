"""The demo models that come with vox2face: finished bundles, read where they are installed."""

from __future__ import annotations

import runpy
import shutil
from collections.abc import Callable
from pathlib import Path
from subprocess import CompletedProcess

import numpy as np
import pytest
from helpers.paths import ROOT
from PIL import Image

import vox2face as package
from vox2face.converters.convert import convert
from vox2face.core.entry import Space
from vox2face.core.errors import UsageError
from vox2face.core.files import home
from vox2face.core.safetensors_header import shapes
from vox2face.media.audio import speech
from vox2face.media.decoded_face import made_by
from vox2face.media.image import samples
from vox2face.runtime import face_detection
from vox2face.runtime.pipelines import FaceToFace, SpeechToFace
from vox2face.runtime.resolve import locate
from vox2face.store import hub
from vox2face.store.bundle import WEIGHTS, default_path
from vox2face.zoo import registry

Run = Callable[..., CompletedProcess[str]]
DEMO = ("mlp_head.demo", "face_decoder.demo")
ASSETS = ROOT / "vox2face" / "assets"


def written() -> dict[Path, tuple[int, int]]:
    files = (path for path in (ASSETS / "demo").rglob("*") if path.is_file())
    return {path: (path.stat().st_size, path.stat().st_mtime_ns) for path in files}


@pytest.mark.long
@pytest.mark.parametrize("name", DEMO)
def test_they_are_read_in_place_and_never_written_to(
    name: str, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.setenv("VOX2FACE_OFFLINE", "1")
    monkeypatch.setenv("VOX2FACE_HOME", str(tmp_path))
    before = written()
    model = package.load(name, verify=True)
    assert model.bundle.path == ASSETS / "demo" / name == default_path(model.entry)
    assert package.load(name, backend="onnx").backend == "onnx"
    assert list((home() / "exports").rglob("*.onnx")) and written() == before


@pytest.mark.parametrize("name", DEMO)
def test_they_are_what_the_catalogue_says(name: str) -> None:
    entry, bundle = registry.entry(name), locate(name)
    network = registry.build(entry)
    wanted = {
        key: tuple(value.shape)
        for key, value in network.state_dict().items()
        if not key.endswith("num_batches_tracked")
    }
    assert shapes(bundle.weights) == wanted
    assert bundle.config["parameters"] == entry.parameters
    assert bundle.config["licence"]["redistributable"] is True
    card = (bundle.path / "README.md").read_text()
    for text in (card, entry.note):
        assert "synthetic people" in text and "tells nothing about real persons" in text
    assert not (bundle.path / "model.onnx").exists()


def test_their_space_is_that_of_the_face_network_that_comes_with_vox2face() -> None:
    face = package.load("dlib_resnet128.dlib")
    for name in DEMO:
        assert package.load(name).space == face.space and face.space.digest


@pytest.mark.long
def test_the_speaker_encoder_inside_is_resemblyzers() -> None:
    base = package.load("mlp_head.demo").module.base.state_dict()
    own = package.load("ge2e.resemblyzer").module.state_dict()
    assert base.keys() == own.keys() and all(np.array_equal(base[key], own[key]) for key in own)
    assert "Apache License" in (ASSETS / "demo" / "LICENSE.resemblyzer").read_text()
    notice = (ASSETS / "NOTICE.md").read_text()
    assert "demo/LICENSE.resemblyzer" in notice and "nothing about real" in notice


@pytest.mark.long
def test_they_are_checked_shown_and_exported_by_name(vox2face: Run, tmp_path: Path) -> None:
    done = vox2face("check", DEMO[1])
    assert done.returncode == 0, done.stderr
    for name in DEMO:
        shown = vox2face("zoo", "show", name).stdout
        assert "comes with vox2face" in shown and "synthetic people" in shown
    done = vox2face("export", DEMO[1], "--output", tmp_path / "decoder.onnx")
    assert done.returncode == 0, done.stderr
    hub.require_licence(locate(DEMO[0]), permitted=False)
    hub.require_intact(locate(DEMO[0]))


def test_converting_never_replaces_them() -> None:
    entry, before = registry.entry(DEMO[0]), written()
    with pytest.raises(UsageError, match="comes with vox2face as a finished bundle"):
        convert(entry)
    with pytest.raises(UsageError, match="the folder to write with --out"):
        convert(entry, weights=default_path(entry) / WEIGHTS, force=True)
    assert written() == before


def test_a_copy_of_the_folder_is_a_bundle_like_any_other(tmp_path: Path) -> None:
    shutil.copytree(default_path(registry.entry(DEMO[0])), tmp_path / "copy")
    ours, theirs = (package.load(path)(speech(), 16_000) for path in (DEMO[0], tmp_path / "copy"))
    assert np.array_equal(ours, theirs) and ours.shape == (1, 128)


def test_pipelines_take_them_unless_told_otherwise(bundle: Callable[..., Path]) -> None:
    pipeline = SpeechToFace.from_zoo()
    face = pipeline(speech(), 16_000)
    assert [name in facts for name, facts in zip(DEMO, face.made_by.values(), strict=True)]
    assert face.embedding.shape == (128,) and face.image.shape == (3, 224, 224)
    again = SpeechToFace.from_zoo(voice=DEMO[0])(speech(), 16_000)
    assert np.array_equal(again.image, face.image)
    faces = FaceToFace.from_zoo()
    assert faces.face.entry.name == "dlib_resnet128.dlib" and faces.face.preset == "dlib"
    wide = bundle("ve_conv.tiny", onnx=False)
    with pytest.raises(UsageError, match="takes 128: choose a decoder that was trained for this"):
        SpeechToFace.from_zoo(voice=wide)
    fitting = bundle("ve_conv.tiny", onnx=False, width=128)
    assert SpeechToFace.from_zoo(voice=fitting).decoder.entry.name == DEMO[1]


def test_a_recording_alone_becomes_a_picture(
    inside: Run, wav: Callable[..., Path], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    wav("me.wav")
    monkeypatch.chdir(tmp_path)
    done = inside("speech2face", "me.wav")
    assert done.returncode == 0 and done.stdout == "Written to me.png\n", done.stderr
    assert done.stderr.count("\n") == 1
    assert all(name in done.stderr for name in DEMO) and "synthetic people" in done.stderr
    facts = made_by(tmp_path / "me.png")
    assert facts and DEMO[0] in facts["encoder"] and DEMO[1] in facts["decoder"]


@pytest.mark.long
def test_a_photograph_alone_is_cropped_and_becomes_a_picture(
    inside: Run, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    photograph = samples()["astronaut.png"]
    Image.fromarray(photograph).save(tmp_path / "photo.png")
    done = inside("face2face", "photo.png", "--output", "face.png")
    assert done.returncode == 0 and DEMO[1] in done.stderr and DEMO[0] not in done.stderr
    crop = face_detection.crop(photograph, face_detection.the_face(photograph))[0]
    want = FaceToFace.from_zoo()(photograph).pixels
    assert np.array_equal(FaceToFace.from_zoo()(crop, crop=False).pixels, want)
    assert np.array_equal(np.asarray(Image.open(tmp_path / "face.png")), want)
    done = inside("face2face", "photo.png", "--no-crop", "--output", "whole.png")
    assert done.returncode == 0
    assert not np.array_equal(np.asarray(Image.open(tmp_path / "whole.png")), want)
    assert inside("face2face", "photo.png", "--no-crop", "--align").returncode == 2
    text = " ".join(inside("face2face", "--help").stdout.split())
    assert "found and cut out as with --crop" in text


def test_the_script_ships_trained_bundles_of_their_space(tmp_path: Path) -> None:
    script = runpy.run_path(str(ROOT / "scripts" / "ship_demo.py"))
    ship = script["ship"]
    ship.__globals__["default_path"] = lambda entry: tmp_path / entry.name
    entry, space = registry.entry(DEMO[0]), package.load("dlib_resnet128.dlib").space
    network, facts = registry.build(entry), {"identities": 5}
    trained = package.save(
        "mlp_head.resemblyzer", network, tmp_path / "run", space=space, training=facts
    )
    ship(DEMO[0], trained)
    shipped = package.load(tmp_path / DEMO[0], verify=True)
    assert shipped.entry.name == DEMO[0] and shipped.space == space
    assert shipped.bundle.config["source"]["training"] == facts
    weights = shipped.module.state_dict()
    assert all(np.array_equal(value, weights[key]) for key, value in network.state_dict().items())
    other = package.save(
        "mlp_head.resemblyzer", network, tmp_path / "other", space=Space("vggface.serengil")
    )
    with pytest.raises(UsageError, match="do not compare"):
        ship(DEMO[0], other)
