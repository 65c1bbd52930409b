"""The tables by which weight files become tensors, one module each, as `TABLE`."""

from __future__ import annotations

from importlib import import_module

from vox2face.converters.weight_map import WeightMap
from vox2face.core.entry import Entry


def weight_map(entry: Entry) -> WeightMap:
    """Return the table of an entry's weight file."""
    if isinstance(entry.weight_map, WeightMap):
        return entry.weight_map
    table: WeightMap = import_module(f"{__name__}.{entry.weight_map}").TABLE
    return table
