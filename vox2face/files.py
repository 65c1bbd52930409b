"""Files on disk: the cache folder, hashes, telling formats apart, all-or-nothing writing."""

from __future__ import annotations

import errno
import hashlib
import os
import shutil
import socket
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

from vox2face.errors import UsageError, Vox2FaceError, WeightFileError

BLOCK = 1 << 20
Progress = Callable[[int, int], None]

HDF5_MAGIC = b"\x89HDF\r\n\x1a\n"
# What the first bytes of a file say it is, in the words an error message uses.
SIGNATURES: tuple[tuple[bytes, str], ...] = (
    (HDF5_MAGIC, "HDF5"),
    (b"version https://git-lfs", "a Git LFS pointer, not the file it points to"),
    (b"PK\x03\x04", "a zip archive"),
    (b"\x1f\x8b", "a gzip archive"),
    (b"\x80\x02", "a Python pickle"),
    (b"\x80\x04", "a Python pickle"),
)


def home() -> Path:
    """Return the folder for downloads and bundles: `$VOX2FACE_HOME`, or the platform's cache."""
    override = os.environ.get("VOX2FACE_HOME")
    if override:
        return Path(override).expanduser()
    from platformdirs import user_cache_path

    return user_cache_path("vox2face", appauthor=False)


def offline() -> bool:
    """Whether `$VOX2FACE_OFFLINE` forbids downloads."""
    return os.environ.get("VOX2FACE_OFFLINE", "").lower() not in ("", "0", "false", "no")


def sha256(path: Path, progress: Progress | None = None) -> str:
    """Return the hex sha256 of a file, reading it once in blocks of 1 MiB."""
    digest, buffer = hashlib.sha256(), bytearray(BLOCK)
    view, done, total = memoryview(buffer), 0, path.stat().st_size
    with path.open("rb", buffering=0) as file:
        while count := file.readinto(buffer):
            digest.update(view[:count])
            done += count
            if progress:
                progress(done, total)
    return digest.hexdigest()


def require_weight_file(path: Path) -> None:
    """Raise `WeightFileError` unless a path names a regular file, which alone can be mapped."""
    if not path.exists():
        raise WeightFileError(f"There is no file {path}: check the path given with --weights.")
    if path.is_dir():
        raise WeightFileError(f"{path} is a folder: name the Keras HDF5 file (.h5) itself.")
    if not path.is_file():
        raise WeightFileError(f"{path} is a pipe or a device: name a Keras HDF5 file (.h5).")


def identify(path: Path) -> str:
    """Say what a file is by its first bytes: "HDF5", or words such as "a web page (HTML)"."""
    with path.open("rb") as file:
        head = file.read(512)
        if not head:
            return "an empty file"
        if (known := identify_bytes(head)) != "data of an unknown kind":
            return known
        for offset in (512, 1024, 2048, 4096, 8192):  # HDF5 allows a user block in front
            file.seek(offset)
            if file.read(8) == HDF5_MAGIC:
                return "HDF5"
    return "data of an unknown kind"


def identify_bytes(head: bytes) -> str:
    """Say what the first bytes of a file are; see `identify`."""
    for magic, words in SIGNATURES:
        if head.startswith(magic):
            return words
    start = head.lstrip().lower()
    if start.startswith((b"<!doctype", b"<html", b"<?xml", b"<head")):
        return "a web page (HTML)"
    if head[8:9] == b"{" and int.from_bytes(head[:8], "little") < 100_000_000:
        return "a safetensors file"
    if start and all(byte in b"\t\n\r" or 32 <= byte < 127 for byte in head):
        return "plain text"
    return "data of an unknown kind"


def require_space(folder: Path, needed: int, what: str) -> None:
    """Raise if the disk that holds `folder` has fewer than `needed` bytes free."""
    existing = next(p for p in (folder, *folder.parents) if p.exists())
    free = shutil.disk_usage(existing).free
    if free < needed:
        raise Vox2FaceError(
            f"{what} needs {size_text(needed)} in {folder}, where {size_text(free)} are free: "
            "free some space or choose another folder."
        )


