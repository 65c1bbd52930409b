"""Files on disk: the cache folder, hashes, telling formats apart, all-or-nothing writing."""

from __future__ import annotations

import contextlib
import errno
import hashlib
import os
import platform
import re
import shutil
import tempfile
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

from vox2face.core.errors import UsageError, Vox2FaceError, WeightFileError

Progress = Callable[[int, int], None]

# What a bundle may hold; a folder with anything else in it is never replaced.
BUNDLE_FILES = {"config.json", "model.safetensors", "model.onnx", "parity.json", "README.md"}
RETIRED = "-old"

FULL_DISK = (errno.ENOSPC, errno.EDQUOT, errno.EFBIG)
ACTIVE: set[Path] = set()  # hidden files and folders that this process is writing

UNKNOWN, ZIP, ONNX = "data of an unknown kind", "a zip archive", "an ONNX model"
HDF5_MAGIC = b"\x89HDF\r\n\x1a\n"

# What the first bytes of a file say it is, in the words an error message uses.
SIGNATURES: tuple[tuple[bytes, str], ...] = (
    (HDF5_MAGIC, "HDF5"),
    (b"version https://git-lfs", "a Git LFS pointer, not the file it points to"),
    (b"PK\x03\x04", ZIP),
    (b"PK\x05\x06", "an empty zip archive"),
    (b"\x1f\x8b", "a gzip archive"),
    # torch.save before PyTorch 1.6 begins with a pickle of this number
    (b"\x80\x02\x8a\x0a\x6c\xfc\x9c\x46\xf9\x20\x6a\xa8\x50\x19.", "a PyTorch file"),
    *((b"\x80" + bytes([protocol]), "a Python pickle") for protocol in range(2, 6)),
    (b"\x93NUMPY", "a NumPy array"),
)

# How the names of recordings end, in lower case, whoever looks for them. The best first: where a
# clip is there in several formats, as after converting VoxCeleb2 to wav, one is enough.
RECORDINGS = (
    *(".wav", ".flac", ".m4a", ".mp4", ".aac", ".mp3", ".ogg", ".opus", ".webm", ".wma", ".aiff"),
    *(".oga", ".spx", ".mka", ".aif", ".au", ".caf", ".w64", ".wv", ".tta", ".ape", ".mp2"),
    *(".ac3", ".amr", ".3gp", ".m4v", ".mkv", ".mov", ".avi", ".wmv", ".flv", ".ts"),
    *(".mpg", ".mpeg"),
)

# How the names of pictures end.
PICTURES = (
    *(".png", ".apng", ".jpg", ".jpeg", ".jpe", ".jfif", ".mpo", ".webp", ".avif", ".avifs"),
    *(".heic", ".heif", ".hif", ".bmp", ".gif", ".tif", ".tiff", ".tga", ".ppm", ".pgm", ".pbm"),
    *(".pnm", ".jp2", ".j2k", ".j2c", ".jpc", ".jpf", ".jpx"),
)
TAR_MAGIC = b"ustar"  # at byte 257
# The version of its format, then another field of a ModelProto of onnx.proto3
ONNX_HEAD = re.compile(rb"\x08[\x03-\x20][\x12\x1a\x22\x28\x32\x3a\x42\x72\xa2\xca]")
CHECKPOINT_MAGIC = bytes.fromhex("57fb808b247547db")  # the last bytes of a .index file

# What is read as weights, in the words an error message uses.
ACCEPTED = (
    "a weight file of Keras (.h5, .weights.h5, .keras), PyTorch (.pth), safetensors, ONNX "
    "or TensorFlow.js (weights manifest)"
)


def home() -> Path:
    """Return the folder for downloads and bundles: `$VOX2FACE_HOME`, or the platform's cache."""
    override = os.environ.get("VOX2FACE_HOME")
    if override:
        try:
            return Path(override).expanduser()
        except RuntimeError as error:
            raise UsageError(f"VOX2FACE_HOME={override} names no folder ({error}).") from error
    from platformdirs import user_cache_path

    return user_cache_path("vox2face", appauthor=False)


