"""`vox2face check`: prove a bundle again."""

from __future__ import annotations

from pathlib import Path

import click

from vox2face.cli.options import MODEL, Place
from vox2face.core.errors import ParityError
from vox2face.runtime.resolve import existing


@click.command(name="check")
@click.argument("bundle", metavar=MODEL)
@click.option(
    "--weights",
    type=Place(),
    metavar="FILE",
    help="The original Keras file, to compare every value with it bit for bit.",
)
def command(bundle: str, weights: Path | None) -> None:
    """Prove a bundle again.

    Its files must be unaltered, and every layer must compute what the original computes.
    """
    from vox2face.cli.report import print_report
    from vox2face.converters.verify_bundle import check

    report = check(existing(bundle), weights)
    if not report.ok:
        raise ParityError(f"{bundle} does not compute what its original computes.", report)
    if weights:
        click.echo(f"All weights equal those of {weights}, bit for bit.")
    print_report(report)
