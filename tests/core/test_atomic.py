"""Nothing half-written is ever left behind: full disks, kills, interrupts, existing folders."""

from __future__ import annotations

import errno
import os
import shutil
import signal
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from types import SimpleNamespace

import pytest

from vox2face.converters import bundle_writer
from vox2face.converters.convert import convert
from vox2face.core import progress
from vox2face.core.entry import Entry
from vox2face.core.errors import ParityError, UsageError, Vox2FaceError
from vox2face.core.files import atomic_directory, partial_mark
from vox2face.store import bundle as bundles

Twin = Callable[[str], Entry]
TwinFile = Callable[[str], Path]


def test_an_existing_bundle_is_only_replaced_with_force(
    twin: Twin, twin_file: TwinFile, tmp_path: Path
) -> None:
    entry, file, out = twin("vggface.serengil"), twin_file("vggface.serengil"), tmp_path / "out"
    convert(entry, file, out, onnx=False, verify="none")
    with pytest.raises(UsageError, match="--force"):
        convert(entry, file, out, onnx=False, verify="none")
    convert(entry, file, out, onnx=False, force=True)
    assert bundles.read(out).config["files"].keys() == {bundles.WEIGHTS}


def test_force_replaces_no_folder_that_is_no_bundle(
    twin: Twin, twin_file: TwinFile, tmp_path: Path
) -> None:
    out = tmp_path / "precious"
    out.mkdir()
    (out / "thesis.tex").write_text("years of work")
    with pytest.raises(UsageError, match="not a bundle"):
        convert(twin("vggface.serengil"), twin_file("vggface.serengil"), out, force=True)
    assert (out / "thesis.tex").read_text() == "years of work"


@pytest.mark.long
def test_a_failed_replacement_keeps_the_old_bundle(
    twin: Twin, twin_file: TwinFile, tmp_path: Path, forget_fc6_order: Callable[[], None]
) -> None:
    entry, file, out = twin("vggface.rcmalli"), twin_file("vggface.rcmalli"), tmp_path / "out"
    convert(entry, file, out)
    before = {p.name: p.read_bytes() for p in out.iterdir()}
    forget_fc6_order()
    with pytest.raises(ParityError):
        convert(entry, file, out, force=True)
    assert {p.name: p.read_bytes() for p in out.iterdir()} == before


