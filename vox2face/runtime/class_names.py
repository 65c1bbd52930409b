"""Names for class scores: lists of names as text or NumPy arrays, and the best names of a row."""

from __future__ import annotations

import io
import operator
import os
import re
import warnings
from collections.abc import Sequence
from pathlib import Path

import numpy as np
from numpy.typing import ArrayLike, NDArray

from vox2face.core.entry import Source
from vox2face.core.errors import UsageError, WeightFileError
from vox2face.core.files import UNKNOWN, identify, size_text
from vox2face.store.download import discard, fetch
from vox2face.zoo.catalog import LABELS

Named = tuple[str, float]

LARGEST = 16_000_000  # bytes of a label file; 8631 names of 60 characters take 2 MB
MOST = 100_000  # names
OBJECTS = re.compile(rb"'descr': '\|O'")  # in the header of a NumPy file that holds a pickle
ADVICE = (
    "name a text file (UTF-8) with one name a line, or a NumPy file (.npy) with an array of text"
)


class PickledNamesError(WeightFileError):
    """A list of names that only unpickling would read, which is never done here."""


def decode_predictions(
    logits: ArrayLike, top: int = 5, labels: Sequence[str] | None = None
) -> list[list[Named]]:
    """Return for every row the `top` most probable names, best first, as (name, probability).

    `logits` are class scores before softmax, float (n, classes); softmax is computed in float64,
    and equal scores stay in the order of the classes. `labels` are the names, one a class;
    without them the published list for 2622 or 8631 classes is used, and fetched the first time.
    Raises `UsageError` for scores that are not valid, `FetchError` where there are no names.
    """
    scores = _checked_scores(logits)
    classes = scores.shape[1]
    top = checked_top(top, classes)
    names = names_for(None, classes, labels)
    exact = np.exp(scores - scores.max(axis=1, keepdims=True))
    exact /= exact.sum(axis=1, keepdims=True)
    best = np.argsort(-scores, axis=1, kind="stable")[:, :top]
    return [
        [(names[i], float(row[i])) for i in chosen] for chosen, row in zip(best, exact, strict=True)
    ]


def _checked_scores(logits: ArrayLike) -> NDArray[np.float64]:
    """Return class scores as float64 (n, classes), or say what is wrong with them."""
    expected = "class scores before softmax, float (n, classes)"
    try:
        given = np.asarray(logits)
    except (TypeError, ValueError, RuntimeError) as error:
        reason = str(error).partition("\n")[0]
        raise UsageError(f"These scores are no array ({reason}): give {expected}.") from error
    if given.ndim != 2 or given.dtype.kind not in "fiu" or not given.shape[1]:
        raise UsageError(f"These scores are {given.dtype} {given.shape}: give {expected}.")
    scores = given.astype(np.float64)
    if not np.isfinite(scores.max(axis=1)).all():
        raise UsageError(f"These scores hold NaN or infinity: give {expected}.")
    if len(scores) and (scores >= 0).all() and np.allclose(scores.sum(axis=1), 1, atol=1e-3):
        raise UsageError(
            f"These scores are probabilities, for every row sums to 1: give {expected}, "
            "or the logarithm of these."
        )
    return scores


def checked_top(top: int, classes: int) -> int:
    """Return how many names are wanted, or say that so many cannot be had."""
    try:
        wanted = operator.index(top)
    except TypeError:
        wanted = 0
    if not 1 <= wanted <= classes:
        raise UsageError(f"top is {top!r}: it must be a whole number from 1 to {classes}.")
    return wanted


def _checked_labels(labels: Sequence[str], classes: int) -> Sequence[str]:
    """Return the names if there is one for every class."""
    if isinstance(labels, (str, bytes, os.PathLike)):
        raise UsageError(
            f"labels is {labels!r}: give the names, as "
            "vox2face.runtime.class_names.read_labels(path) reads them."
        )
    if not isinstance(labels, (Sequence, np.ndarray)) or not all(
        isinstance(name, str) for name in labels
    ):
        raise UsageError(
            f"labels is a {type(labels).__name__} that is not a list of text: give the names, one "
            "a class."
        )
    if len(labels) != classes:
        raise UsageError(
            f"There are {len(labels)} names for {classes} classes: give the list of names that "
            "belongs to the model, one name a class."
        )
    return [str(name) for name in labels]


