"""FaceDecoder of Kacper-Pietkun/Speech-to-face, src/models/face_decoder.py; the names are kept."""

from __future__ import annotations

from vox2face.converters.layer_rules import rules_of
from vox2face.converters.weight_map import WeightMap

# fmt: off
LAYERS = (
    ("pre_layers.0.0",      "linear",     (3072, 4096)),
    ("pre_layers.0.1",      "norm",       (3072,)),
    ("pre_layers.1.0",      "linear",     (2048, 3072)),
    ("pre_layers.1.1",      "norm",       (2048,)),
    ("landmark_layers.0.0", "linear",     (1024, 2048)),
    ("landmark_layers.0.1", "norm",       (1024,)),
    ("landmark_layers.1.0", "linear",     (512, 1024)),
    ("landmark_layers.1.1", "norm",       (512,)),
    ("landmark_layers.2.0", "linear",     (256, 512)),
    ("landmark_layers.2.1", "norm",       (256,)),
    ("landmark_layers.3.0", "linear",     (144, 256)),
    ("texture_layers.0.0",  "linear",     (50176, 2048)),
    ("texture_layers.1.1",  "transposed", (256, 128, 5, 5)),
    ("texture_layers.2.0",  "transposed", (128, 64, 5, 5)),
    ("texture_layers.3.0",  "transposed", (64, 32, 5, 5)),
    ("texture_layers.4.0",  "transposed", (32, 32, 5, 5)),
    ("texture_layers.5.0",  "linear",     (3, 32, 1, 1)),
)

# fmt: on

TABLE = WeightMap(
    like="FaceDecoder of the Speech-to-face repo",
    match="name",
    rules=rules_of(LAYERS),
)
