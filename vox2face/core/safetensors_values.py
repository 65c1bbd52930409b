"""The tensors of a safetensors file, read into memory of this process and not mapped.

A mapped tensor changes when its file is overwritten, and kills the process when it is cut short.
"""

from __future__ import annotations

from collections.abc import Collection, Mapping
from io import BufferedReader
from pathlib import Path

import numpy as np
import torch
from torch import Tensor

from vox2face.core.safetensors_header import FLOAT32, Stored, damaged, stored


def read_tensors(path: Path, names: Collection[str] | None = None) -> dict[str, Tensor]:
    """Return the float32 tensors of a safetensors file, or those of some names that it has.

    Raises `BundleError` for a damaged file, and for values that are not finite or not float32.
    """
    try:
        with path.open("rb") as file:
            held = stored(file)
            return values(file, {n: held[n] for n in held if names is None or n in names})
    except (ValueError, OSError) as error:
        raise damaged(path, error) from error


def values(file: BufferedReader, held: Mapping[str, Stored]) -> dict[str, Tensor]:
    """Return tensors of an open file; raise `ValueError` for one that is not valid."""
    return {name: value(file, name, held[name]) for name in held}


def value(file: BufferedReader, name: str, place: Stored) -> Tensor:
    """Return one tensor of an open file, in memory of its own."""
    if place.dtype != FLOAT32:
        raise ValueError(f"{name!r:.80} is {place.dtype}, expected {FLOAT32}")
    tensor = torch.empty(place.shape)
    content = tensor.numpy().reshape(-1).view(np.uint8)
    file.seek(place.start)
    if file.readinto(content.data) != content.nbytes:
        raise ValueError(f"it ends within {name!r:.80}")
    if tensor.numel() and not torch.isfinite(torch.stack(torch.aminmax(tensor))).all():
        raise ValueError(f"{name!r:.80} holds NaN or infinity")
    return tensor
