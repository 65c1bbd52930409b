"""Compare two sources of one network, such as a bundle and somebody's file, layer by layer."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from vox2face.converters.bundle_writer import paired
from vox2face.converters.ops import Array
from vox2face.converters.readers.open import open_weights
from vox2face.converters.safetensors_writer import Move
from vox2face.converters.test_inputs import probes
from vox2face.converters.verify import in_batches
from vox2face.converters.verify_bundle import stored
from vox2face.core.errors import UsageError
from vox2face.core.parity import Parity, compare
from vox2face.store.bundle import Bundle, read
from vox2face.zoo.registry import empty


@dataclass(frozen=True)
class Comparison:
    """What two sources differ by.

    `weights` compares each tensor of the bundle with the other source's, `differing` are the names
    of those that are not equal bit for bit, `missing` those that only one of the two has.
    `activations` compares the layers' outputs on a photograph or a recording; there are none where
    all values are equal.
    """

    weights: Sequence[Parity]
    differing: Sequence[str]
    missing: Sequence[str]
    activations: Sequence[Parity]

    @property
    def equal(self) -> bool:
        """Whether all values that both have are the same, bit for bit."""
        return not self.differing

    @property
    def first(self) -> Parity | None:
        """The first layer that differs by more than the model's tolerance; or None."""
        return next((row for row in self.activations if not row.ok), None)


def compare_sources(bundle: Bundle, other: Path) -> Comparison:
    """Compare a bundle with a weight file or another bundle of the same network.

    Raises `MappingError` for weights of another network. A classifier that only one of them has is
    left out.
    """
    if other.is_dir():
        found = read(other)
        if found.entry_name != bundle.entry_name:
            raise UsageError(
                f"{other} is a bundle of {found.entry_name}, and {bundle.path} one of "
                f"{bundle.entry_name}: name two sources of one network."
            )
        return _compared(bundle, stored(found.weights))
    with open_weights(other) as file:
        rules, arrays = zip(*paired(bundle.entry, file), strict=True)
        moves = map(Move, rules, file.values(arrays))
        return _compared(bundle, {move.rule.target: move.view for move in moves})


def _compared(bundle: Bundle, theirs: Mapping[str, Array]) -> Comparison:
    entry, ours = bundle.entry, stored(bundle.weights)
    shared = [name for name in ours if name in theirs]
    rows, differing = [], []
    for name in shared:
        one, other = np.ascontiguousarray(ours[name]), np.ascontiguousarray(theirs[name])
        rows.append(compare("weights", name, other, one, entry.atol, entry.rtol))
        if one.shape != other.shape or not np.array_equal(one.view("u4"), other.view("u4")):
            differing.append(name)
    activations: list[Parity] = []
    if differing:
        x = probes(entry, bundle.preset)[1][:1]
        held = {name: ours[name].shape for name in shared}
        sides = [_layers(bundle, {n: side[n] for n in shared}, held, x) for side in (ours, theirs)]
        for tap, value in sides[0].items():
            row = compare("layers", tap, sides[1][tap], value, entry.atol, entry.rtol)
            activations.append(row)
    missing = sorted(ours.keys() ^ theirs.keys())
    return Comparison(rows, differing, missing, activations)


def _layers(
    bundle: Bundle, tensors: Mapping[str, Array], held: Mapping[str, Any], x: Array
) -> dict[str, Array]:
    """Return what each layer of the bundle's network computes with these tensors, by name."""
    import torch

    network: Any = empty(bundle.entry, held)
    values = {name: torch.from_numpy(np.array(value)) for name, value in tensors.items()}
    network.load_state_dict(values, strict=True, assign=True)
    network.eval()
    if not hasattr(network, "taps"):
        return in_batches(network, x, bundle.entry.plain_outputs)
    with torch.inference_mode():
        return {tap: value.numpy().copy() for tap, value in network.taps(torch.from_numpy(x))}
