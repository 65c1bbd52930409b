"""face-api's copy of dlib's face recognition network, face_recognition_model-weights_manifest.json.

Every convolution is followed by a scale and a shift of each channel. Source: the manifest in the
npm package @vladmandic/face-api 1.7.15.
"""

from __future__ import annotations

from vox2face.converters.layers import rules_of
from vox2face.converters.mapping import WeightMap

# fmt: off
LAYERS = (
    ("conv32_down",              "scaled_conv", (7, 7, 3, 32)),
    ("conv32_1/conv1",           "scaled_conv", (3, 3, 32, 32)),
    ("conv32_1/conv2",           "scaled_conv", (3, 3, 32, 32)),
    ("conv32_2/conv1",           "scaled_conv", (3, 3, 32, 32)),
    ("conv32_2/conv2",           "scaled_conv", (3, 3, 32, 32)),
    ("conv32_3/conv1",           "scaled_conv", (3, 3, 32, 32)),
    ("conv32_3/conv2",           "scaled_conv", (3, 3, 32, 32)),
    ("conv64_down/conv1",        "scaled_conv", (3, 3, 32, 64)),
    ("conv64_down/conv2",        "scaled_conv", (3, 3, 64, 64)),
    ("conv64_1/conv1",           "scaled_conv", (3, 3, 64, 64)),
    ("conv64_1/conv2",           "scaled_conv", (3, 3, 64, 64)),
    ("conv64_2/conv1",           "scaled_conv", (3, 3, 64, 64)),
    ("conv64_2/conv2",           "scaled_conv", (3, 3, 64, 64)),
    ("conv64_3/conv1",           "scaled_conv", (3, 3, 64, 64)),
    ("conv64_3/conv2",           "scaled_conv", (3, 3, 64, 64)),
    ("conv128_down/conv1",       "scaled_conv", (3, 3, 64, 128)),
    ("conv128_down/conv2",       "scaled_conv", (3, 3, 128, 128)),
    ("conv128_1/conv1",          "scaled_conv", (3, 3, 128, 128)),
    ("conv128_1/conv2",          "scaled_conv", (3, 3, 128, 128)),
    ("conv128_2/conv1",          "scaled_conv", (3, 3, 128, 128)),
    ("conv128_2/conv2",          "scaled_conv", (3, 3, 128, 128)),
    ("conv256_down/conv1",       "scaled_conv", (3, 3, 128, 256)),
    ("conv256_down/conv2",       "scaled_conv", (3, 3, 256, 256)),
    ("conv256_1/conv1",          "scaled_conv", (3, 3, 256, 256)),
    ("conv256_1/conv2",          "scaled_conv", (3, 3, 256, 256)),
    ("conv256_2/conv1",          "scaled_conv", (3, 3, 256, 256)),
    ("conv256_2/conv2",          "scaled_conv", (3, 3, 256, 256)),
    ("conv256_down_out/conv1",   "scaled_conv", (3, 3, 256, 256)),
    ("conv256_down_out/conv2",   "scaled_conv", (3, 3, 256, 256)),
    ("fc",                       "matrix",      (256, 128)),
)
# fmt: on

TABLE = WeightMap(
    like="face-api's face recognition model",
    match="name",
    rules=rules_of(LAYERS, nested=True),
)
