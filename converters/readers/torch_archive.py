"""Open a PyTorch state dict (`.pth`, `.pt`) without PyTorch and without running its pickle."""

from __future__ import annotations

import math
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
FACTS = 100_000  # numbers beside the weights, of which so many are too many
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
        content = followed(pickle)
        arrays = [
            located(file, members, folder, name, tensor)
            for name, tensor in state_dict(content).items()
            if name.rsplit(".", 1)[-1] not in COUNTERS
        ]
        weights = weight_file(path, FORMAT, arrays, facts=numbers(content))
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


def numbers(content: Any) -> dict[str, Any]:
    """Return the numbers of a training checkpoint, such as its epoch and its history of losses."""
    items = content.items() if isinstance(content, dict) else ()
    found = {k: plain(v) for k, v in items if isinstance(k, str) and count(v) in range(1, FACTS)}
    return {key: value for key, value in found.items() if value is not None}


def count(value: Any) -> int:
    """Return how many numbers a value is made of, or `FACTS` if of anything else too."""
    if isinstance(value, (list, tuple)):
        return min(FACTS, sum(count(item) for item in value))
    if isinstance(value, dict) and all(isinstance(key, str) for key in value):
        return count(list(value.values()))
    return 1 if isinstance(value, (int, float)) else FACTS


def plain(value: Any) -> Any:
    """Return numbers as JSON has them: one that is not finite becomes None."""
    if isinstance(value, (list, tuple)):
        return [plain(item) for item in value]
    if isinstance(value, dict):
        return {key: plain(item) for key, item in value.items()}
    return value if math.isfinite(value) else None


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
    require_float32(name, tensor)
    member = members.get(f"{folder}data/{storage.key}")
    if member is None or member.method != STORED:
        raise WeightFileError(f"the values of {name} are missing or packed")
    if member.size != 4 * storage.count:
        raise WeightFileError(f"{name} declares more values than the file holds")
    return placed(name, tensor, start_of(file, member))


def require_float32(name: str, tensor: Tensor) -> None:
    """Raise unless a tensor is float32 in C order."""
    if tensor.storage.dtype != "float32":
        raise WeightFileError(
            f"{name} holds {tensor.storage.dtype} values: expected is float32; load it in PyTorch, "
            "call .float() on every tensor and save it again"
        )
    if not tensor.contiguous:
        raise WeightFileError(f"{name} is not contiguous: save it with .contiguous()")


def placed(name: str, tensor: Tensor, start: int) -> StoredArray:
    """Return a tensor whose storage begins at a place in the file."""
    shape = checked_shape(tensor.shape, name)
    if tensor.offset + prod(shape) > tensor.storage.count:
        raise WeightFileError(f"{name} declares more values than the file holds")
    layer, weight = split_name(name, ".")
    return StoredArray(layer, weight, name, shape, start + 4 * tensor.offset)
