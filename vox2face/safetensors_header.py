"""What a safetensors file holds: names, shapes, where values begin, and a digest of them."""

from __future__ import annotations

import hashlib
import json
from math import prod
from pathlib import Path

from safetensors import SafetensorError, safe_open

from vox2face.errors import BundleError

PIECE = 1 << 20  # bytes hashed at a time


def layout(path: Path) -> dict[str, int]:
    """Return where in a safetensors file the values of each tensor begin."""
    with path.open("rb") as file:
        length = int.from_bytes(file.read(8), "little")
        content = json.loads(file.read(length))
    content.pop("__metadata__", None)
    return {name: 8 + length + facts["data_offsets"][0] for name, facts in content.items()}


def shapes(path: Path) -> dict[str, tuple[int, ...]]:
    """Return name -> shape of every tensor in a safetensors file, as its library reads it."""
    try:
        with safe_open(path, framework="numpy") as file:
            return {name: tuple(file.get_slice(name).get_shape()) for name in file.keys()}
    except SafetensorError as error:
        raise BundleError(f"{path} is no whole safetensors file ({error}).") from error


def embedding_digest(path: Path, classifier: str) -> str:
    """Return the sha256 of all tensors of a safetensors file but those of the classifier.

    It covers names, shapes and values, in the order of the names, and so is that of the network up
    to its embedding, whatever file the weights came from.
    """
    held, places, digest = shapes(path), layout(path), hashlib.sha256()
    with path.open("rb") as file:
        for name in sorted(held):
            if classifier and name.startswith(f"{classifier}."):
                continue
            digest.update(f"{name} {held[name]}\n".encode())
            file.seek(places[name])
            left = 4 * prod(held[name])
            while left:
                piece = file.read(min(PIECE, left))
                if not piece:
                    raise BundleError(f"{path} ends too early: convert again.")
                digest.update(piece)
                left -= len(piece)
    return digest.hexdigest()
