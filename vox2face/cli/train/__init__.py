"""`vox2face train`: voice encoders and face decoders."""

from __future__ import annotations

import click

from vox2face.cli import LazyGroup

COMMANDS = {
    "decoder": "decoder",
    "voice": "voice",
}


@click.group(cls=LazyGroup, package="vox2face.cli.train", modules=COMMANDS)
def command() -> None:
    """Train networks on a prepared corpus.

    `vox2face train voice --help` and `vox2face train decoder --help` tell how. Several processes
    or machines: `accelerate launch -m vox2face train voice ...`.
    """
