"""Open the weights in a `.keras` archive; the model in it is never built."""

from __future__ import annotations

import shutil
import tempfile
import zipfile
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path
from typing import Any, BinaryIO

from vox2face.converters.readers.base import BLOCK, Opened, require_held
from vox2face.converters.readers.keras import reader
from vox2face.converters.readers.safe_json import MAX_BYTES, parsed
from vox2face.core.errors import WeightFileError
from vox2face.core.files import ACCEPTED, full_disk_explained, require_space

FORMAT = "Keras archive"
WEIGHTS, CONFIG = "model.weights.h5", "config.json"
MAX_MEMBERS = 30_000
ENCRYPTED = 0x2041  # flags: encrypted, strongly, or with a masked header


@contextmanager
def opened(path: Path) -> Iterator[Opened]:
    """Open a `.keras` archive: its weights are unpacked into a temporary file and read there.

    Raises `WeightFileError` if an archive is damaged, ambiguous or holds no weights of Keras.
    """
    with zipfile.ZipFile(path) as archive, tempfile.TemporaryFile() as weights:
        members = listed(archive)
        if WEIGHTS not in members:
            raise WeightFileError(f"{path} {missing(members)}")
        config = configuration(archive, members)
        _extract(archive, members[WEIGHTS], weights)
        with reader.opened(path, weights, weights.tell(), config) as found:
            yield replace(found, format=FORMAT)


def listed(archive: zipfile.ZipFile) -> dict[str, zipfile.ZipInfo]:
    """Return the members of an archive by name.

    Raises `WeightFileError` for one that is there twice or is encrypted.
    """
    infos = archive.infolist()
    if len(infos) > MAX_MEMBERS:
        raise WeightFileError(f"it has {len(infos)} members")
    members = {info.filename: info for info in infos}
    if len(members) < len(infos):
        raise WeightFileError("one of its members is there twice")
    for info in infos:
        if info.flag_bits & ENCRYPTED:
            raise WeightFileError(f"its member {info.filename[:200]!r} is encrypted")
    return members


def require_sound(path: Path) -> None:
    """Raise unless all members of an archive are what they declare, their checksums compared."""
    with zipfile.ZipFile(path) as archive:
        members = listed(archive).values()
        require_held(sum(info.file_size for info in members), path.stat().st_size)
        for info in members:
            with archive.open(info) as file:
                while file.read(BLOCK):
                    pass


def missing(members: dict[str, zipfile.ZipInfo]) -> str:
    """Return what an archive is that holds no weights of Keras in HDF5."""
    if "model.weights.npz" in members:
        return (
            "is a Keras archive with weights in NumPy's format (model.weights.npz): load it in "
            "Keras and save it with weights_format='h5'."
        )
    if CONFIG in members:
        return (
            f"is a zip archive like a Keras one, but its member {WEIGHTS} is missing: get the file "
            "again."
        )
    inside = next((n for n in members if n.endswith((".h5", ".pth", ".pt", ".safetensors"))), "")
    if inside:
        return f"is a zip archive with {inside[:200]!r} in it: unpack it, and name that file."
    return f"is a zip archive without weights: expected {ACCEPTED}."


def configuration(
    archive: zipfile.ZipFile, members: dict[str, zipfile.ZipInfo]
) -> dict[str, Any] | None:
    """Return the model's configuration as plain data, or None if there is none of modest size."""
    if CONFIG not in members or members[CONFIG].file_size > MAX_BYTES:
        return None
    with archive.open(members[CONFIG]) as file:
        config = parsed(file.read(MAX_BYTES + 1), CONFIG)
    return config if isinstance(config, dict) else None


def _extract(archive: zipfile.ZipFile, member: zipfile.ZipInfo, target: BinaryIO) -> None:
    """Unpack a member into an open temporary file, its checksum compared."""
    require_held(member.file_size, member.compress_size)
    folder = Path(tempfile.gettempdir())
    require_space(folder, member.file_size, "Unpacking the weights")
    with archive.open(member) as file, full_disk_explained(folder):
        shutil.copyfileobj(file, target, BLOCK)
        target.flush()
