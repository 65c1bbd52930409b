"""Whose embeddings a network gives or takes: recorded, used for preprocessing, and guarded."""

from __future__ import annotations

import dataclasses
import json
from collections.abc import Callable
from pathlib import Path
from subprocess import CompletedProcess
from typing import Any

import numpy as np
import pytest
import torch
from helpers.twins import random_module
from safetensors.torch import load_file, save_file

import vox2face
from vox2face.converters.bundle_onnx import export_file
from vox2face.converters.convert import convert
from vox2face.converters.onnx import session as run_onnx
from vox2face.converters.pipeline_onnx import export_pipeline
from vox2face.core.entry import Entry, Space
from vox2face.core.errors import BundleError, UsageError
from vox2face.media.image import samples
from vox2face.runtime.pipelines import FaceToFace, SpeechToFace
from vox2face.runtime.resolve import onnx_of
from vox2face.store import bundle as bundles
from vox2face.store import hub
from vox2face.zoo import registry

Run = Callable[..., CompletedProcess[str]]
Make = Callable[..., Path]
Twin = Callable[[str], Entry]
OWNERS = Space("vggface.serengil", "speech-to-face")
WIDTH = 256  # of the embeddings of a narrow VGG-Face


@pytest.fixture
def face(
    twin: Twin,
    twin_file: Callable[[str], Path],
    registered: Callable[[Entry], None],
    tmp_path: Path,
) -> Callable[[str], Path]:
    """Return a function that converts a narrow VGG-Face."""

    def made(name: str) -> Path:
        entry = twin(name)
        path = convert(entry, twin_file(name), tmp_path / name, onnx=False).path
        registered(entry)
        return path

    return made


@pytest.fixture
def decoder(tmp_path: Path) -> Make:
    """Return a function that saves a narrow decoder that was trained on a space."""

    def made(space: Space | None = OWNERS, name: str = "face_decoder.speech-to-face") -> Path:
        module = random_module(name, width=WIDTH)
        out = tmp_path / f"decoder-{name}-{hash(space)}"
        return vox2face.save(name, module, out, space=space)

    return made


def config_of(path: Path) -> dict[str, Any]:
    config: dict[str, Any] = json.loads((path / bundles.CONFIG).read_text())
    return config


def written_by_0_1(path: Path, converted: bool) -> None:
    """Make a bundle what vox2face 0.1.0 wrote: it said nothing of space and last activation."""
    config = config_of(path)
    del config["space"], config["output_activation"]
    if converted:
        config["source"]["format"] = "PyTorch state dict"
    (path / bundles.CONFIG).write_text(json.dumps(config))


@pytest.mark.long
def test_a_face_encoder_spans_its_own_space_whatever_file_its_weights_came_from(
    face: Callable[[str], Path], twin: Twin, tmp_path: Path
) -> None:
    first = face("vggface.serengil")
    space = bundles.read(first).space
    assert (space.encoder, space.preset) == ("vggface.serengil", "deepface")
    assert config_of(first)["space"] == dataclasses.asdict(space) and len(space.digest) == 64
    tensors = load_file(first / bundles.WEIGHTS)
    files = {"pth": tmp_path / "a.pth", "safetensors": tmp_path / "a.safetensors"}
    torch.save(tensors, files["pth"])
    tensors["fc8.bias"] = tensors["fc8.bias"] + 1  # behind the embedding
    save_file(tensors, files["safetensors"])
    for name, file in files.items():
        done = convert(twin("vggface.serengil"), file, tmp_path / name, onnx=False, verify="none")
        assert bundles.read(done.path).space == space, name
    tensors["fc7.bias"] = tensors["fc7.bias"] + 1
    save_file(tensors, files["safetensors"])
    done = convert(
        twin("vggface.serengil"), files["safetensors"], tmp_path / "o", onnx=False, verify="none"
    )
    other = bundles.read(done.path).space
    assert other.digest != space.digest and not other.fits(space)


def test_a_loaded_encoder_makes_the_space_of_its_preset(face: Callable[[str], Path]) -> None:
    encoder = vox2face.load(face("vggface.serengil"), preset="vggface-original")
    assert encoder.space.preset == "vggface-original"
    assert encoder.with_preset("deepface").space == bundles.read(encoder.bundle.path).space
    assert encoder.with_preset("vggface-original") is encoder
    with pytest.raises(UsageError, match="There is no face preset 'x'"):
        encoder.with_preset("x")


