"""What networks are compared on: three photographs, recordings or embeddings."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
from numpy.typing import NDArray

from vox2face.converters.ops import Array
from vox2face.core.entry import Entry
from vox2face.zoo.preprocessing import frontend

COUNT = 3


def probes(entry: Entry, preset: str) -> tuple[NDArray[Any], Array]:
    """Return three inputs, as they come to the front end and as they come to the network."""
    if entry.kind not in RAW:
        embedded = embeddings(entry)
        return embedded, embedded
    import torch

    raw = RAW[entry.kind]()
    with torch.inference_mode():
        prepared: Array = frontend(entry, preset)(torch.from_numpy(raw)).numpy()
    return raw, prepared


def pictures() -> NDArray[np.uint8]:
    """Return a photograph that is not square, its mirror image, and it upside down."""
    from vox2face.media.image import samples

    picture = samples()["astronaut.png"][10:, 30:190]
    return np.stack([picture, picture[:, ::-1], picture[::-1]])


def recordings() -> Array:
    """Return a sentence, the same backwards, and its two halves in the other order."""
    from vox2face.media.audio import speech

    spoken = speech()
    return np.stack([spoken, spoken[::-1], np.roll(spoken, len(spoken) // 2)])


def embeddings(entry: Entry) -> Array:
    """Return random embeddings as they come out of a ReLU."""
    values = np.random.default_rng(0).standard_normal((COUNT, entry.width), np.float32)
    return np.maximum(values, 0)


RAW: dict[str, Callable[[], NDArray[Any]]] = {
    "face-encoder": pictures,
    "voice-encoder": recordings,
}
