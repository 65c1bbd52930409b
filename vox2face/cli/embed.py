"""`vox2face embed`: pictures or recordings to embeddings, or pictures to names."""

from __future__ import annotations

import csv
import io
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import astuple
from itertools import groupby, islice
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from vox2face.cli import cropping
from vox2face.cli.batch import list_failures
from vox2face.cli.options import MODEL, Place, backend, batch_size, device, provider_options
from vox2face.cli.reading import Reading
from vox2face.core.errors import UsageError, Vox2FaceError
from vox2face.core.files import require_writable

if TYPE_CHECKING:
    from torch import Tensor

    from vox2face.runtime.base import Embeddings
    from vox2face.runtime.class_names import Named
    from vox2face.runtime.face_input import PictureOptions

STANDARD = Path("-")  # standard output
TOP = 5  # names a picture, unless --top says otherwise


@click.command(name="embed")
@click.argument("files", nargs=-1, required=True, metavar="FILE...", type=Place())
@click.option(
    "--model", required=True, metavar=MODEL, help="A registry name, a bundle, or one on the hub."
)
@backend
@device
@provider_options
@click.option("--preset", metavar="P", help="Preprocessing other than the model's own.")
@click.option("--normalize", is_flag=True, help="Divide by the length, as deepface does.")
@batch_size
@click.option("--crop", is_flag=True, help="Find the face in each photograph and cut it out.")
@cropping.options
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
    type=Place(),
    metavar="FILE.npz|.csv|-",
    help="Where to write; - prints CSV.",
)
def command(
    files: tuple[Path, ...],
    model: str,
    normalize: bool,
    batch_size: int,
    output: Path,
    classify: bool,
    top: int | None,
    labels: Path | None,
    crop: bool,
    align: bool,
    face_choice: str | None,
    detector: str | None,
    **where: Any,
) -> None:
    """Embed cropped faces or recordings of speech, one vector each.

    With --crop the files are photographs, whose faces are found and cut out first, as face2face
    does. With --classify, name faces instead. A file that cannot be used costs a line; the others
    are written, and the exit code is 1.
    """
    require_usable(files, output)
    if classify and normalize:
        raise UsageError("--normalize is for embeddings and --classify gives names: leave out one.")
    if not classify and (top is not None or labels is not None):
        option = "--labels" if top is None else "--top"
        raise UsageError(f"{option} is for class names: add --classify or leave it out.")
    how = cropping.picture_options(crop, align, face_choice, detector)
    from vox2face.runtime.base import normalized
    from vox2face.runtime.class_names import checked_top, decode_predictions, names_for, read_labels
    from vox2face.runtime.compare import own_space
    from vox2face.runtime.face_encoder import FaceEncoder
    from vox2face.runtime.load import load_kind
    from vox2face.runtime.resolve import kind_of
    from vox2face.runtime.voice_encoder import VoiceEncoder

    names: Sequence[str] | None = None if labels is None else read_labels(labels)
    voice = kind_of(model) == "voice-encoder"
    if classify and voice:
        raise UsageError(f"{model} hears voices, which have no names: leave --classify out.")
    if how and voice:
        raise UsageError(f"{model} hears voices, which show no face: leave --crop out.")
    encoder: Any = load_kind(VoiceEncoder if voice else FaceEncoder, model, **where)
    if classify:
        encoder.require_classes()
        wanted = checked_top(TOP if top is None else top, encoder.classes)
        names = names_for(encoder.entry.labels, encoder.classes, names)
    failures: list[tuple[Path, str]] = []
    reading = Reading(output.parent if len(files) > 1 and output != STANDARD else None)
    run = encoder.score if classify else lambda x: encoder.run(x)[0]
    used, values = computed(run, prepared(encoder, files, reading, failures, how), batch_size)
    if len(files) == 1 and failures:
        raise Vox2FaceError(failures[0][1])
    list_failures(failures)
    if not used:
        raise Vox2FaceError(f"None of the {len(files)} files can be used: nothing was written.")
    facts: dict[str, Any] = {"model": encoder.entry.name, "preset": encoder.preset}
    paths = [str(file) for file in used]
    if classify:
        found = decode_predictions(values, wanted, names)
        arrays = {"images": paths, **named_arrays(found), **facts}
        deliver(output, named_table(paths, found), arrays)
        done = f"{len(used)} pictures with {wanted} names each"
    else:
        embeddings = normalized(values) if normalize else values
        facts |= {"space": astuple(own_space(encoder)), "normalized": normalize}
        facts |= {"crop": crop, "align": align}
        facts |= {"face_choice": face_choice or "", "detector": detector or ""}
        arrays = {"audio" if voice else "images": paths, "embeddings": embeddings, **facts}
        deliver(output, embedded_table("audio" if voice else "image", paths, embeddings), arrays)
        done = f"{len(used)} embeddings of {encoder.width} values"
    if output != STANDARD:
        click.echo(f"{done} written to {output}.")
    if failures:
        raise Vox2FaceError(
            f"{len(failures)} of {len(files)} files could not be used and are left out."
        )


