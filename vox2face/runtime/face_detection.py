"""Faces in photographs: where they are, their 68 landmarks, and square crops of them.

The two networks come with vox2face (see assets/NOTICE.md) and need PyTorch only; another detector
may take the place of the first, see `vox2face.runtime.detectors`. Pictures whose
faces are already cut out and normalised need none of this; pipelines use it only when asked.
"""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from PIL import Image

from vox2face.core.errors import ImageError, UsageError
from vox2face.media.image import BLOCK, Picture, decode, name_of, resized
from vox2face.runtime import detectors
from vox2face.runtime.detectors import DetectedFace, Detector
from vox2face.zoo.networks.face_api import FACE_SIZE, networks

Pixels = NDArray[np.uint8]
Points = NDArray[np.float32]

# Sizes of the detector's picture: the usual one, one for faces that fill the picture and one for
# small faces. Of two faces side by side the usual one alone misses some.
SIZES = (416, 224, 832)
LEAST_SCORE = 0.5  # as in face-api's TinyYolov2Options.ts

# The part of the smaller of two boxes that the other holds where both are of one face. face-api
# divides by both boxes' area together, and so takes halves and parts of a face for another face.
OVERLAP = 0.3

# The landmark network sees the box of the landmarks, widened by this part on every side.
AROUND = 0.1

# It puts the landmarks this many of its 112 pixels too high: measured on the astronaut and on five
# photographs of two men, against dlib. To the left it errs as well, which mirroring averages away.
RAISED = 1.2
FOREHEAD = 0.25  # above the eyebrows, as a part of the height from there to the chin

# The landmarks of the mirrored face, iBUG's numbering.
MIRRORED = [
    *range(16, -1, -1),
    *range(26, 16, -1),
    *range(27, 31),
    *range(35, 30, -1),
    *(45, 44, 43, 42, 47, 46, 39, 38, 37, 36, 41, 40),
    *(54, 53, 52, 51, 50, 49, 48, 59, 58, 57, 56, 55),
    *(64, 63, 62, 61, 60, 67, 66, 65),
]


@dataclass(frozen=True, eq=False)
class Face68:
    """A face: its box (left, top, right, bottom), its score 0..1 and its landmarks (68, 2).

    All are in pixels (x, y) of the photograph, counted from the centre of the first pixel. The
    landmarks are numbered as iBUG does, and may lie outside the picture. `eyes` (2, 2) are those
    that another detector found, None where the landmarks tell.
    """

    box: tuple[float, float, float, float]
    score: float
    landmarks: Points
    eyes: Points | None = None

    @property
    def area(self) -> float:
        """The area of the box in pixels."""
        return (self.box[2] - self.box[0]) * (self.box[3] - self.box[1])

    @property
    def tilt(self) -> float:
        """The angle in radians by which the line through the eyes falls to the right."""
        if self.eyes is None:
            left, right = self.landmarks[36:42].mean(0), self.landmarks[42:48].mean(0)
        else:
            left, right = self.eyes[self.eyes[:, 0].argsort()]
        x, y = right - left
        return math.atan2(float(y), float(x))


