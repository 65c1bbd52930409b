"""Paths as options and arguments of commands."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import click


class Place(click.Path):
    """A path, given to the command as a `Path`; "" is none, which would be the current folder."""

    def __init__(self, **limits: Any) -> None:
        super().__init__(**{"path_type": Path, **limits})

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> Any:
        """Return the path."""
        if not str(value) or str(value).isspace():
            self.fail(f"{str(value)!r} is no path: name one.", param, ctx)
        return super().convert(value, param, ctx)
