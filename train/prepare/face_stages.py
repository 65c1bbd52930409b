"""The stages of pictures: landmarks, stored pictures, embeddings and textures."""

from __future__ import annotations

import functools
import io
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from vox2face.core.errors import CorpusError, ImageError
from vox2face.train import storage
from vox2face.train.media import Pixels, picture_at
from vox2face.train.prepare import shards
from vox2face.train.prepare.crop import SIZE, in_the_stored, stored
from vox2face.train.prepare.shard_task import Failures, Work, failed_in, failing

if TYPE_CHECKING:
    from torch import Tensor

    from vox2face.runtime.face_encoder import FaceEncoder

MARGIN = 0.2  # of a crop, around the landmarks and the forehead; as in vox2face.faces.crop
Made = tuple[shards.Arrays, Failures]


def landmarks(work: Work) -> Made:
    """Find the largest face of each picture, its landmarks and, with `crop`, the square around it.

    Arrays, a row each: `landmarks` float32 (68, 2) in pixels of the stored picture, `squares`
    float64 (4,) (centre, side, angle in the file's picture; NaN without crop), `sizes` int32
    (width, height) of the file's picture, `scores` float32, and `faces` int32, how many there were.
    """
    from vox2face.runtime import face_detection
    from vox2face.zoo.networks.face_api import networks

    networks()  # what is wrong with them is not the files' fault
    count, failures = len(work.rows), Failures()
    found = {
        "landmarks": np.full((count, 68, 2), np.nan, np.float32),
        "squares": np.full((count, 4), np.nan),
        "sizes": np.zeros((count, 2), np.int32),
        "scores": np.full(count, np.nan, np.float32),
        "faces": np.zeros(count, np.int32),
    }
    for i, file in enumerate(work.files):
        with failing(work, i, failures):
            pixels = picture_at(work.file(i))
            points, score, there = _largest_face(pixels, file)
            _require_finite(points, file)
            square = None
            if work.crops(i):
                cut = face_detection.around(points, MARGIN, face_detection.FOREHEAD)
                square = np.array([cut.x, cut.y, cut.side, cut.angle])
                found["squares"][i] = square
            size = pixels.shape[1], pixels.shape[0]
            found["sizes"][i], found["faces"][i], found["scores"][i] = size, there, score
            found["landmarks"][i] = in_the_stored(points, square, size)
    return found, failures


def _largest_face(pixels: Pixels, name: str) -> tuple[NDArray[np.float32], float, int]:
    """Return the landmarks of the largest face, its score, and how many faces there are.

    As `vox2face.runtime.face_detection.find`, but the detector's picture for small faces, which
    costs four times as much as the others, is looked at only where these show nothing. Raises
    `ImageError` if that
    shows nothing either.
    """
    from vox2face.runtime import face_detection

    for sizes in (face_detection.SIZES[:2], face_detection.SIZES[2:]):
        seen = [face_detection.detected(pixels, size) for size in sizes]
        scores, boxes = (np.concatenate(parts) for parts in zip(*seen, strict=True))
        there = list(face_detection.separate(scores, boxes))
        if there:
            best = max(there, key=lambda n: float((boxes[n, 2:] - boxes[n, :2]).prod()))
            return face_detection.landmarks(pixels, boxes[best]), float(scores[best]), len(there)
    raise ImageError(
        f"No face was found in {name}: use a picture in which a face is upright and seen from the "
        "front."
    )


def _require_finite(values: NDArray[np.float32], name: str) -> None:
    """Raise `ImageError` for values that a network gives for a picture and nobody can use."""
    if not np.isfinite(values).all():
        raise ImageError(f"The network gives no finite values for {name}: use another picture.")


def pictures(work: Work) -> Made:
    """Keep the pictures that are stored: `pictures` uint8 (224, 224, 3) a row."""
    failures = Failures()
    kept = np.zeros((len(work.rows), SIZE, SIZE, 3), np.uint8)
    for i, picture in _each_stored(work, failures):
        kept[i] = picture
    return {"pictures": kept}, failures


def _each_stored(work: Work, failures: Failures) -> Iterator[tuple[int, Pixels]]:
    """Yield the stored pictures with their places, without those that failed before."""
    squares, bad = None, frozenset[int]()
    if work.settings["crop"]:
        shard, bad = failed_in(work, "landmarks")
        squares = shard.part("squares", 0, len(work.rows))
    for i in range(len(work.files)):
        if i in bad:
            continue
        picture = None
        with failing(work, i, failures):
            picture = stored(picture_at(work.file(i)), None if squares is None else squares[i])
        if picture is not None:
            yield i, picture


