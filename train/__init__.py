"""Corpora of voices and faces, and training on them."""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING, Any

__all__ = ["FaceDecoderDataset", "VoiceEncoderDataset"]

if TYPE_CHECKING:
    from vox2face.train.datasets import FaceDecoderDataset, VoiceEncoderDataset

_HOMES = {
    "FaceDecoderDataset": "vox2face.train.datasets",
    "VoiceEncoderDataset": "vox2face.train.datasets",
}


def __getattr__(name: str) -> Any:
    if name in _HOMES:
        return getattr(import_module(_HOMES[name]), name)
    raise AttributeError(f"module 'vox2face.train' has no attribute {name!r}")


def __dir__() -> list[str]:
    return sorted({*globals(), *_HOMES})
