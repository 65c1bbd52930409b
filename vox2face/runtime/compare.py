"""Whether two pictures or recordings are of one person.

Distances are those of deepface's `verification.find_distance`: float64, rounded to 6 digits.
"""

from __future__ import annotations

import os
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Unpack

import numpy as np
from numpy.typing import ArrayLike, NDArray

from vox2face.core.entry import Space
from vox2face.core.errors import UsageError, Vox2FaceError
from vox2face.media.audio import Audio
from vox2face.media.image import Picture
from vox2face.runtime.base import DEEPFACE_EPSILON, Embeddings
from vox2face.runtime.face_encoder import FaceEncoder
from vox2face.runtime.face_input import PictureOptions
from vox2face.runtime.load import LoadOptions, load
from vox2face.runtime.resolve import kind_of
from vox2face.runtime.voice_encoder import VoiceEncoder
from vox2face.zoo.catalog import DEFAULT_FACE
from vox2face.zoo.thresholds import METRICS, PUBLISHED, Measured, measured

DIGITS = 6  # of a distance, as deepface rounds it
Encoder = FaceEncoder | VoiceEncoder
Model = str | os.PathLike[str] | Encoder


@dataclass(frozen=True)
class Comparison:
    """How far two pictures or recordings are from each other, and whether that is one person.

    `verified` is whether `distance` is at most `threshold`; both are None where no threshold is
    known. `source` says where the threshold comes from, or why there is none, and `note` what
    else to know of it. `synthetic` is what was measured on synthetic people of the same network,
    whose faces were cut out in the same way: then that threshold counts, and it tells nothing about
    real people.
    """

    distance: float
    metric: str
    threshold: float | None
    verified: bool | None
    source: str
    note: str
    model: str
    preset: str
    synthetic: Measured | None


def compare(
    a: Picture | Audio,
    b: Picture | Audio,
    model: Model | None = None,
    metric: str = "cosine",
    preset: str | None = None,
    backend: str = "torch",
    device: Any = "cpu",
    provider_options: Mapping[str, Any] | None = None,
    **how: Unpack[PictureOptions],
) -> Comparison:
    """Return how far two pictures are from each other, and whether they show one person.

    `model` is a face encoder, or what `vox2face.load` takes; with a voice encoder `a` and `b` are
    recordings. Without one, the face encoder that comes with vox2face cuts the faces out of
    photographs (`crop=True`). `how` is that of `FaceEncoder`, `metric` that of `distances`. Raises
    as these do.
    """
    require_metric(metric)
    how = {"crop": model is None, **how}
    where = LoadOptions(backend=backend, device=device, provider_options=provider_options)
    encoder = loaded_encoder(model or DEFAULT_FACE, preset, where)
    one, other = embedded(encoder, [a, b], how)
    far = distances(one, other[None], metric, takes_unit(encoder))
    distance = round(float(far[0]), DIGITS) + 0.0  # -0.0 would be printed
    errors = _errors(encoder, metric, how)
    threshold, source, note = _synthetic(errors) if errors else _published(encoder, metric)
    return Comparison(
        distance,
        metric,
        threshold,
        None if threshold is None else distance <= threshold,
        source,
        note,
        encoder.entry.name,
        encoder.preset,
        errors,
    )


def distances(
    one: ArrayLike, others: ArrayLike, metric: str = "cosine", unit: bool = False
) -> NDArray[np.float64]:
    """Return the distances of an embedding (width,) to others (n, width): float64 (n,).

    `metric` is "cosine", "euclidean", "euclidean_l2" (of unit embeddings) or "angular" (the angle,
    1 for opposites); `unit` divides all embeddings by their length + 1e-10 first. Raises
    `UsageError` for another metric, `Vox2FaceError` for an embedding that is not finite, or is zero
    where directions count. Source: deepface modules/verification.py.
    """
    require_metric(metric)
    a, rows = np.asarray(one, np.float64), np.asarray(others, np.float64)
    if not (np.isfinite(a).all() and np.isfinite(rows).all()):
        raise Vox2FaceError("An embedding is not finite: check the weights of the model.")
    if unit or metric == "euclidean_l2":
        a, rows = (x / (_lengths(x) + DEEPFACE_EPSILON) for x in (a, rows))
    if metric in ("euclidean", "euclidean_l2"):
        return np.asarray(_lengths(rows - a)[..., 0])
    lengths = _lengths(rows)[..., 0] * _lengths(a)
    if not lengths.all():
        raise Vox2FaceError(
            f"An embedding is zero and has no direction, which the metric {metric} needs: choose "
            "another picture, or the metric euclidean."
        )
    cosines = rows @ a / lengths
    return 1 - cosines if metric == "cosine" else np.arccos(np.clip(cosines, -1, 1)) / np.pi


