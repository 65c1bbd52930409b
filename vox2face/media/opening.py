"""Open the files that people name: one sentence for whatever is not a file."""

from __future__ import annotations

import os
from pathlib import Path
from typing import Any, BinaryIO

from vox2face.core.errors import Vox2FaceError


def opened(given: Any, what: str, forms: str, kind: type[Vox2FaceError]) -> BinaryIO:
    """Open a file for reading; `what` it holds and the `forms` that has are for errors.

    Raises an error of this `kind` for what is not a path, and for a path of no readable file.
    """
    try:
        path = Path(os.fspath(given))
    except TypeError:
        raise kind(f"A {what} is {forms}, not {type(given).__name__}.") from None
    try:
        if not path.exists():
            raise kind(f"There is no {what} {path}: check the path.")
        if not path.is_file():
            place = "a folder" if path.is_dir() else "a pipe or a device"
            raise kind(f"{path} is {place}: name {what}s.")
        return path.open("rb")
    except OSError as error:
        raise kind(f"{path} cannot be read: {error.strerror or error}.") from None
