"""`vox2face convert`: weight files to proven bundles."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import click

from vox2face.cli.paths import Place
from vox2face.errors import UsageError
from vox2face.spec import Space

FILE = Place()
RCMALLI = {
    "vgg16": "vggface.rcmalli",
    "resnet50": "vggface_resnet50.rcmalli",
    "senet50": "vggface_senet50.rcmalli",
}
SPEECH_TO_FACE = {
    "ve_conv": "ve_conv.speech-to-face",
    "ast": "ast.speech-to-face",
    "face_decoder": "face_decoder.speech-to-face",
}
VERIFY = click.Choice(["auto", "reference", "keras", "none"])


def options(function: Callable[..., Any]) -> Callable[..., Any]:
    """Add the options of all conversions of published files."""
    option = click.option(
        "--weights",
        type=FILE,
        metavar="FILE",
        help="Your copy of the weights, in any format. Default: fetch the published file.",
    )
    return option(common(function))


def common(function: Callable[..., Any]) -> Callable[..., Any]:
    """Add the options that all conversions share."""
    for option in reversed(
        (
            click.option(
                "--out",
                type=FILE,
                metavar="DIR",
                help="The bundle to write. Default: where vox2face.load(NAME) looks.",
            ),
            click.option(
                "--onnx/--no-onnx",
                default=None,
                help="Write model.onnx too. Default: if the onnx extra is installed.",
            ),
            click.option(
                "--verify",
                type=VERIFY,
                default="auto",
                show_default=True,
                help="auto, reference: prove each layer against NumPy. keras: run the "
                "same layers in Keras as well. none: no proof.",
            ),
            click.option(
                "--state",
                default="",
                metavar="KEY",
                help="Which of several state dicts of a PyTorch checkpoint to take, such as ema.",
            ),
            click.option("--force", is_flag=True, help="Replace an existing bundle."),
        )
    ):
        function = option(function)
    return function


@click.group(name="convert")
def command() -> None:
    """Convert published weights to proven bundles."""


@command.command()
@options
def serengil(**arguments: Any) -> None:
    """Convert VGG-Face of serengil/deepface (vgg_face_weights.h5)."""
    run("vggface.serengil", **arguments)


@command.command()
@click.option(
    "--variant",
    type=click.Choice(["vgg16", "resnet50", "senet50"]),
    default="vgg16",
    show_default=True,
    help="Which network of keras-vggface.",
)
@click.option(
    "--top/--no-top",
    default=True,
    show_default=True,
    help="Fetch the file with the classifier, or the smaller one without. A file of your own "
    "may be either.",
)
@options
def rcmalli(variant: str, **arguments: Any) -> None:
    """Convert VGG-Face, ResNet-50 or SE-ResNet-50 of rcmalli/keras-vggface."""
    run(RCMALLI[variant], **arguments)


@command.command(name="face-api")
@options
def face_api(**arguments: Any) -> None:
    """Convert dlib's free face network, which comes with vox2face (face-api's copy)."""
    run("dlib_resnet128.dlib", **arguments)


@command.command()
@options
def resemblyzer(**arguments: Any) -> None:
    """Convert Resemblyzer's free speaker encoder.

    The file is that of the package Resemblyzer if it is installed, or is fetched.
    """
    run("ge2e.resemblyzer", **arguments)


@command.command(name="ast-audioset")
@options
def ast_audioset(**arguments: Any) -> None:
    """Convert MIT's Audio Spectrogram Transformer, trained on AudioSet, a base to train from."""
    run("ast.audioset", **arguments)


@command.command(name="speech-to-face")
@click.argument("checkpoint", metavar="CHECKPOINT", type=FILE)
@click.option(
    "--model",
    type=click.Choice(list(SPEECH_TO_FACE)),
    required=True,
    help="Which network the checkpoint holds.",
)
@click.option(
    "--decoder-output",
    type=click.Choice(["sigmoid", "linear"]),
    help="What the decoder ends in: linear if trained before 21 December 2023. Default: sigmoid.",
)
@click.option(
    "--voice-output",
    type=click.Choice(["relu", "linear"]),
    help="What the voice encoder ends in: linear if trained before 8 April 2024. Default: for ast "
    "what the names in the file tell, else relu.",
)
@click.option(
    "--face",
    metavar="NAME|DIR|hf:USER/REPO|unknown",
    help="The face encoder on whose embeddings the checkpoint was trained. Default: "
    "vggface.serengil. Say unknown for that repository's own vgg_face_16_rcmalli, whose fc6 it "
    "reads in a wrong order, and for training from 21 December 2023 to 19 March 2024.",
)
@common
def speech_to_face(
    checkpoint: Path,
    model: str,
    decoder_output: str | None,
    voice_output: str | None,
    face: str | None,
    **arguments: Any,
) -> None:
    """Convert a training CHECKPOINT of Kacper-Pietkun/Speech-to-face.

    Plain state dicts are read too. The optimizer is dropped, the history of losses goes into
    config.json.
    """
    other, used = ("--voice-output", voice_output), decoder_output
    if model != "face_decoder":
        other, used = ("--decoder-output", decoder_output), voice_output
    if other[1]:
        raise UsageError(f"{other[0]} is for another network than {model}: leave it out.")
    space = None if face is None else space_of(model, face)
    arguments |= {"output_activation": used or "", "space": space}
    run(SPEECH_TO_FACE[model], checkpoint, **arguments)


def space_of(model: str, face: str) -> Space:
    """Return the space of a checkpoint that was trained on the embeddings of a face encoder."""
    from vox2face import hub, locate
    from vox2face.zoo.registry import entry

    if face == "unknown":
        return Space()
    if not face or (kind := locate.kind_of(face)) != "face-encoder":
        what = f"is a {kind}" if face else "is empty"
        raise UsageError(f"--face {face} {what}: name the face encoder of the training.")
    made, own = entry(SPEECH_TO_FACE[model]), hub.is_address(face) or locate.is_path(face)
    if not own and entry(face).width != made.width:
        raise UsageError(
            f"--face {face} gives {entry(face).width} values, and {made.name} is for {made.width}: "
            "name the face encoder of the training."
        )
    space = locate.locate(face).space if own else entry(face).own_space
    return replace(space, preset=made.space.preset)


def run(
    name: str,
    weights: Path | None,
    out: Path | None,
    onnx: bool | None,
    verify: str,
    force: bool,
    top: bool = True,
    output_activation: str = "",
    space: Space | None = None,
    state: str = "",
) -> Any:
    """Convert and print what was proven and written; return the `Converted`."""
    from vox2face.converters.chain import Feedback, convert
    from vox2face.files import size_text
    from vox2face.progress import Bars
    from vox2face.zoo.registry import entry

    bars = Bars()

    def say(text: str) -> None:
        bars.close()
        click.echo(text)

    try:
        done = convert(
            entry(name),
            weights,
            out,
            onnx=onnx,
            verify=verify,
            force=force,
            top=top,
            output_activation=output_activation,
            state=state,
            space=space,
            feedback=Feedback(say, bars.advance),
        )
    finally:
        bars.close()
    from vox2face.cli.report import print_report

    print_report(done.report)
    click.echo(f"Written to {done.path}:")
    for file in sorted(done.path.iterdir()):
        click.echo(f"  {file.name:<18} {size_text(file.stat().st_size):>9}")
    return done
