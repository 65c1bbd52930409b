"""THE table of models. It imports no torch; every code reference is a string."""

from __future__ import annotations

from vox2face.spec import Entry, Source, TensorSpec
from vox2face.zoo.sources import (
    FACE_API,
    RCMALLI_NAMES_V1,
    RCMALLI_NAMES_V2,
    RCMALLI_RESNET50,
    RCMALLI_RESNET50_NOTOP,
    RCMALLI_SENET50,
    RCMALLI_SENET50_NOTOP,
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
AVERAGE = TensorSpec(
    name="embedding",
    shape=("batch", 2048),
    dtype="float32",
    layout="NC",
    meaning="the features of the last block, averaged over 7 x 7 places, not normalised, >= 0",
)
IDENTITIES_2 = TensorSpec(
    name="logits",
    shape=("batch", 8631),
    dtype="float32",
    layout="NC",
    meaning="the classifier before softmax, one score for each identity of VGGFace2's training set",
)
ALIGNED_FACE = TensorSpec(
    name="input",
    shape=("batch", 3, 150, 150),
    dtype="float32",
    layout="NCHW",
    meaning="a face aligned as dlib's get_face_chip does; range as the preset states",
)
DESCRIPTOR = TensorSpec(
    name="embedding",
    shape=("batch", 128),
    dtype="float32",
    layout="NC",
    meaning="dlib's face descriptor; faces closer than 0.6 count as one person",
)

VGGFACE2_NOTE = (
    "keras-vggface does not say whether these are the weights trained on VGGFace2 alone or those "
    "that saw MS-Celeb-1M before."
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
        graph="vox2face.converters.graphs.vggface:vggface",
        reference="vox2face.converters.reference.vggface:vggface",
        input=FACE_PICTURE,
        outputs=(FC7, IDENTITIES),
        preprocess="deepface",
        source=SERENGIL_VGG_FACE,
        command="vox2face convert serengil",
        twin="vox2face.converters.keras_twin:convolutional",
        aliases=("VGGFace_serengil",),
        tags=("face-recognition", "vgg-face", "deepface"),
        parameters=145_002_878,
        labels=RCMALLI_NAMES_V1,
        note="That the classes come in the order of keras-vggface's list of names is assumed.",
        flops=30_932_336_640,
        measured=5e-6,
    ),
    Entry(
        name="vggface.rcmalli",
        kind="face-encoder",
        summary="VGG-Face as keras-vggface uses it (rcmalli/keras-vggface, vgg16 with top)",
        build="vox2face.zoo.vggface:VGGFace",
        table="vox2face.converters.maps.rcmalli_vgg16:TABLE",
        graph="vox2face.converters.graphs.vggface:vggface",
        reference="vox2face.converters.reference.vggface:vggface",
        input=FACE_PICTURE,
        outputs=(FC7, IDENTITIES),
        preprocess="keras-vggface-v1",
        source=RCMALLI_VGG_FACE,
        command="vox2face convert rcmalli --variant vgg16",
        twin="vox2face.converters.keras_twin:dense",
        aliases=("VGGFace16_rcmalli",),
        tags=("face-recognition", "vgg-face", "keras-vggface"),
        parameters=145_002_878,
        labels=RCMALLI_NAMES_V1,
        flops=30_932_336_640,
        measured=5e-6,
    ),
    Entry(
        name="vggface_resnet50.rcmalli",
        kind="face-encoder",
        summary="ResNet-50 trained on VGGFace2, as keras-vggface uses it (rcmalli, resnet50)",
        build="vox2face.zoo.resnet:resnet50",
        table="vox2face.converters.maps.rcmalli_resnet50:TABLE",
        graph="vox2face.converters.graphs.resnet:resnet50",
        reference="vox2face.converters.reference.resnet:resnet50",
        input=FACE_PICTURE,
        outputs=(AVERAGE, IDENTITIES_2),
        preprocess="keras-vggface-v2",
        source=RCMALLI_RESNET50,
        notop=RCMALLI_RESNET50_NOTOP,
        classifier="classifier",
        command="vox2face convert rcmalli --variant resnet50",
        tags=("face-recognition", "vggface2", "keras-vggface"),
        labels=RCMALLI_NAMES_V2,
        twin="vox2face.converters.keras_twin:resnet50",
        parameters=41_246_071,
        flops=7_664_566_272,
        measured=1e-5,
        note=VGGFACE2_NOTE,
    ),
    Entry(
        name="vggface_senet50.rcmalli",
        kind="face-encoder",
        summary="SE-ResNet-50 trained on VGGFace2, as keras-vggface uses it (rcmalli, senet50)",
        build="vox2face.zoo.resnet:senet50",
        table="vox2face.converters.maps.rcmalli_senet50:TABLE",
        graph="vox2face.converters.graphs.resnet:senet50",
        reference="vox2face.converters.reference.resnet:senet50",
        input=FACE_PICTURE,
        outputs=(AVERAGE, IDENTITIES_2),
        preprocess="keras-vggface-v2",
        source=RCMALLI_SENET50,
        notop=RCMALLI_SENET50_NOTOP,
        classifier="classifier",
        command="vox2face convert rcmalli --variant senet50",
        tags=("face-recognition", "vggface2", "keras-vggface"),
        labels=RCMALLI_NAMES_V2,
        twin="vox2face.converters.keras_twin:senet50",
        parameters=43_777_063,
        flops=7_669_596_160,
        measured=1e-5,
        note=VGGFACE2_NOTE,
    ),
    Entry(
        name="dlib_resnet128.dlib",
        kind="face-encoder",
        summary="dlib's face recognition network, free weights that come with vox2face (face-api's "
        "copy, rounded to 8 bits)",
        build="vox2face.zoo.dlib_resnet:DlibResNet",
        table="vox2face.converters.maps.face_api:TABLE",
        graph="vox2face.converters.graphs.dlib_resnet:dlib_resnet",
        reference="vox2face.converters.reference.dlib_resnet:dlib_resnet",
        input=ALIGNED_FACE,
        outputs=(DESCRIPTOR,),
        preprocess="dlib",
        source=FACE_API,
        command="vox2face convert face-api",
        tags=("face-recognition", "dlib", "face-api"),
        parameters=5_614_592,
        flops=541_708_288,
        measured=5e-6,
        note="The weights are rounded to 8 bits: descriptors lie 0.04 from those that dlib "
        "computes with the unrounded ones; two pictures of one person lie up to 0.6 apart. "
        "Compare descriptors as they are, not normalised.",
    ),
)
