"""Open what torch.save wrote before PyTorch 1.6: five pickles and then all values."""

from __future__ import annotations

import io
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any, BinaryIO

from vox2face.converters.readers.base import COUNTERS, WeightFile, explained, weight_file
from vox2face.converters.readers.pickled import followed
from vox2face.converters.readers.tensors import Tensor
from vox2face.converters.readers.torch_archive import (
    MAX_PICKLE,
    numbers,
    placed,
    require_float32,
    state_dict,
)
from vox2face.errors import WeightFileError

FORMAT = "PyTorch state dict of PyTorch before 1.6"
WIDTHS = {
    "float32": 4,
    "float64": 8,
    "float16": 2,
    "bfloat16": 2,
    "int64": 8,
    "int32": 4,
    "uint8": 1,
    "bool": 1,
}


@contextmanager
def opened(path: Path) -> Iterator[WeightFile]:
    """Open a state dict, or a checkpoint that holds one under one key, such as "model_state".

    Raises `WeightFileError` if its pickles name anything but plain tensors.
    """
    with explained(path), path.open("rb") as file:
        head = io.BytesIO(file.read(MAX_PICKLE))
        _, _, system, content, order = (followed(head) for _ in range(5))
        if not isinstance(system, dict) or system.get("little_endian") is not True:
            raise WeightFileError("it was written on a big-endian machine")
        places = storages(file, head.tell(), order, content)
        arrays = []
        for name, tensor in state_dict(content).items():
            if name.rsplit(".", 1)[-1] not in COUNTERS:
                require_float32(name, tensor)
                arrays.append(placed(name, tensor, places[tensor.storage.key]))
        weights = weight_file(path, FORMAT, arrays, facts=numbers(content))
    yield weights


def storages(file: BinaryIO, start: int, order: Any, content: Any) -> dict[str, int]:
    """Return where the values of every storage begin; each has its count of 8 bytes in front."""
    declared = {tensor.storage.key: tensor.storage for tensor in tensors(content)}
    if not isinstance(order, list) or set(order) != declared.keys():
        raise WeightFileError("its list of storages is damaged")
    size, places = file.seek(0, 2), {}
    for key in order:
        storage = declared[key]
        file.seek(start)
        if int.from_bytes(file.read(8), "little") != storage.count:
            raise WeightFileError("its storages have other sizes than it declares")
        places[key] = start + 8
        start += 8 + storage.count * WIDTHS[storage.dtype]
    if start > size:
        raise WeightFileError(f"it is cut short ({size} bytes are there)")
    return places


def tensors(content: Any) -> Iterator[Tensor]:
    """Yield all tensors in dicts, lists and tuples."""
    if isinstance(content, Tensor):
        yield content
    elif isinstance(content, (dict, list, tuple)):
        for item in content.values() if isinstance(content, dict) else content:
            yield from tensors(item)
