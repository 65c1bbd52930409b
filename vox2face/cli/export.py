"""`vox2face export`: ONNX files for deployment, or a Keras file for the owner's code."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from vox2face.cli.options import Place, any_space
from vox2face.core.errors import UsageError
from vox2face.core.files import size_text
from vox2face.runtime.resolve import locate
from vox2face.zoo.presets import meaning

if TYPE_CHECKING:
    from vox2face.core.parity import Report

NO_GRAPH = (
    "{0} changes the graph of an ONNX file, and a Keras weight file has no graph: leave {0} or "
    "--format keras out."
)
OWN_LAYOUT = (
    "A file in deepface's layout takes what deepface preprocessed and gives embeddings only: leave "
    "{0} or --layout out."
)
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
    help="fp16: weights and activations in half precision, for GPUs; inputs and outputs stay fp32.",
)
@click.option(
    "--layout",
    type=click.Choice(["deepface"]),
    help="deepface: a file that deepface runs in place of its own vgg_face_weights.onnx, pictures "
    "(n, height, width, 3). Put it into ~/.deepface/weights under that name.",
)
@click.option("--voice", metavar="NAME|DIR", help="The voice encoder of speech2face.")
@click.option("--face", metavar="NAME|DIR", help="The face encoder of face2face.")
@click.option("--decoder", metavar="NAME|DIR", help="The decoder of speech2face or face2face.")
@any_space
def command(
    model: str, output: Path, kind: str, any_space: bool, precision: str, **options: Any
) -> None:
    """Export a model, or a whole pipeline, as one file.

    An ONNX file is self-contained; it is run and compared with torch before it is kept. A Keras
    file is read again and compared with the model bit for bit before it is kept. The pipelines are
    speech2face (--voice, --decoder), from 16 kHz waveforms to picture, landmarks and embedding, and
    face2face (--face, --decoder), from uint8 pictures.
    """
    parts = {name: options.pop(name) for name in ("voice", "face", "decoder")}
    half = precision == "fp16"
    if model in ENCODERS:
        inside = f"{model} has its front end inside: leave {{}} out."
        refuse(inside, **{"format keras": kind == "keras"}, **options)
        to_pipeline(model, parts, output, half, any_space)
    else:
        refuse("{} is for the pipelines speech2face and face2face.", **parts, any_space=any_space)
        if kind == "keras":
            refuse(NO_GRAPH, **options, precision=half)
            to_keras(model, output)
        else:
            to_onnx(model, output, half, **options)
    click.echo(f"Written to {output} ({size_text(output.stat().st_size)}).")


def refuse(advice: str, **options: Any) -> None:
    """Raise `UsageError` with this advice, `{}` in it being the option, if one of them is given."""
    for name, value in options.items():
        if value not in (None, False):
            raise UsageError(advice.format(f"--{name.replace('_', '-')}"))


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
    model: str,
    output: Path,
    half: bool,
    with_frontend: bool,
    logits: bool,
    preset: str | None,
    layout: str | None,
) -> None:
    """Write an ONNX file and print how well it agrees with torch."""
    from vox2face.converters.bundle_onnx import export_file, require_exportable

    require_exportable(output)
    if layout is not None:
        refuse(OWN_LAYOUT, with_frontend=with_frontend, logits=logits, preset=preset)
    if preset is not None:
        meaning(preset)
    tell(export_file(locate(model), output, preset, with_frontend, logits, half, layout or ""))


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
    count = export_keras(target, output)
    click.echo(f"All {count} arrays of {target.entry_name} equal the bundle's, bit for bit.")
