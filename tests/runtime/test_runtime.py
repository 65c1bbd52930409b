"""Models load by name, alias, folder or first use, and take what people have."""

from __future__ import annotations

import dataclasses
import io
import os
import threading
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from functools import partial
from http.server import SimpleHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from helpers.paths import TESTS
from helpers.twins import random_module
from PIL import Image

import vox2face
from vox2face.converters.convert import convert
from vox2face.converters.verify_bundle import check
from vox2face.core.entry import Entry
from vox2face.core.errors import ImageError, UsageError, Vox2FaceError
from vox2face.core.files import home
from vox2face.media.image import samples
from vox2face.runtime import base, load
from vox2face.store import bundle as bundles
from vox2face.zoo.catalog import ENTRIES

Twin = Callable[[str], Entry]
TwinFile = Callable[[str], Path]
NAME = "vggface.serengil"


@pytest.fixture
def converted(twin: Twin, twin_file: TwinFile, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A narrow bundle where load(NAME) looks, with the registry answering for it."""
    entry = twin(NAME)
    real = load.registry.entry
    monkeypatch.setattr(
        load.registry, "entry", lambda name: entry if real(name).name == NAME else real(name)
    )
    return convert(entry, twin_file(NAME), onnx=False).path


def test_name_alias_and_folder_load_the_same(converted: Path) -> None:
    picture = samples()["astronaut.png"]
    results = [
        vox2face.load(name)(picture)
        for name in (NAME, "VGGFace_serengil", converted, f"{converted}")
    ]
    assert all(np.array_equal(results[0], other) for other in results[1:])
    assert results[0].shape == (1, 256) and results[0].dtype == np.float32
    assert (results[0] >= 0).all() and results[0].any()


def written(folder: Path) -> dict[Path, int]:
    """When a folder and what it holds were last written to."""
    return {path: path.stat().st_mtime_ns for path in (folder, *folder.iterdir())}


@pytest.mark.long
def test_onnx_is_exported_on_first_use_beside_the_bundle_and_agrees(converted: Path) -> None:
    before = written(converted)
    by_onnx = vox2face.load(NAME, backend="onnx")
    assert written(converted) == before  # it may be read-only
    digest = bundles.read(converted).config["files"][bundles.WEIGHTS]["sha256"]
    assert [*home().rglob("*.onnx")] == [home() / "exports" / digest / "embedding.onnx"]
    by_torch = vox2face.load(NAME)
    pictures = list(samples().values())
    np.testing.assert_allclose(by_onnx(pictures), by_torch(pictures), rtol=0, atol=1e-5)
    with pytest.raises(UsageError, match="no torch module"):
        _ = by_onnx.module
    assert [o.name for o in by_onnx.session.get_outputs()] == ["embedding"]


class Pipe(io.RawIOBase):
    """A file object that can only be read, such as the answer of a server."""

    def __init__(self, content: bytes) -> None:
        self.content = io.BytesIO(content)

    def readable(self) -> bool:
        return True

    def readinto(self, buffer: Any) -> int:
        return self.content.readinto(buffer)


def test_all_kinds_of_pictures_give_the_same(converted: Path, tmp_path: Path) -> None:
    encoder, pixels = vox2face.load(NAME), samples()["head.png"]
    path = tmp_path / "face.png"
    Image.fromarray(pixels).save(path)
    want = encoder(pixels)
    for same in (path, str(path), Image.open(path), [path], pixels[None], (Image.open(path),)):
        assert np.array_equal(encoder(same), want)
    content = path.read_bytes()
    with path.open("rb") as file:
        file.read(9)
        for same in (content, [content], file, [file], io.BytesIO(content), Pipe(content)):
            assert np.array_equal(encoder(same), want)
    assert np.array_equal(encoder(pixels[:, :, ::-1], channels="bgr"), want)
    bgr = encoder.preprocess([pixels[:, :, ::-1], path, content], channels="bgr")
    assert torch.equal(bgr, encoder.preprocess([path] * 3))
    rgba = Image.open(path).convert("RGBA")
    assert np.array_equal(encoder(rgba), want)
    assert encoder([]).shape == (0, 256)


def test_pictures_of_different_sizes_go_in_one_call(converted: Path) -> None:
    encoder, pixels = vox2face.load(NAME), samples()["head.png"]
    pictures = [pixels, pixels[20:, 50:], pixels[:100], pixels[::2, ::2], pixels[:, :60]]
    together = encoder(pictures, batch_size=2)
    alone = np.concatenate([encoder(picture) for picture in pictures])
    np.testing.assert_allclose(together, alone, rtol=0, atol=1e-5)


def test_the_orientation_a_camera_noted_is_applied(converted: Path, tmp_path: Path) -> None:
    upright = Image.fromarray(samples()["astronaut.png"])
    turned = upright.transpose(Image.Transpose.ROTATE_90)
    exif = turned.getexif()
    exif[0x0112] = 6  # turn clockwise to see it upright
    turned.save(tmp_path / "turned.png", exif=exif)
    encoder = vox2face.load(NAME)
    assert np.array_equal(encoder(tmp_path / "turned.png"), encoder(upright))


def test_normalize_divides_as_deepface_does(converted: Path) -> None:
    encoder, pictures = vox2face.load(NAME), list(samples().values())
    plain, unit = encoder(pictures), encoder(pictures, normalize=True)
    want = plain.astype(float) / (np.linalg.norm(plain.astype(float), axis=1)[:, None] + 1e-10)
    np.testing.assert_allclose(unit, want, rtol=1e-6)
    assert unit.dtype == np.float32


def test_module_takes_the_presets_output_and_gives_the_embedding(converted: Path) -> None:
    encoder, pixels = vox2face.load(NAME), samples()["head.png"]
    x = encoder.preprocess(pixels)
    assert x.shape == (1, 3, 224, 224) and x.dtype == torch.float32
    np.testing.assert_allclose(x[0, 0] * 255, pixels[..., 2], atol=1e-4)  # blue comes first
    assert np.array_equal(encoder.module(x).numpy(), encoder(pixels))
    assert encoder.module.logits(x).shape == (1, 163)
    assert encoder.entry.name == NAME and encoder.width == 256
    assert "preset='deepface'" in repr(encoder)


def test_the_module_trains_like_any_other(converted: Path) -> None:
    encoder = vox2face.load(NAME, device=torch.device("cpu"))
    before = (converted / bundles.WEIGHTS).read_bytes()
    module = encoder.module.requires_grad_(True)
    optimizer = torch.optim.SGD(module.parameters(), lr=0.1)
    module(encoder.preprocess(samples()["head.png"])).sum().backward()
    optimizer.step()
    assert (converted / bundles.WEIGHTS).read_bytes() == before


def test_a_preset_can_be_chosen_and_changes_the_result(converted: Path) -> None:
    pixels = samples()["head.png"]
    own, other = vox2face.load(NAME), vox2face.load(NAME, preset="speech-to-face")
    assert other.preset == "speech-to-face"
    assert not np.allclose(own(pixels), other(pixels))
    swapped = other.preprocess(pixels).flip(1)
    assert torch.allclose(own.preprocess(pixels), swapped, atol=1e-6)


def test_random_weights_need_no_file(monkeypatch: pytest.MonkeyPatch, twin: Twin) -> None:
    entry = twin("vggface.rcmalli")
    monkeypatch.setattr(load.registry, "entry", lambda name: entry)
    encoder = vox2face.load("vggface.rcmalli", pretrained=False)
    assert encoder(samples()["head.png"]).shape == (1, 256)
    assert encoder.preset == "keras-vggface-v1"
    assert not encoder.module.training
    with pytest.raises(UsageError, match="backend='torch'"):
        vox2face.load("vggface.rcmalli", pretrained=False, backend="onnx")


def test_offline_without_a_bundle_names_the_command_to_run() -> None:
    with pytest.raises(Vox2FaceError) as caught:
        vox2face.load("vggface.serengil")
    assert "run 'vox2face convert serengil --weights FILE'" in str(caught.value)


def test_first_use_fetches_converts_and_proves(
    twin: Twin, twin_file: TwinFile, monkeypatch: pytest.MonkeyPatch
) -> None:
    file = twin_file(NAME)
    handler = partial(Quiet, directory=str(file.parent))
    server = ThreadingHTTPServer(("127.0.0.1", 0), handler)
    thread = threading.Thread(target=server.serve_forever, daemon=True)
    thread.start()
    url = f"http://127.0.0.1:{server.server_port}/{file.name}"
    entry = twin(NAME)
    source = dataclasses.replace(entry.source, urls=(url,), sha256=None)
    monkeypatch.setattr(
        load.registry, "entry", lambda name: dataclasses.replace(entry, source=source)
    )
    monkeypatch.delenv("VOX2FACE_OFFLINE")
    try:
        encoder = vox2face.load(NAME)
    finally:
        server.shutdown()
        server.server_close()
        thread.join()
    assert encoder(samples()["head.png"]).shape == (1, 256)
    bundle = bundles.read(bundles.default_path(entry))
    assert "PROVEN" in (bundle.path / "parity.json").read_text()
    assert not bundle.onnx.exists()


class Quiet(SimpleHTTPRequestHandler):
    def log_message(self, *args: object) -> None:
        pass


def test_misspelt_names_are_answered_with_near_ones() -> None:
    for wrong, near in (
        ("vggface.serengill", "vggface.serengil"),
        ("VGGface_serengil", "VGGFace_"),
    ):
        with pytest.raises(UsageError, match=f"Did you mean.*{near}"):
            vox2face.load(wrong)
    with pytest.raises(UsageError, match=r"There are: vggface\.serengil"):
        vox2face.load("zzzz")


@pytest.mark.long
def test_wrong_arguments_get_one_sentence(converted: Path, tmp_path: Path) -> None:
    with pytest.raises(UsageError, match="'torch' or 'onnx'"):
        vox2face.load(NAME, backend="jax")
    with pytest.raises(UsageError, match="no preset 'x'"):
        vox2face.load(NAME, preset="x")
    with pytest.raises(UsageError, match="device='cuda'"):
        vox2face.load(NAME, device="cuda")
    with pytest.raises(UsageError, match=r"'\.\[onnx-gpu\]' in the clone of vox2face"):
        vox2face.load(NAME, device="cuda", backend="onnx")
    with pytest.raises(UsageError, match="no device 'tpu'"):
        vox2face.load(NAME, device="tpu", backend="onnx")
    with pytest.raises(Vox2FaceError, match="not a folder"):
        vox2face.load(tmp_path / "nowhere")


def test_what_is_no_picture_gets_one_sentence(converted: Path, tmp_path: Path) -> None:
    encoder = vox2face.load(NAME)
    text = tmp_path / "text.png"
    text.write_text("hello")
    cut = tmp_path / "cut.png"
    Image.fromarray(samples()["astronaut.png"]).save(cut)
    cut.write_bytes(cut.read_bytes()[:3000])
    for bad, words in (
        (tmp_path / "none.png", "There is no picture"),
        (tmp_path, "is a folder"),
        (text, "no picture that Pillow can read"),
        (cut, "cannot be decoded"),
        (np.zeros((8, 8, 3)), "float64"),
        (np.zeros((8, 8), np.uint8), "uint8"),
        (5, "not int"),
        (torch.zeros(3, 8, 8), "Tensor"),
        (np.zeros((0, 8, 3), np.uint8), "0"),
        (Image.new("I", (8, 8)), "more than 8 bits"),
        (Image.new("F", (8, 8)), "more than 8 bits"),
        (io.StringIO("hello"), "the picture gives text and no bytes"),
        (io.BytesIO(b"hello"), "the picture is plain text, no picture that Pillow can read"),
        (b"", "the picture is an empty file"),
        (np.zeros((1, 300, 3), np.uint8), "too narrow"),
    ):
        with pytest.raises(ImageError, match=words):
            encoder([bad])


def test_registry_lists_by_kind() -> None:
    assert vox2face.list_models() == [e.name for e in ENTRIES]
    kinds = ("face-encoder", "voice-encoder", "face-decoder")
    assert [n for kind in kinds for n in vox2face.list_models(kind)] == vox2face.list_models()
    assert all(vox2face.list_models(kind) for kind in kinds)
    assert vox2face.entry("VGGFace16_rcmalli").name == "vggface.rcmalli"
    with pytest.raises(UsageError, match="face-encoder"):
        vox2face.list_models(kind="nose-encoder")


def test_registry_lists_by_pattern() -> None:
    assert vox2face.list_models("*.rcmalli", kind="face-encoder") == [
        "vggface.rcmalli",
        "vggface_resnet50.rcmalli",
        "vggface_senet50.rcmalli",
    ]
    assert vox2face.list_models("vggface*") == vox2face.list_models("vggface*", "face-encoder")
    assert vox2face.list_models("zzz*") == []


def test_loaders_of_one_kind_refuse_another_before_any_weights_are_looked_for() -> None:
    for loader, name, words in (
        (vox2face.load_face_encoder, "ast.audioset", "is a voice-encoder, expected a face-encoder"),
        (vox2face.load_voice_encoder, "face_decoder.cole", "expected a voice-encoder"),
        (vox2face.load_face_decoder, "vggface.serengil", "expected a face-decoder"),
    ):
        with pytest.raises(UsageError, match=words):
            loader(name)
    drawn = vox2face.load_voice_encoder("mlp_head.demo", pretrained=False)
    assert isinstance(drawn, vox2face.VoiceEncoder)


@pytest.mark.long
@pytest.mark.parametrize("backend", ["torch", "onnx"])
def test_a_model_moves_or_stays_where_it_is(converted: Path, backend: str) -> None:
    encoder, picture = vox2face.load(NAME, backend=backend), samples()["head.png"]
    before = encoder(picture), encoder.logits(picture)
    assert encoder.to("cpu") is encoder
    for moved, first in zip((encoder(picture), encoder.logits(picture)), before, strict=True):
        assert np.array_equal(moved, first)
    for device in ("tpu", "cuda:99", *(["tensorrt", "meta"] if backend == "torch" else [])):
        with pytest.raises(UsageError, match=device):
            encoder.to(device)
        assert encoder.device == "cpu" and np.array_equal(encoder(picture), before[0])


def test_a_model_that_moves_to_another_kind_of_device_leaves_provider_options(
    converted: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    asked: list[object] = []
    monkeypatch.setattr(base, "started", lambda *given: asked.append(given[1:]) or given[1])
    given = {"gpu_mem_limit": 1}
    encoder = vox2face.load(NAME)
    encoder.session, encoder.device, encoder.provider_options = "a session", "cuda", given
    encoder.to("cuda:1").to("cpu")
    assert asked == [("cuda:1", given), ("cpu", None)] and encoder.provider_options is None


def test_models_bundles_and_pipelines_show_themselves_in_a_line(converted: Path) -> None:
    bundle = bundles.read(converted)
    assert repr(bundle) == f"Bundle({NAME!r}, {str(converted)!r})"
    where = "backend='torch', device='cpu')"
    assert repr(vox2face.load(NAME)) == f"FaceEncoder({NAME!r}, preset='deepface', {where}"
    pipeline = vox2face.SpeechToFace.from_zoo()
    assert repr(pipeline) == f"SpeechToFace('mlp_head.demo', 'face_decoder.demo', {where}"
    assert pipeline.to("cpu") is pipeline


@pytest.mark.long
def test_threads_that_use_onnx_for_the_first_time_all_succeed(converted: Path) -> None:
    with ThreadPoolExecutor(4) as pool:
        encoders = list(pool.map(lambda _: vox2face.load(converted, backend="onnx"), range(4)))
    first, *others = [encoder(samples()["head.png"]) for encoder in encoders]
    assert first.any() and all(np.array_equal(first, other) for other in others)


@pytest.mark.long
@pytest.mark.skipif(not hasattr(os, "fork"), reason="forks, so that imports come once")
def test_processes_that_use_onnx_for_the_first_time_all_succeed(
    python: Callable[..., str], tmp_path: Path
) -> None:
    path = vox2face.save(HEAD, random_module(HEAD), tmp_path / "out")
    assert (
        python(FIRST_USE, path, PYTHONPATH=str(TESTS), OMP_NUM_THREADS="1").split() == ["True"] * 4
    )


HEAD = "mlp_head.resemblyzer"
FIRST_USE = """
import sys
import onnx.compose, onnxruntime
from helpers.killed import ended, started
from vox2face.runtime.load import load
from vox2face.converters import bundle_onnx as deliver

children = [started(lambda: load(sys.argv[1], backend="onnx")) for _ in range(4)]
print(*map(ended, children))
"""


def test_a_cache_that_cannot_be_written_is_named(
    converted: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "file").write_text("")
    monkeypatch.setenv("VOX2FACE_HOME", str(tmp_path / "file"))
    with pytest.raises(Vox2FaceError, match="Choose another VOX2FACE_HOME"):
        vox2face.load(converted, backend="onnx")


@pytest.mark.long
def test_an_onnx_file_that_is_not_the_bundle_s_is_not_run(
    converted: Path, twin: Twin, twin_file: TwinFile
) -> None:
    (converted / "model.onnx").write_bytes(b"other")
    assert vox2face.load(converted, backend="onnx")(samples()["head.png"]).any()
    assert check(bundles.read(converted)).ok
    convert(twin(NAME), twin_file(NAME), converted, onnx=True, force=True)
    (converted / "model.onnx").write_bytes(b"other")
    with pytest.raises(Vox2FaceError, match="delete it, and it will be exported again"):
        vox2face.load(converted, backend="onnx")
