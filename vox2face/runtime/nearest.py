"""Which of the embeddings that `vox2face embed` saved are nearest to a picture or a recording."""

from __future__ import annotations

import os
import zipfile
import zlib
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Unpack

import numpy as np

from vox2face.core.entry import Space
from vox2face.core.errors import UsageError, Vox2FaceError, one_line
from vox2face.media.audio import Audio
from vox2face.media.image import Picture
from vox2face.runtime.base import Embeddings
from vox2face.runtime.compare import (
    DIGITS,
    Encoder,
    Model,
    distances,
    embedded,
    loaded_encoder,
    own_space,
    require_metric,
    takes_unit,
)
from vox2face.runtime.detectors import OWN
from vox2face.runtime.face_encoder import FaceEncoder
from vox2face.runtime.face_input import PictureOptions
from vox2face.runtime.load import LoadOptions


@dataclass(frozen=True)
class Neighbour:
    """A file among saved embeddings, and its distance."""

    file: str
    distance: float


@dataclass(frozen=True, eq=False)
class Saved:
    """Embeddings (n, width) that `vox2face embed` wrote, the files they are of, what made them.

    `space` is None in files of vox2face 0.2.0 and before. `unit` says that the embeddings were
    divided by their length, `how` in which way pictures were read.
    """

    path: Path
    files: list[str]
    embeddings: Embeddings
    model: str
    preset: str
    space: Space | None
    unit: bool
    how: PictureOptions


def nearest(
    item: Picture | Audio,
    embeddings: str | os.PathLike[str] | Saved,
    top: int = 5,
    model: Model | None = None,
    metric: str = "cosine",
    backend: str = "torch",
    device: Any = "cpu",
    provider_options: Mapping[str, Any] | None = None,
    **how: Unpack[PictureOptions],
) -> list[Neighbour]:
    """Return the `top` files of saved embeddings that are nearest to a picture or a recording.

    `embeddings` is the .npz file of `vox2face embed`, or what `read_saved` made of it. `item` is
    embedded by the model and preset that are named there, with the face cut out as there; `model`
    names another, such as a bundle, whose embeddings must be of the same space. Raises `UsageError`
    if they are not, else as `compare` and `read_saved` do.
    """
    require_metric(metric)
    if top < 1:
        raise UsageError(f"top is {top}: it must be at least 1.")
    saved = embeddings if isinstance(embeddings, Saved) else read_saved(embeddings)
    where = LoadOptions(backend=backend, device=device, provider_options=provider_options)
    encoder = loaded_encoder(model or saved.model, None if model else saved.preset, where)
    _require_same_space(encoder, saved)
    as_saved = isinstance(encoder, FaceEncoder) and "crop" not in how
    (one,) = embedded(encoder, [item], {**saved.how, **how} if as_saved else how)
    far = distances(one, saved.embeddings, metric, saved.unit or takes_unit(encoder))
    order = np.argsort(far, kind="stable")[:top].tolist()
    return [Neighbour(saved.files[n], round(float(far[n]), DIGITS)) for n in order]


def read_saved(path: str | os.PathLike[str]) -> Saved:
    """Return the embeddings in an .npz file that `vox2face embed` wrote.

    Raises `UsageError` if there is no such file, `Vox2FaceError` if it is another or damaged.
    """
    path = Path(path)
    if not path.is_file():
        raise UsageError(f"There is no file {path}: name one that vox2face embed --output wrote.")
    if path.suffix != ".npz":
        raise UsageError(f"{path} is no .npz file: vox2face embed --output FILE.npz writes one.")
    try:
        with path.open("rb") as file, np.load(file, allow_pickle=False) as table:
            facts = {name: table[name] for name in table.files}
        files = facts["images" if "images" in facts else "audio"].tolist()
        space = facts.get("space")
        saved = Saved(
            path,
            [str(file) for file in files],
            facts["embeddings"],
            str(facts["model"]),
            str(facts["preset"]),
            None if space is None else Space(*space.tolist()),
            bool(facts.get("normalized", False)),
            _how(facts),
        )
        if saved.embeddings.dtype != np.float32 or saved.embeddings.ndim != 2:
            raise ValueError("its embeddings are not float32 (n, width)")
        if not (isinstance(files, list) and 0 < len(files) == len(saved.embeddings)):
            raise ValueError(f"{len(files)} files and {len(saved.embeddings)} embeddings")
        usable = np.isfinite(saved.embeddings).all(1) & saved.embeddings.any(1)
        if not usable.all():
            raise ValueError(f"the embedding of {saved.files[int(usable.argmin())]} is no vector")
    except (OSError, ValueError, KeyError, TypeError, EOFError, AttributeError, MemoryError,
            zipfile.BadZipFile, zlib.error) as error:  # fmt: skip
        raise Vox2FaceError(
            f"{path} is not a file of embeddings that vox2face embed wrote, or it is damaged "
            f"({one_line(error)[:200]}): write it again with --output {path.stem}.npz."
        ) from error
    return saved


def _how(facts: Mapping[str, Any]) -> PictureOptions:
    """Return how the pictures of a file were read, as far as it tells."""
    how: PictureOptions = {
        "crop": bool(facts.get("crop", False)),
        "align": bool(facts.get("align", False)),
    }
    if how["crop"]:
        how["which"] = str(facts.get("face_choice", "")) or "one"
        detector = str(facts.get("detector", ""))
        how["detector"] = None if detector in ("", OWN) else detector
    return how


def _require_same_space(encoder: Encoder, saved: Saved) -> None:
    """Raise `UsageError` unless an encoder's embeddings compare with saved ones."""
    own = own_space(encoder)
    if saved.space is None:
        fits = (saved.model, saved.preset) == (encoder.entry.name, encoder.preset)
    else:
        fits = saved.space.fits(own)
    if not fits or encoder.width != saved.embeddings.shape[1]:
        held = saved.space or Space(saved.model, saved.preset)
        raise UsageError(
            f"{saved.path} holds embeddings of {held}, {saved.embeddings.shape[1]} values each, "
            f"and {encoder.entry.name} gives {encoder.width} values of {own}, which do not "
            "compare: name the model or the bundle that they were made with, or embed the files "
            "again."
        )
