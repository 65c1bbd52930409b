"""Recordings of real people are fetched as their packages have them, or a sentence says why not."""

from __future__ import annotations

import csv
import importlib.util
import io
import subprocess
import sys
import tarfile
from dataclasses import replace
from pathlib import Path
from types import ModuleType, SimpleNamespace
from typing import Any

import pytest

from vox2face.core.errors import UsageError, Vox2FaceError
from vox2face.core.files import sha256

SCRIPT = Path(__file__).parents[2] / "scripts" / "fetch_real_voices.py"


@pytest.fixture
def voices(monkeypatch: pytest.MonkeyPatch) -> ModuleType:
    spec = importlib.util.spec_from_file_location("fetch_real_voices", SCRIPT)
    assert spec and spec.loader
    module = importlib.util.module_from_spec(spec)
    monkeypatch.setitem(sys.modules, spec.name, module)  # dataclasses look there
    spec.loader.exec_module(module)
    return module


def packed(files: dict[str, bytes], mode: Any) -> bytes:
    data = io.BytesIO()
    with tarfile.open(fileobj=data, mode=mode) as tar:
        for name, content in files.items():
            member = tarfile.TarInfo(name)
            member.size = len(content)
            tar.addfile(member, io.BytesIO(content))
    return data.getvalue()


def deb(files: dict[str, bytes]) -> bytes:
    parts = {"debian-binary": b"2.0", "data.tar.xz": packed(files, "w:xz")}
    heads = ((f"{name:<48}{len(part):<10}`\n".encode(), part) for name, part in parts.items())
    return b"!<arch>\n" + b"".join(head + part + b"\n" * (len(part) % 2) for head, part in heads)


@pytest.fixture
def archives(voices: ModuleType, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A folder with an archive of each source, whose recordings hold their own names."""
    folder, found = tmp_path / "archives", []
    folder.mkdir()
    for source in voices.SOURCES:
        files = {f"{source.folder}/{name}": name.encode() for name in source.files}
        if source.pool:
            content = deb({f"./{name}": value for name, value in files.items()})
        else:
            content = packed(files, "w:gz")
        place = folder / source.archive
        place.write_bytes(content)
        found.append(replace(source, sha256=sha256(place)))
    monkeypatch.setattr(voices, "SOURCES", tuple(found))
    return folder


def test_archives_that_are_there_become_recordings_and_a_table(
    voices: ModuleType, archives: Path, tmp_path: Path
) -> None:
    out = tmp_path / "out"
    assert voices.fetch(out, archives=archives) == 17
    with (out / voices.TABLE).open(newline="") as file:
        lines = list(csv.DictReader(file))
    for line in lines:
        assert (out / line["file"]).read_text() == Path(line["file"]).name
    assert {line["sex"] for line in lines} == {"f", "m"}
    assert len({line["speaker"] for line in lines}) == 7
    assert lines[0]["package"] == "asterisk-core-sounds-en-g722=1.6.1-1"
    assert lines[-1]["package"] == "nodejs-whisper@0.3.1"


def test_another_archive_than_the_known_one_is_refused(
    voices: ModuleType, archives: Path, tmp_path: Path
) -> None:
    (archives / voices.SOURCES[2].archive).write_bytes(deb({}))
    with pytest.raises(Vox2FaceError, match=r"fr-g722.* has another sha256 .* another mirror"):
        voices.fetch(tmp_path / "out", archives=archives)
    assert not (tmp_path / "out").exists()


def test_without_network_a_sentence_says_what_is_missing(
    voices: ModuleType, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    with pytest.raises(SystemExit) as ended:
        voices.main([str(tmp_path / "out")])
    assert ended.value.code == 2
    told = capsys.readouterr().err
    assert "en-g722_1.6.1-1_all.deb would have to be fetched, and VOX2FACE_OFFLINE" in told
    assert told.count("\n") == 1 and not (tmp_path / "out").exists()


def test_a_program_that_is_missing_or_fails_is_named(
    voices: ModuleType, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.delenv("VOX2FACE_OFFLINE")
    monkeypatch.setattr(voices.shutil, "which", lambda tool: None)
    with pytest.raises(UsageError, match="fetched with apt-get, which is not installed: name a"):
        voices.fetch(tmp_path / "out")
    monkeypatch.setattr(voices.shutil, "which", lambda tool: tool)
    failed = SimpleNamespace(returncode=100, stderr="E: No packages found\n")
    monkeypatch.setattr(subprocess, "run", lambda *given, **more: failed)
    with pytest.raises(Vox2FaceError, match=r"apt-get download .* failed \(E: No packages found"):
        voices.fetch(tmp_path / "out")


def test_a_mirror_is_asked_for_the_pool(
    voices: ModuleType, archives: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.delenv("VOX2FACE_OFFLINE")
    asked = []

    def get(url: str, timeout: int) -> Any:
        asked.append(url)
        content = (archives / url.rpartition("/")[2]).read_bytes()
        return SimpleNamespace(content=content, raise_for_status=lambda: None)

    monkeypatch.setattr(voices.requests, "get", get)
    monkeypatch.setattr(voices, "SOURCES", voices.SOURCES[:1])
    assert voices.fetch(tmp_path / "out", "https://mirror.example/debian/") == 2
    assert asked == [
        "https://mirror.example/debian/pool/main/a/asterisk-core-sounds/"
        "asterisk-core-sounds-en-g722_1.6.1-1_all.deb"
    ]


@pytest.mark.network
def test_all_recordings_can_be_fetched_and_heard(
    voices: ModuleType, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    from vox2face.media import audio

    monkeypatch.delenv("VOX2FACE_OFFLINE")
    assert voices.fetch(tmp_path / "out") == 17
    files = [path for path in (tmp_path / "out").rglob("*.*") if path.suffix != ".csv"]
    assert len(files) == 17 and all(audio.decode(path).size > 16_000 for path in files)
