"""ONNX files from bundles: the one inside, those that are exported, and their proof."""

from __future__ import annotations

import json
from dataclasses import asdict, replace
from pathlib import Path
from typing import Any

from vox2face.converters.onnx import export
from vox2face.converters.onnx import session as run_onnx
from vox2face.converters.ops import Array
from vox2face.converters.test_inputs import pair
from vox2face.core import extras
from vox2face.core.entry import Entry, Space
from vox2face.core.errors import ParityError, UsageError
from vox2face.core.files import atomic_file, text_of
from vox2face.core.parity import MIN_COSINE, Report, compare
from vox2face.core.safetensors_header import shapes
from vox2face.store import bundle as bundles
from vox2face.store.bundle import Bundle, place_for_export
from vox2face.zoo.preprocessing import frontend as front_of
from vox2face.zoo.preprocessing import meaning, raw_input, require_preset
from vox2face.zoo.voice_presets import voice_preset

# What float16 may differ by, as a part of the largest value, and the cosine it has to keep
HALF, HALF_COSINE = 3e-2, 0.999

# The phase of a bin that is all but silent is rounding noise: the last bit of a waveform moves
# VE_conv's embedding by 2e-3 of the largest value, on any runtime
PHASE, PHASE_COSINE = 5e-3, 0.99999


def write_onnx(
    entry: Entry,
    weights: Path,
    path: Path,
    config: dict[str, Any],
    preset: str | None = None,
    frontend: bool = False,
    logits: bool = False,
    half: bool = False,
) -> None:
    """Write the ONNX file of a bundle's weights, with the facts about them inside."""
    preset = preset or config["preset"]
    decodes = entry.kind == "face-decoder"
    space = Space(**config["space"])
    if entry.kind == "face-encoder":
        space = replace(space, preset=preset)
    metadata = {
        "entry": entry.name,
        "preset": preset,
        **entry.variant,
        "space": json.dumps(asdict(space)),
        "input": raw_input(entry).meaning if frontend else meaning(preset),
        "licence": entry.source.licence.name,
        "licence_url": entry.source.licence.url,
        "source_sha256": config["source"]["sha256"],
        "weights_sha256": config["files"][bundles.WEIGHTS]["sha256"],
        "vox2face": config["vox2face"],
    }
    if decodes:
        metadata["input"] = entry.input.meaning
    graph = entry.graph_of(shapes(weights))
    outputs = graph.offered(entry.outputs)
    if not logits:
        outputs = graph.offered(entry.plain_outputs)
    elif outputs == graph.offered(entry.plain_outputs):
        raise UsageError(f"{entry.name} has no class scores in these weights: leave out --logits.")
    specs = (entry.input, *outputs)
    front = (front_of(entry, preset), raw_input(entry)) if frontend else None
    export.write(path, graph, weights, specs, metadata, front, half=half)


def facts_of(target: Bundle) -> dict[str, Any]:
    """Return what a config.json says of a network, which bundles of vox2face 0.1.0 do not."""
    return {"space": asdict(target.space), **target.entry.variant}


def export_file(
    target: Bundle,
    path: Path,
    preset: str | None = None,
    frontend: bool = False,
    logits: bool = False,
    half: bool = False,
) -> Report:
    """Write a bundle's network as an ONNX file, run it, and compare it with the torch module.

    With `frontend` the file takes uint8 RGB (n, height, width, 3), or waveforms (n, samples), and
    preprocesses inside; with `logits` it has the class scores as a second output; with `half` it
    computes in float16, and may differ by `HALF` of the largest value. Raises `ParityError`, and
    keeps nothing, if ONNX Runtime computes something else than torch.
    """
    path = require_exportable(path)
    entry = target.entry
    chosen = preset or target.preset
    require_preset(entry, chosen)
    with atomic_file(path) as partial:
        config = {**target.config, **facts_of(target)}
        write_onnx(entry, target.weights, partial, config, chosen, frontend, logits, half)
        report = compared(entry, target.weights, partial, chosen, frontend, half)
        if not report.ok:
            raise ParityError(f"{report.verdict()} {path} was not written.", report)
    return report


def require_exportable(path: Path) -> Path:
    """Return where the file goes; raise `UsageError` for what can be refused before any work."""
    if path.suffix != ".onnx":
        hint = " A Keras file needs --format keras." if path.suffix in (".h5", ".hdf5") else ""
        raise UsageError(
            f"{path} does not end in .onnx: name the file to write, as FILE.onnx.{hint}"
        )
    if path.is_dir():
        raise UsageError(f"{path} is a folder: name the file to write, as FILE.onnx.")
    extras.require("onnx", "ONNX export")
    text_of(path)
    return place_for_export(path)


def tolerance(entry: Entry, preset: str, frontend: bool, half: bool) -> tuple[float, float]:
    """Return what an ONNX file may differ by, of the largest value, and the cosine it must keep."""
    if half:
        return HALF, HALF_COSINE
    if frontend and entry.kind == "voice-encoder" and voice_preset(preset).has_phase:
        return PHASE, PHASE_COSINE
    return entry.rtol, MIN_COSINE


def compared(
    entry: Entry, weights: Path, path: Path, preset: str, frontend: bool, half: bool = False
) -> Report:
    """Run an ONNX file and the torch module on two inputs and compare all outputs."""
    raw, prepared = pair(entry, preset)
    expected = torch_outputs(entry, weights, prepared)
    session = run_onnx.session(path)
    values = run_onnx.run(session, raw if frontend else prepared)
    names = [output.name for output in session.get_outputs()]
    allowed = tolerance(entry, preset, frontend, half)
    rows = [
        compare("onnx file", name, value, expected[name], entry.atol, *allowed)
        for name, value in zip(names, values, strict=True)
    ]
    return Report(rows)


def torch_outputs(entry: Entry, weights: Path, x: Array) -> dict[str, Array]:
    """Return all activations of the torch module for its input, by ONNX name."""
    import torch

    from vox2face.zoo.registry import load_module

    module: Any = load_module(entry, weights)
    names = entry.graph_of(shapes(weights)).taps
    with torch.inference_mode():
        taps = module.taps(torch.from_numpy(x))
        return {names[tap]: value.numpy() for tap, value in taps}
