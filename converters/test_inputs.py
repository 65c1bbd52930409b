"""What networks are compared on: two photographs, two recordings or two embeddings."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
from numpy.typing import NDArray

from vox2face.converters.ops import Array
from vox2face.core.entry import Entry
from vox2face.zoo.preprocessing import frontend


def pair(entry: Entry, preset: str) -> tuple[NDArray[Any], Array]:
    """Return two inputs, as they come to the front end and as they come to the network."""
    if entry.kind not in RAW_PAIRS:
        both = embeddings(entry)
        return both, both
    import torch

    raw = RAW_PAIRS[entry.kind]()
    with torch.inference_mode():
        prepared: Array = frontend(entry, preset)(torch.from_numpy(raw)).numpy()
    return raw, prepared


def pictures() -> NDArray[np.uint8]:
    """Return a photograph that is not square, and its mirror image."""
    from vox2face.media.image import samples

    picture = samples()["astronaut.png"][10:, 30:190]
    return np.stack([picture, picture[:, ::-1]])


def recordings() -> Array:
    """Return a sentence, and the same backwards."""
    from vox2face.media.audio import speech

    spoken = speech()
    return np.stack([spoken, spoken[::-1]])


def embeddings(entry: Entry) -> Array:
    """Return two random embeddings as they come out of a ReLU."""
    values = np.random.default_rng(0).standard_normal((2, entry.width), np.float32)
    return np.maximum(values, 0)


RAW_PAIRS: dict[str, Callable[[], NDArray[Any]]] = {
    "face-encoder": pictures,
    "voice-encoder": recordings,
}
