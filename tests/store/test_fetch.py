"""Downloads against a real HTTP server that cuts, lies, moves and refuses."""

from __future__ import annotations

import dataclasses
import errno
import hashlib
from collections.abc import Callable
from pathlib import Path

import pytest
from helpers.file_server import Server

from vox2face.converters.convert import convert
from vox2face.core import progress
from vox2face.core.entry import Entry, Source
from vox2face.core.errors import FetchError, Vox2FaceError, WeightFileError
from vox2face.core.files import HDF5_MAGIC, home
from vox2face.store import download as fetching
from vox2face.store.download import fetch
from vox2face.zoo.sources import SERENGIL_VGG_FACE

BODY = HDF5_MAGIC + bytes(range(256)) * 12_000  # 3 MB
SHA = hashlib.sha256(BODY).hexdigest()


@pytest.fixture
def source(server: Server) -> Source:
    return dataclasses.replace(
        SERENGIL_VGG_FACE,
        urls=(f"{server.address}/first/w.h5", f"{server.address}/second/w.h5"),
        sha256=SHA,
    )


def leftovers() -> list[str]:
    folder = home() / "downloads" / SERENGIL_VGG_FACE.key
    return sorted(p.name for p in folder.iterdir() if p.name != "lock")


def test_a_download_is_checked_kept_and_not_repeated(
    server: Server, source: Source, monkeypatch: pytest.MonkeyPatch
) -> None:
    server.files["/first/w.h5"] = BODY
    seen: list[tuple[str, int, int]] = []
    monkeypatch.setattr(progress, "advance", lambda *at: seen.append(at))
    got = fetch(source)
    assert got.path.read_bytes() == BODY and got.sha256 == SHA and got.first
    assert seen[-1] == ("download", len(BODY), len(BODY))
    assert leftovers() == ["w.h5", "w.h5.sha256"]
    again = fetch(source)
    assert again.path == got.path and not again.first and len(server.requests) == 1


def test_cut_connections_are_resumed_where_they_stopped(server: Server, source: Source) -> None:
    server.files["/first/w.h5"] = BODY
    server.cuts = [1_500_000, 700_000]
    assert fetch(source).path.read_bytes() == BODY
    assert server.requests[0][1] is None
    first, second = (resumed_at(requested) for _, requested in server.requests[1:])
    assert 0 <= 1_500_000 - first < fetching.BLOCK
    assert 0 <= first + 700_000 - second < fetching.BLOCK


def resumed_at(requested: str | None) -> int:
    assert requested is not None
    return int(requested.removeprefix("bytes=").removesuffix("-"))


def test_a_later_run_resumes_what_an_earlier_one_left(server: Server, source: Source) -> None:
    server.files["/first/w.h5"] = BODY
    server.cuts = [500_000, *[0] * fetching.ATTEMPTS]
    with pytest.raises(FetchError, match="gave up after"):
        fetch(dataclasses.replace(source, urls=source.urls[:1]))
    server.requests.clear()
    assert fetch(source).path.read_bytes() == BODY
    assert 0 <= 500_000 - resumed_at(server.requests[0][1]) < fetching.BLOCK


def test_a_file_that_changed_in_between_is_started_anew(server: Server, source: Source) -> None:
    server.files["/first/w.h5"] = BODY[::-1]
    server.cuts = [1_000_000, *[0] * fetching.ATTEMPTS]
    with pytest.raises(FetchError):
        fetch(dataclasses.replace(source, urls=source.urls[:1]))
    server.files["/first/w.h5"] = BODY
    assert fetch(source).path.read_bytes() == BODY


def test_a_server_without_ranges_is_started_anew(server: Server, source: Source) -> None:
    server.files["/first/w.h5"], server.ranges = BODY, False
    server.cuts = [1_000_000]
    assert fetch(source).path.read_bytes() == BODY


def test_a_weak_validator_is_not_trusted_to_resume(server: Server, source: Source) -> None:
    server.files["/first/w.h5"], server.etag = BODY, 'W/"1"'
    server.cuts = [1_000_000]
    assert fetch(source).path.read_bytes() == BODY
    assert [requested for _, requested in server.requests] == [None, None]


def test_a_busy_server_is_asked_again(server: Server, source: Source) -> None:
    server.files["/first/w.h5"] = BODY
    server.statuses = [503, 429]
    assert fetch(source).path.read_bytes() == BODY


def test_the_second_address_is_tried_after_404(server: Server, source: Source) -> None:
    server.files["/second/w.h5"] = BODY
    assert fetch(source).path.read_bytes() == BODY
    assert [path for path, _ in server.requests] == ["/first/w.h5", "/second/w.h5"]


