"""Write ONNX files for ONNX Runtime.

Initialisers are streamed from model.safetensors into the file; they are never whole in memory.
"""

from __future__ import annotations

import contextlib
import io
import logging
import warnings
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from io import FileIO
from math import prod
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from vox2face.converters.graphs.graph import Graph, Node
from vox2face.core.entry import TensorSpec
from vox2face.core.errors import UsageError, Vox2FaceError
from vox2face.core.files import COPY_BLOCK, copy_range
from vox2face.core.safetensors_header import layout

if TYPE_CHECKING:
    import onnx
    from torch import nn

# The newest opset whose operators all have CUDA kernels in released ONNX Runtimes: MaxPool-22,
# Flatten-21 and Shape-21 fall back to the CPU there (microsoft/onnxruntime#26393, #27715, #27728).
OPSET = 20
IR_VERSION = 9

# Field numbers of onnx.proto3, shifted for a length-delimited value.
MODEL_GRAPH, GRAPH_INITIALIZER, TENSOR_RAW_DATA = (n << 3 | 2 for n in (7, 5, 9))
PROTOBUF_LIMIT = (1 << 31) - 1
FLOAT16_LIMIT = 65504


@dataclass(frozen=True)
class Tail:
    """A module behind a network: `inputs` are tensors of the graph, `outputs` what it computes."""

    module: nn.Module
    inputs: tuple[TensorSpec, ...]
    outputs: tuple[str, ...]


def write(
    path: Path,
    graph: Graph,
    weights: Path | Mapping[str, Path],
    specs: Sequence[TensorSpec],
    metadata: Mapping[str, str],
    front: tuple[nn.Module, TensorSpec] | None = None,
    tail: Tail | None = None,
    half: bool = False,
) -> None:
    """Write `graph` as one self-contained ONNX file and check it.

    `specs` are the input and the outputs; `weights` is the safetensors file the initialisers are
    streamed from, or several by the prefix that their names have in the graph. With `front`, a
    module and what it takes, the file starts there; with `tail` it ends there. `half` stores and
    computes the graph in float16; inputs and outputs stay float32.
    """
    behind = tail.outputs if tail else ()
    named = [spec.name for spec in specs[1:] if spec.name not in behind]
    computed = tuple(dict.fromkeys([*named, *(s.name for s in (tail.inputs if tail else ()))]))
    graph = graph.reduced(computed)
    if half:
        graph = halved(graph, specs[0].name, computed)
    skeleton = model_without_weights(graph, specs, metadata)
    if front is not None:
        skeleton = with_frontend(skeleton, *front)
    if tail is not None:
        skeleton = with_tail(skeleton, tail)
    check(skeleton, graph, half)
    stores = stored(graph, {"": weights} if isinstance(weights, Path) else weights)
    head, pieces = wire_format(skeleton, graph, half)
    with path.open("wb", buffering=0) as target:
        target.write(head)
        for name, prefix in pieces:
            target.write(prefix)
            store, offset = stores[name]
            with store.open("rb", buffering=0) as source:
                copy_values(source, target, offset, nbytes(graph.initializers[name]), half)
    if not same_initializers(path, stores, graph, len(head), pieces, half):
        raise Vox2FaceError(f"{path} reads back other weights than were written: try again.")


def stored(graph: Graph, weights: Mapping[str, Path]) -> dict[str, tuple[Path, int]]:
    """Return in which safetensors file, and where, the values of every initialiser begin."""
    places = {prefix: layout(path) for prefix, path in weights.items()}
    found = {}
    for name in graph.initializers:
        prefix = next(p for p in weights if name.startswith(p))
        found[name] = weights[prefix], places[prefix][name.removeprefix(prefix)]
    return found


def halved(graph: Graph, source: str, outputs: Sequence[str]) -> Graph:
    """Return the graph in float16, with casts behind its input and in front of its outputs."""
    names = {name: f"{name}/half" for name in (source, *outputs)}
    float16, float32 = 10, 1  # TensorProto.FLOAT16, TensorProto.FLOAT
    nodes = [Node("Cast", (source,), names[source], {"to": float16})]
    for node in graph.nodes:
        inputs = tuple(names.get(name, name) for name in node.inputs)
        output = names.get(node.output, node.output)
        if node.attributes.keys() & {"value_float", "value_floats"}:
            nodes.append(replace(node, output=f"{output}/full"))
            nodes.append(Node("Cast", (f"{output}/full",), output, {"to": float16}))
        else:
            nodes.append(Node(node.op, inputs, output, node.attributes))
    nodes += [Node("Cast", (names[name],), name, {"to": float32}) for name in outputs]
    return replace(graph, nodes=tuple(nodes))


