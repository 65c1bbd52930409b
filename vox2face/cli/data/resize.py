"""`vox2face data resize`: pictures of one size."""

from __future__ import annotations

from pathlib import Path

import click

from vox2face.cli.options import Place


@click.command(name="resize")
@click.argument("folder", type=Place())
@click.option("--out", type=Place(), required=True, metavar="DIR")
@click.option("--size", type=click.IntRange(16, 4096), default=224)
@click.option("--crop", is_flag=True, help="Find the face in each picture and cut it out first.")
def command(folder: Path, out: Path, size: int, crop: bool) -> None:
    """Write all pictures of a FOLDER in one size, in the same folders, as JPEG.

    Run the same command again to go on. Pictures that fail are listed in DIR/failures.csv.
    """
    from vox2face.core.errors import Vox2FaceError
    from vox2face.train.export.resize import resize

    done = resize(folder, out, size, crop)
    click.echo(f"{done.written} pictures written to {out}, {done.kept} were there already.")
    if done.failures:
        path, reason = done.failures[0]
        words = reason if path in reason else f"{path}: {reason}"
        raise Vox2FaceError(f"{len(done.failures)} pictures failed, the first: {words}")