@pytest.mark.long
@pytest.mark.parametrize("backend", ["torch", "onnx"])
def test_face_to_face_sees_as_the_decoders_embeddings_were_made(
    face: Callable[[str], Path], decoder: Make, backend: str
) -> None:
    encoder, drawing = face("vggface.serengil"), decoder()
    picture = samples()["astronaut.png"][:, 20:180]  # not square: letterbox and stretch differ
    want = vox2face.load(encoder, preset="speech-to-face")(picture)
    other = vox2face.load(encoder)(picture)
    assert np.abs(want - other).max() > 1e-2 * np.abs(want).max()
    pipelines = [
        FaceToFace.from_zoo(encoder, drawing, backend=backend),
        FaceToFace(vox2face.load(encoder, backend), vox2face.load(drawing, backend)),
    ]
    for pipeline in pipelines:
        assert pipeline.face.preset == "speech-to-face"
        got = pipeline(picture).embedding
        np.testing.assert_allclose(got, want[0], rtol=0, atol=1e-4 * np.abs(want).max())
    as_it_is = FaceToFace(vox2face.load(encoder), vox2face.load(drawing), any_space=True)
    assert as_it_is.face.preset == "deepface"


@pytest.mark.long
def test_the_one_file_pipeline_sees_so_too_and_says_it(
    face: Callable[[str], Path], decoder: Make, tmp_path: Path
) -> None:
    encoder, drawing = bundles.read(face("vggface.serengil")), bundles.read(decoder())
    file = tmp_path / "one.onnx"
    assert export_pipeline("face2face", encoder, drawing, file).ok
    session = run_onnx.session(file)
    stamp = session.get_modelmeta().custom_metadata_map
    assert stamp["preset"] == "speech-to-face" and stamp["decoder_output_activation"] == "sigmoid"
    space = dataclasses.replace(encoder.space, preset="speech-to-face")
    assert Space(**json.loads(stamp["space"])) == space
    assert Space(**json.loads(stamp["decoder_space"])) == OWNERS
    picture = samples()["astronaut.png"][:, 20:180]
    want = FaceToFace.from_zoo(encoder.path, drawing.path)(picture)
    drawn, _, embedding = run_onnx.run(session, picture[None])
    atol = 1e-4 * np.abs(want.embedding).max()
    np.testing.assert_allclose(embedding[0], want.embedding, rtol=0, atol=atol)
    np.testing.assert_allclose(drawn[0], want.image, rtol=0, atol=1e-3)


@pytest.mark.long
@pytest.mark.parametrize(
    ("space", "says"),
    [
        (Space("vggface.rcmalli", "keras-vggface-v1"), "vggface.rcmalli with the preset keras-"),
        (Space("vggface.serengil", "deepface", "0" * 64), "preset deepface, weights 00000000"),
    ],
)
def test_networks_of_other_spaces_are_refused_in_one_sentence(
    face: Callable[[str], Path],
    decoder: Make,
    inside: Run,
    tmp_path: Path,
    space: Space,
    says: str,
) -> None:
    encoder, drawing = face("vggface.serengil"), decoder(space)
    with pytest.raises(UsageError, match=says) as caught:
        FaceToFace.from_zoo(encoder, drawing)
    assert "any_space=True" in str(caught.value)
    assert FaceToFace.from_zoo(encoder, drawing, any_space=True).face.preset == "deepface"
    picture = Path(vox2face.__file__).parent / "assets" / "astronaut.png"
    networks = ("--face", encoder, "--decoder", drawing)
    for command in (
        ("face2face", picture, *networks, "--output", tmp_path / "a.png"),
        ("export", "face2face", *networks, "--output", tmp_path / "a.onnx"),
    ):
        done = inside(*command)
        assert done.returncode == 2 and len(done.stderr.strip().splitlines()) == 1, done.stderr
        assert says in done.stderr and "--any-space" in done.stderr
        done = inside(*command, "--any-space")
        assert done.returncode == 0, done.stderr
    assert {path.name for path in tmp_path.glob("a.*")} == {"a.png", "a.onnx"}


