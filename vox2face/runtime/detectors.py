"""Detectors of faces that others bring: a callable, or the name of an installed one."""

from __future__ import annotations

import contextlib
import sys
from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass
from functools import cache
from importlib.metadata import entry_points
from typing import Any

import numpy as np
from numpy.typing import NDArray

from vox2face.core.errors import ImageError, UsageError, one_line

GROUP = "vox2face.detectors"  # the entry points of packages that bring detectors
OWN = "face-api"  # the name of the detector that comes with vox2face
BEYOND = 4  # times the picture: the largest box, which may reach beyond it
Pixels = NDArray[np.uint8]
Point = tuple[float, float]


@dataclass(frozen=True, eq=False)
class DetectedFace:
    """What a detector tells of one face, in pixels (x, y) of the picture that it was given.

    `box` is (left, top, right, bottom) around the face from chin to eyebrows or hair; it may reach
    beyond the picture. `score` says how sure the detector is. `eyes` are the centres of both eyes,
    in any order, by which a crop is levelled. `landmarks` (68, 2) are numbered as iBUG does; where
    a detector has none, they are looked for in the box.
    """

    box: tuple[float, float, float, float]
    score: float = 1.0
    eyes: tuple[Point, Point] | None = None
    landmarks: Any = None


# uint8 RGB (height, width, 3) -> the faces in any order, each as a `DetectedFace` or as a mapping
# of its fields, such as {"box": (10, 20, 90, 120)}; an empty list where there is none.
Detector = Callable[[Pixels], Iterable[DetectedFace | Mapping[str, Any]]]


def detect(detector: str | Detector, pixels: Pixels) -> list[DetectedFace]:
    """Return what a detector finds in a picture, uint8 RGB (height, width, 3).

    `detector` is a function of the picture that returns a list of faces, each a `DetectedFace` or
    a mapping of its fields, or the name of one that a package brings; see `named`. What is printed
    meanwhile goes to standard error. Raises `ImageError` if the detector raises anything, and
    `UsageError` for faces that are none.
    """
    name = detector if isinstance(detector, str) else getattr(detector, "__name__", "given")
    function = named(detector) if isinstance(detector, str) else _callable(detector, name)
    try:
        with contextlib.redirect_stdout(sys.stderr):
            faces = function(pixels.copy())  # which it may draw into
            several = isinstance(faces, Iterable) and not isinstance(faces, Mapping | str | bytes)
            found = list(faces) if several else []
    except (Exception, SystemExit) as error:  # whatever foreign code raises
        raise ImageError(f"The detector {name} failed ({_reason(error)}).") from error
    if not several:
        raise _wrong(name, f"a {type(faces).__name__}", "a list of faces")
    return [_checked(face, name, pixels) for face in found]


@cache
def named(name: str) -> Detector:
    """Return the detector of a name that an installed package brings.

    A package names it in an entry point of the group "vox2face.detectors", such as
    `mine = "package.module:function"`, which is imported when it is first asked for. Raises
    `UsageError` for a name that there is not, and for a package that cannot be imported.
    """
    points = {point.name: point for point in entry_points(group=GROUP)}
    if name not in points:
        raise UsageError(
            f"There is no detector {name!r}: use one of {', '.join([OWN, *sorted(points)])}, or "
            f"install a package that brings it (entry points of the group {GROUP})."
        )
    try:
        with contextlib.redirect_stdout(sys.stderr):
            return _callable(points[name].load(), name)
    except (Exception, SystemExit) as error:
        if isinstance(error, UsageError):
            raise
        raise UsageError(f"The detector {name} cannot be used ({_reason(error)}).") from error


def _callable(detector: Any, name: str) -> Detector:
    if not callable(detector):
        raise UsageError(
            f"The detector {name} is a {type(detector).__name__}: give a function that takes uint8 "
            "RGB (height, width, 3) and returns a list of faces, or the name of an installed one."
        )
    function: Detector = detector
    return function


def _checked(face: Any, name: str, pixels: Pixels) -> DetectedFace:
    """Return a face of which every field can be used."""
    if isinstance(face, Mapping):
        fields = DetectedFace.__dataclass_fields__
        if odd := [key for key in face if key not in fields]:
            raise _wrong(name, f"a face with {odd[0]!r}", f"no more than {', '.join(fields)}")
        if "box" not in face:
            raise _wrong(name, "a face without a box", "box=(left, top, right, bottom)")
        face = DetectedFace(**face)
    if not isinstance(face, DetectedFace):
        raise _wrong(name, f"a face that is a {type(face).__name__}", "a DetectedFace or a mapping")
    for problem, wanted in _problems(face, pixels):
        raise _wrong(name, problem, wanted)
    return face


def _problems(face: DetectedFace, pixels: Pixels) -> Iterator[tuple[str, str]]:
    """Yield what is wrong with the numbers of a face, and what was expected."""
    height, width = pixels.shape[:2]
    if not _numbers(face.box, (4,)):
        yield f"the box {face.box!r:.80}", "four numbers (left, top, right, bottom)"
    left, top, right, bottom = face.box
    inside = left < min(right, width) and top < min(bottom, height) and min(right, bottom) > 0
    if not inside or right - left > BEYOND * width or bottom - top > BEYOND * height:
        words = f"left < right and top < bottom within the {width} x {height} pixels"
        yield f"the box (left, top, right, bottom) = {face.box!r:.80}", words
    if not _numbers(face.score, ()):
        yield f"the score {face.score!r:.80}", "a number"
    if face.eyes is not None and not _numbers(face.eyes, (2, 2)):
        yield f"the eyes {face.eyes!r:.80}", "two points ((x, y), (x, y)) or None"
    if face.landmarks is not None and not _numbers(face.landmarks, (68, 2)):
        yield f"landmarks of shape {np.shape(face.landmarks)}", "finite numbers (68, 2) or None"


def _numbers(value: Any, shape: tuple[int, ...]) -> bool:
    """Whether a value is finite numbers of a shape."""
    try:
        array = np.asarray(value, np.float64)
    except (TypeError, ValueError):
        return False
    return array.shape == shape and bool(np.isfinite(array).all())


def _wrong(name: str, given: str, wanted: str) -> UsageError:
    return UsageError(f"The detector {name} returned {given}: expected {wanted}.")


def _reason(error: BaseException) -> str:
    return f"{type(error).__name__}: {one_line(error)}"
