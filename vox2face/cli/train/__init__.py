"""`vox2face train`: voice encoders and face decoders."""

from __future__ import annotations

import json
from typing import Any

import click

from vox2face.cli import LazyGroup
from vox2face.core.extras import require


def _print_schema(context: click.Context, option: click.Parameter, asked: bool) -> None:
    if not asked:
        return
    require("train", "The schema of recipes")
    from pydantic import TypeAdapter

    from vox2face.train.decoder.recipe import DecoderRecipe
    from vox2face.train.voice.recipe import VoiceRecipe

    kinds: TypeAdapter[Any] = TypeAdapter(VoiceRecipe | DecoderRecipe)
    click.echo(json.dumps(kinds.json_schema(), indent=1))
    context.exit()


@click.group(cls=LazyGroup, package="vox2face.cli.train", names="decoder voice")
@click.option(
    "--schema",
    is_flag=True,
    is_eager=True,
    expose_value=False,
    callback=_print_schema,
    help="Print the JSON schema of recipes, for editors.",
)
def command() -> None:
    """Train networks on a prepared corpus.

    `vox2face train voice --help` and `vox2face train decoder --help` tell how. Several processes
    or machines: `accelerate launch -m vox2face train voice ...`.
    """
