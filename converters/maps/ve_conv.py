"""VE_conv of Kacper-Pietkun/Speech-to-face, src/models/voice_encoder.py; the names are kept."""

from __future__ import annotations

from vox2face.converters.layer_rules import rules_of
from vox2face.converters.weight_map import WeightMap

# fmt: off
LAYERS = (
    ("layer1.0",  "linear", (64, 2, 4, 4)),
    ("layer1.2",  "norm",   (64,)),
    ("layer2.0",  "linear", (64, 64, 4, 4)),
    ("layer2.2",  "norm",   (64,)),
    ("layer3.0",  "linear", (128, 64, 4, 4)),
    ("layer3.2",  "norm",   (128,)),
    ("layer4.0",  "linear", (128, 128, 4, 4)),
    ("layer4.2",  "norm",   (128,)),
    ("layer5.0",  "linear", (128, 128, 4, 4)),
    ("layer5.2",  "norm",   (128,)),
    ("layer6.0",  "linear", (256, 128, 4, 4)),
    ("layer6.2",  "norm",   (256,)),
    ("layer7.0",  "linear", (512, 256, 4, 4)),
    ("layer7.2",  "norm",   (512,)),
    ("layer8.0",  "linear", (512, 512, 4, 4)),
    ("layer8.2",  "norm",   (512,)),
    ("layer9.0",  "linear", (512, 512, 4, 4)),
    ("layer9.3",  "norm",   (512,)),
    ("layer10.1", "linear", (4096, 29184)),
    ("layer11.0", "linear", (4096, 4096)),
)

# fmt: on

TABLE = WeightMap(
    like="VE_conv of the Speech-to-face repo",
    match="name",
    rules=rules_of(LAYERS),
)
