"""`vox2face embed`: pictures to embeddings."""

from __future__ import annotations

import csv
import io
import sys
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from vox2face.errors import UsageError

if TYPE_CHECKING:
    from vox2face.runtime import Embeddings, FaceEncoder


@click.command(name="embed")
@click.argument(
    "images", nargs=-1, required=True, metavar="IMAGE...", type=click.Path(path_type=Path)
)
@click.option("--model", required=True, metavar="NAME|DIR", help="A registry name or a bundle.")
@click.option("--backend", type=click.Choice(["torch", "onnx"]), default="torch", show_default=True)
@click.option("--device", default="cpu", show_default=True, help="cpu, cuda or cuda:N.")
@click.option("--preset", metavar="P", help="Preprocessing other than the model's own.")
@click.option("--normalize", is_flag=True, help="Divide by the length, as deepface does.")
@click.option("--batch-size", type=click.IntRange(min=1), default=8, show_default=True)
@click.option(
    "--output",
    default="-",
    metavar="FILE.npz|.csv|-",
    show_default=True,
    help="Where to write; - prints CSV.",
)
def command(
    images: tuple[Path, ...],
    model: str,
    backend: str,
    device: str,
    preset: str | None,
    normalize: bool,
    batch_size: int,
    output: str,
) -> None:
    """Embed cropped faces, one vector each."""
    if output != "-" and Path(output).suffix not in WRITERS:
        raise UsageError(f"--output {output}: the name must end in .npz or .csv, or be -.")
    if Path(output).is_dir():
        raise UsageError(f"--output {output} is a folder: name the file to write.")
    from vox2face.image import decode
    from vox2face.runtime import load

    for image in images:  # a bad picture is reported before a model is loaded
        decode(image)
    encoder = load(model, backend=backend, device=device, preset=preset)
    embeddings = encoder(images, normalize=normalize, batch_size=batch_size)
    if output == "-":
        sys.stdout.write(csv_text(images, embeddings))
        return
    from vox2face.files import atomic_file

    with atomic_file(Path(output)) as partial, partial.open("wb") as file:
        WRITERS[Path(output).suffix](file, images, embeddings, encoder)
    click.echo(f"{len(images)} embeddings of {encoder.width} values written to {output}.")


def csv_text(images: tuple[Path, ...], embeddings: Embeddings) -> str:
    """Return one line for each picture: its path and its values, exact to float32."""
    text = io.StringIO()
    writer = csv.writer(text, lineterminator="\n")
    writer.writerow(["image", *(f"e{i}" for i in range(embeddings.shape[1]))])
    for image, row in zip(images, embeddings, strict=True):
        writer.writerow([image, *(f"{value:.9g}" for value in row)])
    return text.getvalue()


def write_csv(
    file: Any, images: tuple[Path, ...], embeddings: Embeddings, encoder: FaceEncoder
) -> None:
    """Write CSV text as UTF-8."""
    file.write(csv_text(images, embeddings).encode("utf-8", "surrogateescape"))


def write_npz(
    file: Any, images: tuple[Path, ...], embeddings: Embeddings, encoder: FaceEncoder
) -> None:
    """Write `embeddings` (n, width), `images` (n,) and how they were made."""
    import numpy as np

    names = np.array([str(image) for image in images])
    np.savez(
        file,
        embeddings=embeddings,
        images=names,
        model=np.array(encoder.entry.name),
        preset=np.array(encoder.preset),
    )


WRITERS = {".csv": write_csv, ".npz": write_npz}