def offline() -> bool:
    """Whether `$VOX2FACE_OFFLINE` forbids downloads."""
    return os.environ.get("VOX2FACE_OFFLINE", "").lower() not in ("", "0", "false", "no")


def sha256(path: Path) -> str:
    """Return the hex sha256 of a file."""
    with path.open("rb", buffering=0) as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def require_weight_file(path: Path) -> None:
    """Raise `WeightFileError` unless a path names a regular file, which alone can be mapped."""
    if not path.exists():
        raise WeightFileError(f"There is no file {path}: check the path.")
    if (path / "saved_model.pb").is_file():
        raise WeightFileError(
            f"{path} is a SavedModel folder: load it in Keras and save the model's weights; "
            f"expected {ACCEPTED}."
        )
    if path.is_dir():
        raise WeightFileError(f"{path} is a folder: name the file itself, {ACCEPTED}.")
    if not path.is_file():
        raise WeightFileError(f"{path} is a pipe or a device: name a file, {ACCEPTED}.")


def identify(path: Path) -> str:
    """Say what a file is by its bytes: "HDF5", or words such as "a web page (HTML)"."""
    with path.open("rb") as file:
        head = file.read(512)
        if not head:
            return "an empty file"
        kind = identify_bytes(head)
        if kind == ZIP:  # may hold an HDF5 file, at any place
            return kind
        for power in range(9, 21):  # HDF5 allows a user block of 512, 1024, ... bytes in front
            file.seek(1 << power)
            if file.read(8) == HDF5_MAGIC:
                return "HDF5"
        file.seek(max(0, file.seek(0, 2) - 8))
        ending = file.read(8)
    if kind == UNKNOWN:
        if ending == CHECKPOINT_MAGIC or re.search(r"\.data-\d{5}-of-\d{5}$", path.name):
            return "a TensorFlow checkpoint"
        if path.name == "saved_model.pb":
            return "a SavedModel's graph"
    return kind


def identify_bytes(head: bytes) -> str:
    """Say what the first bytes of a file are; see `identify`."""
    for magic, words in SIGNATURES:
        if head.startswith(magic):
            return words
    start = head.removeprefix(b"\xef\xbb\xbf").lstrip().lower()
    if start.startswith(b"<svg") or (start.startswith(b"<?xml") and b"<svg" in start):
        return "an SVG drawing"
    if start.startswith((b"<!doctype", b"<html", b"<?xml", b"<head")):
        return "a web page (HTML)"
    if head[8:9] == b"{" and int.from_bytes(head[:8], "little") < 100_000_000:
        return "a safetensors file"
    if re.match(rb"[{\[]\s*[\[{\"}\]]", start):
        return "a JSON file"
    if head[257:262] == TAR_MAGIC:
        return "a tar archive"
    if ONNX_HEAD.match(head):
        return ONNX
    if start and all(byte in b"\t\n\r" or 32 <= byte < 127 for byte in head):
        return "plain text"
    return UNKNOWN


def signature(path: Path) -> list[int]:
    """Return what changes when a file is replaced, or something is written into it."""
    facts = path.stat()
    return [facts.st_dev, facts.st_ino, facts.st_size, facts.st_mtime_ns]


def require_space(folder: Path, needed: int, what: str) -> None:
    """Raise if the disk that holds `folder` has fewer than `needed` bytes free."""
    existing = next(p for p in (folder, *folder.parents) if p.exists())
    free = shutil.disk_usage(existing).free
    if free < needed:
        raise Vox2FaceError(
            f"{what} needs {size_text(needed)} in {folder}, where {size_text(free)} are free: "
            "free some space or choose another folder."
        )