@dataclass(frozen=True)
class Square:
    """A square of a picture: its centre and side in pixels, and its rotation in radians."""

    x: float
    y: float
    side: float
    angle: float = 0.0

    def turned(self) -> NDArray[np.float64]:
        """Return the matrix that takes the square's axes to those of the picture."""
        c, s = math.cos(self.angle), math.sin(self.angle)
        return np.array([[c, -s], [s, c]])

    def cut(self, pixels: Pixels, size: int) -> Pixels:
        """Return the square as RGB uint8 (size, size, 3), bilinear, black beyond the picture.

        Large squares are sampled as finely as the picture and then averaged.
        """
        fine = max(1, math.ceil(self.side / size))
        step = max(1, BLOCK // (size * fine**2))
        bands = [
            self._band(pixels, size, fine, top, min(top + step, size))
            for top in range(0, size, step)
        ]
        return np.concatenate(bands)

    def _band(self, pixels: Pixels, size: int, fine: int, top: int, bottom: int) -> Pixels:
        """Return the rows from `top` to `bottom` of the cut, from the part of the picture below."""
        matrix = self.turned() * (self.side / (size * fine))
        width, height = size * fine, (bottom - top) * fine
        # Pillow counts from the corner of the first pixel
        start = [self.x + 0.5, self.y + 0.5] + matrix @ [-width / 2, top * fine - width / 2]
        edges = np.array([(0, 0), (width, 0), (0, height), (width, height)])
        corners = start + edges @ matrix.T
        limits = [pixels.shape[1], pixels.shape[0]]
        # bilinear sampling looks one pixel further; at least one pixel is there, seen or not
        low = np.clip(np.floor(corners.min(0)) - 2, 0, np.subtract(limits, 1)).astype(int)
        high = np.clip(np.ceil(corners.max(0)) + 2, low + 1, limits).astype(int)
        part = Image.fromarray(pixels[low[1] : high[1], low[0] : high[0]])
        data = (*matrix[0], start[0] - low[0], *matrix[1], start[1] - low[1])
        band = part.transform(
            (width, height), Image.Transform.AFFINE, data, Image.Resampling.BILINEAR
        )
        return np.array(band.reduce(fine) if fine > 1 else band)

    def outward(self, points: NDArray[Any], size: int) -> Points:
        """Return points of the cut as points of the picture."""
        parts = (points + 0.5) / size - 0.5
        return np.asarray(parts * self.side @ self.turned().T + [self.x, self.y], np.float32)

    def inward(self, points: NDArray[Any], size: int) -> Points:
        """Return points of the picture as points of the cut."""
        parts = (points - [self.x, self.y]) @ self.turned() / self.side
        return np.asarray((parts + 0.5) * size - 0.5, np.float32)


def find(
    picture: Picture, detector: str | Detector | None = None, channels: str = "rgb"
) -> list[Face68]:
    """Return the faces in a photograph, the largest first; an empty list if there is none.

    Takes what `vox2face.media.image.decode` takes, and `channels` as it does. `detector` is
    another one than vox2face's own: a function or the name of an installed one, as
    `vox2face.runtime.detectors.detect` tells. Raises as both do.
    """
    pixels = decode(picture, channels)
    if detector in (None, detectors.OWN):
        found = own_detector(pixels)
    else:
        found = detectors.detect(detector, pixels)
    faces = [described(face, pixels) for face in found]
    return sorted(faces, key=lambda face: face.area, reverse=True)


def own_detector(pixels: Pixels) -> list[DetectedFace]:
    """Return the boxes and scores of the faces in a picture, RGB uint8 (height, width, 3)."""
    seen_at = [detected(pixels, size) for size in SIZES]
    scores, boxes = (np.concatenate(parts) for parts in zip(*seen_at, strict=True))
    return [
        DetectedFace(tuple(boxes[n].tolist()), float(scores[n])) for n in separate(scores, boxes)
    ]


def described(face: DetectedFace, pixels: Pixels) -> Face68:
    """Return a detected face with its landmarks, which are found in its box if it has none."""
    box = np.asarray(face.box, np.float32)
    points = landmarks(pixels, box) if face.landmarks is None else face.landmarks
    return Face68(
        tuple(box.tolist()),
        float(face.score),
        np.asarray(points, np.float32),
        None if face.eyes is None else np.asarray(face.eyes, np.float32),
    )


def the_face(
    picture: Picture,
    which: str | int = "one",
    detector: str | Detector | None = None,
    channels: str = "rgb",
) -> Face68:
    """Return the face in a photograph; `picture`, `detector` and `channels` are those of `find`.

    Where there are several, `which` chooses: "one" (there must be no other), "largest", or the
    face's number in the list of `find`. Raises `ImageError` without a face, or with several and
    no choice, and `UsageError` for a choice that is not valid.
    """
    numbered(which)  # before any work
    return chosen(find(picture, detector, channels), which, name_of(picture))


def chosen(faces: Sequence[Face68], which: str | int, name: str) -> Face68:
    """Return the face of a photograph that `which` names, or raise as `the_face` does."""
    number = numbered(which)
    if not faces:
        raise ImageError(
            f"No face was found in {name}: use a photograph in which a face is upright, seen "
            "from the front and at least a tenth of the picture's height."
        )
    if number is None and len(faces) > 1:
        boxes = [", ".join(f"{edge:.0f}" for edge in face.box) for face in faces]
        places = "; ".join(f"{n} at {box}" for n, box in enumerate(boxes))
        raise ImageError(
            f"{len(faces)} faces were found in {name} (left, top, right, bottom: {places}): choose "
            "one with --face-choice, in Python which=, by its number, or 'largest'."
        )
    if (number or 0) >= len(faces):
        raise UsageError(
            f"Face {number} was asked for, but {name} has {len(faces)}: they are numbered from 0."
        )
    return faces[number or 0]


def numbered(which: str | int) -> int | None:
    """Return the number of the face that was chosen, None where there must be one only."""
    if which == "one":
        return None
    if which == "largest":
        return 0
    try:
        number = int(which)
    except ValueError:
        number = -1
    if number < 0 or isinstance(which, bool | float):
        raise UsageError(
            f"There is no choice {which!r} of a face: use 'one', 'largest' or a number from 0."
        )
    return number


def crop(
    picture: Picture, face: Face68, size: int = 224, margin: float = 0.2, align: bool = False
) -> tuple[Pixels, Points]:
    """Return a square crop of a face, RGB uint8 (size, size, 3), and its landmarks (68, 2) there.

    The square holds the landmarks and the forehead above them, and around these `margin` times
    their extent on every side. With `align` the picture is turned until the eyes are level. What
    lies beyond the picture is black. Raises `ImageError`, and `UsageError` for odd sizes.
    """
    if size < 1 or not -0.4 <= margin <= 10:
        raise UsageError(
            f"A crop needs a size of at least 1 and a margin of -0.4 to 10, "
            f"not size={size} and margin={margin}."
        )
    square = around(face.landmarks, margin, FOREHEAD, face.tilt if align else 0.0)
    return square.cut(decode(picture), size), square.inward(face.landmarks, size)


def around(points: Points, margin: float, above: float = 0.0, angle: float = 0.0) -> Square:
    """Return the square around points, with more room above and a margin on every side."""
    turned = Square(0, 0, 1, angle).turned()
    low, high = (points @ turned).min(0), (points @ turned).max(0)
    low = low - [0, above * (high[1] - low[1])]
    x, y = turned @ ((low + high) / 2)
    side = float((high - low).max()) * (1 + 2 * margin)
    return Square(float(x), float(y), max(side, 1.0), angle)


def detected(pixels: Pixels, size: int) -> tuple[Points, Points]:
    """Return scores (n,) and boxes (n, 4) of what the detector sees in a picture of `size` pixels.

    A face may have several boxes.
    """
    height, width = pixels.shape[:2]
    side = max(height, width)
    fitted = max(1, round(width * size / side)), max(1, round(height * size / side))
    canvas = Image.new("RGB", (size, size))
    canvas.paste(Image.fromarray(resized(pixels, fitted)))
    with torch.inference_mode():
        scores, boxes = networks()[0](as_tensor([np.array(canvas)]))
    likely = scores[0] > LEAST_SCORE
    return scores[0][likely].numpy(), boxes[0][likely].numpy() * (side / size) - np.float32(0.5)


def separate(scores: Points, boxes: Points) -> Iterator[int]:
    """Yield the number of the surest box of each face: non-maximum suppression."""
    order = np.argsort(-scores, kind="stable")
    sizes = (boxes[:, 2:] - boxes[:, :2]).prod(1)
    while order.size:
        best, rest = order[0], order[1:]
        yield int(best)
        low = np.maximum(boxes[best, :2], boxes[rest, :2])
        high = np.minimum(boxes[best, 2:], boxes[rest, 2:])
        shared = np.clip(high - low, 0, None).prod(1)
        order = rest[shared / np.minimum(sizes[best], sizes[rest]) <= OVERLAP]


def landmarks(pixels: Pixels, box: Points) -> Points:
    """Return the landmarks (68, 2) of the face in a box.

    They are found twice: first in the box, then in the square around what was found, turned until
    the eyes are level.
    """
    left, top, right, bottom = (float(edge) for edge in box)
    side = max(right - left, bottom - top, 1.0)
    first = seen(pixels, Square((left + right) / 2, (top + bottom) / 2, side))
    return seen(pixels, around(first, AROUND, angle=Face68((0, 0, 0, 0), 0, first).tilt))


def seen(pixels: Pixels, square: Square) -> Points:
    """Return the landmarks that the network sees in a square and in its mirror image."""
    face = square.cut(pixels, FACE_SIZE)
    with torch.inference_mode():
        parts = networks()[1](as_tensor([face, face[:, ::-1]])).double().numpy()
    parts[1, :, 0] = 1 - parts[1, :, 0]
    points = (parts[0] + parts[1, MIRRORED]) / 2 * FACE_SIZE + [0, RAISED]
    return square.outward(points - 0.5, FACE_SIZE)


def as_tensor(pictures: Sequence[Pixels]) -> torch.Tensor:
    """Return pictures of one size as float32 (n, 3, height, width), 0..255."""
    return torch.from_numpy(np.stack(pictures).transpose(0, 3, 1, 2)).float()
