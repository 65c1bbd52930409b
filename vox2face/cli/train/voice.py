"""`vox2face train voice`: a voice encoder."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import click

from vox2face.cli.train import common


@click.command(name="voice")
@common.data
@click.option(
    "--arch", metavar="A", help="ve_conv, ast, tiny-ve_conv (tiny), tiny-ast or tiny-ge2e."
)
@click.option(
    "--recipe",
    "source",
    metavar="NAME|FILE",
    help="Instead of the recipe of --arch, as demo-voice.",
)
@click.option("--face", metavar="NAME", help="Which of the prepared face encoders to predict.")
@click.option(
    "--decoder",
    default="",
    show_default=False,
    metavar="NAME|DIR",
    help="For grids and its own loss.",
)
@common.limits
def command(
    arch: str | None,
    source: str | None,
    overrides: tuple[str, ...],
    out: Path | None,
    **options: Any,
) -> None:
    """Train a voice encoder on the voices and faces of a MANIFEST.

    The run writes its recipe, checkpoints, history.csv, curves.png and files for TensorBoard, and
    at the end RUN/bundle, which `vox2face speech2face --voice` and `vox2face embed --model` take.
    Ctrl-C saves and stops; --resume goes on.
    """
    common.require_extra()
    from vox2face.train.trainer import recipe
    from vox2face.train.voice.recipe import VoiceRecipe, recipe_of

    chosen = recipe_of(arch, source, out if options["resume"] else None)
    settings = recipe.read(chosen, VoiceRecipe, overrides)

    def trainer() -> Callable[..., Any]:
        from vox2face.train.voice.train import train_voice

        return train_voice

    common.run(trainer, settings, out=out, **options)
