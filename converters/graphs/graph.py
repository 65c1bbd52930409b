"""An ONNX graph as plain data."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from vox2face.spec import TensorSpec

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
