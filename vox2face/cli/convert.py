"""`vox2face convert`: weight files to proven bundles."""

from __future__ import annotations

import os
from dataclasses import replace
from pathlib import Path
from typing import Any

import click

from vox2face.cli.options import Place
from vox2face.core.entry import Entry, Space
from vox2face.core.errors import UsageError
from vox2face.core.files import size_text
from vox2face.runtime import resolve
from vox2face.store import hub
from vox2face.zoo import registry
from vox2face.zoo.catalog import ENTRIES

FILE = Place()
# How the names of weight files end, which those of models never do
SUFFIXES = (".h5", ".hdf5", ".keras", ".pth", ".pt", ".ckpt", ".safetensors", ".onnx", ".json")


def words(entry: Entry) -> list[str]:
    """Return what follows `vox2face convert` for an entry, such as "rcmalli --variant vgg16"."""
    return entry.command.split()[2:]


def names() -> str:
    """Return the list of names for the help, from the catalogue."""
    lines = (f"  {' '.join(words(e)):<46} {e.name}" for e in ENTRIES if e.command)
    return "\b\nWhat is published, and the model that it is:\n" + "\n".join(lines)


@click.command(name="convert", epilog=names(), no_args_is_help=True)
@click.argument("name", metavar="NAME|FILE")
@click.argument("checkpoint", metavar="[FILE]", type=FILE, required=False)
@click.option(
    "--variant",
    "--model",
    metavar="V",
    help="Which of several networks under one NAME, as listed below. Default: the first.",
)
@click.option(
    "--weights",
    type=FILE,
    metavar="FILE",
    help="FILE, as an option. Default: fetch the published file, if an address is known.",
)
@click.option(
    "--top/--no-top",
    default=True,
    help="Fetch the file with the classifier, or the smaller one without. A file of your own "
    "may be either.",
)
@click.option(
    "--decoder-output",
    type=click.Choice(["sigmoid", "linear"]),
    help="What a decoder of speech-to-face ends in: linear if trained before 21 December 2023. "
    "Default: sigmoid.",
)
@click.option(
    "--voice-output",
    type=click.Choice(["relu", "linear"]),
    help="What a voice encoder of speech-to-face ends in: linear if trained before 8 April 2024. "
    "Default: for ast what the names in the file tell, else relu.",
)
@click.option(
    "--face",
    metavar="NAME|DIR|hf:USER/REPO|unknown",
    help="The face encoder on whose embeddings a checkpoint was trained. Default: "
    "vggface.serengil. Say unknown for the Speech-to-face repo's own vgg_face_16_rcmalli, whose "
    "fc6 it reads in a wrong order, and for training from 21 December 2023 to 19 March 2024.",
)
@click.option(
    "--out",
    type=FILE,
    metavar="DIR",
    help="The bundle to write. Default: where vox2face.load(NAME) looks.",
)
@click.option(
    "--onnx/--no-onnx",
    default=None,
    help="Write model.onnx too. Default: if the onnx extra is installed.",
)
@click.option(
    "--verify",
    type=click.Choice(["auto", "reference", "keras", "none"]),
    default="auto",
    help="auto, reference: prove each layer against NumPy, or that tensors were copied bit for "
    "bit. keras: run the same layers in Keras too. none: no proof.",
)
@click.option(
    "--state",
    default="",
    show_default=False,
    metavar="KEY",
    help="Which of several state dicts of a PyTorch checkpoint to take, such as ema.",
)
@click.option("--force", is_flag=True, help="Replace an existing bundle.")
def command(
    name: str,
    checkpoint: Path | None,
    variant: str | None,
    weights: Path | None,
    decoder_output: str | None,
    voice_output: str | None,
    face: str | None,
    out: Path | None,
    **options: Any,
) -> None:
    """Convert the weights NAME, or those in FILE, to a proven bundle.

    NAME is what is published, as listed below, or a model of `vox2face zoo list`. FILE is your
    copy of the weights, in any format; alone, as ./FILE or with its suffix, it is recognised. Of a
    training checkpoint the optimizer is dropped, and the history of losses goes into config.json.
    """
    if checkpoint and weights:
        raise UsageError("FILE and --weights FILE are one thing: give one of them.")
    if is_file(name):
        refuse_beside(name, variant, checkpoint or weights)
        weights = FILE.convert(name, None, None)
        entry = recognised(weights, options["state"])
    else:
        entry = chosen(name, variant)
    for option, value, kind in (
        ("--decoder-output", decoder_output, "face-decoder"),
        ("--voice-output", voice_output, "voice-encoder"),
    ):
        if value and entry.kind != kind:
            raise UsageError(f"{option} is for another network than {entry.name}: leave it out.")
    options["output_activation"] = decoder_output or voice_output or ""
    options["space"] = None if face is None else space_of(entry, face)
    run(entry, checkpoint or weights, out, **options)


