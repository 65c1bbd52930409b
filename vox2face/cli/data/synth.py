"""`vox2face data synth`: a corpus of invented people."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import click

from vox2face.cli.options import Place, seed


@click.command(name="synth")
@click.option("--out", type=Place(), required=True, metavar="DIR")
@click.option("--identities", type=click.IntRange(min=1), default=100)
@seed
@click.option("--pictures", type=click.IntRange(0, 999), default=4, help="For each person.")
@click.option("--clips", type=click.IntRange(0, 999), default=5, help="For each person.")
@click.option(
    "--size", type=click.IntRange(64, 1024), default=224, help="Width and height of the pictures."
)
@click.option(
    "--bank",
    default="seed",
    metavar="seed|full|DIR",
    help="The base voices: 24 that come with vox2face, or what `vox2face data bank` built.",
)
@click.option("--jobs", type=click.IntRange(min=1), help="Processes. Default: one for each core.")
def command(out: Path, identities: int, **options: Any) -> None:
    """Make people up, whose voices predict their faces somewhat, as in life.

    The folder is laid out like VoxCeleb and HQ-VoxCeleb. Run the same command again to go on
    after an interruption, or with more --identities to add people.
    """
    from vox2face.train.synth.corpus import synthesise

    new = synthesise(out, identities, **options)
    there = f", {identities - new} were there already" if new < identities else ""
    click.echo(f"{new} people written to {out}{there}. Next: vox2face data index {out}")
