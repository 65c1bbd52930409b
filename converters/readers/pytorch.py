"""Open what torch.save wrote: a state dict, or a training checkpoint that holds one.

torch.load does the reading, with `weights_only`, in the child process that this runs in: a hostile
pickle can crash or hang it. What it returns is not trusted either.
"""

from __future__ import annotations

import argparse
import importlib
import math
import pathlib
import pickle
import re
import warnings
import zipfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import numpy as np
import torch

from vox2face.converters.readers import base
from vox2face.converters.readers.base import COUNTERS, Blocks, Opened, checked_shape
from vox2face.converters.readers.zip_archive import require_sound
from vox2face.converters.weight_map import StoredArray, split_name
from vox2face.core.errors import WeightFileError

FORMAT = "PyTorch state dict"
OLD_FORMAT = "PyTorch state dict of PyTorch before 1.6"
MULTIARRAY: Any = importlib.import_module("numpy._core.multiarray")
FACTS = 100_000  # numbers beside the weights, of which so many are too many
DEPTH = 50  # of lists in lists

# Where checkpoints keep their weights, the best place first
PLACES = ("state_dict", "model_state_dict", "model_state", "model", "net", "network")

# What may lie beside weights, under the names of all versions; nothing of it runs foreign code
BESIDE: list[Any] = [
    (np.ndarray, "numpy.ndarray"),
    (np.dtype, "numpy.dtype"),
    *(
        (function, f"numpy.{core}.multiarray.{function.__name__}")
        for function in (MULTIARRAY.scalar, MULTIARRAY._reconstruct)
        for core in ("core", "_core")
    ),
    *(getattr(np.dtypes, name) for name in np.dtypes.__all__),
    argparse.Namespace,
    *(
        (pathlib.PurePath, f"{module}.{name}")
        for module in ("pathlib", "pathlib._local")
        for name in ("Path", "PosixPath", "PurePosixPath", "WindowsPath", "PureWindowsPath")
    ),
]
Tensors = dict[str, torch.Tensor]


@contextmanager
def opened(path: Path, state: str = "") -> Iterator[Opened]:
    """Open a state dict, or the one of a checkpoint that is best known or called `state`.

    Raises `WeightFileError` if its pickle names what weights do not need.
    """
    content = loaded(path)
    key, tensors = chosen(content, state)
    names = [name for name in tensors if name.rsplit(".", 1)[-1] not in COUNTERS]
    kinds = {name: kind_of(name, tensors[name]) for name in names}
    arrays = [
        StoredArray(*split_name(name, "."), name, checked_shape(tuple(tensors[name].shape), name))
        for name in names
    ]

    def blocks(number: int) -> Blocks:
        tensor = tensors[names[number]].detach().resolve_conj().resolve_neg()
        yield tensor.to(torch.float32).contiguous().numpy()

    told = (*_told_of(content, key, state), *base.words(kinds.values()))
    yield Opened(
        format=FORMAT if zipfile.is_zipfile(path) else OLD_FORMAT,
        arrays=arrays,
        blocks=blocks,
        facts=numbers(content),
        told=told,
    )


def loaded(path: Path) -> Any:
    """Return what torch.load makes of a file."""
    warnings.simplefilter("ignore")
    if zipfile.is_zipfile(path):
        require_sound(path)  # torch.load compares no checksums
    try:
        with torch.serialization.safe_globals(BESIDE):
            return torch.load(path, map_location="cpu", weights_only=True)
    except pickle.UnpicklingError as error:
        raise WeightFileError(reason(str(error))) from error
    except RecursionError as error:
        raise WeightFileError("its pickle is nested too deeply") from error
    except RuntimeError as error:
        words = str(error).partition("\n")[0].partition(". ")[0].strip()
        if "TorchScript" in words:
            words = "it is a TorchScript archive: torch.jit.load it and save its state_dict()"
        if "allocate memory" in words:
            raise MemoryError(words) from error
        raise WeightFileError(words) from error