def test_a_mirror_is_tried_first(
    server: Server, source: Source, monkeypatch: pytest.MonkeyPatch
) -> None:
    server.files["/mirror/w.h5"] = BODY
    monkeypatch.setenv("VOX2FACE_MIRROR", f"{server.address}/mirror/")
    assert fetch(source).path.read_bytes() == BODY
    assert len(server.requests) == 1


@pytest.mark.long
@pytest.mark.parametrize(
    ("body", "words"),
    [
        (HDF5_MAGIC + b"something else", "expected " + SHA),
        (b"<!DOCTYPE html><html><body>Sign in</body></html>", "a web page"),
        (b"version https://git-lfs.github.com/spec/v1\noid sha256:1\n", "Git LFS pointer"),
        (b"", "an empty file"),
    ],
)
def test_what_is_not_the_file_is_refused_and_discarded(
    server: Server, source: Source, body: bytes, words: str
) -> None:
    server.files["/first/w.h5"] = server.files["/second/w.h5"] = body
    with pytest.raises(FetchError) as caught:
        fetch(source)
    assert words in str(caught.value) and "--weights FILE" in str(caught.value)
    assert str(caught.value).count(server.address) == 2
    assert leftovers() == []


def test_nobody_listening_is_one_sentence(source: Source, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(fetching, "ATTEMPTS", 2)
    closed = dataclasses.replace(source, urls=("http://127.0.0.1:9/w.h5",))
    with pytest.raises(FetchError, match=r"gave up after 2 attempts: ConnectionError"):
        fetch(closed)


def test_without_a_published_hash_the_first_download_is_pinned(
    server: Server, source: Source
) -> None:
    unknown = dataclasses.replace(source, sha256=None, urls=source.urls[:1])
    server.files["/first/w.h5"] = BODY
    got = fetch(unknown)
    assert got.sha256 == SHA
    got.path.unlink()
    server.files["/first/w.h5"] = HDF5_MAGIC + b"replaced"
    with pytest.raises(FetchError, match=SHA):
        fetch(unknown)


def test_hopeless_addresses_are_not_tried_again(
    source: Source, monkeypatch: pytest.MonkeyPatch
) -> None:
    slept: list[float] = []
    monkeypatch.setattr(fetching.time, "sleep", slept.append)
    for url in ("ftp://127.0.0.1/w.h5", "localhost:1/w.h5", "http://exämple..com/w.h5"):
        with pytest.raises(FetchError, match=r"w\.h5|vgg_face"):
            fetch(dataclasses.replace(source, urls=(url,)))
        assert slept == []


def test_a_download_with_the_wrong_structure_is_forgotten_with_its_pin(
    server: Server, source: Source, twin: Callable[[str], Entry]
) -> None:
    entry = twin("vggface.rcmalli")
    unknown = dataclasses.replace(source, sha256=None, urls=source.urls[:1])
    server.files["/first/w.h5"] = BODY  # the magic of HDF5 and nothing behind it
    with pytest.raises(WeightFileError, match="discarded"):
        convert(dataclasses.replace(entry, source=unknown), onnx=False)
    assert leftovers() == []


def test_offline_no_request_is_made(
    server: Server, source: Source, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("VOX2FACE_OFFLINE", "1")
    with pytest.raises(FetchError, match="VOX2FACE_OFFLINE"):
        fetch(source)
    assert server.requests == []


def test_a_full_disk_says_so_and_resumes_later(
    server: Server, source: Source, monkeypatch: pytest.MonkeyPatch
) -> None:
    server.files["/first/w.h5"] = BODY
    real = Path.open

    class Full:
        def __init__(self, file: object) -> None:
            self.file = file

        def __enter__(self) -> Full:
            return self

        def __exit__(self, *error: object) -> None:
            self.file.close()  # type: ignore[attr-defined]

        def seek(self, place: int) -> None:
            self.file.seek(place)  # type: ignore[attr-defined]

        def write(self, block: bytes) -> None:
            raise OSError(errno.ENOSPC, "No space left on device")

    def full(path: Path, mode: str = "r", *more: object, **named: object) -> object:
        file = real(path, mode, *more, **named)  # type: ignore[call-overload]
        return Full(file) if mode in ("wb", "r+b") else file

    with monkeypatch.context() as patched:
        patched.setattr(Path, "open", full)
        with pytest.raises(Vox2FaceError, match="the disk is full"):
            fetch(source)
    assert fetch(source).path.read_bytes() == BODY
