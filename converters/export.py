"""Write ONNX files for ONNX Runtime.

Initialisers are streamed from model.safetensors into the file; they are never whole in memory.
"""

from __future__ import annotations

import contextlib
import errno
import io
import logging
import os
import warnings
from collections.abc import Mapping, Sequence
from io import FileIO
from math import prod
from pathlib import Path
from typing import TYPE_CHECKING

from vox2face.converters.graphs.graph import Graph
from vox2face.converters.write import layout
from vox2face.errors import UsageError, Vox2FaceError
from vox2face.spec import TensorSpec
from vox2face.zoo.presets import FacePreset

if TYPE_CHECKING:
    import onnx

# The newest opset whose operators all have CUDA kernels in released ONNX Runtimes: MaxPool-22,
# Flatten-21 and Shape-21 fall back to the CPU there (microsoft/onnxruntime#26393, #27715, #27728).
OPSET = 20
IR_VERSION = 9
# Field numbers of onnx.proto3, shifted for a length-delimited value.
MODEL_GRAPH, GRAPH_INITIALIZER, TENSOR_RAW_DATA = (n << 3 | 2 for n in (7, 5, 9))
PROTOBUF_LIMIT = (1 << 31) - 1
COPY_BLOCK = 1 << 22
# What copy_file_range answers where the file systems or the kernel do not offer it.
NOT_IN_KERNEL = (errno.EXDEV, errno.EINVAL, errno.ENOSYS, errno.EOPNOTSUPP, errno.EPERM)


def write(
    path: Path,
    graph: Graph,
    weights: Path,
    specs: Sequence[TensorSpec],
    metadata: Mapping[str, str],
    frontend: FacePreset | None = None,
) -> None:
    """Write `graph` as one self-contained ONNX file and check it.

    `specs` are the input and the outputs; `weights` is the safetensors file the initialisers are
    streamed from. With `frontend` the file starts at uint8 RGB (n, height, width, 3) pictures.
    """
    graph = graph.reduced(tuple(spec.name for spec in specs[1:]))
    skeleton = model_without_weights(graph, specs, metadata)
    if frontend is not None:
        skeleton = with_frontend(skeleton, frontend, int(specs[0].shape[-1]))
    check(skeleton, graph)
    head, pieces = wire_format(skeleton, graph)
    places = layout(weights)
    with path.open("wb", buffering=0) as target, weights.open("rb", buffering=0) as source:
        target.write(head)
        for name, prefix in pieces:
            target.write(prefix)
            copy(source, target, places[name], nbytes(graph.initializers[name]))
    if not same_initializers(path, weights, graph, len(head), pieces):
        raise Vox2FaceError(f"{path} reads back other weights than were written: try again.")


def check(skeleton: onnx.ModelProto, graph: Graph) -> None:
    """Let onnx check every node, type and shape, with the initialisers as typed inputs."""
    import onnx

    model = onnx.ModelProto()
    model.CopyFrom(skeleton)
    for name, shape in graph.initializers.items():
        model.graph.input.append(
            onnx.helper.make_tensor_value_info(name, onnx.TensorProto.FLOAT, list(shape))
        )
    try:
        onnx.checker.check_model(model, full_check=True)
    except (onnx.checker.ValidationError, onnx.shape_inference.InferenceError) as error:
        raise Vox2FaceError(f"The graph is not valid ONNX ({error}).") from error


def model_without_weights(
    graph: Graph, specs: Sequence[TensorSpec], metadata: Mapping[str, str]
) -> onnx.ModelProto:
    """Return the ONNX model with everything but its initialisers."""
    from onnx import helper

    nodes = [
        helper.make_node(n.op, list(n.inputs), [n.output], name=n.output, **n.attributes)
        for n in graph.nodes
    ]
    source, *outputs = [value_info(spec) for spec in specs]
    proto = helper.make_graph(nodes, "vox2face", [source], outputs)
    model = helper.make_model(
        proto,
        opset_imports=[helper.make_opsetid("", OPSET)],
        ir_version=IR_VERSION,
        producer_name="vox2face",
    )
    helper.set_model_props(model, dict(metadata))
    return model


def value_info(spec: TensorSpec) -> onnx.ValueInfoProto:
    """Return an ONNX input or output with its dynamic axes named."""
    from onnx import TensorProto, helper

    kind = {"float32": TensorProto.FLOAT, "uint8": TensorProto.UINT8}[spec.dtype]
    return helper.make_tensor_value_info(spec.name, kind, list(spec.shape), spec.meaning)


