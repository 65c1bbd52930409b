"""`vox2face demo`: faces from voices, then a full-size file from Keras to two embeddings."""

from __future__ import annotations

import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import click

from vox2face.cli.options import Place
from vox2face.core.errors import UsageError
from vox2face.core.files import require_writable

RANDOM = (
    "This file has the layout and the full size of serengil's, but its weights are RANDOM:\n"
    "the embeddings below mean nothing. The result to look at is the proof. With a real copy:\n"
    "make demo WEIGHTS=vgg_face_weights.h5"
)

FACES = (
    "The models were trained on synthetic people: this shows what the tools do, and tells nothing\n"
    "about real persons."
)


@click.command(name="demo")
@click.option(
    "--weights",
    type=Place(),
    metavar="FILE",
    help="A real vgg_face_weights.h5. Default: a full-size file of random weights.",
)
@click.option(
    "--out",
    type=Place(),
    metavar="DIR",
    default="vox2face-demo",
    help="Where the files go (2.2 GB; with --faces-only 2 MB).",
)
@click.option("--faces-only", is_flag=True, help="Draw the faces, and convert nothing.")
def command(weights: Path | None, out: Path, faces_only: bool) -> None:
    """Draw faces from photographs and voices, then convert a full-size file.

    Four synthetic people that the demo models never saw, and two real recordings, become a picture
    and a page for the browser, faces.png and faces.html. Then it makes a Keras file of the true
    size, converts, proves and exports it, and embeds two pictures on both backends; and does the
    same with a small network whose weights are real.
    """
    if faces_only and weights:
        raise UsageError("--faces-only converts nothing: leave --weights out, or --faces-only.")
    require_writable(out)
    start = time.perf_counter()
    with step("1. Faces from photographs and voices"):
        draw_faces(out)
    if not faces_only:
        convert_weights(weights, out)
    click.echo(f"\nDone in {time.perf_counter() - start:.0f} s. The files are in {out}.")


def draw_faces(out: Path) -> None:
    """Write the picture and the page of faces, and say where they are."""
    from vox2face.cli import demo_faces, demo_page, demo_sheet

    faces = demo_faces.make()
    picture, page = out / "faces.png", out / "faces.html"
    demo_sheet.draw(faces, picture)
    demo_page.write(faces, page)
    for line in demo_faces.summary(faces):
        click.echo(line)
    click.echo(FACES)
    click.echo(f"Written to {picture} and {page}, which opens in a browser.")


def convert_weights(weights: Path | None, out: Path) -> None:
    """Do the main job on a full-size file."""
    from vox2face.cli import convert
    from vox2face.zoo.registry import entry

    if weights is None:
        weights = out / "random_weights.h5"
        with step(f"2. Keras file: {weights}"):
            make_weights(weights)
            click.echo(RANDOM)
    else:
        click.echo(f"\n2. Keras file: {weights}, your own copy")
    bundle = out / "vggface.serengil"
    with step("3. Convert to safetensors and ONNX; prove every layer against NumPy"):
        convert.run(entry("vggface.serengil"), weights, bundle, onnx=True, force=True)
    pixels = out / "vggface.serengil.pixels.onnx"
    with step("4. Export an ONNX file that starts at the pixels"):
        click.echo(f"{pixels}: within {export(bundle, pixels):.1e} of torch")
    with step("5. Embed two pictures on both backends"):
        embed(bundle)
    with step("6. Real weights: dlib's free face network, which comes with vox2face"):
        compare_faces(out / "dlib_resnet128.dlib")


@contextmanager
def step(title: str) -> Iterator[None]:
    """Print a heading, and afterwards how long the step took."""
    start = time.perf_counter()
    click.secho(f"\n{title}", bold=True)
    yield
    click.echo(f"({time.perf_counter() - start:.1f} s)")


def compare_faces(path: Path) -> None:
    """Convert the network that comes with vox2face, and tell the sample pictures apart with it."""
    import numpy as np

    from vox2face.converters.convert import convert
    from vox2face.media.image import samples
    from vox2face.runtime.load import load
    from vox2face.zoo.registry import entry

    click.echo(convert(entry("dlib_resnet128.dlib"), out=path, force=True).report.verdict())
    pictures = samples()
    astronaut, head = pictures["astronaut.png"], pictures["head.png"]
    face, mirrored, other = load(path)([astronaut, np.ascontiguousarray(astronaut[:, ::-1]), head])
    for words, vector in (("her mirror image", mirrored), ("a rendered head", other)):
        distance = float(np.linalg.norm(face - vector))
        verdict = "one person" if distance < 0.6 else "two"
        click.echo(f"the astronaut and {words}: {distance:.2f} apart, {verdict} (limit 0.6)")


def make_weights(path: Path) -> None:
    """Write a full-size file in serengil's layout with random weights."""
    from vox2face.converters.keras.writer import random_layers, write_keras
    from vox2face.converters.maps.vggface_serengil import RULES

    write_keras(path, random_layers(RULES, seed=0))


def export(bundle: Path, path: Path) -> float:
    """Export with the front end; return the largest difference, as a part of the largest value."""
    from vox2face.converters.bundle_onnx import export_file
    from vox2face.store.bundle import read

    return export_file(read(bundle), path, frontend=True).rows[0].max_rel


def embed(bundle: Path) -> None:
    """Embed the two sample pictures with torch and with ONNX Runtime and print both."""
    import numpy as np

    from vox2face.core.parity import cosine_similarity
    from vox2face.media.image import samples
    from vox2face.runtime.load import load

    results: dict[str, Any] = {}
    pictures = samples()
    for backend in ("torch", "onnx"):
        results[backend] = load(bundle, backend=backend)(list(pictures.values()))
        for name, vector in zip(pictures, results[backend], strict=True):
            values = " ".join(f"{value:.4f}" for value in vector[:5])
            click.echo(f"{backend:<6} {name:<14} {len(vector)} values: {values} ...")
    largest = float(np.abs(results["torch"] - results["onnx"]).max())
    cosine = cosine_similarity(*results["torch"])
    click.echo(f"Largest difference between the backends: {largest:.1e}")
    click.echo(f"Cosine similarity of the two pictures: {cosine:.4f}")
