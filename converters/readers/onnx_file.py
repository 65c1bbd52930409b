"""Open an ONNX file for its weights: those of its convolutions and matrices, in computed order.

Matrices that lie as (inputs, outputs) are turned, so that all arrays are as PyTorch holds them.
Exporters of PyTorch keep the names of its tensors, or number them where they fold constants; then
the order in which the graph uses them is what is known.
"""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray

from vox2face.converters.readers import base
from vox2face.converters.readers.base import Blocks, Opened, checked_shape
from vox2face.converters.weight_map import StoredArray, split_name
from vox2face.core.errors import WeightFileError

if TYPE_CHECKING:
    import onnx

FORMAT = "ONNX"
OURS = "network."  # before the names of tensors in files of vox2face
NAMED = re.compile(r".+\.(weight|bias|running_mean|running_var)")  # as torch.nn names them
PASSING = {"Cast", "Flatten", "Identity", "Reshape", "Squeeze", "Unsqueeze"}  # values stay
WEIGHTED = {"BatchNormalization", "Conv", "ConvTranspose", "Gemm", "MatMul", "PRelu"}


@dataclass(frozen=True)
class _Use:
    """An initialiser, and whether the graph uses it with its two axes exchanged."""

    name: str
    turned: bool = False


@contextmanager
def opened(path: Path) -> Iterator[Opened]:
    """Open an ONNX file; it has to hold its weights itself.

    Raises `WeightFileError` if it is damaged or has no weights, or has them in other files.
    """
    import onnx
    from google.protobuf.message import DecodeError

    try:
        model = onnx.load_model(str(path), load_external_data=False)
    except DecodeError as error:
        raise WeightFileError("it is no ONNX model, or is cut short") from error
    tensors = {tensor.name: tensor for tensor in model.graph.initializer}
    if len(tensors) < len(model.graph.initializer):
        counts = Counter(tensor.name for tensor in model.graph.initializer)
        raise WeightFileError(f"{counts.most_common(1)[0][0]} is listed twice")
    uses = list(dict.fromkeys(_uses(model.graph, tensors)))
    if not uses:
        raise WeightFileError("its graph has no convolution or matrix with weights in the file")
    kinds, arrays = [], []
    for use in uses:
        kinds.append(_kind(tensors[use.name]))
        shape = checked_shape(list(tensors[use.name].dims), use.name)
        name = use.name.removeprefix(OURS)
        turned = shape[::-1] if use.turned else shape
        arrays.append(StoredArray(*split_name(name, "./"), name, turned))

    def blocks(number: int) -> Blocks:
        use, tensor = uses[number], tensors[uses[number].name]
        values = _values(tensor, kinds[number])
        yield base.widened(np.ascontiguousarray(values.T) if use.turned else values)

    yield Opened(
        format=FORMAT,
        arrays=arrays,
        blocks=blocks,
        named=all(use.name.startswith(OURS) or NAMED.fullmatch(use.name) for use in uses),
        stamp={prop.key: prop.value for prop in model.metadata_props},
        told=base.words(kinds),
    )


def _uses(graph: onnx.GraphProto, tensors: Mapping[str, object]) -> Iterator[_Use]:
    """Yield the initialisers that are weights, as the nodes of the graph use them, in order."""
    if any(name.startswith(OURS) for name in tensors):
        yield from (_Use(name) for name in tensors if name.startswith(OURS))
        return
    known = {name: _Use(name) for name in tensors}
    products: set[str] = set()  # what MatMuls give: an Add behind one holds its bias
    for node in graph.node:
        if node.op_type in PASSING and node.input[0] in known:
            known[node.output[0]] = known[node.input[0]]
        elif node.op_type == "Transpose" and node.input[0] in known:
            held = known[node.input[0]]
            known[node.output[0]] = _Use(held.name, not held.turned)
        elif node.op_type in WEIGHTED:
            held_in = [known[name] for name in node.input[1:] if name in known]
            if held_in and (node.op_type == "MatMul" or (node.op_type == "Gemm" and not _b(node))):
                held_in[0] = _Use(held_in[0].name, not held_in[0].turned)
            yield from held_in
            if node.op_type == "MatMul":
                products.update(node.output)
        elif node.op_type == "Add" and not products.isdisjoint(node.input):
            yield from (known[name] for name in node.input if name in known)


def _b(node: onnx.NodeProto) -> bool:
    """Whether a Gemm takes its matrix as (outputs, inputs), as PyTorch holds it."""
    return any(attribute.name == "transB" and attribute.i for attribute in node.attribute)


def _kind(tensor: onnx.TensorProto) -> str:
    from onnx import TensorProto

    if tensor.data_location == TensorProto.EXTERNAL or tensor.external_data:
        raise WeightFileError(
            f"{tensor.name} lies in another file: load the model with onnx.load and save it whole"
        )
    kind = TensorProto.DataType.Name(tensor.data_type).lower()
    return base.checked_kind(tensor.name, {"float": "float32", "double": "float64"}.get(kind, kind))


def _values(tensor: onnx.TensorProto, kind: str) -> NDArray[np.generic]:
    """Return the values of a tensor as they are stored, (dims); bfloat16 as 16-bit integers."""
    from onnx import numpy_helper

    shape = tuple(tensor.dims)
    if not tensor.raw_data:
        array: NDArray[np.generic] = numpy_helper.to_array(tensor)
        return array
    values = np.frombuffer(tensor.raw_data, base.KINDS[kind])
    if values.size != np.prod(shape):
        raise WeightFileError(f"{tensor.name} holds {values.size} values, expected {shape}")
    return values.reshape(shape)
