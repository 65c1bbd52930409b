"""`vox2face face2face`: pictures of faces to decoded faces."""

from __future__ import annotations

import re
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from vox2face.cli import batch
from vox2face.cli.batch import MODEL, Item
from vox2face.cli.paths import Place
from vox2face.cli.reading import Reading
from vox2face.core.errors import UsageError, Vox2FaceError
from vox2face.core.files import PICTURES

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray

    from vox2face.media.decoded_face import Face
    from vox2face.runtime.pipelines import FaceToFace


@click.command(name="face2face")
@click.argument("images", nargs=-1, required=True, metavar="IMAGE|DIR...", type=Place())
@click.option("--face", required=True, metavar=MODEL, help="The face encoder.")
@batch.options
@click.option("--crop", is_flag=True, help="Find the face in each photograph and cut it out.")
@click.option("--align", is_flag=True, help="With --crop: turn the face upright.")
@click.option(
    "--face-choice",
    metavar="largest|N",
    help="With --crop: which face of several, the largest or the Nth from 0.",
)
@click.option(
    "--compare", is_flag=True, help="Also write NAME.compare.png with the original beside it."
)
def command(images: tuple[Path, ...], **arguments: Any) -> None:
    """Encode pictures of faces and decode them again: what a decoder can do at best.

    Pictures are cropped faces, or photographs with --crop. Folders are walked and mirrored;
    pictures that are there already are not made again. Pictures are marked as synthetic.
    """
    cut = cutter(arguments["crop"], arguments["align"], arguments["face_choice"])
    items = batch.plan(images, arguments["output"], PICTURES, sheets=arguments["compare"])
    from vox2face.runtime.pipelines import FaceToFace, identity

    where = {name: arguments[name] for name in ("backend", "device", "any_space")}
    pipeline = FaceToFace.from_zoo(arguments["face"], arguments["decoder"], **where)
    cutting = f"crop {arguments['align']} {arguments['face_choice']}" if arguments["crop"] else ""
    facts = {
        "encoder": identity(pipeline.face),
        "decoder": identity(pipeline.decoder),
        "preset": pipeline.face.preset,
        "drawn": "landmarks" if arguments["landmarks"] else "",
        "cut": cutting,
    }

    def save(item: Item, face: Face) -> None:
        if arguments["compare"]:
            from vox2face.media.comparison import compare

            compare(item.sheet, cut(item.sources[0]), face, None)
        face.save(item.target, arguments["landmarks"], not arguments["no_marks"])

    reading = batch.reading(items, arguments["output"], arguments["force"])

    def make(some: Sequence[Item]) -> Iterator[tuple[Item, Face | Vox2FaceError]]:
        return made(pipeline, some, cut, reading)

    outcome = batch.carry_out(items, facts, arguments, make, save)
    batch.tell(outcome, items)


def cutter(crop: bool, align: bool, choice: str | None) -> Any:
    """Return the function that reads a picture, and cuts the face out if that is asked for."""
    from vox2face.media.image import decode

    if not crop:
        if align or choice is not None:
            raise UsageError(f"{'--align' if align else '--face-choice'} needs --crop.")
        return decode
    if choice not in (None, "largest") and not re.fullmatch("[0-9]+", choice):
        raise UsageError(f"--face-choice {choice}: it is largest or a number from 0.")
    which = int(choice) if choice and choice != "largest" else choice or "one"

    def cut(path: Path) -> NDArray[np.uint8]:
        from vox2face.runtime import face_detection

        picture = decode(path)
        try:
            face = face_detection.the_face(picture, which)
        except Vox2FaceError as error:
            raise type(error)(f"{path}: {error}") from error
        return face_detection.crop(picture, face, align=align)[0]

    return cut


def made(
    pipeline: FaceToFace, items: Sequence[Item], cut: Any, reading: Reading
) -> Iterator[tuple[Item, Face | Vox2FaceError]]:
    """Yield each item with its face, or with what is wrong with its picture."""
    ready, pictures = [], []
    for item in items:
        try:
            with reading.of(item.sources[0]):
                pictures.append(pipeline.face.preprocess(cut(item.sources[0])))
            ready.append(item)
        except Vox2FaceError as error:
            yield item, error
    if ready:
        import torch

        from vox2face.runtime.pipelines import decoded

        embeddings = pipeline.face.embed(torch.cat(pictures))
        yield from zip(ready, decoded(pipeline.face, pipeline.decoder, embeddings), strict=True)
