"""Run ONNX files and graphs on ONNX Runtime: fully optimised to serve, tapped to prove."""

from __future__ import annotations

from importlib.util import find_spec
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from vox2face import extras
from vox2face.converters.export import model_without_weights, nbytes
from vox2face.converters.graphs.graph import Graph
from vox2face.converters.ops import Array
from vox2face.converters.write import layout
from vox2face.errors import UsageError, Vox2FaceError
from vox2face.spec import TensorSpec

if TYPE_CHECKING:
    import onnx
    import onnxruntime


def run_taps(graph: Graph, weights: Path, source: TensorSpec, x: Array) -> dict[str, Array]:
    """Run the graph with every tap as an output, its weights mapped from model.safetensors."""
    import onnxruntime

    options = session_options("none")
    weights = weights.resolve()  # ONNX Runtime follows no link out of the folder
    # Folder of external weights for a model given as bytes
    options.add_session_config_entry(
        "session.model_external_initializers_file_folder_path", str(weights.parent)
    )
    model = tap_model(graph, weights, source)
    session = onnxruntime.InferenceSession(
        model.SerializeToString(), options, providers=["CPUExecutionProvider"]
    )
    values = session.run(list(graph.taps.values()), {source.name: x})
    return dict(zip(graph.taps, values, strict=True))


def tap_model(graph: Graph, weights: Path, source: TensorSpec) -> onnx.ModelProto:
    """Return the graph with all taps as outputs and initialisers that point into safetensors."""
    from onnx import TensorProto, helper

    taps = [
        helper.make_tensor_value_info(name, TensorProto.FLOAT, None) for name in graph.taps.values()
    ]
    model = model_without_weights(graph, [source], {})
    model.graph.output.extend(taps)
    places = layout(weights)
    for name, shape in graph.initializers.items():
        tensor = model.graph.initializer.add(
            name=name,
            dims=shape,
            data_type=TensorProto.FLOAT,
            data_location=TensorProto.EXTERNAL,
        )
        facts = {"location": weights.name, "offset": places[name], "length": nbytes(shape)}
        for key, value in facts.items():
            tensor.external_data.add(key=key, value=str(value))
    return model


def session_options(optimise: str) -> onnxruntime.SessionOptions:
    """Return options: "all" optimises for speed; "none" loads at once and runs as written."""
    import onnxruntime

    options = onnxruntime.SessionOptions()
    options.log_severity_level = 3
    levels = onnxruntime.GraphOptimizationLevel
    options.graph_optimization_level = levels.ORT_ENABLE_ALL
    # Weights then lie in memory of their own size, not in an arena that grows by doubling.
    options.add_session_config_entry("session.use_device_allocator_for_initializers", "1")
    if optimise == "none":
        options.graph_optimization_level = levels.ORT_DISABLE_ALL
        options.add_session_config_entry("session.disable_prepacking", "1")
    return options


def session(path: Path, device: str = "cpu") -> onnxruntime.InferenceSession:
    """Load an ONNX file, fully optimised, for "cpu", "cuda" or "cuda:N".

    On CUDA, TF32 is off, so that values agree with the CPU to float32 precision. Raises
    `UsageError` where the installed ONNX Runtime has no CUDA.
    """
    if find_spec("onnxruntime") is None:
        extras.require("onnx", "backend='onnx'")
    import onnxruntime

    kind, _, number = device.partition(":")
    providers: list[Any] = ["CPUExecutionProvider"]
    if kind == "cuda":
        if "CUDAExecutionProvider" not in onnxruntime.get_available_providers():
            raise UsageError(
                f"device={device!r} was asked for, but this ONNX Runtime has no CUDA: run "
                "pip uninstall onnxruntime, then pip install 'vox2face[onnx-gpu]'."
            )
        cuda = ("CUDAExecutionProvider", {"device_id": int(number or 0), "use_tf32": "0"})
        providers.insert(0, cuda)
    elif kind != "cpu":
        raise UsageError(f"There is no device {device!r}: use 'cpu', 'cuda' or 'cuda:0'.")
    try:
        made = onnxruntime.InferenceSession(str(path), session_options("all"), providers=providers)
    except Exception as error:  # ONNX Runtime's own exceptions share no base class
        raise Vox2FaceError(f"ONNX Runtime cannot load {path}: {error}") from error
    if kind == "cuda" and "CUDAExecutionProvider" not in made.get_providers():
        raise Vox2FaceError("ONNX Runtime could not start CUDA: check the driver and cuDNN.")
    return made


def run(model: onnxruntime.InferenceSession, x: Array | np.ndarray[Any, Any]) -> list[Array]:
    """Run a session on its only input and return its outputs as float32 arrays."""
    values: list[Array] = model.run(None, {model.get_inputs()[0].name: x})
    return values
