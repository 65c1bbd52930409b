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
from vox2face.train.media import Pixels, read_picture
from vox2face.train.prepare import shards
from vox2face.train.prepare.crop import SIZE, stored_picture, to_stored_points
from vox2face.train.prepare.shard_task import (
    Failures,
    ShardJob,
    catch_failures,
    shard_with_failures,
)

if TYPE_CHECKING:
    from torch import Tensor

    from vox2face.runtime.face_encoder import FaceEncoder

MARGIN = 0.2  # of a crop, around the landmarks and the forehead; as in vox2face.faces.crop
StageResult = tuple[shards.Arrays, Failures]


def landmarks(job: ShardJob) -> StageResult:
    """Find the largest face of each picture, its landmarks and, with `crop`, the square around it.

    Arrays, a row each: `landmarks` float32 (68, 2) in pixels of the stored picture, `squares`
    float64 (4,) (centre, side, angle in the file's picture; NaN without crop), `sizes` int32
    (width, height) of the file's picture, `scores` float32, `faces` int32 (number of faces found).
    """
    from vox2face.runtime import face_detection
    from vox2face.zoo.networks.face_api import networks

    networks()  # loaded here, so their errors are not counted as failures of files
    count, failures = len(job.rows), Failures()
    arrays = {
        "landmarks": np.full((count, 68, 2), np.nan, np.float32),
        "squares": np.full((count, 4), np.nan),
        "sizes": np.zeros((count, 2), np.int32),
        "scores": np.full(count, np.nan, np.float32),
        "faces": np.zeros(count, np.int32),
    }
    for i, file in enumerate(job.files):
        with catch_failures(job, i, failures):
            pixels = read_picture(job.file(i))
            points, score, faces = _largest_face(pixels, file)
            _require_finite(points, file)
            box = None
            if job.crops(i):
                square = face_detection.around(points, MARGIN, face_detection.FOREHEAD)
                box = np.array([square.x, square.y, square.side, square.angle])
                arrays["squares"][i] = box
            size = pixels.shape[1], pixels.shape[0]
            arrays["sizes"][i], arrays["faces"][i], arrays["scores"][i] = size, faces, score
            arrays["landmarks"][i] = to_stored_points(points, box, size)
    return arrays, failures


def _largest_face(pixels: Pixels, name: str) -> tuple[NDArray[np.float32], float, int]:
    """Return the landmarks (68, 2) of the largest face, its score, and the number of faces.

    As `vox2face.runtime.face_detection.find`, but the detector's size for small faces, which costs
    four times as much as the others, is used only where these find nothing. Raises `ImageError` if
    no face is found.
    """
    from vox2face.runtime import face_detection

    for sizes in (face_detection.SIZES[:2], face_detection.SIZES[2:]):
        detections = [face_detection.detected(pixels, size) for size in sizes]
        scores, boxes = (np.concatenate(parts) for parts in zip(*detections, strict=True))
        faces = list(face_detection.separate(scores, boxes))
        if faces:
            best = max(faces, key=lambda n: float((boxes[n, 2:] - boxes[n, :2]).prod()))
            return face_detection.landmarks(pixels, boxes[best]), float(scores[best]), len(faces)
    raise ImageError(
        f"No face was found in {name}: use a picture in which a face is upright and seen from the "
        "front."
    )


def _require_finite(values: NDArray[np.float32], name: str) -> None:
    """Raise `ImageError` if a network's values for a picture are not all finite."""
    if not np.isfinite(values).all():
        raise ImageError(f"The network gives no finite values for {name}: use another picture.")


def pictures(job: ShardJob) -> StageResult:
    """Crop and resize pictures: `pictures` uint8 (224, 224, 3) a row."""
    failures = Failures()
    images = np.zeros((len(job.rows), SIZE, SIZE, 3), np.uint8)
    for i, picture in _stored_pictures(job, failures):
        images[i] = picture
    return {"pictures": images}, failures


def _stored_pictures(job: ShardJob, failures: Failures) -> Iterator[tuple[int, Pixels]]:
    """Yield the index and the stored picture of each row that has not failed before."""
    boxes, failed = None, frozenset[int]()
    if job.settings["crop"]:
        shard, failed = shard_with_failures(job, "landmarks")
        boxes = shard.part("squares", 0, len(job.rows))
    for i in range(len(job.files)):
        if i in failed:
            continue
        picture = None
        with catch_failures(job, i, failures):
            picture = stored_picture(read_picture(job.file(i)), None if boxes is None else boxes[i])
        if picture is not None:
            yield i, picture


