"""Write ONNX files for ONNX Runtime: torch's exporter describes a module, weights are streamed.

Networks are exported without values, and their initialisers are copied from model.safetensors into
the file: they are never whole in memory.
"""

from __future__ import annotations

import logging
import warnings
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from math import prod
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from vox2face.core.entry import TensorSpec
from vox2face.core.errors import UsageError, Vox2FaceError
from vox2face.core.safetensors_header import layout

if TYPE_CHECKING:
    import onnx
    import onnx_ir
    from torch import nn

# The newest opset whose operators all have CUDA kernels in released ONNX Runtimes: MaxPool-22,
# Flatten-21 and Shape-21 fall back to the CPU there (microsoft/onnxruntime#26393, #27715, #27728).
OPSET = 20
IR_VERSION = 9

BLOCK = 1 << 22  # bytes copied at a time

# Field numbers of onnx.proto3, shifted for a length-delimited value.
MODEL_GRAPH, GRAPH_INITIALIZER, TENSOR_RAW_DATA = (n << 3 | 2 for n in (7, 5, 9))
PROTOBUF_LIMIT = (1 << 31) - 1
FLOAT16_LIMIT = 65504
EXAMPLE = {"batch": 2, "height": 96, "width": 80, "samples": 20_000, "partials": 3}


@dataclass(frozen=True)
class Weight:
    """An initialiser whose values lie in a safetensors file, in float32."""

    name: str
    shape: tuple[int, ...]
    half: bool

    @property
    def nbytes(self) -> int:
        """The bytes that its values take in the ONNX file."""
        return prod(self.shape) * (2 if self.half else 4)

    def prefix(self) -> bytes:
        """Return the protobuf bytes in front of its values."""
        from onnx import TensorProto

        kind = TensorProto.FLOAT16 if self.half else TensorProto.FLOAT
        facts: bytes = TensorProto(
            name=self.name, dims=self.shape, data_type=kind
        ).SerializeToString()
        inner = facts + bytes([TENSOR_RAW_DATA]) + varint(self.nbytes)
        return bytes([GRAPH_INITIALIZER]) + varint(len(inner) + self.nbytes) + inner


@dataclass(frozen=True)
class Traced:
    """An ONNX model without its weights, and these in their order."""

    model: onnx.ModelProto
    weights: tuple[Weight, ...]


def traced(module: nn.Module, source: TensorSpec, outputs: Sequence[TensorSpec]) -> Traced:
    """Return the graph of a module of one input.

    Its weights are the tensors of the module that have no values; see `registry.without_values`.
    """
    import torch
    from onnx_ir import to_proto
    from onnxscript.optimizer import optimize
    from torch._subclasses.fake_tensor import FakeTensor

    sizes = [n if isinstance(n, int) else EXAMPLE[n] for n in source.shape]
    axes = {i: n for i, n in enumerate(source.shape) if isinstance(n, str)}
    for logger in ("torch.onnx", "onnx_ir"):
        logging.getLogger(logger).setLevel(logging.ERROR)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        program = torch.onnx.export(
            module.eval(),
            (torch.zeros(sizes, dtype=getattr(torch, source.dtype)),),
            dynamo=True,
            verbose=False,
            optimize=False,  # below, where weights have no values that it could look at
            opset_version=OPSET,
            input_names=[source.name],
            output_names=[spec.name for spec in outputs],
            dynamic_shapes=(axes,),
        )
    assert program is not None
    graph = program.model.graph
    for value in graph.initializers.values():
        if isinstance(getattr(value.const_value, "raw", None), FakeTensor):
            value.const_value = None
    optimize(program.model)
    weights = tuple(taken_out(graph))
    for node in graph.all_nodes():
        node.metadata_props.clear()  # where in the source it comes from
    model = to_proto(program.model)
    model.graph.ClearField("value_info")
    model.graph.input[0].CopyFrom(_value_info(source))
    for output, spec in zip(model.graph.output, outputs, strict=True):
        output.CopyFrom(_value_info(spec))
    model.ir_version, model.producer_name, model.producer_version = IR_VERSION, "vox2face", ""
    return Traced(model, weights)


