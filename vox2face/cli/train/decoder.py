"""`vox2face train decoder`: a face decoder."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import click

from vox2face.cli.train import common


@click.command(name="decoder")
@common.data
@click.option(
    "--recipe",
    "source",
    metavar="NAME|FILE",
    help="decoder-cole (the default), decoder-speech-to-face-repo, tiny-decoder, or a file.",
)
@click.option("--face", metavar="NAME", help="Which of the prepared face encoders to decode.")
@click.option(
    "--voice",
    default="",
    show_default=False,
    metavar="NAME|DIR",
    help="Its faces are shown in the grids.",
)
@common.limits
def command(
    source: str | None, overrides: tuple[str, ...], out: Path | None, **options: Any
) -> None:
    """Train a face decoder on the pictures of a MANIFEST.

    It learns landmarks, the texture in the mean shape and, through the warp and the frozen face
    encoder, to be recognised. The run writes its recipe, checkpoints, history.csv, curves.png,
    grids of people and what becomes of them, and at the end RUN/bundle, which
    `vox2face speech2face --decoder` takes. Ctrl-C saves and stops; --resume goes on.
    """
    common.require_extra()
    from vox2face.train.decoder.recipe import DecoderRecipe, recipe_of
    from vox2face.train.trainer import recipe

    chosen = recipe_of(source, out if options["resume"] else None)
    settings = recipe.read(chosen, DecoderRecipe, overrides)

    def trainer() -> Callable[..., Any]:
        from vox2face.train.decoder.train import train_decoder

        return train_decoder

    common.run(trainer, settings, out=out, **options)
