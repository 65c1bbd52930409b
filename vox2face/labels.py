"""Names for class scores: lists of names read without unpickling, and the best names of a row."""

from __future__ import annotations

import operator
import os
import pickletools
import re
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import ArrayLike, NDArray

from vox2face.errors import UsageError, WeightFileError
from vox2face.fetch import discard, fetch
from vox2face.files import identify, size_text
from vox2face.spec import Source
from vox2face.zoo.catalog import LABELS

Named = tuple[str, float]

LARGEST = 16_000_000  # bytes of a label file; 8631 names of 60 characters take 2 MB
MOST = 100_000  # names
# The header numpy.save writes for one-dimensional text, also from Python 2 ("2622L").
HEADER = re.compile(
    rb"\{'descr': '([<>|]?)([USO])(\d{0,9})', 'fortran_order': (?:True|False), "
    rb"'shape': \((\d{1,9})L?,\), \} *\n"
)
# What the pickle of an array of strings does, one letter an opcode; memo and frames left out.
LETTERS = {
    "MARK": "(",
    "TUPLE": "t",
    "TUPLE1": "1",
    "TUPLE2": "2",
    "TUPLE3": "3",
    "REDUCE": "R",
    "BUILD": "b",
    "NONE": "N",
    "NEWTRUE": "i",
    "NEWFALSE": "i",
    "BININT": "i",
    "BININT1": "i",
    "BININT2": "i",
    "LONG1": "i",
    "EMPTY_LIST": "]",
    "APPEND": "a",
    "APPENDS": "e",
    "STOP": ".",
}
TEXT = {
    "BINUNICODE",
    "SHORT_BINUNICODE",
    "BINUNICODE8",
    "BINSTRING",
    "SHORT_BINSTRING",
    "BINBYTES",
    "SHORT_BINBYTES",
}
GLOBALS = {
    "numpy.core.multiarray _reconstruct": "r",
    "numpy._core.multiarray _reconstruct": "r",
    "numpy ndarray": "n",
    "numpy dtype": "d",
    "_codecs encode": "c",
}
# _reconstruct(ndarray, (0,), b"b"), then its state: (1, shape, dtype, False, [names])
ARRAY = re.compile(
    r"rni1(?:s|css2R)3R"
    r"\(ii1dsii3R\(isNNNiiitb"
    r"i\](?:\(s*e|sa)*tb\."
)


def decode_predictions(
    logits: ArrayLike, top: int = 5, labels: Sequence[str] | None = None
) -> list[list[Named]]:
    """Return for every row the `top` most probable names, best first, as (name, probability).

    `logits` are class scores before softmax, float (n, classes); softmax is computed in float64,
    and equal scores stay in the order of the classes. `labels` are the names, one a class;
    without them the published list for 2622 or 8631 classes is used, and fetched the first time.
    Raises `UsageError` for scores that cannot be meant, `FetchError` where there are no names.
    """
    scores = checked_scores(logits)
    classes = scores.shape[1]
    top = checked_top(top, classes)
    names = names_for(None, classes, labels)
    exact = np.exp(scores - scores.max(axis=1, keepdims=True))
    exact /= exact.sum(axis=1, keepdims=True)
    best = np.argsort(-scores, axis=1, kind="stable")[:, :top]
    return [
        [(names[i], float(row[i])) for i in chosen] for chosen, row in zip(best, exact, strict=True)
    ]


def checked_scores(logits: ArrayLike) -> NDArray[np.float64]:
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


