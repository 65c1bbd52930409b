"""Options that several commands have, and paths as their values."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import click

from vox2face.core.files import require_possible

MODEL = "NAME|DIR|hf:USER/REPO"
Command = Callable[..., Any]

backend = click.option("--backend", type=click.Choice(["torch", "onnx"]), default="torch")
device = click.option(
    "--device", default="cpu", help="cpu, cuda or cuda:N; tensorrt with --backend onnx."
)


def _parsed(
    ctx: click.Context, param: click.Parameter, given: Sequence[str]
) -> dict[str, str] | None:
    options = {}
    for text in given:
        name, equals, value = text.partition("=")
        if not (name and equals and value):
            raise click.BadParameter(f"{text!r} is not KEY=VALUE.")
        options[name] = value
    return options or None


provider_options = click.option(
    "--provider-option",
    "provider_options",
    multiple=True,
    metavar="KEY=VALUE",
    callback=_parsed,
    help="With --backend onnx: an option of ONNX Runtime's provider for the device, such as "
    "gpu_mem_limit=2147483648; may be repeated.",
)
batch_size = click.option("--batch-size", type=click.IntRange(min=1), default=8)
any_space = click.option(
    "--any-space",
    is_flag=True,
    help="Let networks go together that were made for embeddings of different encoders, presets "
    "or weights.",
)
seed = click.option("--seed", type=click.IntRange(min=0), default=0)


class Place(click.Path):
    """A path, given to the command as a `Path`; "" is none, which would be the current folder."""

    def __init__(self, **limits: Any) -> None:
        super().__init__(**{"path_type": Path, **limits})

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> Any:
        """Return the path; one that is too long for the file system is refused before any work."""
        if not str(value) or str(value).isspace():
            self.fail(f"{str(value)!r} is not a path: name one.", param, ctx)
        require_possible(Path(value))
        return super().convert(value, param, ctx)


class Address(Place):
    """A path, or the address of an object store such as s3://bucket/corpus, given as text."""

    def __init__(self) -> None:
        super().__init__(path_type=str)

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> Any:
        """Return the path or the address."""
        return value if "://" in str(value) else super().convert(value, param, ctx)


def added(options: Sequence[Callable[[Command], Command]]) -> Callable[[Command], Command]:
    """Return the decorator that gives a command all of these options."""

    def decorate(function: Command) -> Command:
        for option in reversed(options):
            function = option(function)
        return function

    return decorate
