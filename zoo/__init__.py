"""The model zoo: the catalogue, the networks and the signal front ends."""

from __future__ import annotations

from vox2face.zoo.registration import register
from vox2face.zoo.registry import entry, list_models

__all__ = ["entry", "list_models", "register"]
