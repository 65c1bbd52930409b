"""`vox2face face2face`: pictures of faces to decoded faces."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from vox2face.cli import batch, cropping
from vox2face.cli.batch import Item
from vox2face.cli.options import MODEL, Place
from vox2face.cli.reading import Reading
from vox2face.core.files import PICTURES
from vox2face.zoo.catalog import DEFAULT_FACE

if TYPE_CHECKING:
    from vox2face.media.decoded_face import Face


@click.command(name="face2face")
@click.argument("images", nargs=-1, required=True, metavar="IMAGE|DIR...", type=Place())
@click.option(
    "--face",
    metavar=MODEL,
    help=f"The face encoder. Default: {DEFAULT_FACE}, with --crop.",
)
@batch.options
@click.option(
    "--crop/--no-crop",
    default=None,
    help="Find the face in each photograph and cut it out, as the demo decoder needs it. Default: "
    "--crop if no --face is given, else --no-crop.",
)
@cropping.options
@click.option(
    "--compare", is_flag=True, help="Also write NAME.compare.png with the original beside it."
)
def command(images: tuple[Path, ...], **arguments: Any) -> None:
    """Encode pictures of faces and decode them again: what a decoder can do at best.

    With no --face, pictures are photographs, whose faces are found and cut out as with --crop: the
    demo decoder that comes with vox2face was trained on such crops, of synthetic people. With
    --face they are cropped faces unless --crop is given. Folders are walked and mirrored;
    pictures that are there already are not made again. Pictures are marked as synthetic.
    """
    if arguments["crop"] is None:
        arguments["crop"] = arguments["face"] is None
    names = ("crop", "align", "face_choice", "detector")
    how = cropping.picture_options(**{name: arguments[name] for name in names})
    items = batch.plan(images, arguments["output"], PICTURES, sheets=arguments["compare"])
    import torch

    from vox2face.runtime.pipelines import FaceToFace, decoded, identity

    where = {name: arguments[name] for name in batch.WHERE}
    pipeline = FaceToFace.from_zoo(arguments["face"] or DEFAULT_FACE, arguments["decoder"], **where)
    batch.tell_demo(pipeline.decoder)
    cut = ("crop", arguments["align"], arguments["face_choice"], how.get("detector") or "")
    facts = {
        "encoder": identity(pipeline.face),
        "decoder": identity(pipeline.decoder),
        "preset": pipeline.face.preset,
        "cut": " ".join(map(str, cut)).rstrip() if arguments["crop"] else "",
    }

    def sheet(item: Item, face: Face) -> None:
        from vox2face.media.decoded_face import compare

        compare(item.sheet, pipeline.face.read(item.sources[0], **how), face, None)

    def prepare(item: Item, reading: Reading) -> torch.Tensor:
        with reading.of(item.sources[0]):
            return pipeline.face.preprocess(item.sources[0], **how)

    def draw(pictures: list[torch.Tensor]) -> list[Face]:
        embeddings = pipeline.face.embed(torch.cat(pictures))
        return decoded(pipeline.face, pipeline.decoder, embeddings)

    batch.run(items, facts, arguments, prepare, draw, sheet if arguments["compare"] else None)
