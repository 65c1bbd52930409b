"""`vox2face data`: corpora of voices and faces."""

from __future__ import annotations

import click

from vox2face.cli import LazyGroup

COMMANDS = "bank export index prepare resize show synth"


@click.group(cls=LazyGroup, package="vox2face.cli.data", names=COMMANDS)
def command() -> None:
    """Make corpora of voices and faces ready: index, prepare, look at, or synthesise.

    Start with `vox2face data synth --out people`, or index what you have.
    """
