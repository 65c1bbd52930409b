"""`vox2face check`: prove a bundle again, or compare it with another source."""

from __future__ import annotations

import json
from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING

import click

from vox2face.cli.options import MODEL, Place
from vox2face.core.errors import ParityError, UsageError, Vox2FaceError
from vox2face.runtime.resolve import existing

if TYPE_CHECKING:
    from vox2face.converters.compare_sources import Comparison


@click.command(name="check")
@click.argument("bundle", metavar=MODEL)
@click.option(
    "--weights",
    type=Place(),
    metavar="FILE",
    help="The original Keras file, to compare every value with it bit for bit.",
)
@click.option(
    "--against",
    type=Place(),
    metavar="FILE|DIR",
    help="Compare with another source of the same network, a weight file in any format or a "
    "bundle, instead: each tensor, and what each layer computes.",
)
@click.option("--json", "as_json", is_flag=True, help="With --against: print JSON.")
def command(bundle: str, weights: Path | None, against: Path | None, as_json: bool) -> None:
    """Prove a bundle again, or compare it with another source of its network.

    Its files must be unaltered, and every layer must compute what the original computes.
    """
    if against is not None and weights is not None:
        raise UsageError("--weights proves and --against compares: give one of them.")
    if against is not None:
        compare_with(bundle, against, as_json)
        return
    if as_json:
        raise UsageError("--json is for --against: leave it out.")
    from vox2face.cli.report import print_report
    from vox2face.converters.verify_bundle import check

    report = check(existing(bundle), weights)
    if not report.ok:
        raise ParityError(f"{bundle} does not compute what its original computes.", report)
    if weights:
        click.echo(f"All weights equal those of {weights}, bit for bit.")
    print_report(report)


def compare_with(name: str, other: Path, as_json: bool) -> None:
    """Print what a bundle and another source of its network differ by.

    Raises `Vox2FaceError` where a layer computes something else.
    """
    from vox2face.converters.compare_sources import compare_sources

    bundle = existing(name)
    found = compare_sources(bundle, other)
    if as_json:
        first = found.first.tap if found.first else None
        click.echo(json.dumps({**asdict(found), "equal": found.equal, "first": first}, indent=1))
    else:
        print_comparison(found)
    if found.first is not None:
        raise Vox2FaceError(
            f"{other} computes something else than {bundle.path}, from {found.first.tap} on: the "
            f"largest difference there is {found.first.max_rel:.1e} of the largest value."
        )


def print_comparison(found: Comparison) -> None:
    """Print the tensors that differ and what the layers compute, or that all are equal."""
    from vox2face.cli.report import HEAD, cell

    for tensor in found.missing:
        click.echo(f"Only one of the two has {tensor}: left out.")
    count = len(found.weights)
    if found.equal:
        click.echo(f"All {count} tensors are equal, bit for bit.")
        return
    differing = [row for row in found.weights if row.tap in found.differing]
    tables = {
        f"{len(differing)} of {count} tensors differ": differing,
        "What the layers compute": found.activations,
    }
    width = max(len(text) for text in (*tables, *found.differing)) + 2
    for title, rows in tables.items():
        click.echo(f"{title:<{width}}{HEAD}")
        for row in rows:
            click.echo(f"{row.tap:<{width}}{cell(row)}")
    if found.first is None:
        click.echo("All layers agree within the tolerance of the model.")
