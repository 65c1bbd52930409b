"""keras-vggface's ResNet-50 and SE-ResNet-50 as ONNX graphs; see `vox2face.zoo.resnet`."""

from __future__ import annotations

from vox2face.converters.graphs.graph import Builder, Graph, Shapes

DEPTHS = ((2, 3), (3, 4), (4, 6), (5, 3))
STATISTICS = ("weight", "bias", "running_mean", "running_var")


def resnet50(shapes: Shapes) -> Graph:
    """Describe ResNet-50, with its classifier if that is among the tensors."""
    return graph(shapes, epsilon=1e-3)


def senet50(shapes: Shapes) -> Graph:
    """Describe SE-ResNet-50, with its classifier if that is among the tensors."""
    return graph(shapes, epsilon=1e-4)


def graph(shapes: Shapes, epsilon: float) -> Graph:
    """Describe either network from the shapes of its tensors."""
    b = Builder()
    taps: dict[str, str] = {}

    def layer(x: str, name: str, stride: int = 1, pads: tuple[int, ...] = (0, 0, 0, 0)) -> str:
        size = list(shapes[f"{name}.weight"][2:])
        attributes = {"kernel_shape": size, "pads": list(pads), "strides": [stride] * 2}
        y = b.conv(x, name, f"{name}/sum", bias=False, **attributes)
        statistics = tuple(f"{name}_bn.{part}" for part in STATISTICS)
        return b.add("BatchNormalization", (y, *statistics), f"{name}/bn", epsilon=epsilon)

    def excited(x: str, name: str) -> str:
        y = b.add("GlobalAveragePool", (x,), f"{name}_mean")
        y = b.relu(b.conv(y, f"{name}_1x1_down", f"{name}_1x1_down/sum"), f"{name}_1x1_down/relu")
        y = b.add("Sigmoid", (b.conv(y, f"{name}_1x1_up", f"{name}_1x1_up/sum"),), f"{name}_factor")
        return b.add("Mul", (x, y), f"{name}_excited")

    x = layer("input", "conv1_7x7_s2", 2, (2, 2, 3, 3))  # top, left, bottom, right
    x = taps["conv1"] = b.relu(x, "conv1")
    x = b.add("MaxPool", (x,), "pool1", kernel_shape=[3, 3], strides=[2, 2])
    taps["pool1"] = x
    for stage, depth in DEPTHS:
        for number in range(1, depth + 1):
            name = f"conv{stage}_{number}"
            stride = 2 if stage > 2 and number == 1 else 1
            y = b.relu(layer(x, f"{name}_1x1_reduce", stride), f"{name}_1x1_reduce/relu")
            y = b.relu(layer(y, f"{name}_3x3", 1, (1, 1, 1, 1)), f"{name}_3x3/relu")
            y = layer(y, f"{name}_1x1_increase")
            if f"{name}_1x1_down.weight" in shapes:
                y = excited(y, name)
            shortcut = layer(x, f"{name}_1x1_proj", stride) if number == 1 else x
            x = taps[name] = b.relu(b.add("Add", (y, shortcut), f"{name}/added"), name)
    x = b.add("GlobalAveragePool", (x,), "features")
    x = taps["avg_pool"] = b.add("Flatten", (x,), "embedding", axis=1)
    if "classifier.weight" in shapes:
        weights = ("classifier.weight", "classifier.bias")
        taps["classifier"] = b.add("Gemm", (x, *weights), "logits", transB=1)
    return Graph(tuple(b.nodes), shapes, taps)
