"""Networks built for training, and whether their weights fit."""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping
from typing import Any

import torch
from torch import Tensor, nn

from vox2face.core.entry import Entry
from vox2face.core.errors import UsageError
from vox2face.zoo import registry

# What networks raise for sizes that do not go together
UNFIT = (TypeError, ValueError, RuntimeError, ArithmeticError, LookupError)


def constructed(entry: Entry, options: Mapping[str, Any]) -> Any:
    """Return the network of an entry. Raises `UsageError` for options that it does not have."""
    try:
        return registry.build(entry, options)
    except UNFIT as error:
        reason = str(error).splitlines()[0]
        strange = re.search(r"unexpected keyword argument '(\w+)'", reason)
        if strange:
            reason = f"there is no {strange[1]}"
        raise UsageError(f"network.options do not fit {entry.name}: {reason}.") from error


def check_shapes(network: nn.Module, entry: str, run: Callable[[], Any]) -> None:
    """Let a network take in one item, so that sizes that do not go together are found at once.

    Raises `UsageError` if it cannot.
    """
    network.eval()
    try:
        with torch.no_grad():
            run()
    except UNFIT as error:
        reason = str(error).splitlines()[0]
        raise UsageError(
            f"The recipe's network.options and data do not go together for {entry}: {reason}."
        ) from error
    network.train()


def tensors_of(name: str) -> dict[str, Tensor]:
    """Return the tensors of a bundle or of a registry entry; "" has none."""
    if not name:
        return {}
    from vox2face.core.safetensors_values import read_tensors
    from vox2face.runtime.resolve import locate

    return read_tensors(locate(name).weights)
