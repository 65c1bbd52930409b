"""The 13 convolutions that the VGG-Face files of both owners share, kernels as H, W, in, out."""

from __future__ import annotations

from vox2face.converters.mapping import Rule

# fmt: off
CONVOLUTIONS = (
    Rule("conv1_1/kernel",  "conv1_1.weight",  "hwio_to_oihw",          (3, 3, 3, 64)),
    Rule("conv1_1/bias",    "conv1_1.bias",    "copy",                  (64,)),
    Rule("conv1_2/kernel",  "conv1_2.weight",  "hwio_to_oihw",          (3, 3, 64, 64)),
    Rule("conv1_2/bias",    "conv1_2.bias",    "copy",                  (64,)),
    Rule("conv2_1/kernel",  "conv2_1.weight",  "hwio_to_oihw",          (3, 3, 64, 128)),
    Rule("conv2_1/bias",    "conv2_1.bias",    "copy",                  (128,)),
    Rule("conv2_2/kernel",  "conv2_2.weight",  "hwio_to_oihw",          (3, 3, 128, 128)),
    Rule("conv2_2/bias",    "conv2_2.bias",    "copy",                  (128,)),
    Rule("conv3_1/kernel",  "conv3_1.weight",  "hwio_to_oihw",          (3, 3, 128, 256)),
    Rule("conv3_1/bias",    "conv3_1.bias",    "copy",                  (256,)),
    Rule("conv3_2/kernel",  "conv3_2.weight",  "hwio_to_oihw",          (3, 3, 256, 256)),
    Rule("conv3_2/bias",    "conv3_2.bias",    "copy",                  (256,)),
    Rule("conv3_3/kernel",  "conv3_3.weight",  "hwio_to_oihw",          (3, 3, 256, 256)),
    Rule("conv3_3/bias",    "conv3_3.bias",    "copy",                  (256,)),
    Rule("conv4_1/kernel",  "conv4_1.weight",  "hwio_to_oihw",          (3, 3, 256, 512)),
    Rule("conv4_1/bias",    "conv4_1.bias",    "copy",                  (512,)),
    Rule("conv4_2/kernel",  "conv4_2.weight",  "hwio_to_oihw",          (3, 3, 512, 512)),
    Rule("conv4_2/bias",    "conv4_2.bias",    "copy",                  (512,)),
    Rule("conv4_3/kernel",  "conv4_3.weight",  "hwio_to_oihw",          (3, 3, 512, 512)),
    Rule("conv4_3/bias",    "conv4_3.bias",    "copy",                  (512,)),
    Rule("conv5_1/kernel",  "conv5_1.weight",  "hwio_to_oihw",          (3, 3, 512, 512)),
    Rule("conv5_1/bias",    "conv5_1.bias",    "copy",                  (512,)),
    Rule("conv5_2/kernel",  "conv5_2.weight",  "hwio_to_oihw",          (3, 3, 512, 512)),
    Rule("conv5_2/bias",    "conv5_2.bias",    "copy",                  (512,)),
    Rule("conv5_3/kernel",  "conv5_3.weight",  "hwio_to_oihw",          (3, 3, 512, 512)),
    Rule("conv5_3/bias",    "conv5_3.bias",    "copy",                  (512,)),
)
# fmt: on
