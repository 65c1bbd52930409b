"""vox2face: convert, prove, load and run the networks of speech-to-face research.

Importing this package imports neither torch nor any other heavy library; the functions below
fetch what they need when they are first called.
"""

from __future__ import annotations

import importlib.util
from importlib import import_module
from typing import TYPE_CHECKING, Any

from vox2face.core.version import __version__ as __version__

if TYPE_CHECKING:
    from vox2face.converters.save_trained import save as save
    from vox2face.core.errors import Vox2FaceError as Vox2FaceError
    from vox2face.media.decoded_face import Face as Face
    from vox2face.runtime.class_names import decode_predictions as decode_predictions
    from vox2face.runtime.compare import Comparison as Comparison
    from vox2face.runtime.compare import compare as compare
    from vox2face.runtime.face_decoder import FaceDecoder as FaceDecoder
    from vox2face.runtime.face_encoder import FaceEncoder as FaceEncoder
    from vox2face.runtime.load import load as load
    from vox2face.runtime.load import load_face_decoder as load_face_decoder
    from vox2face.runtime.load import load_face_encoder as load_face_encoder
    from vox2face.runtime.load import load_voice_encoder as load_voice_encoder
    from vox2face.runtime.nearest import nearest as nearest
    from vox2face.runtime.pipelines import FaceToFace as FaceToFace
    from vox2face.runtime.pipelines import SpeechToFace as SpeechToFace
    from vox2face.runtime.voice_encoder import VoiceEncoder as VoiceEncoder
    from vox2face.zoo.registry import entry as entry
    from vox2face.zoo.registry import list_models as list_models

if importlib.util.find_spec("vox2face.zoo") is None:
    raise ImportError(
        "Python found the source folder 'vox2face' of a clone instead of the installed package: "
        "leave the clone's root folder, or install the clone itself with 'pip install .'."
    )

_HOMES = {
    "Comparison": "vox2face.runtime.compare",
    "Face": "vox2face.media.decoded_face",
    "FaceDecoder": "vox2face.runtime.face_decoder",
    "FaceEncoder": "vox2face.runtime.face_encoder",
    "FaceToFace": "vox2face.runtime.pipelines",
    "SpeechToFace": "vox2face.runtime.pipelines",
    "VoiceEncoder": "vox2face.runtime.voice_encoder",
    "Vox2FaceError": "vox2face.core.errors",
    "compare": "vox2face.runtime.compare",
    "decode_predictions": "vox2face.runtime.class_names",
    "entry": "vox2face.zoo.registry",
    "list_models": "vox2face.zoo.registry",
    "load": "vox2face.runtime.load",
    "load_face_decoder": "vox2face.runtime.load",
    "load_face_encoder": "vox2face.runtime.load",
    "load_voice_encoder": "vox2face.runtime.load",
    "nearest": "vox2face.runtime.nearest",
    "save": "vox2face.converters.save_trained",
}


def __getattr__(name: str) -> Any:
    if name in _HOMES:
        return getattr(import_module(_HOMES[name]), name)
    if name == "audio":  # a module, for vox2face.audio.decode
        return import_module("vox2face.audio")
    raise AttributeError(f"module 'vox2face' has no attribute {name!r}")


def __dir__() -> list[str]:
    return sorted({*globals(), *_HOMES, "audio"})
