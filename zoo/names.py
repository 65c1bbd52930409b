"""The names of the zoo's models by kind, for type checkers; a test holds them to the catalog."""

from __future__ import annotations

from typing import Literal

FaceEncoderName = Literal[
    "vggface.serengil",
    "vggface.rcmalli",
    "vggface_resnet50.rcmalli",
    "vggface_senet50.rcmalli",
    "dlib_resnet128.dlib",
]
VoiceEncoderName = Literal[
    "ve_conv.speech-to-face",
    "ve_conv.speech2face",
    "ve_conv.tiny",
    "ast.speech-to-face",
    "ast.audioset",
    "ast.tiny",
    "ge2e.resemblyzer",
    "mlp_head.resemblyzer",
    "mlp_head.demo",
]
FaceDecoderName = Literal[
    "face_decoder.speech-to-face",
    "face_decoder.cole",
    "face_decoder.tiny",
    "face_decoder.small",
    "face_decoder.medium",
    "face_decoder.demo",
]
