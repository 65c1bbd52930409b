"""`vox2face fetch` fills the cache ahead, so that a machine without network loads by name."""

from __future__ import annotations

import dataclasses
import hashlib
import subprocess
from collections.abc import Callable
from pathlib import Path

import pytest
from helpers.file_server import Server

import vox2face
from vox2face.core.entry import Entry
from vox2face.core.files import home
from vox2face.store import download

NAME, FREE, DEMO = "vggface.serengil", "dlib_resnet128.dlib", "mlp_head.demo"
Run = Callable[..., subprocess.CompletedProcess[str]]


@pytest.fixture
def published(
    server: Server,
    twin: Callable[[str], Entry],
    twin_file: Callable[..., Path],
    registered: Callable[[Entry], None],
) -> bytes:
    """Publish a narrow VGG-Face at the server; return its file."""
    body = twin_file(NAME).read_bytes()
    digest, urls = hashlib.sha256(body).hexdigest(), (f"{server.address}/w.h5",)
    entry = twin(NAME)
    source = dataclasses.replace(entry.source, urls=urls, sha256=digest)
    registered(dataclasses.replace(entry, source=source))
    server.files["/w.h5"] = body
    return body


@pytest.mark.long
@pytest.mark.usefixtures("published")
def test_what_was_fetched_loads_without_network(
    server: Server, inside: Run, monkeypatch: pytest.MonkeyPatch
) -> None:
    done = inside("fetch", NAME, "--onnx")
    assert done.returncode == 0, done.stderr
    folder = home() / "bundles" / NAME
    assert "non-commercial research only" in done.stdout  # the terms are told
    assert f"{NAME} is now in {home()}: {folder} (" in done.stdout
    asked = len(server.requests)
    again = inside("fetch", NAME, "--onnx")
    assert again.stdout.startswith(f"{NAME} was there already: {folder} (")
    monkeypatch.setenv("VOX2FACE_OFFLINE", "1")
    for backend in ("torch", "onnx"):
        assert vox2face.load(NAME, backend=backend).bundle.path == folder  # type: ignore[arg-type]
    assert len(server.requests) == asked == 1


@pytest.mark.long
def test_an_interrupted_fetch_is_resumed(server: Server, published: bytes, inside: Run) -> None:
    half = len(published) // 2
    server.cuts = [half, *[0] * download.ATTEMPTS]
    done = inside("fetch", NAME)
    assert done.returncode == 1 and "gave up after" in done.stderr
    assert not (home() / "bundles" / NAME).exists()
    server.cuts.clear()
    server.requests.clear()
    assert inside("fetch", NAME).returncode == 0
    ((_, requested),) = server.requests
    assert requested is not None
    start = int(requested.removeprefix("bytes=").removesuffix("-"))
    assert 0 <= half - start < download.BLOCK


def test_names_are_checked_before_anything_is_fetched(
    server: Server, published: bytes, inside: Run, tmp_path: Path
) -> None:
    for wrong, words in (
        ("vggface.serengl", "Did you mean vggface.serengil"),
        (str(tmp_path), "is a folder, which needs no fetching"),
        ("hf:faces", "hf:faces is not an address on the hub"),
    ):
        done = inside("fetch", NAME, wrong)
        assert done.returncode == 2 and words in done.stderr
    assert inside("fetch").returncode == 2
    done = inside("fetch", "ve_conv.tiny")
    assert done.returncode == 1 and "no weights of it are published" in done.stderr
    assert not server.requests and published


@pytest.mark.long
def test_what_comes_with_vox2face_is_there_already(inside: Run) -> None:
    done = inside("fetch", DEMO, FREE)
    assert done.returncode == 0, done.stderr
    told = [line for line in done.stdout.splitlines() if "comes with vox2face" in line]
    assert [line.split()[0] for line in told] == [DEMO, FREE]
    assert (home() / "bundles" / FREE / "config.json").is_file()