def test_a_voice_and_a_decoder_of_other_spaces_are_refused(
    decoder: Make, inside: Run, tmp_path: Path
) -> None:
    module = random_module("ast.tiny", width=WIDTH)
    spaces = {"same": OWNERS, "preset": Space("vggface.serengil", "deepface"), "unknown": None}
    voices = {
        name: vox2face.save("ast.tiny", module, tmp_path / name, space=space)
        for name, space in spaces.items()
    }
    drawing = decoder()
    for name in ("same", "unknown"):
        SpeechToFace.from_zoo(voices[name], drawing)
    with pytest.raises(UsageError, match=r"preset deepface, and .* preset speech-to-face"):
        SpeechToFace.from_zoo(voices["preset"], drawing)
    SpeechToFace.from_zoo(voices["preset"], drawing, any_space=True)
    speech = Path(vox2face.__file__).parent / "assets" / "speech.wav"
    command = ("speech2face", speech, "--voice", voices["preset"], "--decoder", drawing)
    assert inside(*command, "--output", tmp_path / "a.png").returncode == 2
    assert inside(*command, "--output", tmp_path / "a.png", "--any-space").returncode == 0


def test_the_preset_of_a_voice_encoder_is_no_part_of_its_space(tmp_path: Path) -> None:
    name = "ast.speech-to-face"
    out = vox2face.save(name, random_module(name), tmp_path / "a", preset="ast-audioset")
    assert bundles.read(out).preset == "ast-audioset" and bundles.read(out).space == OWNERS
    with pytest.raises(UsageError, match=r"give the \.space of a loaded face encoder"):
        wrong: Any = "vggface.serengil"
        vox2face.save(name, random_module(name), tmp_path / "b", space=wrong)


def test_weights_say_themselves_what_they_end_in_and_are_about(
    decoder: Make, twin: Twin, tmp_path: Path
) -> None:
    name, space = "face_decoder.speech-to-face", Space("dlib_resnet128.dlib", "dlib", "1" * 64)
    module = random_module(name, output_activation="linear")
    first = vox2face.save(name, module, tmp_path / "first", space=space)
    again = convert(twin(name), first / bundles.WEIGHTS, tmp_path / "again", onnx=False).path
    assert bundles.read(again).space == space and bundles.read(again).preset == "dlib"
    assert config_of(again)["output_activation"] == "linear"
    other = convert(
        twin(name), first / bundles.WEIGHTS, tmp_path / "other", onnx=False, space=OWNERS
    ).path
    assert bundles.read(other).space == OWNERS


def test_a_decoders_preset_is_that_of_its_space(tmp_path: Path) -> None:
    module = random_module("face_decoder.tiny")
    out = vox2face.save("face_decoder.tiny", module, tmp_path / "a", space=OWNERS)
    assert config_of(out)["preset"] == "speech-to-face"
    out = vox2face.save("face_decoder.tiny", module, tmp_path / "b", preset="dlib")
    assert config_of(out)["space"] == {"encoder": "", "preset": "dlib", "digest": ""}
    with pytest.raises(UsageError, match="leave preset out"):
        vox2face.save("face_decoder.tiny", module, tmp_path / "c", preset="dlib", space=OWNERS)


def test_a_checkpoint_may_be_of_another_face_encoder(
    face: Callable[[str], Path], twin_file: Callable[[str], Path], inside: Run, tmp_path: Path
) -> None:
    name = "face_decoder.speech-to-face"
    file, encoder = twin_file(name), face("vggface.rcmalli")
    command = ("convert", "speech-to-face", file, "--model", "face_decoder")
    done = inside(*command, "--face", "ge2e.resemblyzer")
    assert done.returncode == 2 and "--face ge2e.resemblyzer is a voice-encoder" in done.stderr
    done = inside(*command, "--voice-output", "linear")
    assert done.returncode == 2 and "--voice-output is for another network" in done.stderr
    done = inside("convert", "speech-to-face", file, "--model", "ast", "--decoder-output", "linear")
    assert done.returncode == 2 and "--decoder-output is for another network" in done.stderr
    from vox2face.cli.convert import space_of

    entry = registry.entry(name)
    with pytest.raises(UsageError, match="gives 128 values, and face_decoder"):
        space_of(entry, "dlib_resnet128.dlib")
    with pytest.raises(UsageError, match="--face  is empty"):
        space_of(entry, "")
    assert space_of(entry, "unknown") == Space()
    made = space_of(entry, str(encoder))
    assert (made.encoder, made.preset) == ("vggface.rcmalli", "speech-to-face")
    assert made.digest == bundles.read(encoder).space.digest
    assert space_of(entry, "vggface.serengil") == OWNERS


