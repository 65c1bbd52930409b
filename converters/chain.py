"""The whole conversion: fetch, read, map, write, read back, export, prove, and only then keep."""

from __future__ import annotations

import contextlib
import tempfile
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from vox2face import bundle
from vox2face.converters import export
from vox2face.converters.card import model_card
from vox2face.converters.deliver import write_onnx
from vox2face.converters.mapping import Rule, StoredArray, WeightMap
from vox2face.converters.ops import Array
from vox2face.converters.read import WeightFile, open_weights
from vox2face.converters.write import Move, read_back, write
from vox2face.errors import MappingError, ParityError, UsageError, Vox2FaceError
from vox2face.fetch import fetch
from vox2face.files import atomic_directory, require_absent, require_space, sha256
from vox2face.parity import Report
from vox2face.spec import Entry, resolve
from vox2face.zoo.catalog import ENTRIES

VERIFICATIONS = ("auto", "reference", "keras", "none")


@dataclass
class Feedback:
    """Where a conversion tells what it does: sentences to `say`, bytes (stage, done, total)."""

    say: Callable[[str], None] = lambda text: None
    advance: Callable[[str, int, int], None] = lambda stage, done, total: None

    def progress(self, stage: str) -> Callable[[int, int], None]:
        """Return the progress function of one stage."""
        return lambda done, total: self.advance(stage, done, total)


@dataclass(frozen=True)
class Converted:
    """A finished conversion: the bundle folder, the proof, and the source's facts."""

    path: Path
    report: Report
    source: dict[str, Any] = field(default_factory=dict)


def convert(
    entry: Entry,
    weights: Path | None = None,
    out: Path | None = None,
    *,
    onnx: bool | None = None,
    verify: str = "auto",
    force: bool = False,
    feedback: Feedback | None = None,
) -> Converted:
    """Turn a Keras weight file into a proven bundle.

    Without `weights` the published file is fetched; without `out` the bundle goes where
    `vox2face.load(name)` finds it. `onnx=None` writes model.onnx if the `onnx` extra is there;
    True insists. Raises a `Vox2FaceError`, leaving nothing behind, if anything is wrong.
    """
    feedback = feedback or Feedback()
    target = out or bundle.default_path(entry)
    onnx = decide(target, onnx, verify, force, feedback)
    fetched = None if weights else fetch(entry.source, feedback.progress("download"))
    if fetched and fetched.first:
        feedback.say(entry.source.licence.notice)
        if not entry.source.sha256:
            feedback.say(f"No hash is published; pinned sha256 {fetched.sha256}.")
    path = weights or (fetched.path if fetched else Path())
    with contextlib.ExitStack() as stack:
        pool = stack.enter_context(ThreadPoolExecutor(1))  # hashes beside the work
        source_hash = pool.submit(sha256, path)
        file = stack.enter_context(open_weights(path))
        pairs = paired(entry, file)
        size = sum(array.nbytes for _, array in pairs)
        require_space(target.parent, size * (2 if onnx else 1), "The bundle")
        folder = stack.enter_context(atomic_directory(target, force))
        spool = stack.enter_context(tempfile.TemporaryFile(dir=folder))
        moves = [Move(rule, file.open(array, spool)) for rule, array in pairs]
        write(moves, folder / bundle.WEIGHTS, tensor_metadata(entry), feedback.progress("write"))
        weights_hash = pool.submit(sha256, folder / bundle.WEIGHTS)
        read_back(moves, folder / bundle.WEIGHTS, feedback.progress("read back"))
        source = provenance(entry, path, source_hash.result())
        if fetched and source["sha256"] != fetched.sha256:
            raise Vox2FaceError(f"{path} changed since it was downloaded: delete it, try again.")
        feedback.say(identity(source))
        config = bundle.describe(entry, entry.preprocess, source)
        bundle.add_file(config, folder / bundle.WEIGHTS, weights_hash.result())
        if onnx:
            write_onnx(entry, folder / bundle.WEIGHTS, folder / bundle.ONNX, config)
            onnx_hash = pool.submit(sha256, folder / bundle.ONNX)
        report = proven(entry, moves, folder, path, verify)
        if onnx:
            bundle.add_file(config, folder / bundle.ONNX, onnx_hash.result())
        finish(entry, folder, config, report)
    return Converted(target, report, source)


