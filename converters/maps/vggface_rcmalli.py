"""rcmalli/keras-vggface, rcmalli_vggface_tf_vgg16.h5.

Its author loads by name. fc6 is a Dense layer behind a Flatten of (7, 7, 512), so its rows are
in H, W, C order and have to be re-ordered. Source: keras_vggface/models.py, VGG16().
"""

from __future__ import annotations

from vox2face.converters.maps.vgg16 import CONVOLUTIONS
from vox2face.converters.maps.vgg16_torch import FC6_AS_MATRIX, SPEECH_TO_FACE_RCMALLI
from vox2face.converters.reference import keras_graphs
from vox2face.converters.reference.vggface import vggface
from vox2face.converters.weight_map import Layout, Rule, WeightMap

# fmt: off
RULES = (
    *CONVOLUTIONS,
    Rule("fc6/kernel",      "fc6.weight",      "hwc_rows_to_oihw_7x7",  (25088, 4096)),
    Rule("fc6/bias",        "fc6.bias",        "copy",                  (4096,)),
    Rule("fc7/kernel",      "fc7.weight",      "io_to_oi",              (4096, 4096)),
    Rule("fc7/bias",        "fc7.bias",        "copy",                  (4096,)),
    Rule("fc8/kernel",      "fc8.weight",      "io_to_oi",              (4096, 2622)),
    Rule("fc8/bias",        "fc8.bias",        "copy",                  (2622,)),
)

# fmt: on

TABLE = WeightMap(
    like="rcmalli/keras-vggface vgg16 with top",
    match="name",
    rules=RULES,
    optional=frozenset({"fc8"}),
    unnamed="order",
    layouts=(Layout(), FC6_AS_MATRIX, SPEECH_TO_FACE_RCMALLI),
    reference=vggface,
    original=keras_graphs.dense,
)