def test_bundles_of_0_1_are_read_as_their_entry_implies(decoder: Make, tmp_path: Path) -> None:
    path = decoder()
    vox2face.save("ast.tiny", random_module("ast.tiny"), tmp_path / "ast")
    written_by_0_1(path, converted=True)
    written_by_0_1(tmp_path / "ast", converted=False)
    old = bundles.read(path)
    assert old.space == OWNERS and old.entry.output_activation == "sigmoid"
    assert bundles.read(tmp_path / "ast").space == Space()
    assert bundles.read(tmp_path / "ast").entry.output_activation == "linear"


@pytest.mark.parametrize("name", ["face_decoder.speech-to-face", "ast.speech-to-face"])
def test_what_0_1_trained_is_about_the_face_encoder_that_it_recorded(
    name: str, tmp_path: Path
) -> None:
    facts = {"face_encoder": "VGGFace16_rcmalli"}
    path = vox2face.save(name, random_module(name), tmp_path / "a", training=facts)
    written_by_0_1(path, converted=False)
    preset = "speech-to-face" if name.startswith("face_decoder") else ""
    assert bundles.read(path).space == Space("vggface.rcmalli", preset)


@pytest.mark.long
def test_a_decoder_that_0_1_trained_stays_without_a_sigmoid(tmp_path: Path) -> None:
    module = random_module("face_decoder.speech-to-face", output_activation="linear")
    path = vox2face.save("face_decoder.speech-to-face", module, tmp_path / "a", onnx=True)
    written_by_0_1(path, converted=False)
    old = bundles.read(path)
    assert old.entry.output_activation == "linear" and not old.outdated_onnx
    assert onnx_of(old) == path / bundles.ONNX


@pytest.mark.long
def test_the_onnx_file_of_a_decoder_that_0_1_converted_is_made_anew(
    inside: Run, tmp_path: Path
) -> None:
    name = "face_decoder.speech-to-face"
    linear = random_module(name, output_activation="linear")
    path = vox2face.save(name, linear, tmp_path / "a", onnx=True)
    written_by_0_1(path, converted=True)
    x = np.random.default_rng(0).random((2, 48), np.float32)
    with torch.inference_mode():
        _, want = random_module(name)(torch.from_numpy(x))
    assert want.min() >= 0 and want.max() <= 1
    for backend in ("torch", "onnx"):
        textures = [f.texture for f in vox2face.load(path, backend=backend)(x)]
        np.testing.assert_allclose(np.stack(textures), want.numpy(), rtol=0, atol=1e-4)
    done = inside("check", path)
    assert done.returncode == 1 and "lacked its sigmoid: convert again" in done.stderr
    with pytest.raises(BundleError, match=r"model\.onnx lacks the network's sigmoid"):
        hub.require_intact(bundles.read(path))  # what push asks first


def test_a_configuration_with_a_damaged_space_is_no_bundle(decoder: Make) -> None:
    path = decoder()
    for damage in ({"space": {"encoder": 1}}, {"space": {"place": "x"}}, {"space": []}):
        config = config_of(path) | damage
        (path / bundles.CONFIG).write_text(json.dumps(config))
        with pytest.raises(BundleError, match="is damaged"):
            bundles.read(path)
        config = config_of(path)


@pytest.mark.long
def test_an_exported_network_says_what_it_ends_in_and_its_space(
    face: Callable[[str], Path], decoder: Make, tmp_path: Path
) -> None:
    for path, preset, ends in (
        (face("vggface.serengil"), "vggface-original", None),
        (decoder(), None, "sigmoid"),
    ):
        bundle, file = bundles.read(path), tmp_path / f"{path.name}.onnx"
        export_file(bundle, file, preset)
        stamp = run_onnx.session(file).get_modelmeta().custom_metadata_map
        space = dataclasses.replace(bundle.space, preset=preset or bundle.space.preset)
        assert Space(**json.loads(stamp["space"])) == space
        assert stamp.get("output_activation") == ends


def test_every_published_speech_to_face_network_names_its_space() -> None:
    for name in registry.list_models():
        entry = registry.entry(name)
        if entry.source.urls or entry.command:
            assert entry.own_space.encoder in registry.list_models(), name
