"""Open a PyTorch state dict (`.pth`, `.pt`) without PyTorch and without running its pickle."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from math import prod
from pathlib import Path
from typing import Any, BinaryIO

from vox2face.converters.mapping import StoredArray
from vox2face.converters.readers.base import (
    COUNTERS,
    WeightFile,
    checked_shape,
    explained,
    split_name,
    weight_file,
)
from vox2face.converters.readers.pickled import followed
from vox2face.converters.readers.tensors import Tensor
from vox2face.converters.readers.zips import STORED, Member, content_of, start_of
from vox2face.errors import WeightFileError

FORMAT = "PyTorch state dict"
MAX_PICKLE = 8 << 20
LISTING = "data.pkl"


@contextmanager
def opened(path: Path, file: BinaryIO, members: Mapping[str, Member]) -> Iterator[WeightFile]:
    """Open a state dict, or a checkpoint that holds one under one key, such as "state_dict".

    Raises `WeightFileError` if its pickle names anything but plain tensors.
    """
    with explained(path):
        folder = folder_of(members)
        order = members.get(f"{folder}byteorder")
        if order is not None and content_of(file, order, 16) != b"little":
            raise WeightFileError("it was written on a big-endian machine")
        pickle = content_of(file, members[f"{folder}{LISTING}"], MAX_PICKLE)
        arrays = [
            located(file, members, folder, name, tensor)
            for name, tensor in state_dict(followed(pickle)).items()
            if name.rsplit(".", 1)[-1] not in COUNTERS
        ]
        weights = weight_file(path, FORMAT, arrays)
    yield weights


def folder_of(members: Mapping[str, Member]) -> str:
    """Return what the names of all members start with: "archive/", or nothing."""
    found = [name for name in members if name.rpartition("/")[2] == LISTING]
    if len(found) != 1 or found[0].count("/") > 1:
        raise WeightFileError("it has several members data.pkl, or one deeper than PyTorch puts it")
    return found[0].removesuffix(LISTING)


def state_dict(content: Any) -> dict[str, Tensor]:
    """Return the dict of tensors that a checkpoint is, or that is one of its items."""
    candidates = [content, *(content.values() if isinstance(content, dict) else ())]
    found = [item for item in candidates if is_state_dict(item)]
    if len(found) != 1:
        count = f"{len(found)} dicts" if found else "no dict"
        raise WeightFileError(
            f"it holds {count} of tensors, expected is one, as torch.save(model.state_dict(), ...) "
            "writes it"
        )
    return found[0]  # type: ignore[no-any-return]


def is_state_dict(item: Any) -> bool:
    """Whether something is a dict of tensors only."""
    return (
        isinstance(item, dict)
        and bool(item)
        and all(isinstance(k, str) and isinstance(v, Tensor) for k, v in item.items())
    )


def located(
    file: BinaryIO, members: Mapping[str, Member], folder: str, name: str, tensor: Tensor
) -> StoredArray:
    """Return a tensor with its place in the file; raise unless it lies there as float32."""
    storage = tensor.storage
    if storage.dtype != "float32":
        raise WeightFileError(f"{name} holds {storage.dtype} values: expected is float32")
    shape = checked_shape(tensor.shape, name)
    if not tensor.contiguous:
        raise WeightFileError(f"{name} is not contiguous: save it with .contiguous()")
    member = members.get(f"{folder}data/{storage.key}")
    if member is None or member.method != STORED:
        raise WeightFileError(f"the values of {name} are missing or packed")
    if member.size != 4 * storage.count or tensor.offset + prod(shape) > storage.count:
        raise WeightFileError(f"{name} declares more values than the file holds")
    layer, weight = split_name(name, ".")
    offset = start_of(file, member) + 4 * tensor.offset
    return StoredArray(layer, weight, name, shape, offset)
