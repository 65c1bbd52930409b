"""The errors vox2face raises on purpose; the command line prints each as one line.

Each message says what was given, what was expected and what to do.
"""

from __future__ import annotations

import sys
from typing import Any


def one_line(message: object) -> str:
    """Return a message as one line, without the control characters of a foreign file's name."""
    line = " ".join(str(message).split())
    return "".join(c if c.isprintable() else "?" for c in line)


def show_warning(message: Warning | str, *_: Any, **__: Any) -> None:
    """Print a warning as one line, where the command puts this into `warnings.showwarning`."""
    print(f"Warning: {one_line(message)}", file=sys.stderr)


class Vox2FaceError(Exception):
    """Something the caller can act on went wrong; the command line exits with 1."""

    exit_code = 1


class Vox2FaceWarning(UserWarning):
    """Something was done that the caller may not have meant; the command prints one line."""


class UsageError(Vox2FaceError):
    """The request itself is not valid: the command line exits with 2."""

    exit_code = 2


class FetchError(Vox2FaceError):
    """A file could not be downloaded, or what arrived is not that file."""


class WeightFileError(Vox2FaceError):
    """A file of weights or class names is damaged, hostile or of another format."""


class MappingError(Vox2FaceError):
    """The arrays of a weight file do not fit the network; lists every problem."""


class ParityError(Vox2FaceError):
    """The converted network does not compute what the original does; `report` is a `Report`."""

    def __init__(self, message: str, report: Any) -> None:
        super().__init__(message)
        self.report = report


class BundleError(Vox2FaceError):
    """A bundle directory is incomplete, altered or of an unknown version."""


class ImageError(Vox2FaceError):
    """A picture cannot be decoded or has an unusable shape."""


class AudioError(Vox2FaceError):
    """A recording cannot be decoded, or is silent, empty or too short to use."""


class CorpusError(Vox2FaceError):
    """A corpus, its manifest or its metadata is missing, damaged or of another version."""
