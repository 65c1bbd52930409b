"""`vox2face train`: voice encoders and face decoders."""

from __future__ import annotations

import click

from vox2face.cli import LazyGroup

COMMANDS = {
    "voice": "voice",
}


@click.group(cls=LazyGroup, package="vox2face.cli.train", modules=COMMANDS)
def command() -> None:
    """Train networks on a prepared corpus.

    Start with `vox2face train voice --help`. Several processes or machines: `accelerate launch
    -m vox2face train voice ...`.
    """
