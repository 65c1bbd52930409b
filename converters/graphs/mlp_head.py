"""A small network on Resemblyzer's speaker encoder as an ONNX graph."""

from __future__ import annotations

from vox2face.converters.graphs.ge2e import ge2e
from vox2face.converters.graphs.graph import Builder, Graph, Shapes

BASE = "base."


def resemblyzer(shapes: Shapes) -> Graph:
    """Describe encoder and head from the shapes of their tensors."""
    inner = {k.removeprefix(BASE): v for k, v in shapes.items() if k.startswith(BASE)}
    names = {"input": "input"} | {name: f"{BASE}{name}" for name in inner}
    base = ge2e(inner).prefixed("base/", names)
    b = Builder()
    x = b.relu(b.dense("base/embedding", "fc1", "fc1/sum"), "fc1")
    taps = {"fc1": x, "head": b.dense(x, "fc2", "embedding")}
    own = {name: shape for name, shape in shapes.items() if not name.startswith(BASE)}
    return base.followed_by(Graph(tuple(b.nodes), own, taps))
