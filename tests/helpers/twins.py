"""Narrow twins: entries many times narrower than the real ones, which convert in no time."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable, Mapping, Sequence
from typing import Any

from vox2face.converters.maps import weight_map
from vox2face.converters.weight_map import Rule, WeightMap
from vox2face.core.entry import Entry
from vox2face.zoo import catalog, registry
from vox2face.zoo.networks.dlib_resnet import BLOCKS

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


SMALL: dict[str, dict[str, Any]] = {
    "ve_conv": {"channels": (8, 8, 16, 16, 16, 16, 24, 24, 24), "hidden": 64, "width": 48},
    "ast": {"hidden": 64, "layers": 2, "inner": 96, "width": 48},
    "ge2e": {"hidden": 32, "width": 24},
    "mlp_head": {"base": {"hidden": 32, "width": 24}, "inputs": 24, "hidden": 16, "width": 48},
    "face_decoder": {
        "width": 48,
        "trunk": (48, 32),
        "landmarks": (32, 24, 16),
        "texture": (16, 12, 8, 8, 8),
    },
    "upsampling_decoder": {"width": 48, "hidden": 32, "channels": (16, 8, 8, 8, 8)},
}


def small_of(entry: Entry) -> dict[str, Any]:
    """Return what a narrow network of an entry is built with."""
    own = entry.architecture if entry.architecture in SMALL else entry.name.partition(".")[0]
    return SMALL[str(own)]


def random_module(name: str, seed: int = 0, **more: Any) -> Any:
    """Return the narrow torch module of an entry whose size is free, with random statistics."""
    import torch

    generator = torch.Generator().manual_seed(seed)
    torch.manual_seed(seed)
    entry = registry.entry(name)
    module: Any = registry.build(entry, {**small_of(entry), **more})
    for key, value in module.state_dict().items():
        if key.endswith("running_var"):
            value.copy_(torch.rand(value.shape, generator=generator) + 0.5)
        elif key == "mean_landmarks":
            value.copy_(torch.rand(value.shape, generator=generator) * 160 + 32)
        elif value.ndim == 1:
            value.add_(torch.randn(value.shape, generator=generator) * 0.1)
    return module.eval()


def shapes_of(module: Any) -> dict[str, tuple[int, ...]]:
    """Return the shapes of a module's tensors that are weights."""
    return {k: tuple(v.shape) for k, v in module.state_dict().items() if "num_batches" not in k}


def build_on_meta(name: str) -> Any:
    """Return the network of an entry without memory for its values, to look at its shapes."""
    import torch

    with torch.device("meta"):
        return registry.build(registry.entry(name))


def adapted(table: WeightMap, shapes: Mapping[str, tuple[int, ...]]) -> WeightMap:
    """Return the map for a narrower or shallower network, given its tensors' shapes.

    For networks of PyTorch, whose tensors are stored as they are.
    """
    rules = [
        dataclasses.replace(r, shape=shapes[r.target]) for r in table.rules if r.target in shapes
    ]
    assert shapes.keys() == {rule.target for rule in rules}
    return dataclasses.replace(table, rules=tuple(rules))


def checkpoint(name: str, seed: int = 0, **more: Any) -> dict[str, Any]:
    """Return the state dict of a narrow network under the names of its owner's file."""
    module = random_module(name, seed, **more)
    state = module.state_dict()
    rules = adapted(weight_map(registry.entry(name)), shapes_of(module)).rules
    names = {rule.target: rule.source.removesuffix("/weights").replace("/", ".") for rule in rules}
    return {names.get(key, key): value for key, value in state.items()}


def free_size(full: Entry) -> Entry:
    """Return the narrow twin of an entry whose networks come in any size."""
    shapes = shapes_of(random_module(full.name))
    return dataclasses.replace(
        registry.sized(full, shapes),
        weight_map=adapted(weight_map(full), shapes),
        config={**full.config, **small_of(full)},
    )


def narrowed(name: str, shape: Sequence[int]) -> tuple[int, ...]:
    """Divide the wide axes of a shape."""
    divisor, least, _ = NARROW[name]
    return tuple(n // divisor if n >= least else n for n in shape)


def narrow_rules(name: str, rules: Sequence[Rule]) -> tuple[Rule, ...]:
    return tuple(dataclasses.replace(rule, shape=narrowed(name, rule.shape)) for rule in rules)


def published(name: str) -> Entry:
    """Return the entry of a name, whatever stands in for it in the registry."""
    return next(e for e in catalog.ENTRIES if name in (e.name, *e.aliases))


def narrow(name: str, find: Callable[[str], Entry] = published) -> Entry:
    """Return the narrow twin of an entry."""
    full = find(name)
    if full.any_size:
        return free_size(full)
    table = weight_map(full)
    outputs = tuple(
        dataclasses.replace(spec, shape=(spec.shape[0], *narrowed(full.name, [int(spec.shape[1])])))
        for spec in full.outputs
    )
    return dataclasses.replace(
        full,
        weight_map=dataclasses.replace(table, rules=narrow_rules(full.name, table.rules)),
        config={**full.config, **NARROW[full.name][2]},
        outputs=outputs,
    )
