"""Find the bundle a name means: a folder, a registry name, or a repository on the hub."""

from __future__ import annotations

import logging
import os
from collections.abc import Callable
from pathlib import Path

from vox2face.core.entry import Entry
from vox2face.core.errors import BundleError, FetchError, UsageError, Vox2FaceError
from vox2face.core.files import home, locked, sha256
from vox2face.store import bundle as bundles
from vox2face.store import hub
from vox2face.store.bundle import Bundle
from vox2face.zoo import registry

LOG = logging.getLogger("vox2face")


def locate(
    name: str | os.PathLike[str],
    onnx: bool = False,
    new: bool = True,
    say: Callable[[str], None] = LOG.info,
) -> Bundle:
    """Return the bundle a name means, converting or downloading on first use.

    `name` is a bundle folder, a registry name or "hf:user/repo[@revision]"; with `onnx` the ONNX
    file of a bundle on the hub is downloaded too. Unless `new`, only what comes with vox2face is
    converted. `say` gets sentences about a conversion.
    """
    if hub.is_address(name):
        return hub.download(str(name), onnx)
    if is_path(name):
        return bundles.read(Path(name))
    entry = _entry_of(str(name))
    path = bundles.default_path(entry)
    if not (entry.source.finished or bundles.is_bundle(path)):
        if not (new or entry.source.embedded):
            raise BundleError(f"{name} has not been converted yet: {_how_to_get(entry)}.")
        _convert_once(entry, path, say)
    return bundles.read(path)


def existing(name: str) -> Bundle:
    """Return the whole bundle a name means; only what comes with vox2face is converted."""
    return locate(name, onnx=True, new=False)


def kind_of(name: str | os.PathLike[str]) -> str:
    """Return the kind of the model a name means, such as "voice-encoder"."""
    if hub.is_address(name):
        return hub.download(str(name), onnx=False).model.kind
    if is_path(name):
        return bundles.read(Path(name)).model.kind
    return _entry_of(str(name)).kind


def _entry_of(name: str) -> Entry:
    """Return the registry's entry of a name. Raises `UsageError`, also for a folder's name."""
    try:
        return registry.entry(name)
    except UsageError:
        if not Path(name).is_dir():
            raise
        raise UsageError(
            f"{name} is a folder without {bundles.CONFIG}, so it is not a bundle, and no model has "
            "that name: name the bundle's own folder, such as RUN/bundle of a training run."
        ) from None


def is_path(name: str | os.PathLike[str]) -> bool:
    """Whether a name means a folder rather than a registry entry."""
    if not isinstance(name, str) or name in (".", ".."):
        return True
    return "/" in name or os.sep in name or bundles.is_bundle(Path(name))


def _how_to_get(entry: Entry) -> str:
    """Return what to do to have the weights of a model that are not there."""
    if not entry.command:
        return (
            "no weights of it are published; load it with pretrained=False, or train it and "
            "name the bundle's folder"
        )
    if entry.source.urls:
        return f"run {entry.command} first"
    where = entry.source.repository
    first = f"its weights have to be downloaded by hand from {where}; then " if where else ""
    return f"{first}run '{entry.converting('CHECKPOINT.pt')}'"


def _convert_once(entry: Entry, path: Path, say: Callable[[str], None]) -> None:
    """Fetch and convert the published weights of an entry; one process at a time."""
    from vox2face.converters.convert import convert

    if not entry.source.urls:
        raise Vox2FaceError(f"{entry.name} has not been converted yet: {_how_to_get(entry)}.")
    with locked(path.with_name(f".{path.name}.lock")):
        if bundles.is_bundle(path):  # another process was faster
            return
        try:
            convert(entry, onnx=False, say=say)
        except FetchError as error:
            raise Vox2FaceError(
                f"{entry.name} has not been converted yet and its weights cannot be fetched here: "
                f"run '{entry.converting('FILE')}' with a copy of {entry.source.filename}. "
                f"({error})"
            ) from error


def onnx_of(bundle: Bundle) -> Path:
    """Return the ONNX file of the bundle, or one in the cache folder, exporting it on first use."""
    if not bundle.has_onnx or bundle.outdated_onnx:
        return exported(bundle)
    if bundle.onnx.stat().st_size != bundle.config["files"][bundles.ONNX]["size"]:
        raise BundleError(
            f"{bundle.onnx} is not the file that was written there: delete it, and it will be "
            "exported again."
        )
    return bundle.onnx


def exported(bundle: Bundle, logits: bool = False) -> Path:
    """Return an ONNX file of the bundle's weights outside of it, exporting it on first use.

    It is `exports/<sha256 of the weights>/embedding.onnx` in the cache folder, or, where such
    networks end in several ways, `embedding-<how>.onnx`; with `logits` it is `logits.onnx`, which
    has the class scores as a second output. Raises `UsageError` without
    the `onnx` extra, `BundleError` if the weights are not those that were recorded.
    """
    digest: str = bundle.config["files"][bundles.WEIGHTS]["sha256"]
    name = "-".join(["logits" if logits else "embedding", *bundle.entry.variant.values()])
    path = home() / "exports" / digest / f"{name}.onnx"
    if path.is_file():
        return path
    if sha256(bundle.weights) != digest:  # what lies under a hash must be what it says
        raise BundleError(f"{bundle.weights} has changed since it was written: convert again.")
    from vox2face.converters.bundle_onnx import export_file

    with locked(home() / "locks" / f"{digest[:16]}-{path.stem}"):
        if not path.is_file():  # no other was faster
            export_file(bundle, path, logits=logits)
    return path
