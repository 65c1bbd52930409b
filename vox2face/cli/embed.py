"""`vox2face embed`: pictures or recordings to embeddings, or pictures to names."""

from __future__ import annotations

import csv
import io
import sys
from collections.abc import Callable, Iterable, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from vox2face.cli.paths import Place
from vox2face.errors import UsageError

if TYPE_CHECKING:
    from vox2face.labels import Named
    from vox2face.loaded import Embeddings


Images = tuple[Path, ...]
TOP = 5  # names a picture, unless --top says otherwise


@click.command(name="embed")
@click.argument("images", nargs=-1, required=True, metavar="FILE...", type=Place())
@click.option(
    "--model",
    required=True,
    metavar="NAME|DIR|hf:USER/REPO",
    help="A registry name, a bundle, or one on the hub.",
)
@click.option("--backend", type=click.Choice(["torch", "onnx"]), default="torch", show_default=True)
@click.option(
    "--device",
    default="cpu",
    show_default=True,
    help="cpu, cuda or cuda:N; tensorrt with --backend onnx.",
)
@click.option("--preset", metavar="P", help="Preprocessing other than the model's own.")
@click.option("--normalize", is_flag=True, help="Divide by the length, as deepface does.")
@click.option("--batch-size", type=click.IntRange(min=1), default=8, show_default=True)
@click.option("--classify", is_flag=True, help="Write the most probable names instead.")
@click.option(
    "--top",
    type=click.IntRange(min=1),
    metavar="K",
    help=f"How many names a picture with --classify, {TOP} if not given.",
)
@click.option(
    "--labels",
    metavar="FILE",
    type=Place(),
    help="Other names of the classes for --classify: text, one a line, or .npy.",
)
@click.option(
    "--output",
    default="-",
    metavar="FILE.npz|.csv|-",
    show_default=True,
    help="Where to write; - prints CSV.",
)
def command(
    images: Images,
    model: str,
    backend: str,
    device: str,
    preset: str | None,
    normalize: bool,
    batch_size: int,
    classify: bool,
    top: int | None,
    labels: Path | None,
    output: str,
) -> None:
    """Embed cropped faces or recordings of speech, one vector each.

    With --classify, name faces instead.
    """
    require_possible(output, normalize, classify, top, labels)
    from vox2face.face_encoder import FaceEncoder
    from vox2face.image import decode
    from vox2face.labels import read_labels
    from vox2face.locate import kind_of
    from vox2face.runtime import load_kind
    from vox2face.voice_encoder import VoiceEncoder

    names = None if labels is None else read_labels(labels)
    where = {"backend": backend, "device": device, "preset": preset}
    voice = kind_of(model) == "voice-encoder"
    if not voice:
        for image in images:  # a bad picture is reported before a model is loaded
            decode(image)
    if classify and voice:
        raise UsageError(f"{model} hears voices, which have no names: leave --classify out.")
    encoder: Any = load_kind(VoiceEncoder if voice else FaceEncoder, model, **where)
    facts = {"model": encoder.entry.name, "preset": encoder.preset}
    if classify:
        found = encoder.classify(images, TOP if top is None else top, names, batch_size)
        arrays: dict[str, Any] = {**named_arrays(found), **facts}
        deliver(output, images, lambda: named_text(images, found), arrays)
        done = f"{len(images)} pictures with {len(found[0])} names each"
    else:
        embeddings = encoder(images, normalize=normalize, batch_size=batch_size)
        arrays = {"embeddings": embeddings, **facts}
        deliver(output, images, lambda: embedded_text(images, embeddings), arrays)
        done = f"{len(images)} embeddings of {encoder.width} values"
    if output != "-":
        click.echo(f"{done} written to {output}.")


def require_possible(
    output: str, normalize: bool, classify: bool, top: int | None, labels: Path | None
) -> None:
    """Raise `UsageError` for options that cannot be meant, before any work."""
    if output != "-" and Path(output).suffix not in (".csv", ".npz"):
        raise UsageError(f"--output {output}: the name must end in .npz or .csv, or be -.")
    if Path(output).is_dir():
        raise UsageError(f"--output {output} is a folder: name the file to write.")
    if classify and normalize:
        raise UsageError("--normalize is for embeddings and --classify gives names: leave out one.")
    if not classify and (top is not None or labels is not None):
        option = "--labels" if top is None else "--top"
        raise UsageError(f"{option} is for class names: add --classify or leave it out.")


def deliver(output: str, images: Images, text: Callable[[], str], arrays: dict[str, Any]) -> None:
    """Print CSV text, or write it as UTF-8, or write arrays together with the `images` (n,)."""
    if output == "-":
        sys.stdout.write(text())
        return
    import numpy as np

    from vox2face.files import atomic_file

    with atomic_file(Path(output)) as partial, partial.open("wb") as file:
        if Path(output).suffix == ".csv":
            file.write(text().encode("utf-8", "surrogateescape"))
        else:
            np.savez(file, images=np.array([str(image) for image in images]), **arrays)


def embedded_text(images: Images, embeddings: Embeddings) -> str:
    """Return one line for each picture: its path and its values, exact to float32."""
    header = ["image", *(f"e{i}" for i in range(embeddings.shape[1]))]
    rows = zip(images, embeddings, strict=True)
    return csv_text(header, ([str(image), *(f"{v:.9g}" for v in row)] for image, row in rows))


def named_text(images: Images, found: list[list[Named]]) -> str:
    """Return a line for each name of each picture, the most probable first."""
    rows = (
        [str(image), str(rank), name, f"{probability:.9g}"]
        for image, row in zip(images, found, strict=True)
        for rank, (name, probability) in enumerate(row, start=1)
    )
    return csv_text(["image", "rank", "name", "probability"], rows)


def csv_text(header: list[str], rows: Iterable[Sequence[str]]) -> str:
    """Return CSV; a row with a carriage return is quoted as a whole, or it would break there."""
    text = io.StringIO()
    plain = csv.writer(text, lineterminator="\n")
    quoted = csv.writer(text, lineterminator="\n", quoting=csv.QUOTE_ALL)
    plain.writerow(header)
    for row in rows:
        (quoted if any("\r" in cell for cell in row) else plain).writerow(row)
    return text.getvalue()


def named_arrays(found: list[list[Named]]) -> dict[str, Any]:
    """Return `names` (n, top) and `probabilities` float64 (n, top), the most probable first."""
    import numpy as np

    return {
        "names": np.array([[name for name, _ in row] for row in found]),
        "probabilities": np.array([[probability for _, probability in row] for row in found]),
    }
