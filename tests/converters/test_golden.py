"""Full-size networks and whole paths against the numbers of the Speech-to-face repo's own code."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path

import numpy as np
import pytest
import torch
from helpers import page_pairs
from helpers.golden import NUMBERS, state_dict
from helpers.paths import ROOT

import vox2face
from vox2face.converters.bundle_onnx import HALF, HALF_COSINE
from vox2face.converters.onnx import session as run_onnx
from vox2face.core.entry import Space
from vox2face.media.image import decode
from vox2face.runtime.pipelines import FaceToFace, SpeechToFace

ASSETS = Path(vox2face.__file__).parent / "assets"
PAGE = ROOT / "docs" / "from-speech-to-face.md"
NAMED = {  # the checkpoints and the entries that they become
    "ast": "ast.speech-to-face",
    "ve_conv": "ve_conv.speech-to-face",
    "face_decoder": "face_decoder.speech-to-face",
    "vggface_serengil": "vggface.serengil",
}
SPEECH, ASTRONAUT = ASSETS / "speech.wav", ASSETS / "astronaut.png"
BACKENDS = ("torch", "onnx")
EQUAL = 1e-4  # of the largest value, from equal inputs on
# Cosines of embeddings; the phase of near-silence, which VE_conv hears, is rounding noise
HEARD = {"ve_conv": 0.9999, "ast": 0.99999}
SEEN = 0.99999
TEXTURE = {"ve_conv": 2e-3, "ast": 1e-4, "seen": 1e-4}  # mean absolute differences
Array = np.ndarray
SLOW = pytest.mark.slow
pytestmark = pytest.mark.fullsize


def run(*arguments: object) -> str:
    done = subprocess.run(
        [str(Path(sys.executable).with_name("vox2face")), *map(str, arguments)],
        env={**os.environ, "VOX2FACE_OFFLINE": "1"},
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stderr[-3000:]
    return done.stdout


@pytest.fixture(scope="module")
def bundles(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Callable[[str], Path]]:
    """Return a function that converts the owner's checkpoint of a network, once."""
    folder = tmp_path_factory.mktemp("golden")

    def made(network: str) -> Path:
        out = folder / network
        if out.exists():
            return out
        checkpoint = folder / f"{network}.pt"
        state = state_dict(network)
        if network == "vggface_serengil":
            torch.save(state, checkpoint)
            run("convert", "serengil", "--weights", checkpoint, "--onnx", "--out", out)
        else:
            torch.save({"model_state_dict": state, "epoch": 1}, checkpoint)
            of = ("--model", network, "--onnx", "--out", out)
            said = run("convert", "speech-to-face", checkpoint, *of)
            assert "PROVEN" in said and "The network ends" not in said  # as published
        checkpoint.unlink()
        return out

    yield made
    shutil.rmtree(folder)


def cosine(got: Array, want: Array) -> float:
    one, two = got.astype(np.float64).ravel(), want.astype(np.float64).ravel()
    return float(one @ two / np.linalg.norm(one) / np.linalg.norm(two))


def off(got: Array, want: Array) -> float:
    """Return the largest difference as a part of the largest value."""
    assert got.shape == want.shape
    return float(np.abs(got - want).max() / np.abs(want).max())


def inputs(network: str) -> Array:
    if network == "face_decoder":
        return NUMBERS["face_decoder.embedding"]
    seed, spread, shape = {
        "ve_conv": (6, 1.0, (2, 2, 257, 601)),
        "ast": (7, 0.5, (2, 1024, 128)),
    }[network]
    return np.random.default_rng(seed).normal(0, spread, shape).astype(np.float32)


def wanted(network: str) -> dict[str, Array]:
    if network == "face_decoder":
        return {
            "landmarks": NUMBERS["face_decoder.landmarks"],
            "texture": NUMBERS["face_decoder.texture_every_8th"],
        }
    return {"embedding": NUMBERS[f"{network}.embedding"]}


def thinned(name: str, value: Array) -> Array:
    return value[..., ::8, ::8] if name == "texture" else value


@pytest.mark.parametrize("network", ["face_decoder", "ve_conv", "ast"])
def test_full_size_networks_compute_what_their_owners_code_does(
    network: str, bundles: Callable[[str], Path]
) -> None:
    bundle, x = bundles(network), inputs(network)
    for backend in BACKENDS:
        model = vox2face.load(bundle, backend=backend)
        found = dict(zip(wanted(network), model.run(torch.from_numpy(x)), strict=True))
        for name, want in wanted(network).items():
            assert off(thinned(name, found[name]), want) <= EQUAL, (backend, name)
        if network == "face_decoder" and backend == "torch":
            with torch.inference_mode():
                trunk = model.module.at("trunk1", torch.from_numpy(x)).numpy()
            assert off(trunk[:, ::8], NUMBERS["face_decoder.first_layers"]) <= EQUAL
        del model


