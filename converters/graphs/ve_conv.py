"""VE_conv as an ONNX graph; see `vox2face.zoo.ve_conv`.

Strides and pools leave out the last frames and bins of their input, so that of 601 x 257 only
579 x 255 reach the embedding: the graph cuts the rest off at once. Where a batch normalisation is
followed by a convolution, with no pool between, it is folded into it; the nodes for that have
constant inputs, so that ONNX Runtime computes them once. The taps are those of the plain layers.
"""

from __future__ import annotations

from vox2face.converters.graphs.graph import Builder, Graph, Shapes

POOLED = (3, 4, 5, 6)
FOLDED = (1, 2, 7, 8)  # layers whose normalisation goes into the next convolution
LAYERS = range(1, 10)
FRAMES, BINS = 579, 255  # what the strides and pools of 598 to 601 frames and 257 bins use
EPSILON = 1e-5


def ve_conv(shapes: Shapes, output_activation: str) -> Graph:
    """Describe nine convolutions, the average over time and two dense layers."""
    b = Builder()
    taps: dict[str, str] = {}
    x = "input"
    for number in LAYERS:
        x = taps[f"layer{number}"] = plain(b, number, x)
    taps["layer10"] = hidden(b, x, "layer10")
    x = cropped(b)
    for number in LAYERS:
        x = lean(b, number, x)
    x = hidden(b, x, "lean/layer10")
    x = b.dense(x, "layer11.0", "layer11/sum")
    taps["layer11"] = b.activated(x, output_activation, "embedding")
    return Graph(tuple(b.nodes), shapes, taps)


def norm_of(number: int) -> str:
    """Return the name of a layer's batch normalisation."""
    return f"layer{number}.{3 if number == 9 else 2}"


def plain(b: Builder, number: int, x: str) -> str:
    """Add one layer as the module computes it."""
    name, attributes = f"layer{number}", attributes_of(number)
    x = b.conv(x, f"{name}.0", f"{name}/conv", **attributes)
    return rest(b, number, x, name, normalised=True)


def lean(b: Builder, number: int, x: str) -> str:
    """Add one layer that takes over the normalisation before it and leaves its own to the next."""
    name = f"lean/layer{number}"
    kernel, bias = f"layer{number}.0.weight", f"layer{number}.0.bias"
    if number - 1 in FOLDED:
        kernel, bias = folded(b, norm_of(number - 1), kernel, bias, name)
    x = b.add("Conv", (x, kernel, bias), f"{name}/conv", **attributes_of(number))
    return rest(b, number, x, name, normalised=number not in FOLDED)


def attributes_of(number: int) -> dict[str, list[int]]:
    """Return the attributes of a layer's convolution."""
    return {"kernel_shape": [4, 4], "strides": [2, 2] if number in (8, 9) else [1, 1]}


def rest(b: Builder, number: int, x: str, name: str, normalised: bool) -> str:
    """Add what follows a layer's convolution; the result has the layer's name."""
    pooled = number in POOLED
    if number == 9:
        axes = b.ints([3], f"{name}/time")
        x = b.add("ReduceMean", (x, axes), f"{name}/average", keepdims=1)
    x = b.relu(x, f"{name}/relu" if normalised else name)
    if normalised:
        x = b.batch_norm(x, norm_of(number), f"{name}/norm" if pooled else name)
    if pooled:
        x = b.add("MaxPool", (x,), name, kernel_shape=[1, 2], strides=[1, 2])
    return x


def folded(b: Builder, norm: str, kernel: str, bias: str, name: str) -> tuple[str, str]:
    """Add the kernel and bias of a convolution that normalises its input first."""
    least = b.add("Constant", (), f"{name}/least", value_floats=[EPSILON])
    variance = b.add("Add", (f"{norm}.running_var", least), f"{name}/variance")
    deviation = b.add("Sqrt", (variance,), f"{name}/deviation")
    scale = b.add("Div", (f"{norm}.weight", deviation), f"{name}/scale")
    mean = b.add("Mul", (f"{norm}.running_mean", scale), f"{name}/mean")
    shift = b.add("Sub", (f"{norm}.bias", mean), f"{name}/shift")
    scaled = b.add("Mul", (kernel, b.reshape(scale, [1, -1, 1, 1], f"{name}/scales")), f"{name}/w")
    moved = b.add("Mul", (kernel, b.reshape(shift, [1, -1, 1, 1], f"{name}/shifts")), f"{name}/m")
    axes = b.ints([1, 2, 3], f"{name}/axes")
    total = b.add("ReduceSum", (moved, axes), f"{name}/total", keepdims=0)
    return scaled, b.add("Add", (bias, total), f"{name}/bias")


def cropped(b: Builder) -> str:
    """Add the choice of the bins and frames that reach the embedding."""
    bounds = (("from", [0, 0]), ("to", [BINS, FRAMES]), ("axes", [2, 3]))
    inputs = [b.ints(values, f"lean/{word}") for word, values in bounds]
    return b.add("Slice", ("input", *inputs), "lean/input")


def hidden(b: Builder, x: str, name: str) -> str:
    """Add the first dense layer."""
    x = b.add("Flatten", (x,), f"{name}/flat", axis=1)
    return b.relu(b.dense(x, "layer10.1", f"{name}/sum"), name)
