"""An ONNX graph as plain data."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from vox2face.core.entry import TensorSpec

Shapes = Mapping[str, tuple[int, ...]]


@dataclass(frozen=True)
class Node:
    """One operator: `inputs` and `output` are tensor names."""

    op: str
    inputs: tuple[str, ...]
    output: str
    attributes: Mapping[str, Any] = field(default_factory=dict)


@dataclass(frozen=True)
class Graph:
    """A network: nodes in order, initialisers with their shapes, and tap -> tensor name."""

    nodes: tuple[Node, ...]
    initializers: Shapes
    taps: Mapping[str, str]

    def offered(self, outputs: Sequence[TensorSpec]) -> tuple[TensorSpec, ...]:
        """Return those outputs that these weights have: without a classifier no logits."""
        return tuple(spec for spec in outputs if spec.name in self.taps.values())

    def reduced(self, outputs: tuple[str, ...]) -> Graph:
        """Return the part of the graph that the named output tensors need."""
        needed, nodes = set(outputs), []
        for node in reversed(self.nodes):
            if node.output in needed:
                needed.update(node.inputs)
                nodes.append(node)
        initializers = {n: shape for n, shape in self.initializers.items() if n in needed}
        taps = {tap: name for tap, name in self.taps.items() if name in needed}
        return Graph(tuple(reversed(nodes)), initializers, taps)

    def prefixed(self, prefix: str, names: Mapping[str, str]) -> Graph:
        """Return the graph with other names: those given, or with a prefix."""

        def new(name: str) -> str:
            return names.get(name, f"{prefix}{name}")

        return Graph(
            tuple(
                Node(n.op, tuple(map(new, n.inputs)), new(n.output), n.attributes)
                for n in self.nodes
            ),
            {new(name): shape for name, shape in self.initializers.items()},
            {f"{prefix}{tap}": new(name) for tap, name in self.taps.items()},
        )

    def followed_by(self, other: Graph) -> Graph:
        """Return this graph and another one behind it as one."""
        return Graph(
            (*self.nodes, *other.nodes),
            {**self.initializers, **other.initializers},
            {**self.taps, **other.taps},
        )


class Builder:
    """Collects the nodes of a graph; every method returns the name of its output tensor."""

    def __init__(self) -> None:
        self.nodes: list[Node] = []

    def add(self, op: str, inputs: tuple[str, ...], output: str, **attributes: Any) -> str:
        """Add one operator."""
        self.nodes.append(Node(op, inputs, output, attributes))
        return output

    def conv(self, x: str, name: str, output: str, **attributes: Any) -> str:
        """Add a convolution with the weight `name`.weight and, where `bias` is true, its bias."""
        weights = (
            (f"{name}.weight", f"{name}.bias")
            if attributes.pop("bias", True)
            else (f"{name}.weight",)
        )
        return self.add("Conv", (x, *weights), output, **attributes)

    def relu(self, x: str, output: str) -> str:
        """Add a ReLU."""
        return self.add("Relu", (x,), output)

    def activated(self, x: str, activation: str, output: str) -> str:
        """Add what a network ends in: "linear", "relu" or "sigmoid"."""
        ops = {"linear": "Identity", "relu": "Relu", "sigmoid": "Sigmoid"}
        return self.add(ops[activation], (x,), output)

    def dense(self, x: str, name: str, output: str) -> str:
        """Add a dense layer of two axes."""
        return self.add("Gemm", (x, f"{name}.weight", f"{name}.bias"), output, transB=1)

    def batch_norm(self, x: str, name: str, output: str) -> str:
        """Add a batch normalisation with PyTorch's epsilon."""
        tensors = ("weight", "bias", "running_mean", "running_var")
        inputs = (x, *(f"{name}.{tensor}" for tensor in tensors))
        return self.add("BatchNormalization", inputs, output, epsilon=1e-5)

    def ints(self, values: Sequence[int], output: str) -> str:
        """Add a constant of integers, such as a shape or axes."""
        return self.add("Constant", (), output, value_ints=list(values))

    def floats(self, values: Sequence[float], output: str) -> str:
        """Add a constant of float32 numbers."""
        return self.add("Constant", (), output, value_floats=list(map(float, values)))

    def reshape(self, x: str, shape: Sequence[int], output: str) -> str:
        """Add a reshape to constant sizes; 0 keeps an axis, -1 takes what is left."""
        return self.add("Reshape", (x, self.ints(shape, f"{output}/shape")), output)
