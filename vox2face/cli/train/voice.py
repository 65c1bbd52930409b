"""`vox2face train voice`: a voice encoder."""

from __future__ import annotations

import sys
from pathlib import Path

import click

from vox2face.cli import batch
from vox2face.cli.paths import Place
from vox2face.core.errors import UsageError
from vox2face.core.files import require_writable, text_of

FOLDER = Place()


@click.command(name="voice")
@click.argument("manifest", type=FOLDER, required=False)
@click.option("--prepared", metavar="DIR", help="What `vox2face data prepare` wrote.")
@click.option("--out", type=FOLDER, metavar="RUN", help="The folder of the run.")
@click.option(
    "--arch", metavar="A", help="ve_conv, ast, tiny-ve_conv (tiny), tiny-ast or tiny-ge2e."
)
@click.option("--recipe", "source", metavar="NAME|FILE", help="Instead of the recipe of --arch.")
@click.option("--set", "overrides", multiple=True, metavar="KEY=VALUE", help="As loop.batch=16.")
@click.option("--face", metavar="NAME", help="Which of the prepared face encoders to predict.")
@click.option("--decoder", default="", metavar="NAME|DIR", help="For grids and its own loss.")
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
    arch: str | None,
    source: str | None,
    overrides: tuple[str, ...],
    face: str | None,
    decoder: str,
    any_space: bool,
    resume: bool,
    epochs: int | None,
    steps: int | None,
    minutes: float | None,
    show: bool,
) -> None:
    """Train a voice encoder on the voices and faces of a MANIFEST.

    The run writes its recipe, checkpoints, history.csv, curves.png and files for TensorBoard, and
    at the end RUN/bundle, which `vox2face speech2face --voice` and `vox2face embed --model` take.
    Ctrl-C saves and stops; --resume goes on.
    """
    from vox2face.train.trainer import recipe
    from vox2face.train.voice.recipe import VoiceRecipe, recipe_of

    chosen = recipe_of(arch, source, out if resume else None)
    settings = recipe.read(chosen, VoiceRecipe, overrides)
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
    from vox2face.train.prepare.reader import open_prepared
    from vox2face.train.voice.train import train_voice

    found = train_voice(
        manifests.read(manifest),
        open_prepared(prepared),
        settings,
        out,
        face=face,
        decoder=decoder,
        any_space=any_space,
        resume=resume,
        minutes=float("inf") if minutes is None else minutes,
        say=click.echo,
    )
    if found is None:
        sys.exit(130)
