"""`vox2face export`: an ONNX file for deployment, or a Keras file for the owner's code."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import click


@click.command(name="export")
@click.argument("model", metavar="NAME|DIR|hf:USER/REPO")
@click.option(
    "--output",
    required=True,
    metavar="FILE",
    type=click.Path(path_type=Path),
    help="The file to write, .onnx or .h5; an existing one is replaced.",
)
@click.option(
    "--format",
    "kind",
    type=click.Choice(["onnx", "keras"]),
    default="onnx",
    show_default=True,
    help="onnx: the network for ONNX Runtime. keras: the weights as the HDF5 file that the "
    "original's own code loads.",
)
@click.option(
    "--with-frontend",
    is_flag=True,
    help="Take uint8 RGB pictures (n, height, width, 3); preprocess inside the graph.",
)
@click.option("--logits", is_flag=True, help="Add the class scores as a second output.")
@click.option("--preset", metavar="P", help="Preprocessing other than the model's own.")
def command(
    model: str,
    output: Path,
    kind: str,
    with_frontend: bool,
    logits: bool,
    preset: str | None,
) -> None:
    """Export a model as one file.

    An ONNX file is self-contained; it is run and compared with torch before it is kept. A Keras
    file is read again and compared with the model bit for bit before it is kept.
    """
    from vox2face.files import size_text

    if kind == "keras":
        refuse(with_frontend=with_frontend, logits=logits, preset=preset)
        to_keras(model, output)
    else:
        to_onnx(model, output, preset, with_frontend, logits)
    click.echo(f"Written to {output} ({size_text(output.stat().st_size)}).")


def refuse(**options: Any) -> None:
    """Raise `UsageError` if options are given that only an ONNX file has."""
    from vox2face.errors import UsageError

    for name, value in options.items():
        if value:
            option = f"--{name.replace('_', '-')}"
            raise UsageError(
                f"{option} changes the graph of an ONNX file, and a Keras weight file has no "
                f"graph: leave {option} or --format keras out."
            )


def to_onnx(model: str, output: Path, preset: str | None, frontend: bool, logits: bool) -> None:
    """Write an ONNX file and print how well it agrees with torch."""
    from vox2face.converters.deliver import export_file, require_exportable
    from vox2face.locate import locate

    require_exportable(output, preset)
    report = export_file(locate(model), output, preset, frontend, logits)
    for row in report.rows:
        click.echo(
            f"{row.tap}: largest difference to torch {row.max_rel:.1e} of the largest "
            f"value, cosine {row.cosine:.8f}"
        )


def to_keras(model: str, output: Path) -> None:
    """Write a Keras file and say that it was compared."""
    from vox2face.converters.export_keras import export_keras, require_writable
    from vox2face.locate import locate
    from vox2face.progress import Bars

    require_writable(output)
    target, bars = locate(model), Bars()
    try:
        count = export_keras(target, output, bars.advance)
    finally:
        bars.close()
    click.echo(f"All {count} arrays of {target.entry_name} equal the bundle's, bit for bit.")