def with_frontend(model: onnx.ModelProto, preset: FacePreset, size: int) -> onnx.ModelProto:
    """Put the preprocessing module in front of a network that takes preprocessed pictures."""
    import onnx

    front = onnx.compose.add_prefix(exported_frontend(preset, size), "frontend/").graph
    names = {front.input[0].name: "image", front.output[0].name: model.graph.input[0].name}
    for node in front.node:
        node.input[:] = [names.get(name, name) for name in node.input]
        node.output[:] = [names.get(name, name) for name in node.output]
    source = front.input[0]
    source.name, source.doc_string = "image", "RGB pictures of faces, 0..255, all of one size"
    merged = onnx.ModelProto()
    merged.CopyFrom(model)
    for items, more in (("input", [source]), ("node", [*front.node, *model.graph.node])):
        merged.graph.ClearField(items)
        getattr(merged.graph, items).extend(more)
    merged.graph.initializer.extend(front.initializer)
    return merged


def exported_frontend(preset: FacePreset, size: int) -> onnx.ModelProto:
    """Return the face front end as ONNX, traced from the module that runs everywhere else."""
    import torch

    from vox2face.zoo.frontends import FaceInput

    example = torch.zeros(2, 96, 80, 3, dtype=torch.uint8)
    logging.getLogger("torch.onnx").setLevel(logging.ERROR)
    with warnings.catch_warnings(), contextlib.redirect_stdout(io.StringIO()):
        warnings.simplefilter("ignore")
        program = torch.onnx.export(
            FaceInput(preset, size).eval(),
            (example,),
            dynamo=True,
            verbose=False,
            opset_version=OPSET,
            input_names=["image"],
            output_names=["preprocessed"],
            dynamic_shapes=({0: "batch", 1: "height", 2: "width"},),
        )
    assert program is not None
    model: onnx.ModelProto = program.model_proto
    model.ir_version = IR_VERSION
    return model


def wire_format(model: onnx.ModelProto, graph: Graph) -> tuple[bytes, list[tuple[str, bytes]]]:
    """Return the protobuf bytes before the initialisers, and the prefix of each one's values.

    Protobuf states every length in front, and all lengths are known from the shapes; so the file
    can be written front to back without ever being a message in memory.
    """
    from onnx import TensorProto

    pieces, total = [], 0
    for name, shape in graph.initializers.items():
        size = nbytes(shape)
        fact = TensorProto(name=name, dims=shape, data_type=TensorProto.FLOAT).SerializeToString()
        inner = fact + bytes([TENSOR_RAW_DATA]) + varint(size)
        prefix = bytes([GRAPH_INITIALIZER]) + varint(len(inner) + size) + inner
        pieces.append((name, prefix))
        total += len(prefix) + size
    body = model.graph.SerializeToString()
    rest = type(model)()
    rest.CopyFrom(model)
    rest.ClearField("graph")
    head = rest.SerializeToString() + bytes([MODEL_GRAPH]) + varint(len(body) + total) + body
    if len(head) + total > PROTOBUF_LIMIT:
        raise UsageError(f"The network needs {total} bytes; one ONNX file holds at most 2 GB.")
    return head, pieces


def varint(number: int) -> bytes:
    """Return protobuf's encoding of a non-negative integer."""
    digits = bytearray()
    while number > 127:
        digits.append(number & 127 | 128)
        number >>= 7
    return bytes([*digits, number])


def nbytes(shape: Sequence[int]) -> int:
    """Return the bytes of a float32 tensor."""
    return 4 * prod(shape)


def copy(source: FileIO, target: FileIO, start: int, count: int) -> None:
    """Append bytes of one unbuffered file to another, in blocks, inside the system if it can."""
    source.seek(start)
    while count:
        done = copy_block(source, target, min(COPY_BLOCK, count))
        if not done:
            raise Vox2FaceError(f"{source.name!r} ends too early: convert again.")
        count -= done


def copy_block(source: FileIO, target: FileIO, size: int) -> int:
    """Copy up to `size` bytes between the positions of two files; return how many."""
    if hasattr(os, "copy_file_range"):
        try:
            return os.copy_file_range(source.fileno(), target.fileno(), size)
        except OSError as error:
            if error.errno not in NOT_IN_KERNEL:
                raise
    return target.write(source.read(size)) or 0


def same_initializers(
    path: Path, weights: Path, graph: Graph, start: int, pieces: Sequence[tuple[str, bytes]]
) -> bool:
    """Whether the values in the ONNX file equal those in the safetensors file, bit for bit."""
    places = layout(weights)
    with path.open("rb") as ours, weights.open("rb") as theirs:
        ours.seek(start)
        for name, prefix in pieces:
            rest = nbytes(graph.initializers[name])
            theirs.seek(places[name])
            if ours.read(len(prefix)) != prefix:
                return False
            while rest:
                block = ours.read(min(COPY_BLOCK, rest))
                if not block or block != theirs.read(len(block)):
                    return False
                rest -= len(block)
        return not ours.read(1)
