"""serengil/deepface, vgg_face_weights.h5.

The author's code gives no layer names and loads by order, so order and shapes decide. Source of
the shapes: deepface/models/facial_recognition/VGGFace.py, base_model().
"""

from __future__ import annotations

from vox2face.converters.maps.vgg16 import CONVOLUTIONS
from vox2face.converters.maps.vgg16_torch import FC6_AS_MATRIX, SPEECH_TO_FACE_SERENGIL
from vox2face.converters.reference import keras_graphs
from vox2face.converters.reference.vggface import vggface
from vox2face.converters.weight_map import Layout, Rule, WeightMap

# fmt: off
RULES = (
    *CONVOLUTIONS,
    Rule("fc6/kernel",      "fc6.weight",      "hwio_to_oihw",          (7, 7, 512, 4096)),
    Rule("fc6/bias",        "fc6.bias",        "copy",                  (4096,)),
    Rule("fc7/kernel",      "fc7.weight",      "hwio_to_oi",            (1, 1, 4096, 4096)),
    Rule("fc7/bias",        "fc7.bias",        "copy",                  (4096,)),
    Rule("fc8/kernel",      "fc8.weight",      "hwio_to_oi",            (1, 1, 4096, 2622)),
    Rule("fc8/bias",        "fc8.bias",        "copy",                  (2622,)),
)

# fmt: on

TABLE = WeightMap(
    like="serengil/deepface VGG-Face",
    match="order",
    rules=RULES,
    optional=frozenset({"fc8"}),
    layouts=(Layout(), FC6_AS_MATRIX, SPEECH_TO_FACE_SERENGIL),
    reference=vggface,
    original=keras_graphs.convolutional,
)
