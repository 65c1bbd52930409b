"""`vox2face data export`: a corpus in another toolkit's folders."""

from __future__ import annotations

from pathlib import Path

import click

from vox2face.cli.options import Place


@click.command(name="export")
@click.argument("manifest")
@click.option("--layout", type=click.Choice(["speech-to-face"]), default="speech-to-face")
@click.option(
    "--for",
    "kind",
    type=click.Choice(["media", "voice", "decoder"]),
    default="media",
    help="Recordings and pictures; or spectrograms and embeddings for its voice encoders; or "
    "pictures, embeddings and landmarks for its face decoder.",
)
@click.option("--out", type=Place(), required=True, metavar="DIR")
@click.option("--prepared", metavar="DIR", help="What `vox2face data prepare` wrote.")
@click.option(
    "--spectrograms", metavar="PRESET", default="ve-conv", help="ve-conv, or ast-speech-to-face."
)
@click.option("--ascii", is_flag=True, help="Name folders in ASCII; names.csv says whose they are.")
@click.option("--link", is_flag=True, help="Hard links instead of copies, where the disk can.")
def command(
    manifest: str,
    layout: str,
    kind: str,
    out: Path,
    prepared: str | None,
    spectrograms: str,
    ascii: bool,
    link: bool,
) -> None:
    """Write a corpus into the folders that the Speech-to-face repo works with.

    Nothing of the corpus is renamed or changed. Run the same command again to go on.
    """
    from vox2face.core.errors import Vox2FaceError
    from vox2face.train.corpus import manifest as manifests
    from vox2face.train.corpus.manifest import require_same
    from vox2face.train.export.speech_to_face import Options, export
    from vox2face.train.prepare.reader import open_prepared

    table = manifests.read(manifest)
    source = open_prepared(prepared) if prepared else None
    if source is not None:
        require_same(table, source.manifest, source.folder)
    made = export(table, out, Options(kind, spectrograms, ascii, link), source)
    click.echo(f"{made.written} files written to {out}, {made.kept} were there already.")
    if made.failures:
        path, reason = made.failures[0]
        raise Vox2FaceError(
            f"{len(made.failures)} files failed, the first is {path}: {reason} All are listed in "
            f"{out / 'failures.csv'}."
        )
