"""The weights of tests/data/golden, drawn again from the names of the owner's tensors."""

from __future__ import annotations

import json
import zlib
from math import prod
from typing import Any

import numpy as np
from numpy.typing import NDArray

from helpers.paths import DATA

FOLDER = DATA / "golden"
NUMBERS: dict[str, NDArray[np.float32]] = dict(np.load(FOLDER / "speech_to_face.npz"))
NAMES: dict[str, dict[str, list[int]]] = json.loads((FOLDER / "speech_to_face.json").read_text())
DEPTHS = (2, 2, 3, 3, 3)  # convolutions of the five stages of VGG-Face


def drawn(name: str, shape: list[int]) -> NDArray[np.float64]:
    """Return the values of a tensor, which its name decides."""
    rng = np.random.default_rng([20261130, zlib.crc32(name.encode())])
    kind = name.rsplit(".", 1)[-1]
    if kind == "running_mean":
        return rng.normal(0, 0.1, shape)
    if kind == "running_var" or (kind == "weight" and len(shape) == 1):
        return rng.uniform(0.5, 1.5, shape)
    if kind == "weight":
        return rng.normal(0, (2 / prod(shape[1:])) ** 0.5, shape)
    return rng.normal(0, 0.05, shape)


def state_dict(network: str) -> dict[str, Any]:
    """Return the state dict of one of the owner's networks, under its own names."""
    import torch

    state: dict[str, Any] = {}
    for name, shape in NAMES[network].items():
        if name.endswith("num_batches_tracked"):
            state[name] = torch.tensor(1)
            continue
        values = drawn(name, shape)
        if network == "ast" and len(shape) > 1:
            values *= 0.3
        state[name] = torch.from_numpy(values.astype(np.float32))
    return state


def vggface_names() -> dict[str, str]:
    """Return the owner's names of VGG-Face's layers, layer1.1 to layer16.1, and the zoo's."""
    layers = list(dict.fromkeys(name.rsplit(".", 1)[0] for name in NAMES["vggface_serengil"]))
    convs = [
        f"conv{stage}_{n}" for stage, depth in enumerate(DEPTHS, 1) for n in range(1, depth + 1)
    ]
    return dict(zip(layers, [*convs, "fc6", "fc7", "fc8"], strict=True))