def names_for(source: Source | None, classes: int, labels: Sequence[str] | None) -> Sequence[str]:
    """Return the names given, or those published for a model, or for a number of classes."""
    if labels is not None:
        return _checked_labels(labels, classes)
    if (published := source or LABELS.get(classes)) is None:
        known = " or ".join(map(str, LABELS))
        raise UsageError(
            f"No names are published for {classes} classes, but for {known}: give labels, "
            "one name a class."
        )
    return _fetched_labels(published, classes)


def _fetched_labels(source: Source, classes: int) -> tuple[str, ...]:
    """Return the names of a published list; a download that is no such list is forgotten."""
    fetched = fetch(source)
    try:
        names = read_labels(fetched.path)
        if len(names) != classes:
            raise WeightFileError(f"{fetched.path} has {len(names)} names, expected {classes}.")
    except PickledNamesError:  # it stays, to be saved as text by who trusts it
        raise
    except WeightFileError as error:
        discard(fetched)
        raise WeightFileError(f"{error} The download was discarded: try again.") from error
    return names


def read_labels(path: str | os.PathLike[str]) -> tuple[str, ...]:
    """Return the names in a file, one a class: text, or a NumPy array of text.

    Text is UTF-8 with one name a line; blank lines at the end do not count. An array (.npy) has
    one axis and the type U or S; one of objects is a pickle, which is not loaded. Names stay as
    they are but for blanks around them. Raises `WeightFileError` for any other file.
    """
    path = Path(path)
    if not path.is_file():
        what = "is not a regular file" if path.exists() else "does not exist"
        raise WeightFileError(f"{path} {what}: {ADVICE}.")
    if path.stat().st_size > LARGEST:
        raise WeightFileError(
            f"{path} has {size_text(path.stat().st_size)}, more than the {size_text(LARGEST)} "
            f"that a list of names may have: {ADVICE}."
        )
    kind, data = identify(path), path.read_bytes()
    if kind not in ("a NumPy array", "plain text", UNKNOWN):  # UNKNOWN is also text beyond ASCII
        raise WeightFileError(f"{path} is {kind}: {ADVICE}.")
    if kind == "a NumPy array" and OBJECTS.search(data, 0, 128):
        raise PickledNamesError(
            f"{path} is an array of Python objects, a pickle, which can run any code and is not "
            "loaded here: if you trust it, run numpy.save('names.npy', "
            f"numpy.load({str(path)!r}, allow_pickle=True).astype(str)) in Python and name "
            "names.npy (--labels names.npy)."
        )
    try:
        names = _array_names(data) if kind == "a NumPy array" else _text_names(data)
        return tuple(tidy(name) for name in names)
    except Exception as error:  # NumPy raises many kinds for a header that it cannot read
        reason = f"{error!s:.200}".partition("\n")[0].rstrip(".")
        raise WeightFileError(
            f"{path} holds no plain list of names ({reason}): {ADVICE}."
        ) from error


def _text_names(data: bytes) -> list[str]:
    """Return the lines of a text; blank ones raise `ValueError`, unless they are at the end."""
    names = [line.strip() for line in data.decode("utf-8-sig").rstrip().split("\n")]
    if not 1 <= len(names) <= MOST:
        raise ValueError(f"{len(names)} names, from 1 to {MOST} are allowed")
    if "" in names:
        raise ValueError(f"line {names.index('') + 1} is blank")
    return names


def _array_names(data: bytes) -> list[str]:
    """Return the strings of a .npy file's content; raise `ValueError` if it holds others."""
    stream = io.BytesIO(data)
    with warnings.catch_warnings():  # a header that Python 2 wrote is as good
        warnings.simplefilter("ignore")
        array = np.load(stream, allow_pickle=False)
    if array.ndim != 1 or array.dtype.kind not in "US":
        raise ValueError(f"it is {array.dtype} {array.shape}, no one-dimensional array of text")
    if not 1 <= len(array) <= MOST:
        raise ValueError(f"{len(array)} names, from 1 to {MOST} are allowed")
    if stream.read(1):
        raise ValueError("there is more in it than its names")
    return [name.decode("utf-8") if isinstance(name, bytes) else name for name in array.tolist()]


def tidy(name: str) -> str:
    """Return a name without blanks around it; control characters raise `ValueError`."""
    stripped = name.strip()
    if any(character < " " or character == "\x7f" for character in stripped):
        raise ValueError(f"{stripped!r:.80} has control characters")
    stripped.encode("utf-8")  # raises for half a surrogate pair
    return stripped
