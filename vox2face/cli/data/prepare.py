"""`vox2face data prepare`: embeddings, landmarks, textures and statistics of a corpus."""

from __future__ import annotations

from typing import Any

import click

from vox2face.cli.options import MODEL, Address, backend, provider_options


@click.command(name="prepare")
@click.argument("manifest")
@click.option(
    "--out",
    required=True,
    type=Address(),
    metavar="DIR",
    help="A folder, or an address such as s3://.",
)
@click.option(
    "--stages",
    default="landmarks,embeddings,textures,voices",
    metavar="A,B,...",
    help="Of these; also pictures (224 x 224, as the landmarks count them) and audio (decoded).",
)
@click.option(
    "--face",
    "faces",
    multiple=True,
    default=("dlib_resnet128.dlib",),
    metavar=MODEL,
    help="The face encoder; give it more than once for several.",
)
@click.option("--preset", help="Preprocessing of faces. Default: that of the encoder.")
@click.option(
    "--crop/--no-crop",
    default=False,
    help="Find the face in each picture and cut it out, as photographs need it.",
)
@click.option(
    "--encode",
    default="",
    show_default=False,
    metavar="A,B,...",
    help="Copies of the clips at low bit rates: mp3, aac, opus, 8k (telephone).",
)
@click.option("--voice-preset", default="ast-speech-to-face")
@click.option(
    "--statistics",
    type=click.Choice(["global", "speech-to-face"]),
    default="global",
    help="Of the voices: over all real frames, or as the script of Speech-to-face counted.",
)
@backend
@click.option("--device", default="cpu", help="Of the face encoder.")
@provider_options
@click.option("--batch-size", type=click.IntRange(min=1), default=16)
@click.option("--jobs", type=click.IntRange(min=1), help="Processes. Default: one for each core.")
@click.option(
    "--engine",
    type=click.Choice(["local", "ray"]),
    default="local",
    help="This machine, or a cluster of Ray (extra: ray).",
)
@click.option(
    "--shard-rows",
    type=click.IntRange(min=1),
    default=256,
    help="Pictures or clips in a file of the result.",
)
@click.option(
    "--max-failures",
    default="5%",
    metavar="N|PERCENT%",
    help="How many files of a stage may be bad.",
)
@click.option("--retry", is_flag=True, help="Try files that failed again.")
@click.option("--force", is_flag=True, help="Make anew what was made with other options.")
def command(
    manifest: str, out: str, stages: str, encode: str, faces: tuple[str, ...], **chosen: Any
) -> None:
    """Embed, measure and warp the pictures of a corpus, and measure its voices.

    MANIFEST is what `vox2face data index` wrote, or the folder it is in. A run that was stopped
    goes on when it is started again. With --encode the clips are kept decoded, and as they come
    out of each codec, for recipes with data.encoded. Files that cannot be used are listed in
    DIR/failures.csv, pictures with several faces, of which the largest counts, in
    DIR/several_faces.csv.
    """
    from vox2face.train.prepare.options import Options
    from vox2face.train.prepare.run import prepare

    names, codecs = (
        tuple(dict.fromkeys(name.strip() for name in text.split(",") if name.strip()))
        for text in (stages, encode)
    )
    options = Options(stages=names, faces=tuple(dict.fromkeys(faces)), encode=codecs, **chosen)
    prepare(manifest, out, options, click.echo)
    click.echo(f"Prepared in {out}.")
