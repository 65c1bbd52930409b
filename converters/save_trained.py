"""Save a PyTorch module of the zoo as a bundle: what training ends with."""

from __future__ import annotations

import json
import os
from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from vox2face.converters import bundle_onnx
from vox2face.converters.bundle_writer import finish, proven_arrays, tensor_metadata
from vox2face.converters.ops import Array
from vox2face.converters.readers.base import COUNTERS
from vox2face.converters.safetensors_writer import Move, write
from vox2face.converters.weight_map import Rule
from vox2face.core import extras
from vox2face.core.entry import Entry, Space
from vox2face.core.errors import UsageError
from vox2face.core.files import atomic_directory, sha256
from vox2face.core.safetensors_header import shapes
from vox2face.store import bundle as bundles
from vox2face.zoo.presets import require_preset
from vox2face.zoo.registry import build, options, sized
from vox2face.zoo.registry import entry as find_entry

if TYPE_CHECKING:
    from torch import nn


def save(
    name: str,
    module: nn.Module,
    out: str | os.PathLike[str],
    *,
    preset: str | None = None,
    space: Space | None = None,
    training: Mapping[str, Any] | None = None,
    onnx: bool = False,
    force: bool = False,
) -> Path:
    """Write a module as a bundle of the entry `name`, proven like a converted one.

    `name` is the entry the module was built from, such as "ve_conv.tiny"; its width may differ.
    `preset` is the preprocessing it was trained with, if not the entry's; for a decoder that of
    its embeddings. `space` is whose embeddings it was trained on, the `.space` of a loaded face
    encoder; networks of another one are then not run together with it. `training` are facts about
    the run that JSON can hold. Raises a `Vox2FaceError`, leaving nothing behind, if anything is
    wrong.
    """
    entry, target = find_entry(name), Path(out)
    if not entry.any_size:
        raise UsageError(f"{name} is converted from published weights, so it is not saved.")
    chosen, space = _trained_with(entry, preset, space)
    if onnx:
        extras.require("onnx", "ONNX export")
    tensors = {
        key: np.ascontiguousarray(value.detach().cpu().float().numpy())
        for key, value in module.state_dict().items()
        if key.rsplit(".", 1)[-1] not in COUNTERS
    }
    ending = getattr(module, "output_activation", entry.output_activation)
    entry = replace(entry, output_activation=ending)
    _require_fit(entry, {key: value.shape for key, value in tensors.items()})
    try:
        json.dumps(training)
    except (TypeError, ValueError) as error:
        raise UsageError(f"training holds what JSON cannot ({error}): give numbers.") from None
    with atomic_directory(target, force) as folder:
        fill(folder, entry, tensors, chosen, space, dict(training or {}), onnx)
    return target


def _trained_with(entry: Entry, preset: str | None, space: Space | None) -> tuple[str, Space]:
    """Return the preset and the space of a trained network, or raise `UsageError`.

    The preset of a decoder is that of the embeddings it takes.
    """
    decodes = entry.kind == "face-decoder"
    if space is None:
        own = entry.own_space
        space = replace(own, preset=preset or own.preset) if decodes else own
    if not isinstance(space, Space):
        raise UsageError(f"space is {space!r}: give the .space of a loaded face encoder.")
    if decodes and preset and space.preset not in ("", preset):
        raise UsageError(
            f"preset={preset!r} and a space with the preset {space.preset!r} are given, which is "
            "one and the same for a decoder: leave preset out."
        )
    chosen = preset or (decodes and space.preset) or entry.preprocess
    require_preset(entry, chosen)
    return chosen, replace(space, preset=chosen) if decodes else space


def _require_fit(entry: Entry, shapes: dict[str, tuple[int, ...]]) -> None:
    """Raise `UsageError` unless these are the tensors of the entry's network, in any width."""
    import torch

    try:
        with torch.device("meta"):
            network = build(entry, {**options(entry, shapes), **entry.variant})
        wanted = {k: tuple(v.shape) for k, v in network.state_dict().items() if k in shapes}
    except (KeyError, IndexError, ValueError, ZeroDivisionError, RuntimeError):
        wanted = {}
    if wanted != shapes:
        raise UsageError(
            f"The module is not the network of {entry.name}: build it with "
            "vox2face.zoo.registry.build."
        )


def fill(
    folder: Path,
    entry: Entry,
    tensors: Mapping[str, Array],
    preset: str,
    space: Space,
    training: dict[str, Any],
    onnx: bool,
) -> None:
    """Write all files of a bundle and prove it."""
    moves = [Move(Rule(k, k, "copy", v.shape), v) for k, v in tensors.items()]
    weights, graph_file = folder / bundles.WEIGHTS, folder / bundles.ONNX
    digest = write(moves, weights, tensor_metadata(entry, preset, space))
    entry = sized(entry, shapes(weights))
    source: dict[str, Any] = {
        "key": entry.source.key,
        "file": bundles.WEIGHTS,
        "format": bundles.TRAINED,
        "size": weights.stat().st_size,
        "sha256": digest,
        "published": None,
        "matched": "by name and shape",
        "addresses": [],
        **({"training": training} if training else {}),
    }
    config = bundles.describe(entry, preset, space, source, entry.outputs)
    config["parameters"] = sum(value.size for value in tensors.values())
    if "mean_landmarks" in tensors:
        config["warp"] = "mean landmarks"
    bundles.add_file(config, weights, digest)
    if onnx:
        form = bundle_onnx.Form(preset)
        graph = bundle_onnx.traced(entry, shapes(weights), form)
        bundle_onnx.write_onnx(graph, entry, weights, graph_file, config, form)
        bundles.add_file(config, graph_file, sha256(graph_file))
    report = proven_arrays(entry, preset, {}, weights, graph_file if onnx else None)
    finish(entry, folder, config, report)
