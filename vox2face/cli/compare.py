"""`vox2face compare`: whether two pictures show one person."""

from __future__ import annotations

import json
from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from vox2face.cli import cropping
from vox2face.cli.options import MODEL, Place, backend, device, provider_options
from vox2face.core.errors import UsageError
from vox2face.zoo.catalog import DEFAULT_FACE
from vox2face.zoo.thresholds import METRICS, PUBLISHED

if TYPE_CHECKING:
    from vox2face.runtime.compare import Comparison
    from vox2face.zoo.thresholds import Estimate, Measured

metric = click.option(
    "--metric",
    type=click.Choice(METRICS),
    default=METRICS[0],
    help="The distance, as deepface computes it.",
)
as_json = click.option("--json", "as_json", is_flag=True, help="Print JSON.")


@click.command(name="compare")
@click.argument("a", type=Place())
@click.argument("b", type=Place())
@click.option("--model", metavar=MODEL, help=f"The encoder. Default: {DEFAULT_FACE}, with --crop.")
@metric
@click.option("--preset", metavar="P", help="Preprocessing other than the model's own.")
@click.option(
    "--crop/--no-crop",
    default=None,
    help="Find the face in each photograph and cut it out. Default: --crop if no --model is given, "
    "else --no-crop.",
)
@cropping.options
@backend
@device
@provider_options
@as_json
def command(
    a: Path,
    b: Path,
    model: str | None,
    crop: bool | None,
    align: bool,
    face_choice: str | None,
    detector: str | None,
    as_json: bool,
    **options: Any,
) -> None:
    """Tell how far two pictures are from each other, and whether they show one person.

    The threshold is that which deepface publishes for the network, with its preset and weights; for
    the encoder that comes with vox2face and --crop it was measured on synthetic people, and no
    verdict on real ones should lean on it. Without a threshold there is no verdict. With a voice
    encoder as --model, A and B are recordings.
    """
    require_files(a, b)
    crop = model is None if crop is None else crop
    how = cropping.picture_options(crop, align, face_choice, detector)
    from vox2face.runtime.compare import compare

    found = compare(a, b, model or DEFAULT_FACE, **options, **how)
    click.echo(json.dumps(asdict(found), indent=2) if as_json else told(found))


def require_files(*files: Path) -> None:
    """Raise `UsageError` for a file that there is not."""
    for file in files:
        if not file.exists():
            raise UsageError(f"There is no {file}: check the path.")


def told(found: Comparison) -> str:
    """Return a comparison in lines."""
    verdict = {True: "same person", False: "different persons", None: "none, without a threshold"}
    limit = "none: " if found.threshold is None else f"{found.threshold:g}, from "
    lines = [
        f"distance   {found.distance:g} ({found.metric})",
        f"threshold  {limit}{found.source}",
        f"verdict    {verdict[found.verified]}",
        f"model      {found.model}, preset {found.preset}",
    ]
    if found.note:
        lines.append(f"note       {found.note}")
    if found.synthetic:
        words = errors(found.synthetic, found.model).split("; ")
        lines.append("synthetic  " + "\n           ".join(words))
    return "\n".join(lines)


def errors(found: Measured, model: str) -> str:
    """Return what was measured of a model on synthetic people in a sentence."""
    words = (
        f"at {number(found.equal)} both errors are {share(found.equal_error)}; at "
        f"{number(found.strict)} 1 % of the pairs of two people pass and {share(found.missed)} of "
        "those of one are missed"
    )
    if found.published_accepted and found.published_missed:
        published = PUBLISHED[model]
        words += (
            f"; at {published.thresholds[found.metric]:g} ({published.cite}) "
            f"{share(found.published_accepted)} pass and {share(found.published_missed)} are missed"
        )
    return words


def share(value: Estimate) -> str:
    """Return a part of 1 with its interval, in per cent."""
    return f"{value.value:.1%} [{value.low:.1%}, {value.high:.1%}]".replace("%", " %")


def number(value: Estimate) -> str:
    """Return a threshold with its interval."""
    return f"{value.value:.4g} [{value.low:.4g}, {value.high:.4g}]"