def reason(words: str) -> str:
    """Return why torch.load refuses a pickle, with what to do."""
    named = re.search(r"GLOBAL (\S+)", words)
    what = f"it wants to run {named[1]}" if named else "its pickle does what PyTorch does not read"
    return (
        f"{what}, which is not needed for plain tensors: if you trust it, load it in PyTorch and "
        "save its state_dict() with torch.save"
    )


def chosen(content: Any, state: str) -> tuple[str, Tensors]:
    """Return (key, state dict) of a checkpoint; the key is "" where the file is one itself."""
    found = states(content)
    if state:
        if state not in found:
            others = ", ".join(map(repr, filter(None, found))) or "none that has a name"
            raise WeightFileError(f"it holds no dict of tensors {state!r} (--state), but {others}")
        return state, found[state]
    if not found:
        raise WeightFileError(
            "it holds no dict of tensors, expected one, as torch.save(model.state_dict(), ...) "
            "writes it"
        )
    known = [key for key in ("", *PLACES) if key in found]
    if not known and len(found) > 1:
        raise WeightFileError(
            f"it holds {len(found)} dicts of tensors ({', '.join(map(repr, found))}): choose one "
            "with --state"
        )
    key = next(iter(known or found))
    return key, found[key]


def states(content: Any) -> dict[str, Tensors]:
    """Return the dicts of tensors that a checkpoint is (""), or that are items of it, by key."""
    if _is_state_dict(content):
        return {"": content}
    items = content.items() if isinstance(content, dict) else ()
    return {key: item for key, item in items if isinstance(key, str) and _is_state_dict(item)}


def _is_state_dict(item: Any) -> bool:
    """Whether something is a dict of tensors only."""
    return (
        isinstance(item, dict)
        and bool(item)
        and all(isinstance(k, str) and isinstance(v, torch.Tensor) for k, v in item.items())
    )


def _told_of(content: Any, key: str, state: str) -> Iterator[str]:
    """Yield the sentence that says which of several state dicts was taken."""
    others = [name for name in states(content) if name != key]
    if others and not state:
        yield f"Its {key!r} is taken, not {', '.join(map(repr, others))} (--state)."


def kind_of(name: str, tensor: torch.Tensor) -> str:
    """Return the type of a tensor's values; raise for what is not a plain tensor of numbers."""
    plain = type(tensor) in (torch.Tensor, torch.nn.Parameter)
    if not plain or tensor.layout != torch.strided or tensor.device.type != "cpu":
        raise WeightFileError(f"{name} is not a plain tensor: save it as one")
    return base.checked_kind(name, str(tensor.dtype).removeprefix("torch."))


def numbers(content: Any) -> dict[str, Any]:
    """Return the numbers of a training checkpoint, such as its epoch and its history of losses."""
    found = {}
    for key, value in content.items() if isinstance(content, dict) else ():
        try:
            if isinstance(key, str) and not isinstance(value, torch.Tensor):
                found[key] = plain(value, [FACTS], 0)
        except OverflowError:
            continue
    return {key: value for key, value in found.items() if value not in (None, [], {})}


def plain(value: Any, left: list[int], depth: int) -> Any:
    """Return numbers as JSON has them: one that is not finite becomes None.

    Raises `OverflowError` for anything else, and where there are more than are `left`.
    """
    left[0] -= 1
    if left[0] < 0 or depth > DEPTH:
        raise OverflowError
    if isinstance(value, np.generic):
        value = value.item()
    if isinstance(value, (list, tuple)):
        return [plain(item, left, depth + 1) for item in value]
    if isinstance(value, dict) and all(isinstance(key, str) for key in value):
        return {key: plain(item, left, depth + 1) for key, item in value.items()}
    if not isinstance(value, (int, float)) or abs(value) >= 1 << 1000:
        raise OverflowError
    return value if math.isfinite(value) else None
