"""Places of corpora: folders of this machine, and object stores by address (s3://, gs://, ...).

A place is a string or a Path. Addresses are read through fsspec; the package that speaks to the
store (s3fs, gcsfs, ...) has to be installed beside it.
"""

from __future__ import annotations

import os
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any, BinaryIO, cast

from vox2face.core.errors import CorpusError, UsageError
from vox2face.core.files import atomic_file

if TYPE_CHECKING:
    from fsspec import AbstractFileSystem

Place = str | os.PathLike[str]


def is_remote(place: Place) -> bool:
    """Whether a place is an address such as s3://bucket/folder, and not a path."""
    return "://" in os.fspath(place)


def join(place: Place, *parts: str) -> str:
    """Return the place of something inside a folder."""
    if not is_remote(place):
        return os.path.join(place, *parts)
    return "/".join([os.fspath(place).rstrip("/"), *parts])


def name_of(place: Place) -> str:
    """Return the last part of a place."""
    return os.fspath(place).rstrip("/").rsplit("/", 1)[-1]


def filesystem(place: Place) -> tuple[AbstractFileSystem, str]:
    """Return the store behind an address, and the path in it.

    Raises `UsageError` for an unknown protocol, or one whose package is missing.
    """
    import fsspec

    try:
        store, path = fsspec.core.url_to_fs(os.fspath(place))
    except (ImportError, ValueError) as error:
        raise UsageError(f"{place} cannot be reached: {error}.") from error
    return store, cast(str, path)


@contextmanager
def explained(place: Place) -> Iterator[None]:
    """Turn what a disk or an object store raises into one sentence."""
    try:
        yield
    except FileNotFoundError as error:
        raise CorpusError(f"There is no {place}: check the path.") from error
    except PermissionError as error:
        raise CorpusError(f"{place} may not be read: give yourself permission.") from error
    except OSError as error:
        raise CorpusError(f"{place} cannot be read: {error.strerror or error}.") from error


def exists(place: Place) -> bool:
    """Whether there is a file or a folder."""
    if not is_remote(place):
        return os.path.exists(place)
    store, path = filesystem(place)
    with explained(place):
        return bool(store.exists(path))


def open_binary(place: Place) -> BinaryIO:
    """Open a file for reading. Raises `CorpusError` if it is not there or may not be read."""
    with explained(place):
        if not is_remote(place):
            return Path(place).open("rb")
        store, path = filesystem(place)
        return cast(BinaryIO, store.open(path, "rb"))


def read_bytes(place: Place) -> bytes:
    """Return a file's bytes. Raises `CorpusError` if it cannot be read."""
    with open_binary(place) as file, explained(place):
        return file.read()


@contextmanager
def atomic(place: Place) -> Iterator[Path]:
    """Yield a path of this machine that becomes `place` on success, and vanishes on any failure.

    A file of an object store appears there as a whole when it has been sent.
    """
    if not is_remote(place):
        with atomic_file(Path(place)) as partial:
            yield partial
        return
    import tempfile

    store, path = filesystem(place)
    with tempfile.TemporaryDirectory() as folder:
        partial = Path(folder) / name_of(place)
        yield partial
        try:
            store.makedirs(store._parent(path), exist_ok=True)
            store.put_file(os.fspath(partial), path)
        except OSError as error:
            raise CorpusError(f"{place} cannot be written: {error.strerror or error}.") from error


def write_bytes(place: Place, data: bytes) -> None:
    """Write a file as a whole or not at all."""
    with atomic(place) as partial:
        partial.write_bytes(data)


def names(place: Place) -> list[str]:
    """Return the names in a folder, sorted. Raises `CorpusError` if it cannot be listed."""
    with explained(place):
        if not is_remote(place):
            return sorted(os.listdir(place))
        store, path = filesystem(place)
        found: list[Any] = store.ls(path, detail=False)
        return sorted(name_of(name) for name in found)