def checked_labels(labels: Sequence[str], classes: int) -> Sequence[str]:
    """Return the names if there is one for every class."""
    if isinstance(labels, (str, bytes, os.PathLike)):
        raise UsageError(
            f"labels is {labels!r}: give the names, as vox2face.labels.read_labels(path) reads "
            "them."
        )
    if not isinstance(labels, (Sequence, np.ndarray)) or not all(
        isinstance(name, str) for name in labels
    ):
        raise UsageError(
            f"labels is a {type(labels).__name__} that is no list of text: give the names, one a "
            "class."
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
        return checked_labels(labels, classes)
    return published_labels(classes) if source is None else fetched_labels(source, classes)


def published_labels(classes: int) -> tuple[str, ...]:
    """Return the published names of 2622 or 8631 classes, fetched the first time."""
    if classes not in LABELS:
        known = " or ".join(str(width) for width in LABELS)
        raise UsageError(
            f"No names are published for {classes} classes, but for {known}: give labels, "
            "one name a class."
        )
    return fetched_labels(LABELS[classes], classes)


def fetched_labels(source: Source, classes: int) -> tuple[str, ...]:
    """Return the names of a published list; a download that is no such list is forgotten."""
    fetched = fetch(source)
    try:
        names = read_labels(fetched.path)
        if len(names) != classes:
            raise WeightFileError(f"{fetched.path} has {len(names)} names, expected {classes}.")
    except WeightFileError as error:
        discard(fetched)
        raise WeightFileError(f"{error} The download was discarded: try again.") from error
    return names


def read_labels(path: str | os.PathLike[str]) -> tuple[str, ...]:
    """Return the names in a NumPy file (.npy) with one array of text, one name a class.

    The array may be of type U, S or object. The latter is a pickle, which is never executed: its
    strings are taken from its opcodes, and anything else in it is refused. Names stay as they
    are but for blanks around them. Raises `WeightFileError` for any other file.
    """
    path = Path(path)
    advice = "name a NumPy file (.npy) with the names of the classes"
    if not path.is_file():
        what = "is no regular file" if path.exists() else "does not exist"
        raise WeightFileError(f"{path} {what}: {advice}.")
    if path.stat().st_size > LARGEST:
        raise WeightFileError(
            f"{path} has {size_text(path.stat().st_size)}, more than the {size_text(LARGEST)} "
            f"that a list of names may have: {advice}."
        )
    if (kind := identify(path)) != "a NumPy array":
        raise WeightFileError(f"{path} is {kind}: {advice}.")
    try:
        return tuple(tidy(name) for name in stored_names(path.read_bytes()))
    except (ValueError, Warning) as error:  # a warning where pickletools' are made errors
        raise WeightFileError(
            f"{path} holds no plain list of names ({error!s:.200}): {advice}."
        ) from error


def tidy(name: str) -> str:
    """Return a name without blanks around it; control characters raise `ValueError`."""
    stripped = name.strip()
    if any(character < " " or character == "\x7f" for character in stripped):
        raise ValueError(f"{stripped!r} has control characters")
    stripped.encode("utf-8")  # raises for half a surrogate pair
    return stripped


def stored_names(data: bytes) -> list[str]:
    """Return the strings of a .npy file's content; raise `ValueError` if it holds others."""
    start = 10 if data[6:7] == b"\x01" else 12  # behind magic, version and length
    end = start + int.from_bytes(data[8:start], "little")
    header = HEADER.fullmatch(data[start:end])
    if not header:
        raise ValueError("it is no one-dimensional array of text")
    order, kind, width, count = header.groups()
    names, body = int(count), data[end:]
    if not 1 <= names <= MOST:
        raise ValueError(f"{names} names, from 1 to {MOST} are allowed")
    if kind == b"O":
        return pickled_names(body, names)
    size = int(width or 0) * (4 if kind == b"U" else 1)
    if not size or size * names != len(body):
        raise ValueError(f"{len(body)} bytes of text, its header states {size * names}")
    wide = "utf-32-be" if order == b">" else "utf-32-le"
    return [
        body[place : place + size].decode(wide if kind == b"U" else "utf-8").rstrip("\0")
        for place in range(0, len(body), size)
    ]


def pickled_names(body: bytes, count: int) -> list[str]:
    """Return the strings of a pickled array from its opcodes; nothing is executed."""
    tokens: list[tuple[str, str]] = []  # (letter, text) in the order of the opcodes
    memo: dict[int, tuple[str, str]] = {}
    end = 0
    for number, (opcode, argument, place) in enumerate(pickletools.genops(body)):
        if number > 4 * count + 100:
            raise ValueError("more in it than its names")
        if opcode.name in ("MEMOIZE", "BINPUT", "LONG_BINPUT"):
            key = len(memo) if argument is None else argument
            memo[key] = tokens[-1] if tokens else ("", "")
        elif opcode.name not in ("PROTO", "FRAME"):
            tokens.append(token(opcode.name, argument, tokens, memo))
        end = (place or 0) + 1
    letters = "".join(letter for letter, _ in tokens)
    if not ARRAY.fullmatch(letters) or end != len(body):
        raise ValueError("it is a pickle of something else than text")
    names = [text for letter, text in tokens[letters.index("]") :] if letter == "s"]
    if len(names) != count:
        raise ValueError(f"{len(names)} names, its header states {count}")
    return names


def token(
    opcode: str,
    argument: Any,
    before: list[tuple[str, str]],
    memo: dict[int, tuple[str, str]],
) -> tuple[str, str]:
    """Return the letter of an opcode, and its text; raise `ValueError` for foreign ones."""
    if opcode in TEXT:
        raw = argument.encode("latin-1") if opcode.endswith("BINSTRING") else argument
        return "s", raw if isinstance(raw, str) else raw.decode("utf-8")
    if opcode in ("BINGET", "LONG_BINGET") and memo.get(argument, ("", ""))[0] == "s":
        return memo[argument]
    if opcode == "STACK_GLOBAL":  # takes module and name from the stack
        argument = " ".join(text for _, text in before[-2:])
        del before[-2:]
    if opcode in ("GLOBAL", "STACK_GLOBAL") and argument in GLOBALS:
        return GLOBALS[argument], ""
    if opcode in LETTERS:
        return LETTERS[opcode], ""
    what = opcode if argument is None else f"{opcode} {argument!r:.60}"
    raise ValueError(f"it is a pickle with {what}, which no list of names needs")
