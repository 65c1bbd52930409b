"""Downloads: resumed after an interruption, retried, checked, and never half-finished."""

from __future__ import annotations

import hashlib
import os
import time
from dataclasses import dataclass
from pathlib import Path

import requests
from requests import exceptions
from urllib3.exceptions import HTTPError

from vox2face.core import files, progress
from vox2face.core.entry import Source
from vox2face.core.errors import FetchError
from vox2face.core.version import __version__

BLOCK = 1 << 16  # bytes; what a cut connection can lose
ATTEMPTS = 4  # in a row without a byte more
PAUSE = 1.0  # seconds before the second attempt; doubled each time
TIMEOUT = (10.0, 30.0)  # seconds to connect, and without a byte arriving
HOPELESS = (
    *(exceptions.InvalidURL, exceptions.InvalidSchema, exceptions.MissingSchema),
    *(exceptions.TooManyRedirects, HTTPError),  # the last, of urllib3, for an address that is none
)
RETRIED_STATUS = frozenset({408, 425, 429, 500, 502, 503, 504})


class Interrupted(Exception):
    """The transfer stopped part-way and may be resumed."""


class Unusable(Exception):
    """This address does not give the file; another may."""


@dataclass(frozen=True)
class Fetched:
    """A downloaded file and its sha256; `first` is False when it was there already."""

    path: Path
    sha256: str
    first: bool


def fetch(source: Source) -> Fetched:
    """Return the published file of `source` from the cache, or download it.

    Addresses are tried in order; `$VOX2FACE_MIRROR` names a folder address to try before them.
    A published sha256 must match; where none is published, the first download is pinned and
    later ones must equal it. Raises `FetchError`; a cut download stays and is resumed.
    """
    folder = files.home() / "downloads" / source.key
    target, pin = folder / source.filename, folder / f"{source.filename}.sha256"
    if target.is_file() and pin.is_file():
        return Fetched(target, pin.read_text().strip(), first=False)
    if not target.is_file():
        _require_online(source, folder)
    with files.locked(folder / "lock"):
        if target.is_file() and pin.is_file():  # another process was faster
            return Fetched(target, pin.read_text().strip(), first=False)
        expected = source.sha256 or (pin.read_text().strip() if pin.is_file() else None)
        digest = _unpinned(target, expected, source.kind)
        if digest is None:
            _require_online(source, folder)
            digest = download(source, target, expected)
        for left in {*folder.glob(f"{target.name}.*")} - {pin}:  # beginnings from other addresses
            left.unlink()
        with files.atomic_file(pin) as half:
            half.write_text(digest + "\n")
    return Fetched(target, digest, first=True)


def _require_online(source: Source, folder: Path) -> None:
    """Raise `FetchError` if `$VOX2FACE_OFFLINE` forbids to fetch what a folder lacks."""
    if files.offline():
        raise FetchError(
            f"{source.filename} is not in {folder} and VOX2FACE_OFFLINE forbids downloads: "
            f"unset it, or name a file of your own with {source.option} FILE."
        )


def _unpinned(target: Path, expected: str | None, wanted: str) -> str | None:
    """Return the sha256 of a whole download whose run was killed before it pinned it, or None."""
    try:
        return accept(target, expected, wanted) if target.is_file() else None
    except Unusable:
        return None


def discard(fetched: Fetched) -> None:
    """Forget a download, and its pinned hash, that turned out not to be what its name says."""
    pin = fetched.path.with_name(f"{fetched.path.name}.sha256")
    pin.unlink(missing_ok=True)  # first: no other download would do if it stayed alone
    fetched.path.unlink(missing_ok=True)


def download(source: Source, target: Path, expected: str | None) -> str:
    """Try the addresses in turn until one gives the file; return its sha256."""
    mirror = os.environ.get("VOX2FACE_MIRROR")
    urls = ((f"{mirror.rstrip('/')}/{source.filename}",) if mirror else ()) + source.urls
    failures = []
    for url in urls:
        partial = target.with_name(f"{target.name}.{hashlib.sha256(url.encode()).hexdigest()[:8]}")
        try:
            persist(url, partial)
            digest = accept(partial, expected, source.kind)
            os.replace(partial, target)
            return digest
        except Unusable as failure:
            failures.append(f"{url}: {failure}")
            partial.unlink(missing_ok=True)
            note_of(partial).unlink(missing_ok=True)
        except Interrupted as failure:  # what has arrived stays, to be resumed
            failures.append(f"{url}: {failure}")
    raise FetchError(
        f"{source.filename} could not be downloaded ({'; '.join(failures)}). "
        f"Try again later, or name a file of your own with {source.option} FILE."
    )


