"""The 13 convolutions that the VGG-Face files of both owners share, kernels as H, W, in, out."""

from __future__ import annotations

from vox2face.converters.layer_rules import rules_of

# fmt: off
CONVOLUTIONS = rules_of((
    ("conv1_1", "conv_bias", (3, 3, 3, 64)),
    ("conv1_2", "conv_bias", (3, 3, 64, 64)),
    ("conv2_1", "conv_bias", (3, 3, 64, 128)),
    ("conv2_2", "conv_bias", (3, 3, 128, 128)),
    ("conv3_1", "conv_bias", (3, 3, 128, 256)),
    ("conv3_2", "conv_bias", (3, 3, 256, 256)),
    ("conv3_3", "conv_bias", (3, 3, 256, 256)),
    ("conv4_1", "conv_bias", (3, 3, 256, 512)),
    ("conv4_2", "conv_bias", (3, 3, 512, 512)),
    ("conv4_3", "conv_bias", (3, 3, 512, 512)),
    ("conv5_1", "conv_bias", (3, 3, 512, 512)),
    ("conv5_2", "conv_bias", (3, 3, 512, 512)),
    ("conv5_3", "conv_bias", (3, 3, 512, 512)),
))
# fmt: on
