"""VGG-Face as an ONNX graph."""

from __future__ import annotations

from math import prod

from vox2face.converters.graphs.graph import Builder, Graph, Shapes


def vggface(shapes: Shapes) -> Graph:
    """Describe VGG-Face, with fc8 if that is among the tensors."""
    b = Builder()
    taps: dict[str, str] = {}
    x = "input"
    for stage, depth in enumerate((2, 2, 3, 3, 3), start=1):
        for name in (f"conv{stage}_{i}" for i in range(1, depth + 1)):
            x = b.conv(x, name, f"{name}/sum", kernel_shape=[3, 3], pads=[1] * 4)
            x = taps[name] = b.relu(x, name)
        x = b.add("MaxPool", (x,), f"pool{stage}", kernel_shape=[2, 2], strides=[2, 2])
        taps[x] = x
    x = b.add("Flatten", (x,), "features", axis=1)
    for name, output in (("fc6", "fc6"), ("fc7", "embedding")):
        x = b.add("Gemm", (x, f"{name}.weight", f"{name}.bias"), f"{name}/sum", transB=1)
        x = taps[name] = b.relu(x, output)
    if "fc8.weight" in shapes:
        taps["fc8"] = b.add("Gemm", (x, "fc8.weight", "fc8.bias"), "logits", transB=1)
    fc6 = shapes["fc6.weight"]
    matrix = (fc6[0], prod(fc6[1:]))
    return Graph(tuple(b.nodes), {**shapes, "fc6.weight": matrix}, taps)