def persist(url: str, partial: Path) -> None:
    """Download one address to `partial`, resuming and retrying until it is whole."""
    failures, reason = 0, ""
    while failures < ATTEMPTS:
        if failures:
            time.sleep(PAUSE * 2 ** (failures - 1))
        before = _size_of(partial)
        try:
            with requests.Session() as session:
                _receive(session, url, partial)
            return
        except Interrupted as failure:
            reason = str(failure)
        except HOPELESS as failure:
            raise Unusable(str(failure)) from failure
        except exceptions.RequestException as failure:
            reason = f"{type(failure).__name__} ({_innermost(failure)})"
        failures = 1 if _size_of(partial) > before else failures + 1
    raise Interrupted(f"gave up after {ATTEMPTS} attempts: {reason}")


def _size_of(path: Path) -> int:
    """Return the bytes of a file, 0 if there is none."""
    return path.stat().st_size if path.is_file() else 0


def _innermost(error: BaseException) -> str:
    """Return what the deepest cause of a wrapped network error says, shortened."""
    while error.__cause__ or error.__context__:
        error = error.__cause__ or error.__context__ or error
    return str(error)[:120]


def _receive(session: requests.Session, url: str, partial: Path) -> None:
    """Ask for what is still missing of a file and append it."""
    note = note_of(partial)
    validator = note.read_text(errors="replace") if note.is_file() else ""
    have = _size_of(partial) if validator else 0
    headers = {"Accept-Encoding": "identity", "User-Agent": f"vox2face/{__version__}"}
    if have:
        headers |= {"Range": f"bytes={have}-", "If-Range": validator}
    with session.get(url, headers=headers, stream=True, timeout=TIMEOUT) as answer:
        if answer.status_code == 416 and answer.headers.get("Content-Range") == f"bytes */{have}":
            return  # it was whole already
        if answer.status_code == 416:  # the partial file is no beginning of what is there now
            partial.unlink(missing_ok=True)
            raise Interrupted("the file changed on the server")
        if answer.status_code in RETRIED_STATUS:
            raise Interrupted(f"the server answered {answer.status_code}")
        if answer.status_code not in (200, 206):
            raise Unusable(f"the server answered {answer.status_code} {answer.reason}")
        if answer.status_code == 200:
            have = 0
        length = answer.headers.get("Content-Length", "")
        total = have + (int(length) if length.isdecimal() else 0)
        files.require_space(partial.parent, total - have, "The download")
        validator = answer.headers.get("ETag", "W/")
        if validator.startswith("W/"):  # a weak tag cannot vouch for a resumed download
            validator = answer.headers.get("Last-Modified", "")
        note.write_text(validator)
        append(answer, partial, have, total)


def append(answer: requests.Response, partial: Path, have: int, total: int) -> None:
    """Write the body behind the first `have` bytes; a short body counts as interrupted."""
    with files.full_disk_explained(partial), partial.open("r+b" if have else "wb") as file:
        file.seek(have)
        for block in answer.iter_content(BLOCK):
            kind = "" if have else files.identify_bytes(block[:512])
            if kind.startswith(("a web", "a Git")):
                raise Unusable(f"what arrived is {kind}")
            file.write(block)
            have += len(block)
            progress.advance("download", have, total)
    progress.close()
    if have < total:
        raise Interrupted(f"the connection ended after {have} of {total} bytes")


def accept(partial: Path, expected: str | None, wanted: str) -> str:
    """Return the sha256 of a whole download; raise `Unusable` if it is not the file meant."""
    kind, digest = files.identify(partial), files.sha256(partial)
    if expected in (None, digest) and kind == wanted:
        return digest
    if kind != wanted:
        raise Unusable(f"what arrived is {kind}")
    raise Unusable(f"what arrived has sha256 {digest}, expected {expected}; it was discarded")


def note_of(partial: Path) -> Path:
    """Return where the server's validator for a partial download is kept."""
    return partial.with_name(f"{partial.name}.validator")
