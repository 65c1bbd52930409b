"""Build a bundle from a weight file: read, map, write, export, prove, and only then keep it."""

from __future__ import annotations

import contextlib
import hashlib
import json
import os
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from dataclasses import asdict, replace
from functools import partial
from math import prod
from pathlib import Path
from typing import Any

import numpy as np

from vox2face.converters.job import Converted, Job
from vox2face.converters.maps import weight_map
from vox2face.converters.model_card import model_card
from vox2face.converters.ops import Array
from vox2face.converters.readers.base import LEGACY
from vox2face.converters.readers.open import WeightFile, open_weights
from vox2face.converters.recognise import bare_for, candidates, fitting
from vox2face.converters.safetensors_writer import Move, write
from vox2face.converters.weight_map import Rule, StoredArray
from vox2face.core import progress
from vox2face.core.entry import OUTPUT_ACTIVATIONS, Entry, Space
from vox2face.core.errors import (
    MappingError,
    ParityError,
    UsageError,
    Vox2FaceError,
    WeightFileError,
)
from vox2face.core.files import atomic_directory, require_space, sha256, signature
from vox2face.core.parity import Report
from vox2face.core.safetensors_header import described
from vox2face.store import bundle
from vox2face.zoo.registry import sized


def assemble(job: Job, expected: str | None) -> Converted:
    """Carry out a conversion; `expected` is the sha256 of a source that was fetched.

    Everything is written to a hidden folder that becomes the bundle at the end.
    """
    entry = job.entry
    with contextlib.ExitStack() as stack, ThreadPoolExecutor() as pool:
        file = stack.enter_context(open_weights(job.source, job.state))
        _require_keras_reads(job, file)
        if job.verify != "none":
            require_reference(entry, file.format)
        rules, arrays = zip(*paired(entry, file, job.say), strict=True)
        digest = pool.submit(sha256, job.source)
        for sentence in file.told:
            job.say(f"{printable(job.source)}: {sentence}")
        size = sum(array.nbytes for array in arrays)
        needed = size * (3 if job.onnx else 2)  # one of them only while values are read
        require_space(job.target.resolve().parent, needed, "The bundle")
        folder = stack.enter_context(atomic_directory(job.target, job.force))
        moves = list(map(Move, rules, file.values(arrays, folder)))
        weights, onnx = folder / bundle.WEIGHTS, folder / bundle.ONNX
        entry = replace(entry, output_activation=ending(job, file))
        space = space_of(job, file)
        decodes = entry.kind == "face-decoder"
        preset = (decodes and space.preset) or entry.preprocess
        stamp = tensor_metadata(entry, preset, space)
        held = {move.rule.target: move.view.shape for move in moves}
        entry = sized(entry, held)
        if job.onnx:
            from vox2face.converters import bundle_onnx

            form = bundle_onnx.Form(preset)
            tracing = pool.submit(bundle_onnx.traced, entry, held, form)  # beside the writing
        written = write(moves, weights, stamp)
        source = _provenance(job, file, digest.result())
        if signature(job.source) != file.signature:
            raise WeightFileError(f"{job.source} has changed while it was read: try again.")
        if expected not in (None, source["sha256"]):
            raise Vox2FaceError(f"{job.source} changed since its download: delete it, try again.")
        job.say(identity(source))
        if entry.kind == "face-encoder":
            space = replace(entry.own_space, digest=_embedding_digest(weights, entry.classifier))
        config = bundle.describe(entry, preset, space, source, entry.offered(held))
        config["parameters"] = size // 4
        bundle.add_file(config, weights, written)
        try:
            if job.onnx:
                bundle_onnx.write_onnx(tracing.result(), entry, weights, onnx, config, form)
                exported = pool.submit(sha256, onnx)
            report = proven(job, entry, moves, weights, onnx if job.onnx else None)
        except Exception as error:
            if job.onnx and not isinstance(error, Vox2FaceError):  # the exporter's words, or
                proven(job, entry, moves, weights, None)  # ours, if the module is what is wrong
            raise
        if job.onnx:
            bundle.add_file(config, onnx, exported.result())
        finish(entry, folder, config, report)
    return Converted(job.target, report, source)