def require_metric(metric: str) -> None:
    """Raise `UsageError` for a metric that there is not."""
    if metric not in METRICS:
        raise UsageError(f"There is no metric {metric!r}: choose one of {', '.join(METRICS)}.")


def _lengths(values: NDArray[np.float64]) -> NDArray[np.float64]:
    return np.asarray(np.linalg.norm(values, axis=-1, keepdims=True))


def loaded_encoder(model: Model, preset: str | None, where: LoadOptions) -> Encoder:
    """Return an encoder, loaded if it is named; `UsageError` for what is none."""
    if isinstance(model, VoiceEncoder | FaceEncoder):
        if preset is None or preset == model.preset:
            return model
        if isinstance(model, FaceEncoder):
            return model.with_preset(preset)
        raise UsageError("A preset is for a model that is named, or for a face encoder.")
    if (kind := kind_of(model)) == "face-decoder":
        raise UsageError(f"{model} is a {kind}, expected an encoder: vox2face zoo list shows them.")
    options: LoadOptions = {**where, "preset": preset}
    encoder: Encoder = load(model, **options)
    return encoder


def embedded(encoder: Encoder, items: list[Any], how: PictureOptions) -> Embeddings:
    """Return the embeddings of pictures or recordings, (n, width)."""
    if isinstance(encoder, FaceEncoder):
        return encoder(items, **how)
    if any(how.values()):
        raise UsageError(f"{encoder.entry.name} hears voices, which show no face to cut out.")
    return encoder(items)


def own_space(encoder: Encoder) -> Space:
    """Return the space of what an encoder makes; one that nobody else spans has its own name."""
    space = encoder.space
    return space if space.encoder else Space(encoder.entry.name, encoder.preset)


def takes_unit(encoder: Encoder) -> bool:
    """Whether the owner of a network divides its embeddings by their length before any distance."""
    published = PUBLISHED.get(encoder.entry.name)
    return published is not None and published.unit


def _errors(encoder: Encoder, metric: str, how: PictureOptions) -> Measured | None:
    """Return the errors on synthetic people whose faces were embedded in the same way."""
    same = _has_published_weights(encoder) and how.get("crop") and how.get("detector") is None
    facts = (encoder.entry.name, encoder.preset, how.get("align", False), metric)
    return measured(*facts) if same else None


def _synthetic(errors: Measured) -> tuple[float, str, str]:
    """Return the threshold at equal errors on synthetic people, its source, and a note."""
    return (
        errors.equal.value,
        f"equal errors on {errors.people} synthetic people, not real ones",
        "Measured on synthetic people: no verdict on real ones should lean on it.",
    )


def _published(encoder: Encoder, metric: str) -> tuple[float | None, str, str]:
    """Return the threshold published for an encoder, None without one; its source, and a note."""
    published = PUBLISHED.get(encoder.entry.name)
    if published is None:
        return None, f"no threshold is published for {encoder.entry.name}", ""
    if encoder.preset not in published.presets:
        presets = " or ".join(published.presets)
        return None, f"{published.cite} holds for the preset {presets}, not {encoder.preset}", ""
    if not _has_published_weights(encoder):
        return None, f"{published.cite} holds for the published weights, and these are others", ""
    return published.thresholds[metric], f"{published.cite}, {published.name}", published.note


def _has_published_weights(encoder: Encoder) -> bool:
    """Whether the weights come from the very file that their owner published."""
    return encoder.bundle is not None and encoder.bundle.config["source"].get("published") is True
