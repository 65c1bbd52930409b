"""Decoders of normalised faces of our own, of any width, stored under their torch names."""

from __future__ import annotations

from vox2face.converters.layer_rules import rules_of
from vox2face.converters.weight_map import Rule, WeightMap

# fmt: off
LAYERS = (
    ("trunk.0.0",        "linear", (256, 4096)),
    ("trunk.0.1",        "linear", (256,)),
    ("trunk.1.0",        "linear", (256, 256)),
    ("trunk.1.1",        "linear", (256,)),
    ("start",            "linear", (4704, 256)),
    ("layers.0.first",   "linear", (64, 96, 3, 3)),
    ("layers.0.second",  "linear", (64, 64, 3, 3)),
    ("layers.0.norms.0", "linear", (64,)),
    ("layers.0.norms.1", "linear", (64,)),
    ("layers.1.first",   "linear", (48, 64, 3, 3)),
    ("layers.1.second",  "linear", (48, 48, 3, 3)),
    ("layers.1.norms.0", "linear", (48,)),
    ("layers.1.norms.1", "linear", (48,)),
    ("layers.2.first",   "linear", (32, 48, 3, 3)),
    ("layers.2.second",  "linear", (32, 32, 3, 3)),
    ("layers.2.norms.0", "linear", (32,)),
    ("layers.2.norms.1", "linear", (32,)),
    ("layers.3.first",   "linear", (16, 32, 3, 3)),
    ("layers.3.second",  "linear", (16, 16, 3, 3)),
    ("layers.3.norms.0", "linear", (16,)),
    ("layers.3.norms.1", "linear", (16,)),
    ("last",             "linear", (3, 16, 3, 3)),
    ("landmarks",        "linear", (136, 256)),
)

# Tensors that stand alone
ALONE = (
    ("layers.0/place",           "layers.0.place",          (64, 14, 14)),
    ("layers.1/place",           "layers.1.place",          (48, 28, 28)),
    ("layers.2/place",           "layers.2.place",          (32, 56, 56)),
    ("layers.3/place",           "layers.3.place",          (16, 112, 112)),
    ("coarse/weight",            "coarse.weight",           (2352, 4096)),
    ("linear_landmarks/weight",  "linear_landmarks.weight", (136, 4096)),
    ("mean_picture/weights",     "mean_picture",            (3, 224, 224)),
    ("embedding_mean/weights",   "embedding_mean",          (4096,)),
    ("embedding_std/weights",    "embedding_std",           (4096,)),
)
# fmt: on

TABLE = WeightMap(
    like="a decoder of normalised faces",
    match="name",
    rules=(*rules_of(LAYERS), *(Rule(array, name, "copy", shape) for array, name, shape in ALONE)),
)
