"""What the commands that train share: options, and the way from them to a run."""

from __future__ import annotations

import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import click

from vox2face.cli.options import Place, added, any_space
from vox2face.core.errors import UsageError
from vox2face.core.extras import require
from vox2face.core.files import require_writable, text_of

data = added(
    (
        click.argument("manifest", type=Place(), required=False),
        click.option("--prepared", metavar="DIR", help="What `vox2face data prepare` wrote."),
        click.option("--out", type=Place(), metavar="RUN", help="The folder of the run."),
        click.option(
            "--set", "overrides", multiple=True, metavar="KEY=VALUE", help="As loop.batch_size=16."
        ),
    )
)
limits = added(
    (
        any_space,
        click.option("--resume", is_flag=True, help="Go on where the run in --out stopped."),
        click.option("--epochs", type=click.IntRange(min=1), help="Of each phase."),
        click.option(
            "--steps", type=click.IntRange(min=1), help="Of each phase, instead of epochs."
        ),
        click.option(
            "--minutes",
            type=click.FloatRange(min=0, min_open=True),
            default=float("inf"),
            show_default=False,
            help="Stop after that.",
        ),
        click.option("--show", is_flag=True, help="Print the recipe, after --set, and do nothing."),
    )
)


def require_extra() -> None:
    """Raise `UsageError` unless what recipes and training need is installed."""
    require("train", "Training")


def run(
    trainer: Callable[[], Callable[..., Any]],
    settings: Any,
    show: bool,
    manifest: Path | None,
    prepared: str | None,
    out: Path | None,
    **options: Any,
) -> None:
    """Train by a recipe with the function that `trainer` imports, or print the recipe."""
    from vox2face.train.trainer import recipe

    settings = recipe.shortened(settings, options.pop("epochs"), options.pop("steps"))
    if show:
        click.echo(recipe.dump(settings), nl=False)
        return
    if manifest is None or prepared is None or out is None:
        raise UsageError("Name MANIFEST, --prepared DIR and --out RUN; --help lists the options.")
    require_writable(out)
    text_of(out)
    from vox2face.train.corpus import manifest as manifests
    from vox2face.train.prepare.reader import open_prepared

    table, arrays = manifests.read(manifest), open_prepared(prepared)
    if trainer()(table, arrays, settings, out, **options, log=click.echo) is None:
        sys.exit(130)
