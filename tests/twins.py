"""Narrow twins: entries many times narrower than the real ones, which convert in no time."""

from __future__ import annotations

import dataclasses
import sys
import types
from collections.abc import Callable, Sequence
from typing import Any

from vox2face.converters.mapping import Rule, WeightMap
from vox2face.spec import Entry, resolve
from vox2face.zoo import registry
from vox2face.zoo.dlib_resnet import BLOCKS

# Divisor, the smallest axis that is divided, what the module is built with
VGG16 = (16, 64, {"channels": (4, 8, 16, 32, 32), "hidden": 256, "classes": 163})
RESNET = (4, 16, {"stem": 16, "channels": (16, 32, 64, 128), "classes": 2157})
DLIB = (4, 16, {"blocks": tuple((name, n // 4, half) for name, n, half in BLOCKS), "width": 32})
NARROW = {
    "vggface.serengil": VGG16,
    "vggface.rcmalli": VGG16,
    "vggface_resnet50.rcmalli": RESNET,
    "vggface_senet50.rcmalli": RESNET,
    "dlib_resnet128.dlib": DLIB,
}


def narrowed(name: str, shape: Sequence[int]) -> tuple[int, ...]:
    """Divide the wide axes of a shape."""
    divisor, least, _ = NARROW[name]
    return tuple(n // divisor if n >= least else n for n in shape)


def narrow_rules(name: str, rules: Sequence[Rule]) -> tuple[Rule, ...]:
    return tuple(dataclasses.replace(rule, shape=narrowed(name, rule.shape)) for rule in rules)


def narrow(name: str, find: Callable[[str], Entry] = registry.entry) -> Entry:
    """Return the narrow twin of an entry; its code lies in the module `narrow_twin`."""
    full = find(name)
    table: WeightMap = resolve(full.table)

    def build(**more: Any) -> Any:
        return resolve(full.build)(**{**NARROW[full.name][2], **more})

    module = types.ModuleType("narrow_twin")
    module.TABLE = dataclasses.replace(  # type: ignore[attr-defined]
        table, rules=narrow_rules(full.name, table.rules)
    )
    module.build = build  # type: ignore[attr-defined]
    sys.modules["narrow_twin"] = module
    outputs = tuple(
        dataclasses.replace(spec, shape=(spec.shape[0], *narrowed(full.name, [int(spec.shape[1])])))
        for spec in full.outputs
    )
    return dataclasses.replace(
        full, table="narrow_twin:TABLE", build="narrow_twin:build", outputs=outputs
    )