def _require_keras_reads(job: Job, file: WeightFile) -> None:
    """Raise if the owner's graph is to be loaded from a file that it was not made for."""
    if job.verify == "keras" and file.format != LEGACY:
        raise UsageError(
            f"--verify keras loads the owner's graph from a {LEGACY} file, and {file.path} is of "
            f"the format {file.format}: leave --verify keras out."
        )


def require_reference(entry: Entry, format: str) -> None:
    """Raise `Vox2FaceError` for a file of another framework if nothing computes what that does.

    Values of PyTorch's own files are what a module of PyTorch computes with; others prove nothing.
    """
    copied = format.startswith(("PyTorch", "safetensors", "ONNX"))
    if not copied and weight_map(entry).reference is None:
        raise Vox2FaceError(
            f"NOT PROVEN: the file is of the format {format}, and the weight map of {entry.name} "
            "has no `reference`, so that nothing tells whether its module computes what the file's "
            "network does: write one, as docs/adding-a-model.md does, or say --verify none."
        )


def paired(
    entry: Entry, file: WeightFile, say: Callable[[str], None] = lambda text: None
) -> list[tuple[Rule, StoredArray]]:
    """Pair the arrays of a weight file with the entry's rules; say what was read in another way."""
    prefix, arrays = bare_for(entry, file)
    table = fitting(entry, file)
    try:
        pairs = table.pair(arrays, file.named)
    except MappingError as error:
        fits = _hint(entry, file)
        said = f"{file.path} holds the weights of {fits}" if fits else f"{file.path}: {error}"
        raise MappingError(said) from None
    if prefix:
        say(f"The names in {file.path} begin with {prefix}: taken off.")
    if table.note:
        say(f"{file.path}: {table.note}")
    held = {array.path: stored for array, stored in zip(arrays, file.arrays, strict=True)}
    return [(rule, held[array.path]) for rule, array in pairs]


def _hint(entry: Entry, file: WeightFile) -> str:
    """Name the model and the command for which a refused file is right, if there is one."""
    others = (other for other in candidates(file) if other.name != entry.name)
    other = next(others, None)
    return f"{other.name}: run {other.converting(file.path)}" if other else ""


def ending(job: Job, file: WeightFile) -> str:
    """Return what the network ends in: as asked for, as the file tells, or as published."""
    entry = job.entry
    if not entry.output_activation:
        return ""
    stamped = file.stamp.get("output_activation", "")
    if stamped not in ("", *OUTPUT_ACTIVATIONS):
        raise WeightFileError(f"{file.path} says that it ends in {stamped!r}, which is unknown.")
    if not stamped and "entry" in file.stamp and not job.output_activation:
        ends = OUTPUT_ACTIVATIONS[entry.output_activation]
        job.say(
            f"{file.path} was written by vox2face 0.1.0, which did not say what a network ends in: "
            f"the published one ends {ends}."
        )
    told = stamped or fitting(entry, file).ending(bare_for(entry, file)[1])
    found = job.output_activation or told or entry.output_activation
    if found != entry.output_activation:
        ends, published = (OUTPUT_ACTIVATIONS[end] for end in (found, entry.output_activation))
        why = "as asked for" if job.output_activation else "as the file tells"
        job.say(f"The network ends {ends}, {why}; the published one ends {published}.")
    return found


def space_of(job: Job, file: WeightFile) -> Space:
    """Return whose embeddings the network is about: as asked for, as the file says, or the entry.

    Raises `WeightFileError` for a file that says it in an unknown form.
    """
    if job.space is not None or "space" not in file.stamp:
        return job.entry.own_space if job.space is None else job.space
    try:
        return Space(**json.loads(file.stamp["space"]))
    except (ValueError, TypeError) as error:
        raise WeightFileError(f"{file.path} says in an unknown form what its space is.") from error