def check(skeleton: onnx.ModelProto, graph: Graph, half: bool = False) -> None:
    """Let onnx check every node, type and shape, with the initialisers as typed inputs."""
    import onnx

    model = onnx.ModelProto()
    model.CopyFrom(skeleton)
    kind = onnx.TensorProto.FLOAT16 if half else onnx.TensorProto.FLOAT
    for name, shape in graph.initializers.items():
        model.graph.input.append(onnx.helper.make_tensor_value_info(name, kind, list(shape)))
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
    domains = {"": OPSET} | {node.domain: 1 for node in nodes if node.domain}
    model = helper.make_model(
        proto,
        opset_imports=[helper.make_opsetid(*item) for item in domains.items()],
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


def with_frontend(model: onnx.ModelProto, module: nn.Module, source: TensorSpec) -> onnx.ModelProto:
    """Put a preprocessing module in front of a network that takes its output."""
    import onnx

    front = onnx.compose.add_prefix(exported(module, [source]), "frontend/").graph
    names = {front.input[0].name: source.name, front.output[0].name: model.graph.input[0].name}
    for node in front.node:
        node.input[:] = [names.get(name, name) for name in node.input]
        node.output[:] = [names.get(name, name) for name in node.output]
    merged = onnx.ModelProto()
    merged.CopyFrom(model)
    for items, more in (
        ("input", [value_info(source)]),
        ("node", [*front.node, *model.graph.node]),
    ):
        merged.graph.ClearField(items)
        getattr(merged.graph, items).extend(more)
    merged.graph.initializer.extend(front.initializer)
    return merged


def with_tail(model: onnx.ModelProto, tail: Tail) -> onnx.ModelProto:
    """Put a module behind a network; its inputs are tensors that the network computes."""
    import onnx

    back = onnx.compose.add_prefix(exported(tail.module, tail.inputs), "tail/").graph
    names = {i.name: spec.name for i, spec in zip(back.input, tail.inputs, strict=True)}
    names |= {o.name: name for o, name in zip(back.output, tail.outputs, strict=True)}
    for node in back.node:
        node.input[:] = [names.get(name, name) for name in node.input]
        node.output[:] = [names.get(name, name) for name in node.output]
    merged = onnx.ModelProto()
    merged.CopyFrom(model)
    merged.graph.node.extend(back.node)
    merged.graph.initializer.extend(back.initializer)
    return merged


def exported(module: nn.Module, sources: Sequence[TensorSpec]) -> onnx.ModelProto:
    """Return a module without large weights as ONNX, its outputs named output_0, output_1, ..."""
    import torch

    sizes = {"batch": 2, "height": 96, "width": 80, "samples": 20_000}
    examples = tuple(
        torch.zeros(
            [n if isinstance(n, int) else sizes[n] for n in spec.shape],
            dtype=getattr(torch, spec.dtype),
        )
        for spec in sources
    )
    axes = [{i: n for i, n in enumerate(s.shape) if isinstance(n, str)} for s in sources]
    logging.getLogger("torch.onnx").setLevel(logging.ERROR)
    with warnings.catch_warnings(), contextlib.redirect_stdout(io.StringIO()):
        warnings.simplefilter("ignore")
        program = torch.onnx.export(
            module.eval(),
            examples,
            dynamo=True,
            verbose=False,
            opset_version=OPSET,
            input_names=[spec.name for spec in sources],
            dynamic_shapes=tuple(axes),
        )
    assert program is not None
    model: onnx.ModelProto = program.model_proto
    model.ir_version = IR_VERSION
    return model


def wire_format(
    model: onnx.ModelProto, graph: Graph, half: bool = False
) -> tuple[bytes, list[tuple[str, bytes]]]:
    """Return the protobuf bytes before the initialisers, and the prefix of each one's values.

    Protobuf states every length in front, and all lengths are known from the shapes; so the file
    can be written front to back without ever being a message in memory.
    """
    from onnx import TensorProto

    pieces, total = [], 0
    kind = TensorProto.FLOAT16 if half else TensorProto.FLOAT
    for name, shape in graph.initializers.items():
        size = nbytes(shape) // (2 if half else 1)
        fact = TensorProto(name=name, dims=shape, data_type=kind).SerializeToString()
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


def copy_values(source: FileIO, target: FileIO, start: int, count: int, half: bool) -> None:
    """Append float32 values of one file to another, as they are or rounded to float16."""
    if not half:
        return copy_range(source, target, start, count)
    source.seek(start)
    while count:
        block = source.read(min(COPY_BLOCK, count))
        target.write(rounded(block))
        count -= len(block)
    return None


def rounded(block: bytes) -> bytes:
    """Return float32 values as float16; raise where one is too large for that."""
    values = np.frombuffer(block, "<f4")
    if np.abs(values).max(initial=0) > FLOAT16_LIMIT:
        raise UsageError("A weight is too large for float16: export with --precision fp32.")
    return values.astype("<f2").tobytes()


def same_initializers(
    path: Path,
    stores: Mapping[str, tuple[Path, int]],
    graph: Graph,
    start: int,
    pieces: Sequence[tuple[str, bytes]],
    half: bool = False,
) -> bool:
    """Whether the values in the ONNX file equal those in the safetensors files, bit for bit."""
    with path.open("rb") as ours:
        ours.seek(start)
        for name, prefix in pieces:
            if ours.read(len(prefix)) != prefix:
                return False
            store, offset = stores[name]
            rest = nbytes(graph.initializers[name])
            with store.open("rb") as theirs:
                theirs.seek(offset)
                while rest:
                    block = theirs.read(min(COPY_BLOCK, rest))
                    wanted = rounded(block) if half else block
                    if not block or ours.read(len(wanted)) != wanted:
                        return False
                    rest -= len(block)
        return not ours.read(1)
