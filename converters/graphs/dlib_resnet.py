"""dlib's face recognition network as an ONNX graph; see `vox2face.zoo.dlib_resnet`."""

from __future__ import annotations

from vox2face.converters.graphs.graph import Builder, Graph, Shapes

SIZE = 150
BLOCKS = (
    *("conv32_1", "conv32_2", "conv32_3"),
    *("conv64_down", "conv64_1", "conv64_2", "conv64_3"),
    *("conv128_down", "conv128_1", "conv128_2"),
    *("conv256_down", "conv256_1", "conv256_2", "conv256_down_out"),
)


def dlib_resnet(shapes: Shapes) -> Graph:
    """Describe the network from the shapes of its tensors, for pictures of 150 x 150 pixels."""
    b = Builder()
    taps: dict[str, str] = {}

    def layer(x: str, name: str, stride: int, padding: int) -> str:
        size = list(shapes[f"{name}.conv.weight"][2:])
        attributes = {"kernel_shape": size, "pads": [padding] * 4, "strides": [stride] * 2}
        y = b.conv(x, f"{name}.conv", f"{name}/sum", **attributes)
        y = b.add("Mul", (y, f"{name}.scale.weight"), f"{name}/scaled")
        return b.add("Add", (y, f"{name}.scale.bias"), f"{name}/shifted")

    def padded(x: str, channels: int, pixels: int) -> str:
        """Append channels of zeros, and zeros below and on the right."""
        if not channels and not pixels:
            return x
        pads = [0, 0, 0, 0, 0, channels, pixels, pixels]
        amount = b.add("Constant", (), f"{x}/padding", value_ints=pads)
        return b.add("Pad", (x, amount), f"{x}/padded")

    x = taps["conv32_down"] = b.relu(layer("input", "conv32_down", 2, 0), "conv32_down")
    x = b.add("MaxPool", (x,), "pool1", kernel_shape=[3, 3], strides=[2, 2])
    taps["pool1"] = x
    size = ((SIZE - 7) // 2 + 1 - 3) // 2 + 1
    for name in BLOCKS:
        down = "_down" in name
        y = b.relu(layer(x, f"{name}.conv1", 2 if down else 1, int(not down)), f"{name}/relu")
        y = layer(y, f"{name}.conv2", 1, 1)
        if down:
            out, width = shapes[f"{name}.conv1.conv.weight"][:2]
            reduced, size = (size - 3) // 2 + 1, size // 2
            x = b.add("AveragePool", (x,), f"{name}/halved", kernel_shape=[2, 2], strides=[2, 2])
            x, y = padded(x, out - width, 0), padded(y, 0, size - reduced)
        x = taps[name] = b.relu(b.add("Add", (y, x), f"{name}/added"), name)
    x = b.add("GlobalAveragePool", (x,), "means")
    x = taps["avg_pool"] = b.add("Flatten", (x,), "features", axis=1)
    taps["fc"] = b.add("Gemm", (x, "fc.weight"), "embedding", transB=1)
    return Graph(tuple(b.nodes), {n: broadcast(n, shape) for n, shape in shapes.items()}, taps)


def broadcast(name: str, shape: tuple[int, ...]) -> tuple[int, ...]:
    """Return the shape in which a factor or shift of each channel meets a map."""
    return (*shape, 1, 1) if ".scale." in name else shape
