"""The proof of parity: torch and Keras against the NumPy reference, the ONNX file against torch."""

from __future__ import annotations

import difflib
import importlib.metadata
import platform
from collections.abc import Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from vox2face.converters.maps import weight_map
from vox2face.converters.onnx import session as run_onnx
from vox2face.converters.ops import Array
from vox2face.converters.safetensors_writer import release
from vox2face.converters.test_inputs import probes
from vox2face.converters.weight_map import Reference
from vox2face.core.entry import Entry, TensorSpec
from vox2face.core.errors import Vox2FaceError
from vox2face.core.files import Progress
from vox2face.core.parity import Parity, Report, compare
from vox2face.core.safetensors_header import shapes
from vox2face.core.version import __version__
from vox2face.zoo.registry import load_module, sized

if TYPE_CHECKING:
    from torch import nn

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
    """Compare torch with the reference at each layer, and the outputs of the ONNX file with torch.

    `arrays` are the original file's arrays in its own layout, for entries that have a reference;
    for others the proof is that all values are the original ones, bit for bit. `keras` is the
    original file, to run the owner's graph as well. `progress` gets steps done and total.
    """
    entry = sized(entry, shapes(weights))
    steps = 3 + bool(onnx) + bool(keras)
    progress(0, steps)
    with ThreadPoolExecutor(1) as pool:
        # ONNX Runtime loads for seconds on one core; torch is imported meanwhile. The reference
        # waits, since both together would take too much memory.
        session = pool.submit(run_onnx.session, onnx) if onnx else None
        _, x = probes(entry, preset)
        found = run_onnx.in_batches(session.result(), x) if session else {}
        session = None
    progress(1, steps)
    first = channels_last(x[:1]) if entry.input.layout == "NCHW" else x[:1]
    first = np.ascontiguousarray(first)
    reference = weight_map(entry).reference
    wanted = _reference_taps(reference, arrays, first) if reference else {}
    progress(2, steps)
    verify = "keras" if keras else "reference" if reference else "bits"
    report = Report(versions=versions(), verify=verify)
    module: Any = load_module(entry, weights)
    expected = in_batches(module, x if onnx else x[:1], entry.plain_outputs)
    _require_shapes(entry, expected)
    if reference:
        report.rows += _torch_rows(entry, module, x[:1], wanted)
        if report.ok:
            _require_same_outputs(entry, module, expected, wanted)
    progress(3, steps)
    if onnx is not None:
        report.rows += [
            row(entry, "onnx file", name, found[name], expected[name]) for name in found
        ]
    if keras is not None:
        from vox2face.converters.keras import activations

        for tap, value in activations.taps(entry, keras, first):
            report.rows.append(row(entry, "keras", tap, value, wanted[tap]))
    progress(steps, steps)
    return report


def _reference_taps(
    reference: Reference, arrays: Mapping[str, Array], x: Array
) -> dict[str, Array]:
    """Run the reference; the pages of a layer's weights are let go once it is done."""
    wanted = {}
    try:
        for tap, value in reference(arrays, x):
            wanted[tap] = value
            for name, array in arrays.items():
                if name.startswith(f"{tap}/"):
                    release(array)
    except KeyError as error:
        near = difflib.get_close_matches(str(error.args[0]), arrays, 3, 0.0)
        raise Vox2FaceError(
            f"NOT PROVEN: the reference asks for the array {error}, and the weight map names none "
            f"so, but {', '.join(near)}: correct the name in one of them."
        ) from error
    return wanted


def _torch_rows(
    entry: Entry, module: Any, x: Array, wanted: Mapping[str, Array]
) -> Iterator[Parity]:
    """Compare every layer of the torch module with the reference, which has to yield the same."""
    import torch

    seen = set()
    with torch.inference_mode():
        for tap, value in module.taps(torch.from_numpy(x)):
            seen.add(tap)
            if tap in wanted:
                yield row(entry, "torch", tap, channels_last(value.numpy()), wanted[tap])
    if differing := sorted(seen ^ wanted.keys()):
        raise Vox2FaceError(
            f"NOT PROVEN: of the taps of {entry.name}, {', '.join(differing)[:200]} "
            "come from its module or from its reference only: let both yield the same layers."
        )


def _require_shapes(entry: Entry, outputs: Mapping[str, Array]) -> None:
    """Raise `Vox2FaceError` unless outputs are as the entry declares them."""
    for spec in entry.plain_outputs:
        found = outputs[spec.name].shape
        wanted = tuple(
            n if isinstance(n, int) else found[i] if i < len(found) else n
            for i, n in enumerate(spec.shape)
        )
        if found != wanted:
            raise Vox2FaceError(
                f"NOT PROVEN: the output {spec.name} of {entry.name} has the shape "
                f"{('batch', *found[1:])}, and its entry says {spec.shape}: correct the entry or "
                "the module."
            )


def _require_same_outputs(
    entry: Entry, module: Any, outputs: Mapping[str, Array], wanted: Mapping[str, Array]
) -> None:
    """Raise `Vox2FaceError` unless the module returns what it has taps for."""
    for name, value in outputs.items():
        tap = module.embedding if name == "embedding" else name
        if tap not in wanted:
            continue
        found = row(entry, "torch", tap, channels_last(value[:1]), wanted[tap])
        if not found.ok:
            raise Vox2FaceError(
                f"NOT PROVEN: the module of {entry.name} returns as {name} something else than its "
                f"tap {tap} (largest difference {found.max_rel:.1e} of the largest value): let "
                "`forward` return that tap."
            )


def in_batches(
    module: nn.Module, x: np.ndarray[Any, Any], outputs: Sequence[TensorSpec]
) -> dict[str, Array]:
    """Return what a module makes of the first item, then of all, as `run_onnx.in_batches` does."""
    import torch

    with torch.inference_mode():
        values = module(torch.from_numpy(x))
    values = values if isinstance(values, tuple) else (values,)
    if len(values) != len(outputs):
        names = ", ".join(spec.name for spec in outputs)
        raise Vox2FaceError(
            f"The module returns {len(values)} outputs, expected are {len(outputs)}: {names}."
        )
    return {
        spec.name: np.concatenate((value[:1], value))
        for spec, value in zip(outputs, values, strict=True)
    }


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
