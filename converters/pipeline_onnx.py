"""A whole pipeline as one ONNX file: from the waveform or the pixels to the face."""

from __future__ import annotations

import json
from dataclasses import asdict, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

from vox2face.converters.bundle_onnx import Form, require_exportable, tolerance
from vox2face.converters.onnx import export, session
from vox2face.converters.test_inputs import probes
from vox2face.converters.verify import in_batches
from vox2face.core import extras
from vox2face.core.entry import Entry, TensorSpec
from vox2face.core.errors import ParityError, UsageError
from vox2face.core.files import atomic_file
from vox2face.core.parity import Report, compare
from vox2face.core.safetensors_header import shapes
from vox2face.store import bundle as bundles
from vox2face.store.bundle import Bundle
from vox2face.zoo import registry
from vox2face.zoo.preprocessing import raw_input
from vox2face.zoo.registry import load_module, without_values

if TYPE_CHECKING:
    from torch import nn

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
    form = Form(matched(kind, encoder, decoder, any_space), frontend=True, half=half)
    with atomic_file(path) as partial:
        _write_pipeline(kind, encoder, decoder, partial, form)
        report = compared(encoder, decoder, partial, form)
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


def _write_pipeline(kind: str, encoder: Bundle, decoder: Bundle, path: Path, form: Form) -> None:
    """Write the file: front end, encoder, decoder and tail."""
    first, second = encoder.entry, decoder.entry
    made = encoder.space
    if first.kind == "face-encoder":
        made = replace(made, preset=form.preset)
    raw = raw_input(first)
    metadata = {
        "pipeline": kind,
        "encoder": first.name,
        "decoder": second.name,
        "preset": form.preset,
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
    parts = [(bundle.entry, shapes(bundle.weights)) for bundle in (encoder, decoder)]
    module = composed(without_values(*parts, half=form.half), encoder, decoder, form)
    graph = export.traced(module, raw, outputs(first))
    stores = {"encoder.network.": encoder.weights, "decoder.network.": decoder.weights}
    export.write(path, graph, stores, metadata)


def composed(networks: list[Any], encoder: Bundle, decoder: Bundle, form: Form) -> nn.Module:
    """Return the pipeline as one module, made of two networks."""
    from vox2face.zoo.networks.composed import Composed, Pipeline
    from vox2face.zoo.networks.warp_tail import stored_tail

    first, second = networks
    hearing = form.composed(encoder.entry, first)
    return Pipeline(hearing, Composed(second), stored_tail(decoder.weights)).eval()


def outputs(encoder: Entry) -> tuple[TensorSpec, ...]:
    """Return what a pipeline gives."""
    return PICTURE, LANDMARKS, encoder.outputs[0]


def compared(encoder: Bundle, decoder: Bundle, path: Path, form: Form) -> Report:
    """Run the file and the torch modules, on one input and on three, and compare all outputs."""
    x, _ = probes(encoder.entry, form.preset)
    found = session.in_batches(session.session(path), x)
    networks = [load_module(bundle.entry, bundle.weights) for bundle in (encoder, decoder)]
    module = composed(networks, encoder, decoder, form)
    expected = in_batches(module, x, outputs(encoder.entry))
    allowed = tolerance(encoder.entry, form)
    return Report(
        [
            compare("onnx file", name, found[name], value, ATOL[name], *allowed)
            for name, value in expected.items()
        ]
    )
