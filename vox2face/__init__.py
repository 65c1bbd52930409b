"""vox2face: convert, prove, load and run the networks of speech-to-face research.

Importing this package imports neither torch nor any other heavy library; the functions below
fetch what they need when they are first called.
"""

from __future__ import annotations

import importlib.util
from importlib import import_module
from typing import TYPE_CHECKING, Any

__version__ = "0.2.0.dev0"
__all__ = [
    "Face",
    "FaceDecoder",
    "FaceEncoder",
    "FaceToFace",
    "SpeechToFace",
    "VoiceEncoder",
    "Vox2FaceError",
    "decode_predictions",
    "entry",
    "list_models",
    "load",
    "save",
]

if importlib.util.find_spec("vox2face.zoo") is None:
    raise ImportError(
        "Python found the source folder 'vox2face' of a clone instead of the installed package: "
        "leave the clone's root folder, or install the clone itself with 'pip install -e .'."
    )

if TYPE_CHECKING:
    from vox2face.converters.save import save
    from vox2face.errors import Vox2FaceError
    from vox2face.face import Face
    from vox2face.face_decoder import FaceDecoder
    from vox2face.face_encoder import FaceEncoder
    from vox2face.labels import decode_predictions
    from vox2face.pipelines import FaceToFace, SpeechToFace
    from vox2face.runtime import load
    from vox2face.voice_encoder import VoiceEncoder
    from vox2face.zoo.registry import entry, list_models

_HOMES = {
    "Face": "vox2face.face",
    "FaceDecoder": "vox2face.face_decoder",
    "FaceEncoder": "vox2face.face_encoder",
    "FaceToFace": "vox2face.pipelines",
    "SpeechToFace": "vox2face.pipelines",
    "VoiceEncoder": "vox2face.voice_encoder",
    "Vox2FaceError": "vox2face.errors",
    "decode_predictions": "vox2face.labels",
    "entry": "vox2face.zoo.registry",
    "list_models": "vox2face.zoo.registry",
    "load": "vox2face.runtime",
    "save": "vox2face.converters.save",
}


def __getattr__(name: str) -> Any:
    if name in _HOMES:
        return getattr(import_module(_HOMES[name]), name)
    raise AttributeError(f"module 'vox2face' has no attribute {name!r}")


def __dir__() -> list[str]:
    return sorted({*globals(), *_HOMES})
