"""Where weights are published, under which terms, and how to recognise them."""

from __future__ import annotations

from vox2face.spec import Licence, Source

VGG_FACE_TERMS = Licence(
    identifier="other",
    name="vgg-face-non-commercial",
    url="https://www.robots.ox.ac.uk/~vgg/software/vgg_face/",
    notice=(
        "The VGG-Face weights come from the Visual Geometry Group, University of Oxford, for "
        "non-commercial research only. vox2face converts your own copy; do not redistribute "
        "converted weights without checking those terms."
    ),
)

SERENGIL_VGG_FACE = Source(
    key="serengil-vgg-face",
    urls=(
        "https://github.com/serengil/deepface_models/releases/download/v1.0/vgg_face_weights.h5",
        "https://huggingface.co/serengil/deepface/resolve/main/vgg_face_weights.h5",
    ),
    sha256="759266b9614d0fd5d65b97bf716818b746cc77ab5944c7bffc937c6ba9455d8c",
    size=None,
    format="Keras HDF5, weights only",
    licence=VGG_FACE_TERMS,
    cite="addresses: serengil/deepface models/facial_recognition/VGGFace.py; "
    "sha256: serengil/deepface tests/test_verify.py at 074e81b",
)

RCMALLI_VGG_FACE = Source(
    key="rcmalli-vgg-face",
    urls=(
        "https://github.com/rcmalli/keras-vggface/releases/download/v2.0/"
        "rcmalli_vggface_tf_vgg16.h5",
    ),
    sha256=None,  # the author publishes none: the first download is recorded and pinned
    size=None,
    format="Keras HDF5, weights only",
    licence=VGG_FACE_TERMS,
    cite="address: rcmalli/keras-vggface keras_vggface/utils.py",
)
