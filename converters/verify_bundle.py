"""Prove an existing bundle again: files unaltered, every layer as the original computes it."""

from __future__ import annotations

from functools import partial
from pathlib import Path

import numpy as np

from vox2face.converters.bundle_writer import paired, require_reference
from vox2face.converters.maps import weight_map
from vox2face.converters.ops import Array
from vox2face.converters.readers.open import open_weights
from vox2face.converters.safetensors_writer import Move, compare
from vox2face.converters.verify import prove
from vox2face.core import progress
from vox2face.core.errors import BundleError
from vox2face.core.parity import Report
from vox2face.core.safetensors_header import described
from vox2face.store.bundle import Bundle


def check(bundle: Bundle, original: Path | None = None) -> Report:
    """Prove a bundle again and return the report.

    The arrays of the original layout come back through the inverse of the weight map, so the
    original file is not needed; where it is given, all weights are compared with it bit for bit.
    Raises `BundleError` if a file was altered.
    """
    bundle.require_unaltered()
    if bundle.outdated_onnx and bundle.has_onnx:
        raise BundleError(
            f"{bundle.onnx} was written by vox2face 0.1.0, in which this network lacked its "
            "sigmoid: convert again with --force."
        )
    model = bundle.entry
    if original is not None:
        compare_with(bundle, original)
    require_reference(model, str(bundle.config["source"].get("format", "PyTorch")))
    table = weight_map(model)
    arrays = table.invert(stored(bundle.weights)) if table.reference else {}
    onnx = bundle.onnx if bundle.has_onnx else None
    steps = partial(progress.advance, "prove")
    return prove(model, bundle.preset, arrays, bundle.weights, onnx, progress=steps)


def stored(weights: Path) -> dict[str, Array]:
    """Return the tensors of a safetensors file as memory maps."""
    return {
        name: np.memmap(weights, "<f4", "r", tensor.start, tensor.shape)
        for name, tensor in described(weights).items()
    }


def compare_with(bundle: Bundle, original: Path) -> None:
    """Raise unless the bundle holds exactly the values of an original file."""
    with open_weights(original) as file:
        rules, arrays = zip(*paired(bundle.entry, file), strict=True)
        moves = list(map(Move, rules, file.values(arrays)))
        compare(moves, bundle.weights)
