"""`vox2face fetch`: fill the cache ahead, for machines that will have no network."""

from __future__ import annotations

from collections.abc import Sequence

import click

from vox2face.core.errors import UsageError
from vox2face.core.files import home, size_text
from vox2face.runtime import resolve
from vox2face.store import bundle as bundles
from vox2face.store import hub
from vox2face.zoo import registry


@click.command(name="fetch")
@click.argument("names", metavar="NAME|hf:USER/REPO...", nargs=-1, required=True)
@click.option("--onnx", is_flag=True, help="The ONNX file too, which --backend onnx runs.")
def command(names: Sequence[str], onnx: bool) -> None:
    """Fetch and convert models ahead, as loading them for the first time does.

    They go to $VOX2FACE_HOME, and those of the Hugging Face hub to its own cache, where a machine
    without network finds them. An interrupted download is resumed when the command is run again.
    """
    for name in names:  # all of them before any work
        require_name(name)
    for name in names:
        fetch(name, onnx)


def require_name(name: str) -> None:
    """Raise `UsageError` unless a name is that of a model, or an address on the hub."""
    if hub.is_address(name):
        hub.parse(name)
        return
    if resolve.is_path(name):
        raise UsageError(f"{name} is a folder, which needs no fetching: name a model of the zoo.")
    registry.entry(name)


def fetch(name: str, onnx: bool) -> None:
    """Bring one model into the cache; print where it is and where it came from."""
    state = found(name)
    bundle = resolve.locate(name, onnx=onnx, say=click.echo)
    if onnx:
        resolve.onnx_of(bundle)
    size = size_text(bundle.weights.stat().st_size)
    click.echo(f"{name} {state}: {bundle.path} ({size}).")


def found(name: str) -> str:
    """Return what is said of a model that is or is not in the cache yet."""
    if hub.is_address(name):
        return "is in the hub's cache"
    entry = registry.entry(name)
    if entry.source.embedded:
        return "comes with vox2face, ready to use"
    if bundles.is_bundle(bundles.default_path(entry)):
        return "was there already"
    return f"is now in {home()}"