def is_file(name: str) -> bool:
    """Whether what is to be converted is named by its file; names of models come first."""
    if is_known(name) or hub.is_address(name):
        return False
    path = Path(name)
    if "/" in name or os.sep in name or path.suffix in SUFFIXES:
        return True
    if path.is_file() and not path.suffix:
        raise UsageError(f"There is no model {name!r}: if you mean the file, name it ./{name}.")
    return path.is_file()


def is_known(name: str) -> bool:
    """Whether a name is that of a model, or one under which weights are published."""
    try:
        chosen(name, None)
    except UsageError:
        return False
    return True


def refuse_beside(name: str, variant: str | None, file: Path | None) -> None:
    """Raise `UsageError` for a variant or a second file beside a file that is to be recognised."""
    if file is not None:
        raise UsageError(f"{name} and {file} are two files: name a model and one of them.")
    if variant is not None:
        raise UsageError(
            f"--variant {variant} chooses among networks of one NAME, and {name} is a file: name "
            "both, as in 'vox2face convert rcmalli FILE --variant vgg16'."
        )


def recognised(path: Path, state: str) -> Entry:
    """Return the model whose weights a file holds; print which."""
    from vox2face.converters.recognise import recognise

    return recognise(path, state, click.echo)


def chosen(name: str, variant: str | None) -> Entry:
    """Return the entry of a published name and its variant, or of a model's own name."""
    published = [entry for entry in ENTRIES if words(entry)[:1] == [name]]
    variants = {words(e)[-1]: e for e in published if len(words(e)) > 1}
    if variant is None:
        return published[0] if published else registry.entry(name)
    if variant not in variants:
        advice = f"choose one of {', '.join(variants)}" if variants else "leave it out"
        raise UsageError(f"{name} has no network {variant!r}: {advice}.")
    return variants[variant]


def space_of(made: Entry, face: str) -> Space:
    """Return the space of a checkpoint that was trained on the embeddings of a face encoder."""
    if made.kind == "face-encoder":
        raise UsageError(f"{made.name} is trained on no embeddings: leave --face out.")
    if face == "unknown":
        return Space()
    if not face or (kind := resolve.kind_of(face)) != "face-encoder":
        what = f"is a {kind}" if face else "is empty"
        raise UsageError(f"--face {face} {what}: name the face encoder of the training.")
    own = hub.is_address(face) or resolve.is_path(face)
    if not own and registry.entry(face).width != made.width:
        raise UsageError(
            f"--face {face} gives {registry.entry(face).width} values, and {made.name} is for "
            f"{made.width}: name the face encoder of the training."
        )
    space = resolve.locate(face).space if own else registry.entry(face).own_space
    return replace(space, preset=made.space.preset)


def run(entry: Entry, weights: Path | None, out: Path | None, **options: Any) -> None:
    """Convert, with the options of `converters.convert`; print what was proven and written."""
    from vox2face.cli.report import print_report
    from vox2face.converters.convert import convert

    done = convert(entry, weights, out, **options, say=click.echo)
    print_report(done.report)
    click.echo(f"Written to {done.path}:")
    for file in sorted(done.path.iterdir()):
        click.echo(f"  {file.name:<18} {size_text(file.stat().st_size):>9}")
