"""The proof of parity: torch, ONNX Runtime and Keras against the NumPy reference, tap by tap."""

from __future__ import annotations

import gc
import importlib.metadata
import platform
from collections.abc import Mapping
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from vox2face.converters.ops import Array
from vox2face.converters.safetensors_writer import release
from vox2face.converters.test_inputs import pair
from vox2face.core.entry import Entry, resolve
from vox2face.core.files import Progress
from vox2face.core.parity import Parity, Report, compare
from vox2face.core.safetensors_header import shapes
from vox2face.core.version import __version__
from vox2face.zoo.registry import load_module, sized

if TYPE_CHECKING:
    import onnxruntime

PACKAGES = (
    "torch",
    "numpy",
    "h5py",
    "safetensors",
    "onnx",
    "onnxruntime",
    "onnxruntime-gpu",
    "tensorflow",
    "tf-keras",
    "keras",
)


def prove(
    entry: Entry,
    preset: str,
    arrays: Mapping[str, Array],
    weights: Path,
    onnx: Path | None,
    keras: Path | None = None,
    progress: Progress = lambda done, total: None,
) -> Report:
    """Run every implementation on a real input and compare each layer with the reference.

    `arrays` are the original file's arrays in its own layout. `keras` is the original file, to run
    the owner's graph as well. `progress` gets steps done and total.
    """
    entry = sized(entry, shapes(weights))
    steps = 3 + bool(onnx) + bool(keras)
    progress(0, steps)
    with ThreadPoolExecutor(1) as pool:
        # ONNX Runtime loads for seconds on one core; torch is imported meanwhile. The reference
        # waits, since both together would take too much memory.
        session = pool.submit(load_session, onnx) if onnx else None
        _, x = pair(entry, preset)
        finished = outputs(session.result(), x) if session else {}
        session = None
    progress(1, steps)
    first = channels_last(x[:1]) if entry.input.layout == "NCHW" else x[:1]
    first = np.ascontiguousarray(first)
    wanted = reference_taps(entry, arrays, first)
    progress(2, steps)
    report = Report(versions=versions(), verify="keras" if keras else "reference")
    second = torch_rows(entry, weights, x, wanted, report.rows)
    progress(3, steps)
    if onnx is not None:
        onnx_rows(entry, weights, x, wanted, finished, second, report.rows)
    if keras is not None:
        from vox2face.converters.keras import original

        for tap, value in original.taps(entry, keras, first):
            report.rows.append(row(entry, "keras", tap, value, wanted[tap]))
    progress(steps, steps)
    return report


def load_session(path: Path) -> onnxruntime.InferenceSession:
    """Load a finished ONNX file, fully optimised."""
    from vox2face.converters.onnx import session

    return session.session(path)


def outputs(session: onnxruntime.InferenceSession, x: Array) -> dict[str, Array]:
    """Run a session; return its outputs by name."""
    from vox2face.converters.onnx import session as run_onnx

    return dict(zip([o.name for o in session.get_outputs()], run_onnx.run(session, x), strict=True))


def reference_taps(entry: Entry, arrays: Mapping[str, Array], x: Array) -> dict[str, Array]:
    """Run the reference; the pages of a layer's weights are let go once it is done."""
    wanted = {}
    for tap, value in resolve(entry.reference)(arrays, x, **entry.variant):
        wanted[tap] = value
        for name, array in arrays.items():
            if name.startswith(f"{tap}/"):
                release(array)
    return wanted


def torch_rows(
    entry: Entry, weights: Path, x: Array, wanted: Mapping[str, Array], rows: list[Parity]
) -> dict[str, Array]:
    """Compare the torch module's taps; return its outputs for the second input by name."""
    import torch

    module: Any = load_module(entry, weights)
    with torch.inference_mode():
        for tap, value in module.taps(torch.from_numpy(x[:1])):
            rows.append(row(entry, "torch", tap, channels_last(value.numpy()), wanted[tap]))
        second = named(entry, module(torch.from_numpy(x[1:])))
    del module
    gc.collect()
    return second


def named(entry: Entry, value: Any) -> dict[str, Array]:
    """Return what a module's call gave, one tensor or several, by the names of the outputs."""
    values = value if isinstance(value, tuple) else (value,)
    names = [spec.name for spec in entry.plain_outputs]
    return {name: tensor.numpy() for name, tensor in zip(names, values, strict=True)}


def onnx_rows(
    entry: Entry,
    weights: Path,
    x: Array,
    wanted: Mapping[str, Array],
    finished: Mapping[str, Array],
    second: Mapping[str, Array],
    rows: list[Parity],
) -> None:
    """Compare ONNX Runtime's taps, then the outputs the finished file gave fully optimised."""
    from vox2face.converters.onnx import session

    graph = entry.graph_of(shapes(weights))
    for tap, value in session.run_taps(graph, weights, entry.input, x[:1]).items():
        rows.append(row(entry, "onnx", tap, channels_last(value), wanted[tap]))
    taps = {name: tap for tap, name in graph.taps.items()}
    for name, value in finished.items():
        first = channels_last(value[:1])
        rows.append(row(entry, "onnx file", taps[name], first, wanted[taps[name]]))
        rows.append(row(entry, "onnx file", f"{name} of the second", value[1:], second[name]))


def row(entry: Entry, stage: str, tap: str, got: Array, want: Array) -> Parity:
    """Compare with the tolerance of the entry."""
    return compare(stage, tap, got, want, entry.atol, entry.rtol)


def channels_last(value: Array) -> Array:
    """Return NCHW maps as NHWC; vectors stay as they are."""
    return value.transpose(0, 2, 3, 1) if value.ndim == 4 else value


def versions() -> dict[str, str]:
    """Return the versions a proof holds for: vox2face, Python and the packages that computed."""
    found = {"vox2face": __version__, "python": platform.python_version()}
    for name in PACKAGES:
        try:
            found[name] = importlib.metadata.version(name)
        except importlib.metadata.PackageNotFoundError:
            continue
    return found