def taken_out(graph: onnx_ir.Graph) -> Iterator[Weight]:
    """Take the initialisers without values out of a graph, in their order.

    One that is only reshaped gets that shape: runtimes would copy it when they load it.
    """
    import onnx_ir

    for name, value in list(graph.initializers.items()):
        if value.const_value is not None:
            continue
        users = [node for node, _ in value.uses()]
        if len(users) == 1 and users[0].op_type == "Reshape":
            (reshaped,) = users[0].outputs
            value.shape = reshaped.shape
            reshaped.replace_all_uses_with(value)
            graph.remove(users[0], safe=True)
        del graph.initializers[name]
        assert value.shape is not None
        yield Weight(name, value.shape.numpy(), value.dtype == onnx_ir.DataType.FLOAT16)


def write(
    path: Path, graph: Traced, stores: Mapping[str, Path], metadata: Mapping[str, str]
) -> None:
    """Write a graph as one self-contained ONNX file, and read its weights again.

    `stores` are the safetensors files that hold the weights, by what their names begin with.
    """
    from onnx.helper import set_model_props

    set_model_props(graph.model, dict(metadata))
    head, places = beginning(graph), located(graph.weights, stores)
    with path.open("wb") as target:
        target.write(head)
        for block in content(graph.weights, places):
            target.write(block)
    with path.open("rb") as written:
        written.seek(len(head))
        for block in content(graph.weights, places):
            if written.read(len(block)) != block:
                raise Vox2FaceError(
                    f"{path} reads back other weights than were written: try again."
                )


def content(weights: Sequence[Weight], places: Mapping[str, tuple[Path, int]]) -> Iterator[bytes]:
    """Yield all weights, block by block, as the ONNX file holds them."""
    for weight in weights:
        yield weight.prefix()
        yield from blocks(weight, *places[weight.name])


def located(weights: Sequence[Weight], stores: Mapping[str, Path]) -> dict[str, tuple[Path, int]]:
    """Return in which safetensors file, and where, the values of every weight begin."""
    places = {}
    for prefix, path in stores.items():
        for name, start in layout(path).items():
            places[prefix + name] = path, start
    return {weight.name: places[weight.name] for weight in weights}


def blocks(weight: Weight, path: Path, start: int) -> Iterator[bytes]:
    """Yield the values of a weight, block by block, as the ONNX file holds them."""
    rest = 4 * prod(weight.shape)
    with path.open("rb", buffering=0) as source:
        source.seek(start)
        while rest:
            block = source.read(min(BLOCK, rest))
            if not block:
                raise Vox2FaceError(f"{path} ends too early: it has become shorter.")
            rest -= len(block)
            yield rounded(block) if weight.half else block


def beginning(graph: Traced) -> bytes:
    """Return the protobuf bytes before the weights.

    Protobuf states every length in front, and all lengths are known from the shapes; so the file
    can be written front to back without ever being a message in memory.
    """
    total = sum(len(weight.prefix()) + weight.nbytes for weight in graph.weights)
    model = graph.model
    body = model.graph.SerializeToString(deterministic=True)
    rest = type(model)()
    rest.CopyFrom(model)
    rest.ClearField("graph")
    head: bytes = rest.SerializeToString(deterministic=True)
    head += bytes([MODEL_GRAPH]) + varint(len(body) + total) + body
    if len(head) + total > PROTOBUF_LIMIT:
        raise UsageError(f"The network needs {total} bytes; one ONNX file holds at most 2 GB.")
    return head


def _value_info(spec: TensorSpec) -> onnx.ValueInfoProto:
    """Return an ONNX input or output with its dynamic axes named."""
    from onnx import TensorProto, helper

    kind = {"float32": TensorProto.FLOAT, "uint8": TensorProto.UINT8}[spec.dtype]
    return helper.make_tensor_value_info(spec.name, kind, list(spec.shape), spec.meaning)


def varint(number: int) -> bytes:
    """Return protobuf's encoding of a non-negative integer."""
    digits = bytearray()
    while number > 127:
        digits.append(number & 127 | 128)
        number >>= 7
    return bytes([*digits, number])


def rounded(block: bytes) -> bytes:
    """Return float32 values as float16; raise where one is too large for that."""
    values = np.frombuffer(block, "<f4")
    if np.abs(values).max(initial=0) > FLOAT16_LIMIT:
        raise UsageError("A weight is too large for float16: export with --precision fp32.")
    return values.astype("<f2").tobytes()