def size_text(count: int) -> str:
    """Format a byte count for people: 580086408 -> "580.1 MB", 1552 -> "1.6 kB"."""
    return f"{count / 1e6:,.1f} MB" if count >= 1e6 else f"{count / 1e3:.1f} kB"


@contextmanager
def full_disk_explained(path: Path) -> Iterator[None]:
    """Turn the operating system's refusal to write into one sentence."""
    try:
        yield
    except OSError as error:
        if error.errno in (errno.ENOSPC, errno.EDQUOT, errno.EFBIG):
            reason = "the disk is full or the quota is used up"
        elif error.errno in (errno.EACCES, errno.EPERM, errno.EROFS):
            reason = "writing there is not permitted"
        elif error.errno in (errno.ENOTDIR, errno.EEXIST, errno.EISDIR, errno.EIO):
            reason = str(error.strerror).lower()
        else:
            raise
        raise Vox2FaceError(
            f"Cannot write {path}: {reason}. Choose another place or make room; "
            "nothing half-written was kept."
        ) from error


def sweep(target: Path) -> None:
    """Remove what killed runs left behind while they were writing `target`."""
    mark = f".{target.name}.partial-{socket.gethostname()}-"
    for stale in target.parent.glob(f"{glob_escape(mark)}*"):
        owner = stale.name[len(mark) :].partition("-")[0]
        if owner.isdigit() and not process_runs(int(owner)):
            shutil.rmtree(stale) if stale.is_dir() else stale.unlink(missing_ok=True)


def glob_escape(text: str) -> str:
    """Escape the characters that mean something in a glob pattern."""
    return "".join(f"[{c}]" if c in "*?[" else c for c in text)


def process_runs(pid: int) -> bool:
    """Whether a process of this number may be alive on this machine."""
    if os.name == "nt":  # there, signal 0 is not a question
        return True
    try:
        os.kill(pid, 0)
    except ProcessLookupError:
        return False
    except OSError:
        return True
    return True


def partial_path(target: Path) -> Path:
    """Return the hidden sibling that this process writes before it becomes `target`."""
    return target.with_name(f".{target.name}.partial-{socket.gethostname()}-{os.getpid()}")


@contextmanager
def atomic_file(target: Path) -> Iterator[Path]:
    """Yield a temporary path that becomes `target` on success and vanishes on any failure."""
    with full_disk_explained(target):
        target.parent.mkdir(parents=True, exist_ok=True)
        sweep(target)
        partial = partial_path(target)
        try:
            yield partial
            os.replace(partial, target)
        finally:
            partial.unlink(missing_ok=True)


@contextmanager
def atomic_directory(target: Path, replace: bool = False) -> Iterator[Path]:
    """Yield a temporary folder that becomes `target` on success and vanishes on any failure.

    An existing `target` is an error unless `replace`; it stays whole until the new one is ready.
    """
    require_absent(target, replace)
    with full_disk_explained(target):
        target.parent.mkdir(parents=True, exist_ok=True)
        sweep(target)
        partial = partial_path(target)
        partial.mkdir()
        retired = partial.with_name(f"{partial.name}-old")
        try:
            yield partial
            if target.exists():
                os.replace(target, retired)
            os.replace(partial, target)
        finally:
            if retired.exists() and not target.exists():
                os.replace(retired, target)
            shutil.rmtree(partial, ignore_errors=True)
            shutil.rmtree(retired, ignore_errors=True)


def require_absent(target: Path, replace: bool) -> None:
    """Raise if `target` exists and may not be replaced, or is no folder."""
    if target.is_file():
        raise UsageError(f"{target} is a file; a bundle is a folder: choose another place.")
    if target.exists() and any(target.iterdir()):
        if not replace:
            raise UsageError(f"{target} exists already: add --force to replace it.")
        if not (target / "config.json").is_file():
            raise UsageError(f"{target} is a folder but no bundle, so --force does not replace it.")
