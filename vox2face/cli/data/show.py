"""`vox2face data show`: what is in a corpus, as pictures."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import click

from vox2face.cli.options import Place


@click.command(name="show")
@click.argument("manifest")
@click.option("--prepared", metavar="DIR", help="Landmarks of `vox2face data prepare`.")
@click.option("--out", type=Place(), default=Path("vox2face-show"), metavar="DIR")
@click.option(
    "--identities",
    type=click.IntRange(0, 200),
    default=8,
    help="How many people are on the contact sheet.",
)
@click.option(
    "--seed", type=click.IntRange(min=0), default=0, help="Another one shows other people."
)
@click.option(
    "--split", type=click.Choice(["train", "val", "test"]), help="People of this split only."
)
@click.option("--find", is_flag=True, help="Find landmarks in the pictures that have none.")
def command(manifest: str, prepared: str | None, out: Path, **options: Any) -> None:
    """Draw a contact sheet and plots of a corpus.

    MANIFEST is what `vox2face data index` wrote, or the folder it is in. The sheet shows names,
    faces with their landmarks, and spectrograms; the plots show how long the clips are, how many
    clips and pictures people have, their gender, and how voices and faces were joined.
    """
    from vox2face.train.corpus import manifest as manifests
    from vox2face.train.figures.show import PLOTS, SHEET, show

    corpus = manifests.read(manifest)
    ready = None
    if prepared:
        from vox2face.train.prepare.reader import open_prepared

        ready = open_prepared(prepared)
    for line in show(corpus, out, prepared=ready, **options):
        click.echo(line)
    click.echo(f"Written to {out}: {', '.join((SHEET, *PLOTS))}")
