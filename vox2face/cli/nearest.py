"""`vox2face nearest`: which saved embeddings are nearest to a picture."""

from __future__ import annotations

import json
from dataclasses import asdict, replace
from pathlib import Path
from typing import Any

import click

from vox2face.cli import cropping
from vox2face.cli.compare import as_json, metric, require_files
from vox2face.cli.options import MODEL, Place, backend, device, provider_options


@click.command(name="nearest")
@click.argument("picture", type=Place())
@click.argument("embeddings", type=Place(), metavar="EMBEDDINGS.npz")
@click.option("--top", type=click.IntRange(min=1), default=5, metavar="K", help="How many.")
@click.option(
    "--model",
    metavar=MODEL,
    help="The encoder. Default: the model and preset that made EMBEDDINGS.",
)
@metric
@click.option(
    "--crop/--no-crop",
    default=None,
    help="Find the face in the photograph and cut it out. Default: as EMBEDDINGS were made.",
)
@cropping.options
@backend
@device
@provider_options
@as_json
def command(
    picture: Path,
    embeddings: Path,
    crop: bool | None,
    align: bool,
    face_choice: str | None,
    detector: str | None,
    as_json: bool,
    **options: Any,
) -> None:
    """Rank what `vox2face embed --output EMBEDDINGS.npz` saved by the distance to a picture.

    Of embeddings of recordings, PICTURE is a recording. One that another model, preset or weights
    would embed is refused: such distances mean nothing.
    """
    require_files(picture, embeddings)
    from vox2face.runtime.nearest import nearest, read_saved

    saved = read_saved(embeddings)
    cut = saved.how.get("crop", False) if crop is None else crop
    upright = align or (cut and saved.how.get("align", False))
    if cut and crop is None:
        which = str(saved.how.get("which", "one"))
        face_choice = face_choice or (None if which == "one" else which)
        detector = detector or str(saved.how.get("detector") or "") or None
    how = cropping.picture_options(cut, upright, face_choice, detector)
    chosen = how if crop else {}  # a voice encoder minds only what was asked for
    found = nearest(picture, replace(saved, how=how), **options, **chosen)
    if as_json:
        click.echo(json.dumps([asdict(row) for row in found], indent=2))
        return
    for rank, row in enumerate(found, 1):
        click.echo(f"{rank}  {row.distance:<9g} {row.file}")
