"""A whole pipeline as one ONNX file: from the waveform or the pixels to the face."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import asdict, replace
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from vox2face.converters.bundle_onnx import require_exportable, tolerance
from vox2face.converters.onnx import export
from vox2face.converters.onnx import session as run_onnx
from vox2face.converters.onnx.export import Tail
from vox2face.converters.ops import Array
from vox2face.converters.test_inputs import RAW_PAIRS
from vox2face.core import extras
from vox2face.core.entry import TensorSpec
from vox2face.core.errors import ParityError, UsageError
from vox2face.core.files import atomic_file
from vox2face.core.parity import Report, compare
from vox2face.core.safetensors_header import shapes
from vox2face.store import bundle as bundles
from vox2face.store.bundle import Bundle
from vox2face.zoo import registry
from vox2face.zoo.preprocessing import frontend, raw_input
from vox2face.zoo.registry import load_module

PICTURE = TensorSpec(
    name="picture",
    shape=("batch", 3, 224, 224),
    dtype="float32",
    layout="NCHW",
    meaning="a synthetic face, RGB, 0..1",
)
LANDMARKS = TensorSpec(
    name="landmarks",
    shape=("batch", 68, 2),
    dtype="float32",
    layout="NPC",
    meaning="68 points (x, y) in pixels of the picture, in the order of iBUG 300-W",
)
KINDS = {"speech2face": "voice-encoder", "face2face": "face-encoder"}
ATOL = {"embedding": 0.0, "picture": 1e-4, "landmarks": 1e-2}  # of 1 and of a pixel


def export_pipeline(
    kind: str,
    encoder: Bundle,
    decoder: Bundle,
    path: Path,
    half: bool = False,
    any_space: bool = False,
) -> Report:
    """Write a pipeline as one ONNX file, run it, and compare it with the torch modules.

    `kind` is "speech2face" (waveforms at 16 kHz, float32 (n, samples), of 1600 samples or more)
    or "face2face" (uint8 RGB (n, height, width, 3)). Levelling, cutting or repeating, front end and
    warp are inside. Outputs: picture, landmarks and embedding. Faces are preprocessed as the
    decoder's space says. Raises `UsageError` for models that do not fit each other, of which those
    of different spaces pass with `any_space`, `ParityError`, keeping nothing, if ONNX Runtime
    computes other values.
    """
    path = require_exportable(path)
    extras.require("onnx", "ONNX export")
    preset = matched(kind, encoder, decoder, any_space)
    with atomic_file(path) as partial:
        write_pipeline(kind, encoder, preset, decoder, partial, half)
        report = compared(encoder, preset, decoder, partial, half)
        if not report.ok:
            raise ParityError(f"{report.verdict()} {path} was not written.", report)
    return report


def matched(kind: str, encoder: Bundle, decoder: Bundle, any_space: bool) -> str:
    """Return the preset of the encoder, or raise `UsageError` if the two do not fit."""
    first, second = encoder.entry, decoder.entry
    for entry, wanted in ((first, KINDS[kind]), (second, "face-decoder")):
        if entry.kind != wanted:
            raise UsageError(f"{entry.name} is a {entry.kind}: {kind} needs a {wanted} there.")
    preset, made = encoder.preset, encoder.space
    if first.kind == "face-encoder":
        preset = registry.preset_for(made, decoder.space)
        made = replace(made, preset=preset)
    registry.require_pair(first, made, second, decoder.space, any_space)
    return preset


def write_pipeline(
    kind: str, encoder: Bundle, preset: str, decoder: Bundle, path: Path, half: bool
) -> None:
    """Write the file: front end, encoder, decoder and tail."""
    from vox2face.zoo.networks.warp_tail import stored_tail

    prefixes = {"encoder/": encoder.weights, "decoder/": decoder.weights}
    first, second = encoder.entry, decoder.entry
    made = encoder.space
    if first.kind == "face-encoder":
        made = replace(made, preset=preset)
    graphs = [b.entry.graph_of(shapes(b.weights)) for b in (encoder, decoder)]
    graph = (
        graphs[0]
        .reduced(("embedding",))
        .prefixed("encoder/", {"input": "input", "embedding": "embedding"})
    )
    graph = graph.followed_by(graphs[1].prefixed("decoder/", {"input": "embedding"}))
    embedding = first.outputs[0]
    raw = raw_input(first)
    inputs = tuple(replace(spec, name=f"decoder/{spec.name}") for spec in second.outputs)
    tail = Tail(stored_tail(decoder.weights), inputs, ("picture", "tail/texture", "landmarks"))
    metadata = {
        "pipeline": kind,
        "encoder": first.name,
        "decoder": second.name,
        "preset": preset,
        "space": json.dumps(asdict(made)),
        "decoder_space": json.dumps(asdict(decoder.space)),
        **{f"encoder_{name}": value for name, value in first.variant.items()},
        **{f"decoder_{name}": value for name, value in second.variant.items()},
        "input": raw.meaning,
        "synthetic": "pictures are synthetic and show no real person",
        "licence": f"{first.source.licence.name}; {second.source.licence.name}",
        "encoder_sha256": encoder.config["files"][bundles.WEIGHTS]["sha256"],
        "decoder_sha256": decoder.config["files"][bundles.WEIGHTS]["sha256"],
        "vox2face": encoder.config["vox2face"],
    }
    specs = (first.input, PICTURE, LANDMARKS, embedding)
    front = (frontend(first, preset), raw)
    export.write(path, graph, prefixes, specs, metadata, front, tail, half)


def compared(encoder: Bundle, preset: str, decoder: Bundle, path: Path, half: bool) -> Report:
    """Run the file and the torch modules on two inputs and compare all outputs."""
    first = encoder.entry
    raw = RAW_PAIRS[first.kind]()
    wanted = expected(encoder, preset, decoder, raw)
    session = run_onnx.session(path)
    names = [output.name for output in session.get_outputs()]
    values = dict(zip(names, run_onnx.run(session, raw), strict=True))
    allowed = tolerance(first, preset, True, half)
    rows = [
        compare("onnx file", name, values[name], wanted[name], ATOL[name], *allowed)
        for name in names
    ]
    return Report(rows)


def expected(
    encoder: Bundle, preset: str, decoder: Bundle, raw: NDArray[Any]
) -> Mapping[str, Array]:
    """Return what the torch modules make of raw inputs."""
    import torch

    from vox2face.zoo.networks.warp_tail import stored_tail

    with torch.inference_mode():
        x = frontend(encoder.entry, preset)(torch.from_numpy(np.ascontiguousarray(raw)))
        embedding = load_module(encoder.entry, encoder.weights)(x)
        marks, texture = load_module(decoder.entry, decoder.weights)(embedding)
        picture, _, points = stored_tail(decoder.weights)(marks, texture)
    return {
        "embedding": embedding.numpy(),
        "picture": picture.numpy(),
        "landmarks": points.numpy(),
    }
