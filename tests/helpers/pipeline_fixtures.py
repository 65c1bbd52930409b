"""Narrow voice encoders and face decoders as bundles, and real speech as files."""

from __future__ import annotations

import wave
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

import vox2face as package
from helpers.twins import random_module
from vox2face.media.audio import speech

Make = Callable[..., Path]

VOICES = (
    *("ve_conv.speech-to-face", "ast.speech-to-face", "ve_conv.tiny", "ast.tiny"),
    "mlp_head.resemblyzer",
)


@pytest.fixture
def bundle(tmp_path: Path) -> Make:
    """Return a function that saves a narrow random network as a bundle."""

    def make(name: str, onnx: bool = True, seed: int = 0, **more: Any) -> Path:
        out = tmp_path / f"{name}-{seed}-{len(more)}"
        module = random_module(name, seed, **more)
        if name.startswith("face_decoder"):  # landmarks within the picture, colours within range
            spread = module.landmark_layers[-1][0].bias
            points = torch.rand(len(spread), generator=torch.Generator().manual_seed(seed))
            spread.data = points * 160 + 32
            if module.mean_landmarks is not None:
                spread.data = module.mean_landmarks.flatten() + 4 * points
            module.texture_layers[-1][0].bias.data += 0.5
        return package.save(name, module, out, onnx=onnx)

    return make


@pytest.fixture
def wav(tmp_path: Path) -> Callable[..., Path]:
    """Return a function that writes the sample sentence, or a part of it, as a WAV file."""

    def write(name: str, start: int = 0, stop: int | None = None) -> Path:
        path = tmp_path / name
        path.parent.mkdir(parents=True, exist_ok=True)
        pcm = np.round(speech()[start:stop] * 32768).clip(-32768, 32767).astype("<i2")
        with wave.open(str(path), "wb") as file:
            file.setnchannels(1)
            file.setsampwidth(2)
            file.setframerate(16_000)
            file.writeframes(pcm.tobytes())
        return path

    return write
