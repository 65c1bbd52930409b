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
    redistributable=False,
)

VGG_FACE_PAPER = """\
@inproceedings{parkhi2015deep,
  author    = {Omkar M. Parkhi and Andrea Vedaldi and Andrew Zisserman},
  title     = {Deep Face Recognition},
  booktitle = {Proceedings of the British Machine Vision Conference},
  year      = {2015}
}"""

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
    repository="https://github.com/serengil/deepface",
    hub_id="serengil/deepface",
    paper=VGG_FACE_PAPER,
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
    repository="https://github.com/rcmalli/keras-vggface",
    paper=VGG_FACE_PAPER,
)

NAMES_TERMS = Licence(
    identifier="other",
    name="keras-vggface-names",
    url="https://github.com/rcmalli/keras-vggface",
    notice=(
        "The lists of names come with keras-vggface, whose code is under the MIT licence; the "
        "names are those of the VGG Face and VGGFace2 datasets, whose terms apply. vox2face "
        "fetches them and ships none."
    ),
)

RCMALLI_NAMES_V1 = Source(
    key="rcmalli-vggface-labels-v1",
    urls=(
        "https://github.com/rcmalli/keras-vggface/releases/download/v2.0/"
        "rcmalli_vggface_labels_v1.npy",
    ),
    sha256=None,
    size=None,
    format="NumPy array of 2622 names, VGG Face",
    licence=NAMES_TERMS,
    cite="address and number: rcmalli/keras-vggface keras_vggface/utils.py",
    kind="a NumPy array",
    option="--labels",
)

RCMALLI_NAMES_V2 = Source(
    key="rcmalli-vggface-labels-v2",
    urls=(
        "https://github.com/rcmalli/keras-vggface/releases/download/v2.0/"
        "rcmalli_vggface_labels_v2.npy",
    ),
    sha256=None,
    size=None,
    format="NumPy array of 8631 names, VGGFace2",
    licence=NAMES_TERMS,
    cite="address and number: rcmalli/keras-vggface keras_vggface/utils.py",
    kind="a NumPy array",
    option="--labels",
)