def require_usable(files: Sequence[Path], output: Path) -> None:
    """Raise `UsageError` for files that there are not and for an output that cannot be."""
    if output != STANDARD:
        if output.suffix not in (".csv", ".npz"):
            raise UsageError(f"--output {output}: the name must end in .npz or .csv, or be -.")
        if output.is_dir():
            raise UsageError(f"--output {output} is a folder: name the file to write.")
        require_writable(output.parent, "the folder of --output:")
    for file in files:
        if not file.exists():
            raise UsageError(f"There is no {file}: check the path.")


def prepared(
    encoder: Any,
    files: Iterable[Path],
    reading: Reading,
    failures: list[tuple[Path, str]],
    how: PictureOptions,
) -> Iterator[tuple[Path, Tensor]]:
    """Yield each file with what the network takes for it; append those that cannot be used."""
    for file in files:
        try:
            with reading.of(file):
                x = encoder.preprocess(file, **how)
        except Vox2FaceError as error:
            failures.append((file, str(error)))
        else:
            yield file, x


def computed(
    run: Callable[[Tensor], Embeddings], inputs: Iterable[tuple[Path, Tensor]], size: int
) -> tuple[list[Path], Embeddings]:
    """Return files and what the network makes of them, (n, width); `size` of one shape at once."""
    import numpy as np
    import torch

    used: list[Path] = []
    values = [np.empty((0, 0), np.float32)]
    for _, alike in groupby(inputs, lambda pair: pair[1].shape):
        while some := list(islice(alike, size)):
            used += [file for file, _ in some]
            values.append(run(torch.cat([x for _, x in some])))
    return used, np.concatenate(values[1:] or values)


def deliver(output: Path, table: Iterable[Sequence[str]], arrays: dict[str, Any]) -> None:
    """Write a table as CSV, or arrays; names of files that are no UTF-8 keep their bytes."""
    if output == STANDARD:
        click.echo(csv_text(table).encode("utf-8", "surrogateescape"), nl=False)
        return
    import numpy as np

    from vox2face.core.files import atomic_file

    with atomic_file(output) as partial, partial.open("wb") as file:
        if output.suffix == ".csv":
            file.write(csv_text(table).encode("utf-8", "surrogateescape"))
        else:
            np.savez(file, **arrays)


def embedded_table(
    column: str, files: Sequence[str], embeddings: Embeddings
) -> Iterator[Sequence[str]]:
    """Yield the header and one line for each file: its path and its values, exact to float32."""
    yield [column, *(f"e{i}" for i in range(embeddings.shape[1]))]
    for file, row in zip(files, embeddings, strict=True):
        yield [file, *(f"{value:.9g}" for value in row)]


def named_table(images: Sequence[str], found: list[list[Named]]) -> Iterator[Sequence[str]]:
    """Yield the header and a line for each name of each picture, the most probable first."""
    yield ["image", "rank", "name", "probability"]
    for image, row in zip(images, found, strict=True):
        for rank, (name, probability) in enumerate(row, start=1):
            yield [image, str(rank), name, f"{probability:.9g}"]


def csv_text(table: Iterable[Sequence[str]]) -> str:
    """Return CSV; a row with a carriage return is quoted as a whole, or it would break there."""
    text = io.StringIO()
    plain = csv.writer(text, lineterminator="\n")
    quoted = csv.writer(text, lineterminator="\n", quoting=csv.QUOTE_ALL)
    for row in table:
        (quoted if any("\r" in cell for cell in row) else plain).writerow(row)
    return text.getvalue()


def named_arrays(found: list[list[Named]]) -> dict[str, Any]:
    """Return `names` (n, top) and `probabilities` float64 (n, top), the most probable first."""
    return {
        "names": [[name for name, _ in row] for row in found],
        "probabilities": [[probability for _, probability in row] for row in found],
    }