@SLOW
@pytest.mark.parametrize("network", ["face_decoder", "ve_conv", "ast"])
def test_in_half_precision_they_do_so_as_well_as_is_promised(
    network: str, bundles: Callable[[str], Path], tmp_path: Path
) -> None:
    bundle, x = bundles(network), inputs(network)
    half = tmp_path / "half.onnx"
    run("export", bundle, "--precision", "fp16", "--output", half)
    session = run_onnx.session(half)
    stamp = session.get_modelmeta().custom_metadata_map
    assert stamp["output_activation"] == ("sigmoid" if network == "face_decoder" else "relu")
    names = [output.name for output in session.get_outputs()]
    found = dict(zip(names, run_onnx.run(session, x), strict=True))
    for name, want in wanted(network).items():
        got = thinned(name, found[name])
        assert off(got, want) <= HALF and cosine(got, want) >= HALF_COSINE, name


@pytest.mark.parametrize("network", ["ve_conv", "ast"])
def test_a_recording_becomes_the_face_that_its_owners_scripts_draw(
    network: str, bundles: Callable[[str], Path]
) -> None:
    voice, decoder = bundles(network), bundles("face_decoder")
    for backend in BACKENDS:
        pipeline = SpeechToFace.from_zoo(voice, decoder, backend=backend)
        face = pipeline(SPEECH)
        assert_heard(network, face.embedding, face.texture)
        assert off(face.landmarks, reduced(NUMBERS[f"speech.{network}.landmarks"])) <= 0.01
    part = pipeline.voice.preprocess(SPEECH)[0].numpy()
    part = part[:, ::4, ::10] if network == "ve_conv" else part[::8, ::4]
    want = NUMBERS[f"speech.{network}.input_part"]
    magnitude = np.s_[:1] if network == "ve_conv" else np.s_[:]  # not the phase of near-silence
    assert np.abs(part[magnitude] - want[magnitude]).mean() <= 0.01 * np.abs(want[magnitude]).mean()


@SLOW
@pytest.mark.parametrize("network", ["ve_conv", "ast"])
def test_one_file_from_the_waveform_draws_it_too(
    network: str, bundles: Callable[[str], Path], tmp_path: Path
) -> None:
    voice, decoder = bundles(network), bundles("face_decoder")
    one = tmp_path / "one.onnx"
    run("export", "speech2face", "--voice", voice, "--decoder", decoder, "--output", one)
    waveform = vox2face.audio.decode(SPEECH)[None]
    picture, _, embedding = run_onnx.run(run_onnx.session(one), waveform)
    assert_heard(network, embedding[0], picture[0])


def assert_heard(network: str, embedding: Array, texture: Array) -> None:
    assert cosine(embedding, NUMBERS[f"speech.{network}.embedding"]) >= HEARD[network]
    want = NUMBERS[f"speech.{network}.texture_every_8th"]
    assert np.abs(planes(texture)[:, ::8, ::8] - want).mean() <= TEXTURE[network]


def planes(picture: Array) -> Array:
    """Return a picture or texture as (3, height, width)."""
    return picture if picture.shape[0] == 3 else picture.transpose(2, 0, 1)


def reduced(landmarks: Array) -> Array:
    from vox2face.zoo.networks.warp import reduce_72

    return reduce_72(torch.from_numpy(landmarks.reshape(1, 72, 2)))[0].numpy()


def test_a_photograph_becomes_the_face_that_its_owners_scripts_draw(
    bundles: Callable[[str], Path], tmp_path: Path
) -> None:
    encoder, decoder = bundles("vggface_serengil"), bundles("face_decoder")
    for backend in BACKENDS:
        face = FaceToFace.from_zoo(encoder, decoder, backend=backend)(ASTRONAUT)
        assert_seen(face.embedding, face.texture)
    out = tmp_path / "face.png"
    run("face2face", ASTRONAUT, "--face", encoder, "--decoder", decoder, "--output", out)
    drawn = decode(out)[::8, ::8].transpose(2, 0, 1) / 255
    assert np.abs(drawn - NUMBERS["astronaut.texture_every_8th"]).mean() <= 1 / 255


