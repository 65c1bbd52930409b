"""Names of the Audio Spectrogram Transformer's tensors."""

from __future__ import annotations

from typing import Any


def unwrapped(state: dict[str, Any]) -> dict[str, Any]:
    return {key.replace("classifier.0.", "classifier."): value for key, value in state.items()}
