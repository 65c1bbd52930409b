"""What resnet50 and senet50 of rcmalli/keras-vggface share: stem, stages and classifier.

Names decide, never positions: increase/bn and proj/bn have equal shapes. The order is that in which
Keras lists the layers of the owner's graph, by depth, and in which it loads a file without names.
Source: keras_vggface/models.py, RESNET50() and SENET50().
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from vox2face.converters.layer_rules import rules_of
from vox2face.converters.weight_map import WeightMap

Layer = tuple[str, str, tuple[int, ...]]

# fmt: off
STEM = (
    ("conv1/7x7_s2",    "conv",       (7, 7, 3, 64)),
    ("conv1/7x7_s2/bn", "batch_norm", (64,)),
)

# Stage, its blocks, channels before it, inside its blocks and behind it
STAGES = (
    ("conv2", 3,   64,  64,  256),
    ("conv3", 4,  256, 128,  512),
    ("conv4", 6,  512, 256, 1024),
    ("conv5", 3, 1024, 512, 2048),
)

# fmt: on
CLASSIFIER = ("classifier", "dense", (2048, 8631))


def table(
    like: str, block: Callable[[str, int, int, int], tuple[Layer, ...]], **passes: Any
) -> WeightMap:
    """Return the map of a network of blocks, given as `block(name, before, inside, behind)`.

    Only the first block of a stage has a projection. `passes` are `reference` and `original`.
    """
    layers = [
        layer
        for stage, count, before, inside, behind in STAGES
        for n in range(1, count + 1)
        for layer in block(f"{stage}_{n}", before if n == 1 else behind, inside, behind)
        if n == 1 or "_proj" not in layer[0]
    ]
    return WeightMap(
        like=like,
        match="name",
        rules=rules_of((*STEM, *layers, CLASSIFIER)),
        optional=frozenset({"classifier"}),
        **passes,
    )
