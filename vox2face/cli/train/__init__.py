"""`vox2face train`: voice encoders and face decoders."""

from __future__ import annotations

import click

from vox2face.cli import LazyGroup


@click.group(cls=LazyGroup, package="vox2face.cli.train", names="decoder voice")
def command() -> None:
    """Train networks on a prepared corpus.

    `vox2face train voice --help` and `vox2face train decoder --help` tell how. Several processes
    or machines: `accelerate launch -m vox2face train voice ...`.
    """