def textures(job: ShardJob) -> StageResult:
    """Warp pictures to the mean landmarks: `textures` uint8 (224, 224, 3) a row."""
    import torch

    from vox2face.train.prepare.reader import MEAN
    from vox2face.zoo.networks.warp import LandmarkWarp

    failures = Failures()
    shard, failed = shard_with_failures(job, "landmarks")
    points = shard.part("landmarks", 0, len(job.rows))
    data = storage.read_bytes(storage.join(job.folder, MEAN))
    mean = torch.from_numpy(np.load(io.BytesIO(data)))[None]
    images = np.zeros((len(job.rows), SIZE, SIZE, 3), np.uint8)
    for i, picture in _stored_pictures(job, failures):
        if i in failed:
            continue
        # from the picture's landmarks to the mean ones
        warp = LandmarkWarp(torch.from_numpy(points[i]), SIZE)
        pixels = torch.from_numpy(picture.transpose(2, 0, 1).astype(np.float32))[None]
        with torch.inference_mode():
            texture = warp(pixels, mean)[0]
        images[i] = (texture + 0.5).clamp(0, 255).byte().permute(1, 2, 0).numpy()
    return {"textures": images}, failures


def embeddings(job: ShardJob) -> StageResult:
    """Embed pictures: `embeddings` float32 (width,) a row, NaN where there is none.

    Batches are made within a shard, so they are the same in all engines. While the network runs, a
    second thread decodes and preprocesses the next batch.
    """
    model = (job.settings[name] for name in ("face", "preset", "backend", "device"))
    encoder = load_encoder(*model, tuple(job.settings.get("provider_options", {}).items()))
    failures = Failures()
    values = np.full((len(job.rows), encoder.width), np.nan, np.float32)
    for indices, batch in prefetch(batches(job, encoder, failures)):
        values[indices] = encoder.embed(batch)
        for i in indices:
            with catch_failures(job, i, failures):
                _require_finite(values[i], job.files[i])
    return {"embeddings": values}, failures


@functools.lru_cache(maxsize=1)
def load_encoder(
    face: str, preset: str, backend: str, device: str, provider_options: tuple[Any, ...] = ()
) -> FaceEncoder:
    """Load a face encoder, once in each process."""
    from vox2face.runtime.face_encoder import FaceEncoder
    from vox2face.runtime.load import LoadOptions, load_kind

    options = LoadOptions(
        backend=backend,
        device=device,
        preset=preset,
        provider_options=dict(provider_options) or None,
    )
    return load_kind(FaceEncoder, face, **options)


def batches(
    job: ShardJob, encoder: FaceEncoder, failures: Failures
) -> Iterator[tuple[list[int], Tensor]]:
    """Yield preprocessed pictures, `batch_size` at a time, with their indices in the shard."""
    import torch

    indices: list[int] = []
    inputs: list[Tensor] = []
    for i, picture in _encoder_inputs(job, failures):
        tensor = None
        with catch_failures(job, i, failures):
            tensor = preprocessed(encoder, picture)
        if tensor is not None:
            indices.append(i)
            inputs.append(tensor)
        if len(indices) == job.settings["batch_size"]:
            yield indices, torch.cat(inputs)
            indices, inputs = [], []
    if indices:
        yield indices, torch.cat(inputs)


def preprocessed(encoder: FaceEncoder, picture: Pixels) -> Tensor:
    """Preprocess a picture, bit-equal to `encoder.preprocess`, in a third of the time.

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
    values = torch.from_numpy(pixels[::-1].copy() if preset.color == "BGR" else pixels)
    with torch.inference_mode():
        return ((values - encoder.frontend.mean.cpu()) * preset.scale)[None]


def _encoder_inputs(job: ShardJob, failures: Failures) -> Iterator[tuple[int, Pixels]]:
    """Yield the index and the encoder's picture of each row: the crop, else the file's picture."""
    if job.settings["crop"]:
        yield from _stored_pictures(job, failures)
        return
    for i in range(len(job.files)):
        picture = None
        with catch_failures(job, i, failures):
            picture = read_picture(job.file(i))
        if picture is not None:
            yield i, picture


def prefetch(source: Iterator[Any]) -> Iterator[Any]:
    """Yield the items of `source`, which a second thread makes one item ahead."""
    with ThreadPoolExecutor(1) as thread:
        upcoming = thread.submit(next, source, None)
        while (item := upcoming.result()) is not None:
            upcoming = thread.submit(next, source, None)
            yield item


def mean_landmarks(landmark_shards: Iterator[NDArray[np.float32]]) -> NDArray[np.float32]:
    """Return the mean (68, 2) of the finite landmarks of parts (n, 68, 2), added up in order."""
    total, count = np.zeros((68, 2)), 0
    for points in landmark_shards:
        complete = points[np.isfinite(points).all((1, 2))].astype(np.float64)
        total, count = total + complete.sum(0), count + len(complete)
    if not count:
        raise CorpusError(
            "No picture of the train split has landmarks, so there are no mean landmarks: look at "
            "failures.csv, and at the splits of the manifest."
        )
    return (total / count).astype(np.float32)
