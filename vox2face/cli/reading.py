"""Files at which a run dies, which the next one leaves out."""

from __future__ import annotations

import os
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from vox2face.core.errors import Vox2FaceError
from vox2face.core.files import left_behind, partial_path

NAME = "vox2face-reading"


class Reading:
    """Files that are read one after another for what goes into a folder, None for no folder.

    While one is read, its path stands in a hidden file of the folder. What a run that was killed
    or crashed leaves there names the file that is to be left out; `again` forgets that.
    """

    def __init__(self, folder: Path | None, again: bool = False) -> None:
        self.note = None if folder is None else partial_path(folder / NAME)
        self.died: dict[bytes, Path] = {}
        for left in () if folder is None else left_behind(folder / NAME):
            if again:
                left.unlink(missing_ok=True)
            else:
                self.died[left.read_bytes()] = left

    @contextmanager
    def of(self, source: Path) -> Iterator[None]:
        """Note that a file is read inside; raise `Vox2FaceError` if an earlier run died of it."""
        name = os.fsencode(source.absolute())
        if name in self.died:
            raise Vox2FaceError(
                f"{source} is left out, since a run was killed or crashed while it read this file: "
                f"delete {self.died[name]} to try it again."
            )
        if self.note is None:
            yield
            return
        self.note.parent.mkdir(parents=True, exist_ok=True)
        self.note.write_bytes(name)
        try:
            yield
        finally:
            self.note.unlink(missing_ok=True)
