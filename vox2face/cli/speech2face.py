"""`vox2face speech2face`: recordings to faces."""

from __future__ import annotations

import tempfile
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from vox2face.cli import batch
from vox2face.cli.batch import Item
from vox2face.cli.options import MODEL, Place
from vox2face.cli.reading import Reading
from vox2face.core.errors import AudioError, UsageError, Vox2FaceError
from vox2face.core.files import RECORDINGS
from vox2face.zoo.catalog import DEFAULT_VOICE

if TYPE_CHECKING:
    from vox2face.media.decoded_face import Face
    from vox2face.runtime.base import Embeddings
    from vox2face.runtime.pipelines import SpeechToFace

RECORDED = "recording"


@click.command(name="speech2face")
@click.argument("audio", nargs=-1, metavar="AUDIO|DIR...", type=Place())
@click.option(
    "--record",
    type=click.FloatRange(1, 60),
    metavar="SECONDS",
    help="Take the microphone instead of AUDIO, for 1 to 60 s (extra: record). The picture is "
    f"{RECORDED}.png unless --output names it; the recording is not kept.",
)
@click.option(
    "--voice",
    default=DEFAULT_VOICE,
    show_default=True,
    metavar=MODEL,
    help="The voice encoder. The default is a demo trained on synthetic people.",
)
@batch.options
@click.option(
    "--fuse",
    is_flag=True,
    help="One face for each AUDIO or DIR given: all recordings in a folder are one speaker's.",
)
@click.option(
    "--compare",
    type=Place(),
    metavar="ORIGINAL",
    help="A picture of the speaker: also write NAME.compare.png with it beside the result.",
)
@click.option(
    "--face", metavar=MODEL, help="With --compare: a face encoder, to show face-to-face as well."
)
def command(audio: tuple[Path, ...], record: float | None, **arguments: Any) -> None:
    """Draw the face that a voice encoder and a face decoder make of speech.

    Any file FFmpeg reads will do. With no --voice and no --decoder it draws with demo models that
    come with vox2face; they were trained on synthetic people and tell nothing about real persons.
    Folders are walked and mirrored; pictures that are there already are not made again. Pictures
    are marked as synthetic.
    """
    if bool(audio) == (record is not None):
        raise UsageError(
            "Name a recording or a folder, or take the microphone with --record SECONDS: one of "
            "them, and not both."
        )
    if record is None:
        draw_all(audio, None, **arguments)
        return
    with tempfile.TemporaryDirectory() as folder:
        place = Path(folder) / f"{RECORDED}.wav"
        place.touch()
        draw_all((place,), record, **arguments)


def draw_all(
    audio: Sequence[Path], record: float | None, compare: Path | None, **arguments: Any
) -> None:
    """Draw a face of each recording; with `record` the one there is gets its sound here."""
    sheets, fuse = compare is not None, arguments["fuse"]
    if record is not None:
        require_microphone(audio[0], arguments)
    items = batch.plan(audio, arguments["output"], RECORDINGS, fuse, sheets)
    original = comparison(compare, arguments["face"], len(items))
    import numpy as np

    from vox2face.runtime.pipelines import FaceToFace, SpeechToFace, decoded, fused, identity

    where = {name: arguments[name] for name in batch.WHERE}
    pipeline = SpeechToFace.from_zoo(arguments["voice"], arguments["decoder"], **where)
    batch.tell_demo(pipeline.voice, pipeline.decoder)
    facts = {"encoder": identity(pipeline.voice), "decoder": identity(pipeline.decoder)}
    other = None
    if arguments["face"] is not None:
        other = FaceToFace.from_zoo(arguments["face"], arguments["decoder"], **where)

    def sheet(item: Item, face: Face) -> None:
        from vox2face.media.decoded_face import compare as draw

        draw(item.sheet, original, other(original) if other else None, face)

    given = {**arguments, "compare": sheets}

    def prepare(item: Item, reading: Reading) -> Embeddings:
        values = heard(pipeline, item.sources, reading)
        return fused(values) if len(item.sources) > 1 else values

    def draw(embeddings: list[Embeddings]) -> list[Face]:
        return decoded(pipeline.voice, pipeline.decoder, np.concatenate(embeddings))

    if record is not None:
        from vox2face.media import microphone

        microphone.record(record, audio[0], lambda text: click.echo(text, err=True))
    batch.run(items, facts, given, prepare, draw, None if original is None else sheet)


def require_microphone(place: Path, arguments: dict[str, Any]) -> None:
    """Raise `UsageError` where the picture of a recording to come is there, or nothing records."""
    (item,) = batch.plan([place], arguments["output"], RECORDINGS)
    if item.target.exists() and not arguments["force"]:
        raise UsageError(
            f"{item.target} is there already: name another picture with --output, or add --force "
            "to replace it."
        )
    from vox2face.media import microphone

    microphone.portaudio()


def comparison(compare: Path | None, face: str | None, count: int) -> Any:
    """Return the original picture, decoded, or None; raise for what is not valid."""
    if compare is None:
        if face is not None:
            raise UsageError(
                "--face is for the comparison: add --compare ORIGINAL or leave it out."
            )
        return None
    if count > 1:
        raise UsageError(f"--compare shows one speaker, and there are {count} recordings.")
    from vox2face.media.image import decode

    return decode(compare)


def heard(pipeline: SpeechToFace, sources: Sequence[Path], reading: Reading) -> Embeddings:
    """Return the embeddings of one picture's recordings; of several, bad ones are left out."""
    import numpy as np

    found = []
    for source in sources:
        try:
            with reading.of(source):
                found.append(pipeline.voice(source))
        except Vox2FaceError as error:
            if len(sources) == 1:
                raise
            click.echo(f"Left out: {' '.join(str(error).split())}", err=True)
    if not found:
        raise AudioError(f"None of the {len(sources)} recordings with {sources[0]} can be used.")
    return np.concatenate(found)
