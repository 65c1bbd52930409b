"""`vox2face evaluate`: how well faces are found for voices, beside chance and oracles."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Any

import click

from vox2face.cli.options import MODEL, Place, any_space, backend, device, provider_options, seed
from vox2face.core.errors import UsageError
from vox2face.core.files import require_writable


@click.command(name="evaluate")
@click.argument("manifest")
@click.option("--voice", metavar=MODEL, help="The voice encoder to evaluate.")
@click.option(
    "--baseline",
    metavar=MODEL,
    help="A frozen voice encoder of any width: ridge regression on it, fitted on the train split.",
)
@click.option(
    "--prepared", required=True, metavar="DIR", help="What `vox2face data prepare` wrote."
)
@click.option("--face", metavar="NAME", help="The face encoder, as it was prepared.")
@click.option("--second-face", metavar="NAME", help="Another one, to judge decoded pictures.")
@click.option("--decoder", metavar=MODEL, help="Also draw faces, and measure them.")
@click.option("--classifier", metavar=MODEL, help="A face encoder with classes: VGGFace score.")
@click.option("--face-to-face", is_flag=True, help="Decode pictures; no voice is needed.")
@click.option("--split", default="test", metavar="NAME")
@click.option("--latents", metavar="people.csv", help="True values of invented people: oracles.")
@click.option(
    "--groups",
    multiple=True,
    metavar="FILE.csv:COLUMN",
    help="A table by groups of people; FILE has a column identity. Repeatable.",
)
@click.option(
    "--pool",
    default="100",
    metavar="N|all",
    help="People a pool; all ranks everybody of the split, as corpora of fewer people need.",
)
@click.option(
    "--pools",
    type=click.IntRange(min=1),
    metavar="N",
    help="Disjoint pools. Default: 3, or as many as there are people for.",
)
@click.option(
    "--distance",
    type=click.Choice(["cosine", "l2", "l1", "centred"]),
    default="cosine",
    help="What ranks faces; centred: the cosine without the gallery's mean.",
)
@click.option("--fuse", is_flag=True, help="One query a person: the mean of all clips.")
@seed
@click.option(
    "--max-failures",
    type=click.FloatRange(0, 1),
    default=0.05,
    metavar="PART",
    help="The part of clips that may be unreadable.",
)
@any_space
@backend
@device
@provider_options
@click.option(
    "--out",
    type=Place(file_okay=False),
    metavar="DIR",
    help="Write results.json, results.txt and sheet.png there, and keep embeddings of voices.",
)
def command(manifest: str, prepared: str, out: Path | None, pool: str, **chosen: Any) -> None:
    """Measure how well the faces of a split are found for its voices.

    Recall@1/2/5/10 in pools of stated size, beside chance, the gender oracle and, for synthetic
    people, the latent oracle; within one gender; cosine, L1 and L2; by groups; decoded pictures.
    With 95 % intervals. Two runs give the same bytes.
    """
    from vox2face.train.corpus import manifest as manifests
    from vox2face.train.evaluate import files, report, run
    from vox2face.train.evaluate.embeddings import Voices
    from vox2face.train.evaluate.options import Options
    from vox2face.train.evaluate.prepared import PreparedArrays

    options = Options(pool=people(pool), **{**chosen, "face": ""}).checked()
    if out is not None:
        require_writable(out)
    table = manifests.read(manifest)
    arrays = PreparedArrays(prepared, table)
    options = replace(options, face=arrays.chosen(chosen["face"]))
    if out is not None:
        files.require_free(out, options, table)
    kept = None if out is None else out / files.VOICES
    voices = Voices(kept, options.max_failures)
    outcome = run.run(table, arrays, options, voices)
    click.echo(report.report(outcome.results), nl=False)
    if out is not None:
        written = files.write(outcome, out)
        click.echo(f"\nWritten to {out}: {', '.join(path.name for path in written)}")


def people(pool: str) -> int | None:
    """Return the size of a pool, None for everybody."""
    if pool.lower() == "all":
        return None
    if not (pool.isascii() and pool.isdigit() and len(pool) < 10) or int(pool) < 2:
        raise UsageError(f"--pool {pool}: give a number of people of 2 or more, or all.")
    return int(pool)
