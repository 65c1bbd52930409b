"""Checkpoints: one safetensors file each, complete or absent, without a pickle.

The tensors are those of the trained modules ("model/...") and of the optimizer ("optimizer/...");
the file's metadata holds everything else as JSON: step, best value, precision scaler, recipe.
All randomness of a step follows from the seed and the step's number (`vox2face.train.loop`), so
that nothing else is needed for a resumed run to end with the weights of one never stopped.
"""

from __future__ import annotations

import errno
import json
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import torch
from safetensors import SafetensorError, safe_open
from safetensors.torch import save_file
from torch import Tensor, nn

from vox2face.core.errors import UsageError, WeightFileError
from vox2face.core.files import atomic_file

VERSION = 1
LAST, BEST = "last.safetensors", "best.safetensors"
MODEL, OPTIMIZER, FACTS = "model/", "optimizer/", "vox2face_checkpoint"
NO_SPACE = "os error 28"  # in what the safetensors library says of a full disk


def write(path: Path, tensors: Mapping[str, Tensor], facts: Mapping[str, Any]) -> None:
    """Write a checkpoint as a whole or not at all. Raises `Vox2FaceError` on a full disk."""
    here = {name: tensor.detach().cpu().contiguous() for name, tensor in tensors.items()}
    text = json.dumps({"version": VERSION, **facts}, sort_keys=True)
    write_tensors(path, here, {FACTS: text})


def write_tensors(path: Path, tensors: Mapping[str, Tensor], metadata: dict[str, str]) -> None:
    """Write a safetensors file as a whole or not at all. Raises `Vox2FaceError` on a full disk."""
    with atomic_file(path) as partial:
        try:
            save_file(dict(tensors), partial, metadata)
        except SafetensorError as error:
            if NO_SPACE in str(error):
                raise OSError(errno.ENOSPC, str(error)) from error
            raise


def read(path: Path) -> tuple[dict[str, Tensor], dict[str, Any]]:
    """Return the tensors and the facts of a checkpoint; `WeightFileError` if it is none."""
    with opened(path) as (file, facts):
        return {name: file.get_tensor(name) for name in file.keys()}, facts


def facts_of(path: Path) -> dict[str, Any]:
    """Return the facts of a checkpoint without reading its tensors; errors as `read`."""
    with opened(path) as (_, facts):
        return facts


@contextmanager
def opened(path: Path) -> Iterator[tuple[Any, dict[str, Any]]]:
    """Yield the open file and the facts of a checkpoint."""
    if not path.is_file():
        raise WeightFileError(f"There is no checkpoint {path}: start without --resume.")
    try:
        with safe_open(path, framework="pt") as file:
            facts: dict[str, Any] = json.loads((file.metadata() or {})[FACTS])
            if facts.get("version") != VERSION:
                raise WeightFileError(
                    f"{path} has version {facts.get('version')}, this vox2face reads {VERSION}: "
                    "install the version that wrote it."
                )
            yield file, facts
    except (SafetensorError, KeyError, ValueError) as error:
        raise WeightFileError(
            f"{path} is no checkpoint or is damaged: start again without --resume, in another "
            "folder."
        ) from error


def model_tensors(modules: Mapping[str, nn.Module]) -> dict[str, Tensor]:
    """Return all tensors of the trained modules by their names in a checkpoint."""
    return {
        f"{MODEL}{name}/{key}": value
        for name, module in modules.items()
        for key, value in module.state_dict().items()
    }


def load_model(modules: Mapping[str, nn.Module], tensors: Mapping[str, Tensor], path: Path) -> None:
    """Put the tensors of a checkpoint into the modules; nothing changes if they do not fit.

    Raises `UsageError` naming a tensor of another architecture.
    """
    wanted = {name: tuple(tensor.shape) for name, tensor in model_tensors(modules).items()}
    given = {k: tuple(v.shape) for k, v in tensors.items() if k.startswith(MODEL)}
    if wanted != given:
        odd = next(k for k in sorted({*wanted, *given}) if wanted.get(k) != given.get(k))
        raise UsageError(
            f"{path} is a checkpoint of another architecture: {odd} has the shape "
            f"{given.get(odd, 'of nothing')} there and {wanted.get(odd, 'of nothing')} here. Give "
            "the recipe it was trained with."
        )
    for name, module in modules.items():
        start = f"{MODEL}{name}/"
        own = {k.removeprefix(start): v for k, v in tensors.items() if k.startswith(start)}
        module.load_state_dict(own)


def optimizer_tensors(optimizer: torch.optim.Optimizer) -> dict[str, Tensor]:
    """Return the state of an optimizer as tensors, by "optimizer/parameter/name"."""
    state: dict[int, dict[str, Any]] = optimizer.state_dict()["state"]
    return {
        f"{OPTIMIZER}{number}/{key}": torch.as_tensor(value)
        for number, values in state.items()
        for key, value in values.items()
        if value is not None
    }


def load_optimizer(optimizer: torch.optim.Optimizer, tensors: Mapping[str, Tensor]) -> None:
    """Put the state of a checkpoint into an optimizer over the same parameters."""
    parameters = [p for group in optimizer.param_groups for p in group["params"]]
    state: dict[int, dict[str, Any]] = {}
    for name, tensor in tensors.items():
        if name.startswith(OPTIMIZER):
            number, key = name.removeprefix(OPTIMIZER).split("/")
            state.setdefault(int(number), {})[key] = laid_out(tensor, parameters[int(number)])
    groups = optimizer.state_dict()["param_groups"]
    optimizer.load_state_dict({"state": state, "param_groups": groups})


def laid_out(tensor: Tensor, parameter: Tensor) -> Tensor:
    """Return a tensor in the order in memory of a parameter, if it has its shape.

    Fused optimizers take for granted that both have the same.
    """
    if tensor.shape != parameter.shape:
        return tensor
    return torch.empty_like(parameter, dtype=tensor.dtype, device=tensor.device).copy_(tensor)
