"""Parity reports as a table for the terminal."""

from __future__ import annotations

import click

from vox2face.core.parity import Parity, Report

HEAD = f"{'max abs':>9} {'max rel':>8} {'cosine':>10}"


def print_report(report: Report) -> None:
    """Print one row for each tap with the figures of every stage, then the verdict."""
    stages = report.stages
    taps = list(dict.fromkeys(row.tap for row in report.rows))
    cells = {(row.stage, row.tap): row for row in report.rows}
    width = max([9, *(len(tap) + 1 for tap in taps)])
    wide = [s for s in stages if sum(row.stage == s for row in report.rows) > 3]
    if wide:
        click.echo(
            " " * (width + 17) + "".join(f"  {stage + ' against reference':^29}" for stage in wide)
        )
        click.echo(f"{'tap':<{width}}{'shape':<17}" + f"  {HEAD}" * len(wide))
    for tap in taps:
        rows = [cells.get((stage, tap)) for stage in wide]
        shown = next((row for row in rows if row), None)
        if shown:
            shape = "x".join(str(n) for n in shown.shape)
            click.echo(f"{tap:<{width}}{shape:<17}" + "".join(f"  {cell(row)}" for row in rows))
    for row in report.rows:
        if row.stage not in wide:
            click.echo(f"{row.stage + ', ' + row.tap:<26}  {cell(row)}")
    click.echo(click.style(report.verdict(), fg="green" if report.ok else "red", bold=True))


def cell(row: Parity | None) -> str:
    """Return the three figures of a comparison, red if it failed."""
    if row is None:
        return " " * 29
    text = f"{row.max_abs:9.1e} {row.max_rel:8.1e} {row.cosine:10.8f}"
    return text if row.ok else click.style(text, fg="red")
