"""THE table of models. It imports no torch; every code reference is a string."""

from __future__ import annotations

from vox2face.spec import Entry, Source, TensorSpec
from vox2face.zoo.sources import (
    RCMALLI_NAMES_V1,
    RCMALLI_NAMES_V2,
    RCMALLI_VGG_FACE,
    SERENGIL_VGG_FACE,
)

FACE_PICTURE = TensorSpec(
    name="input",
    shape=("batch", 3, 224, 224),
    dtype="float32",
    layout="NCHW",
    meaning="a cropped face; colour order and range as the preset states",
)
FC7 = TensorSpec(
    name="embedding",
    shape=("batch", 4096),
    dtype="float32",
    layout="NC",
    meaning="fc7 after ReLU, not normalised, all values >= 0",
)
IDENTITIES = TensorSpec(
    name="logits",
    shape=("batch", 2622),
    dtype="float32",
    layout="NC",
    meaning="fc8 before softmax, one score for each identity of the VGG Face dataset",
)

# The published names by the number of classes, as keras-vggface's decode_predictions chooses them
LABELS: dict[int, Source] = {
    2622: RCMALLI_NAMES_V1,
    8631: RCMALLI_NAMES_V2,
}

ENTRIES: tuple[Entry, ...] = (
    Entry(
        name="vggface.serengil",
        kind="face-encoder",
        summary="VGG-Face as deepface uses it (serengil/deepface, vgg_face_weights.h5)",
        build="vox2face.zoo.vggface:VGGFace",
        table="vox2face.converters.maps.serengil:TABLE",
        graph="vox2face.converters.graphs:vggface",
        reference="vox2face.converters.reference:vggface",
        input=FACE_PICTURE,
        outputs=(FC7, IDENTITIES),
        preprocess="deepface",
        source=SERENGIL_VGG_FACE,
        command="vox2face convert serengil",
        aliases=("VGGFace_serengil",),
        tags=("face-recognition", "vgg-face", "deepface"),
        parameters=145_002_878,
        labels=RCMALLI_NAMES_V1,  # taken to be in the same order; not verified on the real file
    ),
    Entry(
        name="vggface.rcmalli",
        kind="face-encoder",
        summary="VGG-Face as keras-vggface uses it (rcmalli/keras-vggface, vgg16 with top)",
        build="vox2face.zoo.vggface:VGGFace",
        table="vox2face.converters.maps.rcmalli_vgg16:TABLE",
        graph="vox2face.converters.graphs:vggface",
        reference="vox2face.converters.reference:vggface",
        input=FACE_PICTURE,
        outputs=(FC7, IDENTITIES),
        preprocess="keras-vggface-v1",
        source=RCMALLI_VGG_FACE,
        command="vox2face convert rcmalli --variant vgg16",
        aliases=("VGGFace16_rcmalli",),
        tags=("face-recognition", "vgg-face", "keras-vggface"),
        parameters=145_002_878,
        labels=RCMALLI_NAMES_V1,
    ),
)