def require_writable(folder: Path, option: str = "--out") -> None:
    """Raise `UsageError` unless files can be written into a folder, the value of an option.

    The folder itself is not made: a file without a name is opened in the first one above it that
    there is.
    """
    try:
        with contextlib.suppress(FileNotFoundError):  # other errors, as of too long names, count
            os.lstat(folder)
        above = next(path for path in (folder, *folder.absolute().parents) if os.path.lexists(path))
        with tempfile.TemporaryFile(dir=above):
            pass
    except OSError as error:
        raise UsageError(
            f"Nothing can be written into {option} {folder} ({error.strerror or error}): choose "
            "another folder."
        ) from error


def require_possible(path: Path) -> None:
    """Raise `UsageError` for a path with a name that is longer than its file system takes.

    Of folders that there are not, the names are tried in the first folder above that there is.
    """
    above = next(p for p in (path.absolute(), *path.absolute().parents) if os.path.lexists(p))
    for place in (path, *(above / part for part in path.parts)):
        try:
            os.lstat(place)
        except OSError as error:
            if error.errno == errno.ENAMETOOLONG:
                raise UsageError(
                    f"{path} has a longer name than the file system takes: choose a shorter one."
                ) from None


def text_of(path: Path) -> str:
    """Return a path as text for other libraries; raise `UsageError` if it is no Unicode."""
    text = os.fspath(path)
    try:
        text.encode()
    except UnicodeEncodeError:
        raise UsageError(
            f"{path} has a name that is no Unicode, which other libraries cannot open: "
            "choose another."
        ) from None
    return text


def size_text(count: int) -> str:
    """Format a byte count for people: 580086408 -> "580.1 MB", 1552 -> "1.6 kB"."""
    return f"{count / 1e6:,.1f} MB" if count >= 1e6 else f"{count / 1e3:.1f} kB"


@contextmanager
def full_disk_explained(path: Path) -> Iterator[None]:
    """Turn the operating system's refusal to write into one sentence."""
    try:
        yield
    except OSError as error:
        if error.errno in FULL_DISK:
            reason = "the disk is full or the quota is used up"
        elif error.errno in (errno.EACCES, errno.EPERM, errno.EROFS):
            reason = "writing there is not permitted"
        elif error.errno in (errno.ENOTDIR, errno.EEXIST, errno.EISDIR, errno.EIO):
            reason = str(error.strerror).lower()
        else:
            raise
        place = "VOX2FACE_HOME" if path.is_relative_to(home()) else "place"
        raise Vox2FaceError(
            f"Cannot write {path}: {reason}. Choose another {place} or make room; "
            "nothing half-written was kept."
        ) from error


@contextmanager
def locked(file: Path) -> Iterator[None]:
    """Let one thread of one process at a time go on; a lock goes with the process that held it."""
    from filelock import FileLock

    lock = FileLock(file)
    with full_disk_explained(file):
        file.parent.mkdir(parents=True, exist_ok=True)
        lock.acquire()
    try:
        yield
    finally:
        lock.release()


def bring_back(target: Path) -> None:
    """Bring back the folder that a run had moved aside to replace it, and was killed."""
    if target.is_symlink():
        target = Path(os.path.realpath(target))
    if os.path.lexists(target):
        return
    for retired in target.parent.glob(f".*.partial-*{RETIRED}"):
        if retired.name.startswith(partial_mark(target)):
            with contextlib.suppress(OSError):  # another process may have been faster
                os.replace(retired, target)


def sweep(target: Path) -> None:
    """Remove what killed runs left behind while they were writing `target`."""
    bring_back(target)
    for stale in left_behind(target):
        with contextlib.suppress(OSError):  # another process may sweep too
            doomed = stale.replace(partial_path(target))  # what is half gone never comes back
            if doomed.is_dir() and not doomed.is_symlink():
                shutil.rmtree(doomed)
            else:
                doomed.unlink()


