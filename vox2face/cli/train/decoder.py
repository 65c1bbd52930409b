"""`vox2face train decoder`: a face decoder."""

from __future__ import annotations

import sys
from pathlib import Path

import click

from vox2face.cli import batch
from vox2face.cli.paths import Place
from vox2face.core.errors import UsageError
from vox2face.core.files import require_writable, text_of

FOLDER = Place()


@click.command(name="decoder")
@click.argument("manifest", type=FOLDER, required=False)
@click.option("--prepared", metavar="DIR", help="What `vox2face data prepare` wrote.")
@click.option("--out", type=FOLDER, metavar="RUN", help="The folder of the run.")
@click.option(
    "--recipe",
    "source",
    metavar="NAME|FILE",
    help="decoder-cole (the default), decoder-speech-to-face-repo, tiny-decoder, or a file.",
)
@click.option("--set", "overrides", multiple=True, metavar="KEY=VALUE", help="As loop.batch=16.")
@click.option("--face", metavar="NAME", help="Which of the prepared face encoders to decode.")
@click.option("--voice", default="", metavar="NAME|DIR", help="Its faces are shown in the grids.")
@batch.any_space
@click.option("--resume", is_flag=True, help="Go on where the run in --out stopped.")
@click.option("--epochs", type=click.IntRange(min=1), help="Of each phase.")
@click.option("--steps", type=click.IntRange(min=1), help="Of each phase, instead of epochs.")
@click.option("--minutes", type=click.FloatRange(min=0, min_open=True), help="Stop after that.")
@click.option("--show", is_flag=True, help="Print the recipe, after --set, and do nothing.")
def command(
    manifest: Path | None,
    prepared: str | None,
    out: Path | None,
    source: str | None,
    overrides: tuple[str, ...],
    face: str | None,
    voice: str,
    any_space: bool,
    resume: bool,
    epochs: int | None,
    steps: int | None,
    minutes: float | None,
    show: bool,
) -> None:
    """Train a face decoder on the pictures of a MANIFEST.

    It learns landmarks, the texture in the mean shape and, through the warp and the frozen face
    encoder, to be recognised. The run writes its recipe, checkpoints, history.csv, curves.png,
    grids of people and what becomes of them, and at the end RUN/bundle, which
    `vox2face speech2face --decoder` takes. Ctrl-C saves and stops; --resume goes on.
    """
    from vox2face.train.decoder.recipe import DecoderRecipe, recipe_of
    from vox2face.train.trainer import recipe

    settings = recipe.read(recipe_of(source, out if resume else None), DecoderRecipe, overrides)
    settings = recipe.shortened(settings, epochs, steps)
    if show:
        click.echo(recipe.dump(settings), nl=False)
        return
    if manifest is None or prepared is None or out is None:
        raise UsageError("Name MANIFEST, --prepared DIR and --out RUN; --help lists the options.")
    from vox2face.core.extras import require

    require("train", "Training")
    require_writable(out)
    text_of(out)
    from vox2face.train.corpus import manifest as manifests
    from vox2face.train.decoder.train import train_decoder
    from vox2face.train.prepare.reader import open_prepared

    found = train_decoder(
        manifests.read(manifest),
        open_prepared(prepared),
        settings,
        out,
        face=face,
        voice=voice,
        any_space=any_space,
        resume=resume,
        minutes=float("inf") if minutes is None else minutes,
        say=click.echo,
    )
    if found is None:
        sys.exit(130)
