"""The whole conversion: fetch, then read, map, write, export and prove, and only then keep."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

from vox2face.converters.job import Converted, Job
from vox2face.converters.maps import weight_map
from vox2face.core import extras
from vox2face.core.entry import Entry, Source, Space
from vox2face.core.errors import MappingError, UsageError, WeightFileError
from vox2face.core.files import require_absent, require_weight_file, text_of
from vox2face.store import bundle
from vox2face.store.download import discard, fetch

VERIFICATIONS = ("auto", "reference", "keras", "none")


def convert(
    entry: Entry,
    weights: Path | None = None,
    out: Path | None = None,
    *,
    onnx: bool | None = None,
    verify: str = "auto",
    force: bool = False,
    top: bool = True,
    output_activation: str = "",
    state: str = "",
    space: Space | None = None,
    say: Callable[[str], None] = lambda text: None,
) -> Converted:
    """Turn a weight file into a proven bundle.

    Without `weights` the published file is taken from the package it comes with if that is
    installed, or fetched, the one without the classifier if not `top`;
    without `out` the bundle goes where `vox2face.load(name)` finds it. `onnx=None` writes
    model.onnx if the `onnx` extra is there; True insists. `output_activation` is what the network
    ends in, "linear", "relu" or "sigmoid", if neither the file tells nor the entry is right;
    `state` is the key of the state dict to take from a checkpoint that holds several; `space` is
    whose embeddings a voice encoder gives or a decoder takes, if not those that the entry names.
    `say` gets sentences about what is done. Raises a `Vox2FaceError`, leaving nothing behind, if
    anything is wrong.
    """
    target = out or bundle.default_path(entry)
    _require_choosable(entry, output_activation)
    published = choose(entry, weights, top)
    _require_unfinished(published, entry, weights, out)
    onnx = decide(entry, target, onnx, verify, force, say)
    weights = weights or published.embedded or published.installed
    if weights is None and not published.urls:
        raise UsageError(
            f"{entry.name} has no weights that can be fetched: name a file of yours, or load the "
            "network with pretrained=False."
        )
    fetched = None if weights else fetch(published)
    if fetched and fetched.first:
        say(published.licence.notice)
        if not published.sha256:
            say(f"No hash is published; pinned sha256 {fetched.sha256}.")
    path = weights or (fetched.path if fetched else Path())
    require_weight_file(path)
    from vox2face.converters.bundle_writer import assemble

    chosen = (output_activation, state, space)
    job = Job(entry, published, path, target, onnx, verify, force, say, *chosen)
    try:
        return assemble(job, fetched.sha256 if fetched else None)
    except (WeightFileError, MappingError) as error:
        if not fetched:
            raise
        discard(fetched)
        raise type(error)(f"{error} The download was discarded: try again.") from error


def choose(entry: Entry, weights: Path | None, top: bool) -> Source:
    """Return the published file that is meant: with the classifier or without."""
    if top:
        return entry.source
    if entry.notop is None:
        raise UsageError(f"{entry.name} is published with its classifier only: leave out --no-top.")
    if weights is not None:
        raise UsageError("--no-top chooses the file to fetch: leave it out where --weights does.")
    return entry.notop


def _require_unfinished(
    published: Source, entry: Entry, weights: Path | None, out: Path | None
) -> None:
    """Raise `UsageError` where the bundle that comes with vox2face would be made or replaced."""
    if published.finished and (weights is None or out is None):
        raise UsageError(
            f"{entry.name} comes with vox2face as a finished bundle: load it by its name, or name "
            "a weight file of yours and the folder to write with --out."
        )


def _require_choosable(entry: Entry, output_activation: str) -> None:
    """Raise `UsageError` for an output activation of a network that has no choice."""
    if output_activation and not entry.output_activation:
        raise UsageError(
            f"{entry.name} always ends in the same way: leave its output activation out."
        )


def decide(
    entry: Entry,
    target: Path,
    onnx: bool | None,
    verify: str,
    force: bool,
    say: Callable[[str], None],
) -> bool:
    """Check everything that can be refused before any work; return whether to write ONNX."""
    if verify not in VERIFICATIONS:
        known = ", ".join(VERIFICATIONS)
        raise UsageError(f"There is no verification {verify!r}: choose one of {known}.")
    require_absent(target, force)
    if verify == "keras":
        if weight_map(entry).original is None:
            raise UsageError(f"{entry.name} has no owner's graph in Keras: use --verify reference.")
        extras.require("keras", "--verify keras")
    if onnx:
        extras.require("onnx", "--onnx")
    if onnx is None and not extras.has("onnx"):
        say(f"No ONNX file is written: {extras.installing('onnx')} brings what it needs.")
    written = extras.has("onnx") if onnx is None else onnx
    if written:
        text_of(target.resolve())
    return written