def decide(target: Path, onnx: bool | None, verify: str, force: bool, feedback: Feedback) -> bool:
    """Check everything that can be refused before any work; return whether to write ONNX."""
    if verify not in VERIFICATIONS:
        known = ", ".join(VERIFICATIONS)
        raise UsageError(f"There is no verification {verify!r}: choose one of {known}.")
    require_absent(target, force)
    if verify == "keras":
        from vox2face.converters import keras_twin

        keras_twin.require()
    if onnx:
        export.require("--onnx")
    if onnx is None and not export.available():
        feedback.say("No ONNX file is written: pip install 'vox2face[onnx]' brings what it needs.")
    return export.available() if onnx is None else onnx


def paired(entry: Entry, file: WeightFile) -> list[tuple[Rule, StoredArray]]:
    """Pair the arrays of a weight file with the entry's rules."""
    table: WeightMap = resolve(entry.table)
    try:
        return table.pair(file.arrays)
    except MappingError as error:
        raise MappingError(f"{file.path}: {error}{hint(entry, file)}") from None


def hint(entry: Entry, file: WeightFile) -> str:
    """Name the command for which a refused file would be right, if there is one."""
    for other in ENTRIES:
        with contextlib.suppress(MappingError):
            if other.name != entry.name and resolve(other.table).pair(file.arrays):
                return f" It fits {other.name}: run {other.command} --weights {file.path}"
    return ""


def tensor_metadata(entry: Entry) -> dict[str, str]:
    """Return what model.safetensors says about itself; all values are text."""
    return {
        "format": "pt",
        "entry": entry.name,
        "preset": entry.preprocess,
        "licence": entry.source.licence.name,
    }


def provenance(entry: Entry, path: Path, digest: str) -> dict[str, Any]:
    """Return the facts about the source file that the bundle records.

    `published` is True or False, or None where the publisher states no hash.
    """
    known = entry.source.sha256
    return {
        "key": entry.source.key,
        "file": path.name,
        "size": path.stat().st_size,
        "sha256": digest,
        "published": None if known is None else digest == known,
        "matched": f"by {resolve(entry.table).match} and shape",
        "addresses": list(entry.source.urls),
    }


def identity(source: dict[str, Any]) -> str:
    """Say whether the source is the published file."""
    words = {
        True: "the published file",
        False: "NOT the published file",
        None: "(its publisher states no hash to compare with)",
    }
    return f"{source['file']}: sha256 {source['sha256']}, {words[source['published']]}."


def proven(entry: Entry, moves: list[Move], folder: Path, path: Path, verify: str) -> Report:
    """Return the proof of a bundle in the making; raise `ParityError` if it fails."""
    if verify == "none":
        return Report(verify="none")
    from vox2face.converters.prove import prove

    arrays: dict[str, Array] = {move.rule.source: move.array for move in moves}
    onnx = folder / bundle.ONNX
    report = prove(
        entry,
        entry.preprocess,
        arrays,
        folder / bundle.WEIGHTS,
        onnx if onnx.exists() else None,
        (path, resolve(entry.table).match) if verify == "keras" else None,
    )
    if not report.ok:
        raise ParityError(f"{report.verdict()} No bundle was written.", report)
    return report


def finish(entry: Entry, folder: Path, config: dict[str, Any], report: Report) -> None:
    """Write what describes the weights: parity.json, the model card and config.json."""
    report.hashes = {config["source"]["file"]: config["source"]["sha256"]}
    report.hashes |= {name: facts["sha256"] for name, facts in config["files"].items()}
    (folder / bundle.PARITY).write_text(report.to_json(), encoding="utf-8")
    (folder / bundle.CARD).write_text(model_card(entry, config, report), encoding="utf-8")
    bundle.write_config(folder, config)
