"""What Keras 3 weight files leave out: the names of weights and, in old ones, of layers."""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping, Sequence
from typing import Any

# Class of layer -> its weights in the order in which Keras numbers them: trainable ones first
# (keras/src/layers, each layer's build()). A bias may be missing; anything else goes by number.
SCALED = ("gamma", "beta")
CONVOLUTIONS = ("conv1d", "conv1d_transpose", "conv2d", "conv2d_transpose", "conv3d")
DEPTHWISE = ("depthwise_conv1d", "depthwise_conv2d")
AFFINE = (*CONVOLUTIONS, "conv3d_transpose", *DEPTHWISE, "dense", "einsum_dense")
SEPARABLE = ("separable_conv1d", "separable_conv2d")
WEIGHTS: dict[str, tuple[str, ...]] = {
    **dict.fromkeys(AFFINE, ("kernel", "bias")),
    **dict.fromkeys(SEPARABLE, ("depthwise_kernel", "pointwise_kernel", "bias")),
    **dict.fromkeys(("group_normalization", "layer_normalization"), SCALED),
    "batch_normalization": (*SCALED, "moving_mean", "moving_variance"),
    "embedding": ("embeddings",),
    "p_re_lu": ("alpha",),
}


def natural(text: str) -> tuple[str, int]:
    """Return a sorting key by which conv2d_10 comes after conv2d_2: ("conv2d", 10)."""
    if text.isdecimal() and text.isascii():
        return "", int(text)
    match = re.fullmatch(r"(.+)_([0-9]{1,9})", text)
    return (match[1], int(match[2])) if match else (text, -1)


def weight_names(group: str, keys: Sequence[str]) -> list[str]:
    """Return names for the numbered arrays of the group of a layer, such as "conv2d_1"."""
    known = WEIGHTS.get(natural(group)[0], ())
    whole = len(keys) == len(known) or [*known[len(keys) :]] == ["bias"]
    if whole and list(keys) == [str(i) for i in range(len(keys))]:
        return list(known[: len(keys)])
    return list(keys)


def layer_names(config: Mapping[str, Any], groups: Iterable[str]) -> dict[str, str] | None:
    """Return group -> layer name from a model's configuration, or None if they do not fit.

    The groups of a class, in the order of their numbers, are the layers of that class in the
    model's order. The result is in the model's order, too.
    """
    found: dict[str, list[str]] = {}
    for group in sorted(groups, key=natural):
        found.setdefault(natural(group)[0], []).append(group)
    listed: dict[str, list[str]] = {}
    order: list[str] = []
    for kind, name in _configured(config):
        listed.setdefault(kind, []).append(name)
        order.append(name)
    if len(set(order)) < len(order):
        return None
    names: dict[str, str] = {}
    for kind, members in found.items():
        if len(listed.get(kind, ())) != len(members):
            return None
        names |= dict(zip(listed[kind], members, strict=True))
    return {names[name]: name for name in order if name in names}


def _configured(config: Mapping[str, Any]) -> list[tuple[str, str]]:
    """Return (class in the spelling of groups, name) of every layer that a configuration lists."""
    inner = config.get("config")
    layers = inner.get("layers") if isinstance(inner, dict) else None
    found = []
    for layer in layers if isinstance(layers, list) else ():
        kind = layer.get("class_name") if isinstance(layer, dict) else None
        facts = layer.get("config") if isinstance(layer, dict) else None
        name = facts.get("name") if isinstance(facts, dict) else None
        if isinstance(kind, str) and isinstance(name, str):
            found.append((_snake_case(kind), name))
    return found


def _snake_case(name: str) -> str:
    """Spell a class as Keras does in paths: Conv2D -> conv2d (keras/src/utils/naming.py)."""
    name = re.sub(r"\W+", "", name)
    name = re.sub("(.)([A-Z][a-z]+)", r"\1_\2", name)
    return re.sub("([a-z])([A-Z])", r"\1_\2", name).lower()