@pytest.mark.long
def test_a_full_disk_gives_one_sentence_and_keeps_nothing(
    twin: Twin, twin_file: TwinFile, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def full(*given: object) -> None:
        raise OSError(errno.ENOSPC, "No space left on device")

    monkeypatch.setattr(bundle_writer, "write", full)
    with pytest.raises(Vox2FaceError, match="the disk is full"):
        convert(twin("vggface.serengil"), twin_file("vggface.serengil"), tmp_path / "made" / "out")
    assert list((tmp_path / "made").iterdir()) == []


def test_a_file_size_limit_stops_the_command_cleanly(
    python: Callable[..., str], twin_file: TwinFile, tmp_path: Path
) -> None:
    """The kernel refuses to write beyond 64 KB, as a quota does."""
    script = """
import resource, signal, sys
from pathlib import Path
signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
resource.setrlimit(resource.RLIMIT_FSIZE, (65536, 65536))
from vox2face.converters.keras.writer import write_keras
from vox2face.core.errors import Vox2FaceError
from vox2face.core.files import atomic_directory
target = Path(sys.argv[1]) / "out"
try:
    with atomic_directory(target) as folder:
        (folder / "big").write_bytes(b"x" * 100_000)
except Vox2FaceError as error:
    print(error, list(target.parent.iterdir()))
"""
    (tmp_path / "made").mkdir()
    said = python(script, tmp_path / "made")
    assert "the disk is full or the quota is used up" in said
    assert said.strip().endswith("[]")


def test_a_disk_without_room_is_noticed_before_writing(
    twin: Twin, twin_file: TwinFile, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    from vox2face.core import files

    monkeypatch.setattr(files.shutil, "disk_usage", lambda path: SimpleNamespace(free=1))
    with pytest.raises(Vox2FaceError, match="free some space"):
        convert(twin("vggface.serengil"), twin_file("vggface.serengil"), tmp_path / "out")


def test_a_kill_in_the_middle_leaves_nothing_that_counts_and_is_swept(
    twin: Twin, twin_file: TwinFile, tmp_path: Path
) -> None:
    folder = tmp_path / "made"
    script = f"""
import sys, time
from pathlib import Path
from vox2face.core.files import atomic_directory
with atomic_directory(Path({str(folder / "out")!r})) as partial:
    (partial / "model.safetensors").write_bytes(b"half")
    print("writing", flush=True)
    time.sleep(60)
"""
    with subprocess.Popen([sys.executable, "-c", script], stdout=subprocess.PIPE) as process:
        assert process.stdout is not None
        process.stdout.readline()
        process.send_signal(signal.SIGKILL)
    left = list(folder.iterdir())
    assert len(left) == 1 and left[0].name.startswith(".out.partial-")
    convert(twin("vggface.serengil"), twin_file("vggface.serengil"), folder / "out", onnx=False)
    assert [path.name for path in folder.iterdir()] == ["out"]


@pytest.mark.long
def test_an_interrupt_leaves_nothing(
    tmp_path: Path, twin: Twin, twin_file: TwinFile, monkeypatch: pytest.MonkeyPatch
) -> None:
    def interrupt(stage: str, done: int, total: int) -> None:
        if stage == "write" and done == total:
            raise KeyboardInterrupt

    monkeypatch.setattr(progress, "advance", interrupt)
    entry, file = twin("vggface.serengil"), twin_file("vggface.serengil")
    with pytest.raises(KeyboardInterrupt):
        convert(entry, file, tmp_path / "made" / "out")
    assert list((tmp_path / "made").iterdir()) == []


def test_an_unwritable_place_is_named(twin: Twin, twin_file: TwinFile, tmp_path: Path) -> None:
    blocker = tmp_path / "file"
    blocker.write_text("")
    with pytest.raises(Vox2FaceError, match="file"):
        convert(twin("vggface.serengil"), twin_file("vggface.serengil"), blocker / "out")
    with pytest.raises(UsageError, match="is a file"):
        convert(twin("vggface.serengil"), twin_file("vggface.serengil"), blocker)


def test_leftovers_of_running_processes_are_not_swept(tmp_path: Path) -> None:
    from vox2face.core.files import partial_path, sweep

    target = tmp_path / "out"
    mine = partial_path(target).name
    running = tmp_path / mine.replace(f"-{os.getpid()}-", f"-{os.getppid()}-")
    gone = tmp_path / mine.replace(f"-{os.getpid()}-", "-999999999-")
    reused = tmp_path / mine  # of an earlier process that had our number
    for folder in (running, gone, reused):
        folder.mkdir()
    with atomic_directory(target) as active:
        sweep(target)
        assert active.exists()
    assert sorted(tmp_path.iterdir()) == sorted([running, target])


def test_a_bundle_retired_by_a_killed_run_comes_back(tmp_path: Path) -> None:
    from vox2face.core.files import machine_mark, sweep

    old = tmp_path / f"{machine_mark(tmp_path / 'out')}999999999-00-old"
    old.mkdir()
    (old / "config.json").write_text("{}")
    sweep(tmp_path / "out")
    assert (tmp_path / "out" / "config.json").read_text() == "{}"


def test_a_bundle_retired_on_another_machine_comes_back_to_who_reads_it(tmp_path: Path) -> None:
    old = tmp_path / f"{partial_mark(tmp_path / 'out')}elsewhere-1-00-old"
    old.mkdir()
    (old / "config.json").write_text("{}")
    (tmp_path / "link").symlink_to(tmp_path / "out")
    assert bundles.is_bundle(tmp_path / "link")
    assert (tmp_path / "out" / "config.json").read_text() == "{}"


def test_a_bundle_that_comes_back_while_it_is_replaced_is_replaced(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Another process reads it in between, or puts its own there."""
    target, real, moved = tmp_path / "out", os.replace, 0

    def busy(source: Path, to: Path) -> None:
        nonlocal moved
        real(source, to)
        moved += source == target
        if source == target and moved == 1:
            assert bundles.is_bundle(target)
        elif source == target and moved == 2:
            shutil.copytree(to, target)

    target.mkdir()
    (target / "config.json").write_text("old")
    monkeypatch.setattr(os, "replace", busy)
    with atomic_directory(target, replace=True) as folder:
        (folder / "config.json").write_text("new")
    assert moved == 3 and (target / "config.json").read_text() == "new"
    assert [path.name for path in tmp_path.glob("*out*")] == ["out"]


def test_force_replaces_a_bundle_but_no_folder_with_other_files(tmp_path: Path) -> None:
    project = tmp_path / "project"
    project.mkdir()
    (project / "config.json").write_text("{}")
    (project / "thesis.tex").write_text("years of work")
    with pytest.raises(UsageError, match="other files"), atomic_directory(project, replace=True):
        pass
    assert (project / "thesis.tex").exists()


def test_behind_a_link_the_folder_itself_is_written(tmp_path: Path) -> None:
    (tmp_path / "link").symlink_to(tmp_path / "big")
    for content in ("first", "second"):
        with atomic_directory(tmp_path / "link", replace=True) as folder:
            (folder / "config.json").write_text(content)
        assert (tmp_path / "link").is_symlink()
        assert (tmp_path / "big" / "config.json").read_text() == content
    assert sorted(p.name for p in tmp_path.iterdir() if p.name != "home") == ["big", "link"]


def test_the_current_folder_and_mount_points_are_refused(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    for place in (Path("."), tmp_path, Path("/proc")):
        with pytest.raises(UsageError, match="inside it"), atomic_directory(place):
            pass


def test_a_target_that_appears_meanwhile_is_not_replaced(tmp_path: Path) -> None:
    target = tmp_path / "out"
    with pytest.raises(UsageError, match="exists already"), atomic_directory(target):
        target.mkdir()
        (target / "config.json").write_text("faster")
    assert (target / "config.json").read_text() == "faster"