def left_behind(target: Path) -> Iterator[Path]:
    """Yield what processes of this machine that are no more had at `partial_path(target)`."""
    mark = machine_mark(target)
    for stale in list(target.parent.glob(".*.partial-*")):
        if not stale.name.startswith(mark):
            continue
        owner = stale.name[len(mark) :].partition("-")[0]
        if stale in ACTIVE or not owner.isdigit():
            continue
        if int(owner) == os.getpid() or not _process_runs(int(owner)):
            yield stale


def _process_runs(pid: int) -> bool:
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
    return target.with_name(f"{machine_mark(target)}{os.getpid()}-{os.urandom(4).hex()}")


def partial_mark(target: Path) -> str:
    """Return how the names of all siblings begin that are written before they become `target`.

    A name may be as long as the file system lets names be, so the mark holds its beginning only,
    and a digest of the whole.
    """
    digest = hashlib.sha256(os.fsencode(target.name)).hexdigest()[:12]
    return f".{target.name[:20]}.partial-{digest}-"


def machine_mark(target: Path) -> str:
    """Return how those of this machine's processes begin."""
    machine = hashlib.sha256(platform.node().encode()).hexdigest()[:8]
    return f"{partial_mark(target)}{machine}-"


@contextmanager
def atomic_file(target: Path) -> Iterator[Path]:
    """Yield a temporary path that becomes `target` on success and vanishes on any failure."""
    with full_disk_explained(target):
        target.parent.mkdir(parents=True, exist_ok=True)
        if target.is_dir():
            raise UsageError(f"{target} is a folder: name the file to write.")
        sweep(target)
        partial = partial_path(target)
        ACTIVE.add(partial)
        try:
            yield partial
            os.replace(partial, target)
        finally:
            partial.unlink(missing_ok=True)
            ACTIVE.discard(partial)


@contextmanager
def atomic_directory(target: Path, replace: bool = False) -> Iterator[Path]:
    """Yield a temporary folder that becomes `target` on success and vanishes on any failure.

    An existing `target` is an error unless `replace`; it stays whole until the new one is ready.
    """
    target = target.resolve()  # behind a link, the folder itself is replaced
    sweep(target)
    require_absent(target, replace)
    with full_disk_explained(target):
        target.parent.mkdir(parents=True, exist_ok=True)
        partial = partial_path(target)
        retired = partial.with_name(f"{partial.name}{RETIRED}")
        ACTIVE.update((partial, retired))
        partial.mkdir()
        try:
            yield partial
            while not put(partial, target, retired, replace):
                pass
        finally:
            with contextlib.suppress(OSError):
                os.replace(retired, partial if target.exists() else target)
            shutil.rmtree(partial, ignore_errors=True)
            ACTIVE.difference_update((partial, retired))


def put(folder: Path, target: Path, retired: Path, replace: bool) -> bool:
    """Rename a folder to `target`, and what was there to `retired`; return whether it succeeded.

    It does not where another process brings the old folder back, or puts one of its own there.
    """
    require_absent(target, replace)
    with contextlib.suppress(FileNotFoundError):
        os.replace(target, retired)
    try:
        os.replace(folder, target)
    except OSError:
        if not target.exists():
            raise
        shutil.rmtree(retired, ignore_errors=True)  # there only where another one took its place
        return False
    return True


def require_absent(target: Path, replace: bool) -> None:
    """Raise if `target` exists and may not be replaced, or is not a folder."""
    if target.is_file():
        raise UsageError(f"{target} is a file; a bundle is a folder: choose another place.")
    if target.is_mount() or target.resolve() == Path.cwd():
        raise UsageError(
            f"{target} is a mount point or the current folder, which cannot be replaced as a "
            f"whole: name a folder inside it."
        )
    if target.exists() and (content := {path.name for path in target.iterdir()}):
        if not replace:
            raise UsageError(f"{target} exists already: add --force to replace it.")
        if "config.json" not in content or content - BUNDLE_FILES:
            raise UsageError(
                f"{target} is not a bundle or holds other files too, so it is not replaced: choose "
                "another place, or move them away."
            )
