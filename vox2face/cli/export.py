"""`vox2face export`: an ONNX file for deployment."""

from __future__ import annotations

from pathlib import Path

import click


@click.command(name="export")
@click.argument("model", metavar="NAME|DIR|hf:USER/REPO")
@click.option(
    "--output",
    required=True,
    metavar="FILE.onnx",
    type=click.Path(path_type=Path),
    help="The file to write; an existing one is replaced.",
)
@click.option(
    "--with-frontend",
    is_flag=True,
    help="Take uint8 RGB pictures (n, height, width, 3); preprocess inside the graph.",
)
@click.option("--logits", is_flag=True, help="Add the class scores as a second output.")
@click.option("--preset", metavar="P", help="Preprocessing other than the model's own.")
def command(
    model: str, output: Path, with_frontend: bool, logits: bool, preset: str | None
) -> None:
    """Export a model as one ONNX file.

    The file is self-contained; it is run and compared with torch before it is kept.
    """
    from vox2face.converters.deliver import export_file, require_exportable
    from vox2face.files import size_text
    from vox2face.locate import locate

    require_exportable(output, preset)
    report = export_file(locate(model), output, preset, with_frontend, logits)
    for row in report.rows:
        click.echo(
            f"{row.tap}: largest difference to torch {row.max_rel:.1e} of the largest "
            f"value, cosine {row.cosine:.8f}"
        )
    click.echo(f"Written to {output} ({size_text(output.stat().st_size)}).")
