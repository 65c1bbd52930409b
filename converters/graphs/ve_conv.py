"""VE_conv as an ONNX graph; see `vox2face.zoo.ve_conv`."""

from __future__ import annotations

from vox2face.converters.graphs.graph import Builder, Graph, Shapes

POOLED = (3, 4, 5, 6)


def ve_conv(shapes: Shapes) -> Graph:
    """Describe the network from the shapes of its tensors."""
    return described(shapes, relu=True)


def paper(shapes: Shapes) -> Graph:
    """Describe the network of the paper, without a ReLU at the end."""
    return described(shapes, relu=False)


def described(shapes: Shapes, relu: bool) -> Graph:
    """Describe nine convolutions, the average over time and two dense layers."""
    b = Builder()
    taps: dict[str, str] = {}
    x = "input"
    for number in range(1, 10):
        name = f"layer{number}"
        stride = [2, 2] if number in (8, 9) else [1, 1]
        x = b.conv(x, f"{name}.0", f"{name}/conv", kernel_shape=[4, 4], strides=stride)
        if number == 9:
            axes = b.ints([3], "layer9/time")
            x = b.add("ReduceMean", (x, axes), "layer9/average", keepdims=1)
        x = b.batch_norm(b.relu(x, f"{name}/relu"), f"{name}.{3 if number == 9 else 2}", name)
        if number in POOLED:
            x = b.add("MaxPool", (x,), f"{name}/pool", kernel_shape=[1, 2], strides=[1, 2])
        taps[name] = x
    x = b.add("Flatten", (x,), "flat", axis=1)
    x = taps["layer10"] = b.relu(b.dense(x, "layer10.1", "layer10/sum"), "layer10")
    if relu:
        taps["layer11"] = b.relu(b.dense(x, "layer11.0", "layer11/sum"), "embedding")
    else:
        taps["layer11"] = b.dense(x, "layer11.0", "embedding")
    return Graph(tuple(b.nodes), shapes, taps)
