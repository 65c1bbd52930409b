"""Paths as options and arguments of commands."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import click

from vox2face.core.files import require_possible


class Place(click.Path):
    """A path, given to the command as a `Path`; "" is none, which would be the current folder."""

    def __init__(self, **limits: Any) -> None:
        super().__init__(**{"path_type": Path, **limits})

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> Any:
        """Return the path; one that is too long for the file system is refused before any work."""
        if not str(value) or str(value).isspace():
            self.fail(f"{str(value)!r} is no path: name one.", param, ctx)
        require_possible(Path(value))
        return super().convert(value, param, ctx)


class Address(Place):
    """A path, or the address of an object store such as s3://bucket/corpus, given as text."""

    def __init__(self) -> None:
        super().__init__(path_type=str)

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> Any:
        """Return the path or the address."""
        return value if "://" in str(value) else super().convert(value, param, ctx)
