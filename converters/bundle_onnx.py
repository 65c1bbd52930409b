"""ONNX files from bundles: the one inside, those that are exported, and their proof."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from vox2face.converters.onnx import export, session
from vox2face.converters.onnx.export import Traced
from vox2face.converters.test_inputs import probes
from vox2face.converters.verify import channels_last, in_batches
from vox2face.core import extras
from vox2face.core.entry import Entry, Space, TensorSpec
from vox2face.core.errors import ParityError, UsageError
from vox2face.core.files import atomic_file, text_of
from vox2face.core.parity import MIN_COSINE, Report, compare
from vox2face.core.safetensors_header import shapes
from vox2face.store import bundle as bundles
from vox2face.store.bundle import Bundle, place_for_export
from vox2face.zoo.preprocessing import frontend as front_of
from vox2face.zoo.preprocessing import raw_input
from vox2face.zoo.presets import meaning, require_preset, voice_preset
from vox2face.zoo.registry import load_module, without_values

if TYPE_CHECKING:
    from vox2face.zoo.networks.composed import Composed

Shapes = Mapping[str, tuple[int, ...]]

# What float16 may differ by, as a part of the largest value, and the cosine it has to keep
HALF, HALF_COSINE = 3e-2, 0.999

# The phase of a bin that is all but silent is rounding noise: the last bit of a waveform moves
# VE_conv's embedding by 2e-3 of the largest value, on any runtime
PHASE, PHASE_COSINE = 5e-3, 0.99999


@dataclass(frozen=True)
class Form:
    """What an ONNX file has beside the network: a front end, class scores, float16.

    `layout` is "deepface" for a file that deepface takes for its own: preprocessed pictures come
    channels last.
    """

    preset: str
    frontend: bool = False
    logits: bool = False
    half: bool = False
    layout: str = ""

    def source(self, entry: Entry) -> TensorSpec:
        """Return what the file takes."""
        if self.layout:
            batch, channels, *size = entry.input.shape
            return replace(entry.input, shape=(batch, *size, channels), layout="NHWC")
        return raw_input(entry) if self.frontend else entry.input

    def outputs(self, entry: Entry, held: Shapes) -> tuple[TensorSpec, ...]:
        """Return what the file gives; raise `UsageError` for scores that weights do not have."""
        offered = entry.offered(held) if self.logits else entry.plain_outputs
        if self.logits and offered == entry.plain_outputs:
            raise UsageError(
                f"{entry.name} has no class scores in these weights: leave out --logits."
            )
        return offered

    def composed(self, entry: Entry, network: Any) -> Composed:
        """Return the module that the file is made of."""
        from vox2face.zoo.networks.composed import ChannelsFirst, Composed

        front = front_of(entry, self.preset) if self.frontend else None
        return Composed(network, ChannelsFirst() if self.layout else front, self.logits)


def traced(entry: Entry, held: Shapes, form: Form) -> Traced:
    """Return the ONNX graph for weights of these shapes."""
    outputs = form.outputs(entry, held)
    (network,) = without_values((entry, held), half=form.half)
    return export.traced(form.composed(entry, network), form.source(entry), outputs)


def write_onnx(
    graph: Traced, entry: Entry, weights: Path, path: Path, config: dict[str, Any], form: Form
) -> None:
    """Write the ONNX file of a bundle's weights, with the facts about them inside."""
    space = Space(**config["space"])
    if entry.kind == "face-encoder":
        space = replace(space, preset=form.preset)
    described = form.frontend or entry.kind == "face-decoder"
    metadata = {
        "entry": entry.name,
        "preset": form.preset,
        **entry.variant,
        "space": json.dumps(asdict(space)),
        "input": form.source(entry).meaning if described else meaning(form.preset),
        "licence": entry.source.licence.name,
        "licence_url": entry.source.licence.url,
        "source_sha256": config["source"]["sha256"],
        "weights_sha256": config["files"][bundles.WEIGHTS]["sha256"],
        "vox2face": config["vox2face"],
    }
    export.write(path, graph, {"network.": weights}, metadata)


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
    layout: str = "",
) -> Report:
    """Write a bundle's network as an ONNX file, run it, and compare it with the torch module.

    With `frontend` the file takes uint8 RGB (n, height, width, 3), or waveforms (n, samples), and
    preprocesses inside; with `logits` it has the class scores as a second output; with `half` it
    computes in float16, and may differ by `HALF` of the largest value. With the `layout` "deepface"
    it takes preprocessed pictures (n, height, width, 3), as deepface gives them to its
    vgg_face_weights.onnx. Raises `ParityError`, and keeps nothing, if ONNX Runtime computes
    something else than torch, and `UsageError` for what a model has not.
    """
    path = require_exportable(path)
    form = Form(preset or target.preset, frontend, logits, half, layout)
    entry = target.entry
    if layout not in ("", entry.preprocess):
        raise UsageError(
            f"--layout {layout} is for networks of {layout}, and {entry.name} is not one: leave it "
            "out, or name vggface.serengil."
        )
    require_preset(entry, form.preset)
    graph = traced(entry, shapes(target.weights), form)
    with atomic_file(path) as partial:
        config = {**target.config, **facts_of(target)}
        write_onnx(graph, entry, target.weights, partial, config, form)
        report = compared(entry, target.weights, partial, form)
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


def tolerance(entry: Entry, form: Form) -> tuple[float, float]:
    """Return what an ONNX file may differ by, of the largest value, and the cosine it must keep."""
    if form.half:
        return HALF, HALF_COSINE
    if form.frontend and entry.kind == "voice-encoder" and voice_preset(form.preset).has_phase:
        return PHASE, PHASE_COSINE
    return entry.rtol, MIN_COSINE


def compared(entry: Entry, weights: Path, path: Path, form: Form) -> Report:
    """Run an ONNX file and the torch module, on one input and on three, and compare all outputs."""
    raw, prepared = probes(entry, form.preset)
    x = raw if form.frontend else prepared
    if form.layout:
        x = np.ascontiguousarray(channels_last(prepared))
    found = session.in_batches(session.session(path), x)
    module = form.composed(entry, load_module(entry, weights))
    expected = in_batches(module, x, form.outputs(entry, shapes(weights)))
    allowed = tolerance(entry, form)
    return Report(
        [
            compare("onnx file", name, found[name], value, entry.atol, *allowed)
            for name, value in expected.items()
        ]
    )