def test_the_page_for_its_users_gives_what_its_scripts_give(
    bundles: Callable[[str], Path], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The new sides of docs/from-speech-to-face.md, in order, against its numbers."""
    blocks = [after for _, after in page_pairs.pairs(PAGE)]
    for network, name in NAMED.items():
        assert any(f'"{name}"' in block for block in blocks), name
        blocks = [block.replace(f'"{name}"', repr(str(bundles(network)))) for block in blocks]
    shutil.copy(SPEECH, tmp_path / "speech.wav")
    shutil.copy(ASTRONAUT, tmp_path / "face.png")
    monkeypatch.chdir(tmp_path)
    space = {"embeddings": inputs("face_decoder")}
    for block in blocks:
        exec(block, space)
    assert_heard("ast", space["embedding"], space["image"])
    assert off(space["landmarks"], reduced(NUMBERS["speech.ast.landmarks"])) <= 0.01
    assert space["landmarks"].shape == (68, 2) and space["image"].shape == (3, 224, 224)
    assert space["spectrogram"].shape == (2, 257, 601)
    assert cosine(space["voice"], NUMBERS["speech.ve_conv.embedding"]) >= HEARD["ve_conv"]
    assert off(space["points"], wanted("face_decoder")["landmarks"]) <= EQUAL
    assert off(thinned("texture", space["textures"]), wanted("face_decoder")["texture"]) <= EQUAL
    assert cosine(space["seen"], NUMBERS["astronaut.vggface_serengil.embedding"]) >= SEEN


@SLOW
def test_one_file_from_the_pixels_draws_it_too(
    bundles: Callable[[str], Path], tmp_path: Path
) -> None:
    encoder, decoder = bundles("vggface_serengil"), bundles("face_decoder")
    one = tmp_path / "one.onnx"
    run("export", "face2face", "--face", encoder, "--decoder", decoder, "--output", one)
    picture, _, embedding = run_onnx.run(run_onnx.session(one), decode(ASTRONAUT)[None])
    assert_seen(embedding[0], picture[0])


def assert_seen(embedding: Array, texture: Array) -> None:
    assert cosine(embedding, NUMBERS["astronaut.vggface_serengil.embedding"]) >= SEEN
    want = NUMBERS["astronaut.texture_every_8th"]
    assert np.abs(planes(texture)[:, ::8, ::8] - want).mean() <= TEXTURE["seen"]


@pytest.mark.parametrize(
    ("network", "option", "ended"),
    [
        ("face_decoder", ("--decoder-output", "linear"), lambda x: 1 / (1 + np.exp(-x))),
        pytest.param(
            "ve_conv", ("--voice-output", "linear"), lambda x: np.maximum(x, 0), marks=SLOW
        ),
        pytest.param("ast", (), lambda x: np.maximum(x, 0), marks=SLOW),  # the names tell
    ],
)
def test_older_checkpoints_end_without_an_activation(
    network: str, option: tuple[str, ...], ended: Callable[[Array], Array], tmp_path: Path
) -> None:
    state = state_dict(network)
    if network == "ast":
        state = {name.replace("classifier.0.", "classifier."): v for name, v in state.items()}
    torch.save(state, tmp_path / "old.pt")
    rest = ("--no-onnx", "--verify", "none", "--out", tmp_path / "old", *option)
    said = run("convert", "speech-to-face", tmp_path / "old.pt", "--model", network, *rest)
    assert "The network ends without an activation, as " in said
    model = vox2face.load(tmp_path / "old")
    assert model.entry.output_activation == "linear"
    found = dict(zip(wanted(network), model.run(torch.from_numpy(inputs(network))), strict=True))
    last, want = list(wanted(network).items())[-1]
    got = thinned(last, found[last])
    assert got.min() < 0 and off(ended(got), want) <= EQUAL


def test_the_numbers_tell_every_known_fault(bundles: Callable[[str], Path]) -> None:
    """Without its sigmoid, a ReLU too few, other colours. The fit: see test_presets, test_space."""
    decoder, face = (
        vox2face.load(bundles("face_decoder")),
        vox2face.load(bundles("vggface_serengil")),
    )
    assert decoder.space == Space("vggface.serengil", "speech-to-face")
    assert face.space.encoder == "vggface.serengil" and len(face.space.digest) == 64
    texture = torch.logit(decoder.module(torch.from_numpy(inputs("face_decoder")))[1])
    without = thinned("texture", texture.detach().numpy())
    assert off(without, wanted("face_decoder")["texture"]) > 100 * EQUAL
    want = NUMBERS["astronaut.vggface_serengil.embedding"]
    right = face.with_preset("speech-to-face")
    assert cosine(right([ASTRONAUT])[0], want) >= SEEN
    wide = decode(ASTRONAUT)[:, :, ::-1]
    assert cosine(right([np.ascontiguousarray(wide)])[0], want) < SEEN
    assert cosine(face([ASTRONAUT])[0], want) < SEEN  # deepface's preset
    ast = vox2face.load(bundles("ast")).module
    with torch.inference_mode():
        x = torch.from_numpy(inputs("ast"))
        linear = ast.head(ast.head_norm(ast.at("pooled", x))).numpy()
    assert off(linear, wanted("ast")["embedding"]) > 100 * EQUAL
