"""Read and write corpora: paths of this machine, and addresses of object stores (s3://, gs://).

A `PathOrUri` is a string or a Path. Addresses are read through fsspec; the package of the store
(s3fs, gcsfs, ...) has to be installed too.
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

PathOrUri = str | os.PathLike[str]


def is_remote(path: PathOrUri) -> bool:
    """Whether this is an address such as s3://bucket/folder, and not a path."""
    return "://" in os.fspath(path)


def join(path: PathOrUri, *parts: str) -> str:
    """Join a folder's path or address with names, as os.path.join does."""
    if not is_remote(path):
        return os.path.join(path, *parts)
    return "/".join([os.fspath(path).rstrip("/"), *parts])


def name_of(path: PathOrUri) -> str:
    """Return the last part of a path or an address."""
    return os.fspath(path).rstrip("/").rsplit("/", 1)[-1]


def filesystem(path: PathOrUri) -> tuple[AbstractFileSystem, str]:
    """Return the fsspec file system of an address, and the path in it.

    Raises `UsageError` for an unknown protocol, or one whose package is missing.
    """
    import fsspec

    try:
        store, path_in_store = fsspec.core.url_to_fs(os.fspath(path))
    except (ImportError, ValueError) as error:
        raise UsageError(f"{path} cannot be reached: {error}.") from error
    return store, cast(str, path_in_store)


@contextmanager
def explained(path: PathOrUri) -> Iterator[None]:
    """Turn the errors of a disk or an object store into a `CorpusError` of one sentence."""
    try:
        yield
    except FileNotFoundError as error:
        raise CorpusError(f"There is no {path}: check the path.") from error
    except PermissionError as error:
        raise CorpusError(f"{path} may not be read: give yourself permission.") from error
    except OSError as error:
        raise CorpusError(f"{path} cannot be read: {error.strerror or error}.") from error


def exists(path: PathOrUri) -> bool:
    """Whether a file or a folder exists."""
    if not is_remote(path):
        return os.path.exists(path)
    store, path_in_store = filesystem(path)
    with explained(path):
        return bool(store.exists(path_in_store))


def open_binary(path: PathOrUri) -> BinaryIO:
    """Open a file for reading. Raises `CorpusError` if it is missing or may not be read."""
    with explained(path):
        if not is_remote(path):
            return Path(path).open("rb")
        store, path_in_store = filesystem(path)
        return cast(BinaryIO, store.open(path_in_store, "rb"))


def read_bytes(path: PathOrUri) -> bytes:
    """Read a file's bytes. Raises `CorpusError` if it cannot be read."""
    with open_binary(path) as file, explained(path):
        return file.read()


@contextmanager
def atomic(path: PathOrUri) -> Iterator[Path]:
    """Yield a temporary local path that becomes `path` on success, and is removed on failure.

    A file of an object store appears there as a whole, after it has been sent.
    """
    if not is_remote(path):
        with atomic_file(Path(path)) as partial:
            yield partial
        return
    import tempfile

    store, path_in_store = filesystem(path)
    with tempfile.TemporaryDirectory() as folder:
        partial = Path(folder) / name_of(path)
        yield partial
        try:
            store.makedirs(store._parent(path_in_store), exist_ok=True)
            store.put_file(os.fspath(partial), path_in_store)
        except OSError as error:
            raise CorpusError(f"{path} cannot be written: {error.strerror or error}.") from error


def write_bytes(path: PathOrUri, data: bytes) -> None:
    """Write a file as a whole or not at all."""
    with atomic(path) as partial:
        partial.write_bytes(data)


def names(path: PathOrUri) -> list[str]:
    """List the names in a folder, sorted. Raises `CorpusError` if it cannot be listed."""
    with explained(path):
        if not is_remote(path):
            return sorted(os.listdir(path))
        store, path_in_store = filesystem(path)
        paths: list[Any] = store.ls(path_in_store, detail=False)
        return sorted(name_of(name) for name in paths)