def textures(work: Work) -> Made:
    """Warp pictures to the mean landmarks: `textures` uint8 (224, 224, 3) a row."""
    import torch

    from vox2face.train.prepare.reader import MEAN
    from vox2face.zoo.networks.warp import LandmarkWarp

    failures = Failures()
    shard, bad = failed_in(work, "landmarks")
    points = shard.part("landmarks", 0, len(work.rows))
    data = storage.read_bytes(storage.join(work.folder, MEAN))
    mean = torch.from_numpy(np.load(io.BytesIO(data)))[None]
    warped = np.zeros((len(work.rows), SIZE, SIZE, 3), np.uint8)
    for i, picture in _each_stored(work, failures):
        if i in bad:
            continue
        # what is at the picture's own landmarks goes to the mean ones
        warp = LandmarkWarp(torch.from_numpy(points[i]), SIZE)
        pixels = torch.from_numpy(picture.transpose(2, 0, 1).astype(np.float32))[None]
        with torch.inference_mode():
            texture = warp(pixels, mean)[0]
        warped[i] = (texture + 0.5).clamp(0, 255).byte().permute(1, 2, 0).numpy()
    return {"textures": warped}, failures


def embeddings(work: Work) -> Made:
    """Embed pictures: `embeddings` float32 (width,) a row, NaN where there is none.

    Batches are cut by shard, so they do not depend on who works. While the network computes, a
    second thread decodes and preprocesses the next batch.
    """
    where = (work.settings[name] for name in ("face", "preset", "backend", "device"))
    encoder = encoder_of(*where, tuple(work.settings.get("provider_options", {}).items()))
    failures = Failures()
    found = np.full((len(work.rows), encoder.width), np.nan, np.float32)
    for places, batch in ahead(batches(work, encoder, failures)):
        found[places] = encoder.embed(batch)
        for i in places:
            with failing(work, i, failures):
                _require_finite(found[i], work.files[i])
    return {"embeddings": found}, failures


@functools.lru_cache(maxsize=1)
def encoder_of(
    face: str, preset: str, backend: str, device: str, provider_options: tuple[Any, ...] = ()
) -> FaceEncoder:
    """Load a face encoder, once a process."""
    from vox2face.runtime.face_encoder import FaceEncoder
    from vox2face.runtime.load import LoadOptions, load_kind

    how = LoadOptions(
        backend=backend,
        device=device,
        preset=preset,
        provider_options=dict(provider_options) or None,
    )
    return load_kind(FaceEncoder, face, **how)


def batches(
    work: Work, encoder: FaceEncoder, failures: Failures
) -> Iterator[tuple[list[int], Tensor]]:
    """Yield preprocessed pictures, `batch_size` at a time, with their places."""
    import torch

    places: list[int] = []
    ready: list[Tensor] = []
    for i, picture in _each_given(work, failures):
        prepared = None
        with failing(work, i, failures):
            prepared = preprocessed(encoder, picture)
        if prepared is not None:
            places.append(i)
            ready.append(prepared)
        if len(places) == work.settings["batch_size"]:
            yield places, torch.cat(ready)
            places, ready = [], []
    if places:
        yield places, torch.cat(ready)


def preprocessed(encoder: FaceEncoder, picture: Pixels) -> Tensor:
    """Return what `encoder.preprocess` returns of a picture, bit for bit, in a third of the time.

    Where the preset resamples as Pillow does, Pillow does it: columns first, then rows.
    """
    import torch
    from PIL import Image

    preset, size = encoder.frontend.preset, encoder.frontend.size
    height, width = picture.shape[:2]
    narrow = max(height, width) > size * min(height, width)  # refused there
    if (preset.fit, preset.filter) != ("stretch", "pil-bilinear") or narrow:
        return encoder.preprocess([picture])
    bilinear = Image.Resampling.BILINEAR
    columns = Image.fromarray(picture).resize((size, height), bilinear)
    pixels = np.asarray(columns.resize((size, size), bilinear), np.float32).transpose(2, 0, 1)
    ready = torch.from_numpy(pixels[::-1].copy() if preset.color == "BGR" else pixels)
    with torch.inference_mode():
        return ((ready - encoder.frontend.mean.cpu()) * preset.scale)[None]


def _each_given(work: Work, failures: Failures) -> Iterator[tuple[int, Pixels]]:
    """Yield what a face encoder gets: the crop, or without crop the file's own picture."""
    if work.settings["crop"]:
        yield from _each_stored(work, failures)
        return
    for i in range(len(work.files)):
        picture = None
        with failing(work, i, failures):
            picture = picture_at(work.file(i))
        if picture is not None:
            yield i, picture


def ahead(source: Iterator[Any]) -> Iterator[Any]:
    """Yield what `source` does, which a second thread makes one item ahead."""
    with ThreadPoolExecutor(1) as thread:
        following = thread.submit(next, source, None)
        while (item := following.result()) is not None:
            following = thread.submit(next, source, None)
            yield item


def mean_of(landmark_shards: Iterator[NDArray[np.float32]]) -> NDArray[np.float32]:
    """Return the mean landmarks (68, 2) of parts (n, 68, 2), added up in their order."""
    total, count = np.zeros((68, 2)), 0
    for points in landmark_shards:
        whole = points[np.isfinite(points).all((1, 2))].astype(np.float64)
        total, count = total + whole.sum(0), count + len(whole)
    if not count:
        raise CorpusError(
            "No picture of the train split has landmarks, so there are no mean landmarks: look at "
            "failures.csv, and at the splits of the manifest."
        )
    return (total / count).astype(np.float32)
