"""What a PyTorch pickle of plain tensors is made of."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, NoReturn

from vox2face.errors import WeightFileError

ORDERED_DICT = "collections OrderedDict"
TENSOR = "torch._utils _rebuild_tensor_v2"
PARAMETER = "torch._utils _rebuild_parameter"
# Storage class -> (type of its values, bytes of one value)
STORAGES = {
    "torch FloatStorage": ("float32", 4),
    "torch DoubleStorage": ("float64", 8),
    "torch HalfStorage": ("float16", 2),
    "torch BFloat16Storage": ("bfloat16", 2),
    "torch LongStorage": ("int64", 8),
    "torch IntStorage": ("int32", 4),
    "torch ByteStorage": ("uint8", 1),
    "torch BoolStorage": ("bool", 1),
}
ALLOWED = {ORDERED_DICT, TENSOR, PARAMETER, *STORAGES}


@dataclass(frozen=True)
class Named:
    """A class or function that a pickle refers to."""

    name: str


@dataclass(frozen=True)
class Storage:
    """Values in an archive: member `key` holds `count` of type `dtype`."""

    dtype: str
    key: str
    count: int


@dataclass(frozen=True)
class Tensor:
    """A view of a storage: the declaration of a tensor."""

    storage: Storage
    offset: int
    shape: tuple[int, ...]
    strides: tuple[int, ...]

    @property
    def contiguous(self) -> bool:
        """Whether the values lie one after another in C order."""
        step = 1
        for size, stride in zip(reversed(self.shape), reversed(self.strides), strict=True):
            if size != 1 and stride != step:
                return False
            step *= size
        return True


def tensor(storage: Any, offset: Any, shape: Any, strides: Any) -> Tensor:
    """Return the declaration of a tensor, or raise if it is none."""
    if isinstance(storage, Storage) and isinstance(shape, tuple) and isinstance(strides, tuple):
        numbers = (offset, *shape, *strides)
        if len(shape) == len(strides) and all(type(n) is int and 0 <= n < 1 << 62 for n in numbers):
            return Tensor(storage, offset, shape, strides)
    return refuse("a tensor")


def refuse(what: str) -> NoReturn:
    """Raise for a part of a pickle that is not as PyTorch writes it."""
    raise WeightFileError(f"its pickle has {what} of an unknown form")
