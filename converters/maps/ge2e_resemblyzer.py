"""The speaker encoder of resemble-ai/Resemblyzer, resemblyzer/pretrained.pt."""

from __future__ import annotations

from vox2face.converters.layer_rules import rules_of
from vox2face.converters.weight_map import WeightMap

# fmt: off
LAYERS = (
    ("lstm",   "lstm0",  (1024, 40)),
    ("lstm",   "lstm1",  (1024, 256)),
    ("lstm",   "lstm2",  (1024, 256)),
    ("linear", "linear", (256, 256)),
)

# fmt: on

TABLE = WeightMap(
    like="the speaker encoder of Resemblyzer",
    match="name",
    rules=rules_of(LAYERS),
    # scale and offset of the similarity in training
    ignore=frozenset({"similarity_weight", "similarity_bias"}),
)
