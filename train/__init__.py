"""Corpora of voices and faces, and training on them."""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from vox2face.train.datasets.face import FaceDecoderDataset
    from vox2face.train.datasets.voice import VoiceEncoderDataset

__all__ = ["FaceDecoderDataset", "VoiceEncoderDataset"]

_HOMES = {
    "FaceDecoderDataset": "vox2face.train.datasets.face",
    "VoiceEncoderDataset": "vox2face.train.datasets.voice",
}


def __getattr__(name: str) -> Any:
    if name in _HOMES:
        return getattr(import_module(_HOMES[name]), name)
    raise AttributeError(f"module 'vox2face.train' has no attribute {name!r}")


def __dir__() -> list[str]:
    return sorted({*globals(), *_HOMES})
