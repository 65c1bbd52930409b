"""`vox2face export`: ONNX files for deployment, or a Keras file for the owner's code."""

from __future__ import annotations

from contextlib import closing
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from vox2face.cli import batch
from vox2face.cli.paths import Place
from vox2face.core.errors import UsageError
from vox2face.core.files import size_text
from vox2face.core.progress import Bars
from vox2face.runtime.resolve import locate
from vox2face.zoo.preprocessing import meaning

if TYPE_CHECKING:
    from vox2face.core.parity import Report

ENCODERS = {"speech2face": "voice", "face2face": "face"}  # pipeline -> the option of its encoder


@click.command(name="export")
@click.argument("model", metavar="NAME|DIR|hf:USER/REPO|speech2face|face2face")
@click.option(
    "--output",
    required=True,
    metavar="FILE",
    type=Place(),
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
    help="Start at uint8 RGB pictures (n, height, width, 3), or at 16 kHz waveforms (n, samples); "
    "preprocess inside the graph.",
)
@click.option("--logits", is_flag=True, help="Add the class scores as a second output.")
@click.option("--preset", metavar="P", help="Preprocessing other than the model's own.")
@click.option(
    "--precision",
    type=click.Choice(["fp32", "fp16"]),
    default="fp32",
    show_default=True,
    help="fp16: weights and activations in half precision, for GPUs; inputs and outputs stay fp32.",
)
@click.option("--voice", metavar="NAME|DIR", help="The voice encoder of speech2face.")
@click.option("--face", metavar="NAME|DIR", help="The face encoder of face2face.")
@click.option("--decoder", metavar="NAME|DIR", help="The decoder of speech2face or face2face.")
@batch.any_space
def command(
    model: str,
    output: Path,
    kind: str,
    with_frontend: bool,
    logits: bool,
    preset: str | None,
    precision: str,
    voice: str | None,
    face: str | None,
    decoder: str | None,
    any_space: bool,
) -> None:
    """Export a model, or a whole pipeline, as one file.

    An ONNX file is self-contained; it is run and compared with torch before it is kept. A Keras
    file is read again and compared with the model bit for bit before it is kept. The pipelines are
    speech2face (--voice, --decoder), from 16 kHz waveforms to picture, landmarks and embedding, and
    face2face (--face, --decoder), from uint8 pictures.
    """
    half, parts = precision == "fp16", {"voice": voice, "face": face, "decoder": decoder}
    if model in ENCODERS:
        refuse_for(model, kind, with_frontend, logits, preset)
        to_pipeline(model, parts, output, half, any_space)
    elif used := [name for name, value in {**parts, "any-space": any_space}.items() if value]:
        raise UsageError(f"--{used[0]} is for the pipelines speech2face and face2face.")
    elif kind == "keras":
        refuse(with_frontend=with_frontend, logits=logits, preset=preset, precision=half)
        to_keras(model, output)
    else:
        to_onnx(model, output, preset, with_frontend, logits, half)
    click.echo(f"Written to {output} ({size_text(output.stat().st_size)}).")


def refuse(**options: Any) -> None:
    """Raise `UsageError` if options are given that only an ONNX file has."""
    for name, value in options.items():
        if value:
            option = f"--{name.replace('_', '-')}"
            raise UsageError(
                f"{option} changes the graph of an ONNX file, and a Keras weight file has no "
                f"graph: leave {option} or --format keras out."
            )


def refuse_for(pipeline: str, kind: str, frontend: bool, logits: bool, preset: str | None) -> None:
    """Raise `UsageError` if options are given that a pipeline does not have."""
    given = {
        "--format keras": kind == "keras",
        "--with-frontend": frontend,
        "--logits": logits,
        "--preset": preset is not None,
    }
    for option, value in given.items():
        if value:
            raise UsageError(f"{pipeline} has its front end inside: leave {option} out.")


def to_pipeline(
    pipeline: str, parts: dict[str, str | None], output: Path, half: bool, any_space: bool
) -> None:
    """Write a pipeline as one ONNX file and print how well it agrees with torch."""
    wanted = (ENCODERS[pipeline], "decoder")
    for name, value in parts.items():
        if (value is None) == (name in wanted):
            need = " and ".join(f"--{name}" for name in wanted)
            raise UsageError(f"{pipeline} is made of {need}: give both and no other.")
    from vox2face.converters.bundle_onnx import require_exportable
    from vox2face.converters.pipeline_onnx import export_pipeline

    require_exportable(output)
    encoder, decoder = (locate(str(parts[name])) for name in wanted)
    tell(export_pipeline(pipeline, encoder, decoder, output, half, any_space))


def to_onnx(
    model: str, output: Path, preset: str | None, frontend: bool, logits: bool, half: bool
) -> None:
    """Write an ONNX file and print how well it agrees with torch."""
    from vox2face.converters.bundle_onnx import export_file, require_exportable

    require_exportable(output)
    if preset is not None:
        meaning(preset)
    tell(export_file(locate(model), output, preset, frontend, logits, half))


def tell(report: Report) -> None:
    """Print how well an ONNX file agrees with torch."""
    for row in report.rows:
        click.echo(
            f"{row.tap}: largest difference to torch {row.max_rel:.1e} of the largest "
            f"value, cosine {row.cosine:.8f}"
        )


def to_keras(model: str, output: Path) -> None:
    """Write a Keras file and say that it was compared."""
    from vox2face.converters.bundle_keras import export_keras, require_writable

    require_writable(output)
    target = locate(model)
    with closing(Bars()) as bars:
        count = export_keras(target, output, bars.advance)
    click.echo(f"All {count} arrays of {target.entry_name} equal the bundle's, bit for bit.")