def _embedding_digest(path: Path, classifier: str) -> str:
    """Return the sha256 of all tensors of a safetensors file but those of the classifier.

    It covers names, shapes and values, in the order of the names, and so is that of the network up
    to its embedding, whatever file the weights came from.
    """
    held, values, digest = described(path), np.memmap(path, np.uint8, "r"), hashlib.sha256()
    for name in sorted(held):
        if not classifier or not name.startswith(f"{classifier}."):
            shape, start = held[name].shape, held[name].start
            digest.update(f"{name} {shape}\n".encode())
            digest.update(values[start : start + 4 * prod(shape)].data)
    return digest.hexdigest()


def tensor_metadata(entry: Entry, preset: str, space: Space) -> dict[str, str]:
    """Return what model.safetensors says about itself; all values are text."""
    return {
        "format": "pt",
        "entry": entry.name,
        "preset": preset,
        **entry.variant,
        "space": json.dumps(asdict(space)),
        "licence": entry.source.licence.name,
    }


def _provenance(job: Job, file: WeightFile, digest: str) -> dict[str, Any]:
    """Return the facts about the source file that the bundle records.

    `published` is True or False, or None where the publisher states no hash. `parts` are the
    sha256 of further files that belong to it.
    """
    published = job.published
    known = published.sha256
    parts = {printable(path): sha256(path) for path in file.parts}
    return {
        "key": published.key,
        "file": printable(file.path),
        "format": file.format,
        **({"parts": parts} if parts else {}),
        "size": file.size,
        "sha256": digest,
        "published": None if known is None else digest == known and parts == dict(published.parts),
        "matched": f"by {fitting(job.entry, file).match} and shape",
        **({"training": file.facts} if file.facts else {}),
        "addresses": list(published.urls),
    }


def printable(path: Path) -> str:
    """Return a file's name as text that can be written anywhere."""
    return os.fsencode(path.name).decode("utf-8", "replace")


def identity(source: dict[str, Any]) -> str:
    """Say whether the source is the published file."""
    words = {
        True: "the published file",
        False: "NOT the published file",
        None: "whose publisher states no hash to compare with",
    }
    return f"{source['file']}: sha256 {source['sha256']}, {words[source['published']]}."


def proven(job: Job, entry: Entry, moves: list[Move], weights: Path, onnx: Path | None) -> Report:
    """Return the proof of a bundle in the making; raise `ParityError` if it fails."""
    if job.verify == "none":
        return Report(verify="none")
    keras = job.source if job.verify == "keras" else None
    arrays = original(job.entry, moves)
    return proven_arrays(entry, entry.preprocess, arrays, weights, onnx, keras)


def proven_arrays(
    entry: Entry,
    preset: str,
    arrays: dict[str, Array],
    weights: Path,
    onnx: Path | None,
    keras: Path | None = None,
) -> Report:
    """Return the proof of weights against the arrays they came from, or raise `ParityError`."""
    from vox2face.converters.verify import prove

    steps = partial(progress.advance, "prove")
    report = prove(entry, preset, arrays, weights, onnx, keras, steps)
    if not report.ok:
        raise ParityError(f"{report.verdict()} No bundle was written.", report)
    return report


def original(entry: Entry, moves: list[Move]) -> dict[str, Array]:
    """Return the arrays of the source in the layout the reference computes in, if there is one.

    Those of a Keras file are taken as they lie; tensors in torch's layout are turned back.
    """
    table = weight_map(entry)
    if table.reference is None:
        return {}
    if {move.rule.source for move in moves} <= {rule.source for rule in table.rules}:
        return {move.rule.source: move.array for move in moves}
    return table.invert({move.rule.target: move.view for move in moves})


def finish(entry: Entry, folder: Path, config: dict[str, Any], report: Report) -> None:
    """Write what describes the weights: parity.json, the model card and config.json."""
    report.hashes = {config["source"]["file"]: config["source"]["sha256"]}
    report.hashes |= {name: facts["sha256"] for name, facts in config["files"].items()}
    (folder / bundle.PARITY).write_text(report.to_json(), encoding="utf-8")
    (folder / bundle.CARD).write_text(model_card(entry, config, report), encoding="utf-8")
    bundle.write_config(folder, config)
