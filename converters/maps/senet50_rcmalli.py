"""rcmalli/keras-vggface, rcmalli_vggface_tf_senet50.h5 and ..._notop_senet50.h5.

ResNet-50 with squeeze and excitation: 1x1_down and 1x1_up have a bias, all other convolutions
have none.
"""

from __future__ import annotations

from vox2face.converters.maps.rcmalli_resnet import Layer, table
from vox2face.converters.reference import keras_graphs
from vox2face.converters.reference.resnet import senet50


# fmt: off
def block(name: str, before: int, inside: int, behind: int) -> tuple[Layer, ...]:
    """Return the layers of a block."""
    return (
        (f"{name}_1x1_reduce",      "conv",       (1, 1, before, inside)),
        (f"{name}_1x1_reduce/bn",   "batch_norm", (inside,)),
        (f"{name}_3x3",             "conv",       (3, 3, inside, inside)),
        (f"{name}_3x3/bn",          "batch_norm", (inside,)),
        (f"{name}_1x1_increase",    "conv",       (1, 1, inside, behind)),
        (f"{name}_1x1_increase/bn", "batch_norm", (behind,)),
        (f"{name}_1x1_down",        "conv_bias",  (1, 1, behind, behind // 16)),
        (f"{name}_1x1_up",          "conv_bias",  (1, 1, behind // 16, behind)),
        (f"{name}_1x1_proj",        "conv",       (1, 1, before, behind)),
        (f"{name}_1x1_proj/bn",     "batch_norm", (behind,)),
    )

# fmt: on


TABLE = table(
    "rcmalli/keras-vggface senet50", block, reference=senet50, original=keras_graphs.senet50
)
