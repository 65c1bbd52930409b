"""A small network on Resemblyzer's speaker encoder; both are stored under their torch names."""

from __future__ import annotations

from vox2face.converters.layer_rules import rules_of
from vox2face.converters.weight_map import WeightMap

# fmt: off
LAYERS = (
    ("base.lstm",   "lstm0",  (1024, 40)),
    ("base.lstm",   "lstm1",  (1024, 256)),
    ("base.lstm",   "lstm2",  (1024, 256)),
    ("base.linear", "linear", (256, 256)),
    ("fc1",         "linear", (512, 256)),
    ("fc2",         "linear", (4096, 512)),
)

# fmt: on

TABLE = WeightMap(
    like="a head on Resemblyzer's speaker encoder",
    match="name",
    rules=rules_of(LAYERS),
)
