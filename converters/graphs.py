"""The networks as ONNX graphs, described as plain data; `export` turns them into files.

They are written for ONNX Runtime rather than traced: a tensor is named after its layer, and fully
connected layers are Gemm, which loads three times faster than a 7x7 Conv and takes half the memory.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from math import prod
from typing import Any

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


def vggface(shapes: Shapes) -> Graph:
    """Describe VGG-Face from the shapes of its tensors; see `vox2face.zoo.vggface.VGGFace`."""
    nodes: list[Node] = []
    taps: dict[str, str] = {}
    x = "input"

    def add(op: str, inputs: tuple[str, ...], output: str, **attributes: Any) -> str:
        nodes.append(Node(op, inputs, output, attributes))
        return output

    for stage, depth in enumerate((2, 2, 3, 3, 3), start=1):
        for name in (f"conv{stage}_{i}" for i in range(1, depth + 1)):
            weights = (f"{name}.weight", f"{name}.bias")
            x = add("Conv", (x, *weights), f"{name}/sum", kernel_shape=[3, 3], pads=[1] * 4)
            x = taps[name] = add("Relu", (x,), name)
        x = add("MaxPool", (x,), f"pool{stage}", kernel_shape=[2, 2], strides=[2, 2])
        taps[x] = x
    x = add("Flatten", (x,), "features", axis=1)
    for name, output in (("fc6", "fc6"), ("fc7", "embedding")):
        x = add("Gemm", (x, f"{name}.weight", f"{name}.bias"), f"{name}/sum", transB=1)
        x = taps[name] = add("Relu", (x,), output)
    taps["fc8"] = add("Gemm", (x, "fc8.weight", "fc8.bias"), "logits", transB=1)
    fc6 = shapes["fc6.weight"]
    matrix = (fc6[0], prod(fc6[1:]))
    return Graph(tuple(nodes), {**shapes, "fc6.weight": matrix}, taps)
