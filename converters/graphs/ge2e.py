"""The speaker encoder of Resemblyzer as an ONNX graph; see `vox2face.zoo.ge2e`.

ONNX orders the gates of an LSTM input, output, forget, cell; PyTorch input, forget, cell, output.
"""

from __future__ import annotations

from vox2face.converters.graphs.graph import Builder, Graph, Shapes

GATES = (0, 3, 1, 2)


def ge2e(shapes: Shapes) -> Graph:
    """Describe the network from the shapes of its tensors."""
    b = Builder()
    taps: dict[str, str] = {}
    hidden = shapes["linear.weight"][1]
    size = b.add("Shape", ("input",), "size")
    frames = b.add("Slice", (size, b.ints([2], "two"), b.ints([4], "four")), "frames")
    flat = b.add("Concat", (b.ints([-1], "any"), frames), "flat/size", axis=0)
    x = b.add("Reshape", ("input", flat), "flat")
    x = b.add("Transpose", (x,), "layer/input", perm=[1, 0, 2])
    for layer in range(sum(name.startswith("lstm.weight_ih") for name in shapes)):
        x = lstm(b, layer, x, hidden)
    x = b.add("Gather", (x, b.add("Constant", (), "last", value_int=-1)), "last/frame", axis=0)
    pair = b.add("Slice", (size, b.ints([0], "zero"), b.ints([2], "to")), "pair")
    wide = b.add("Concat", (pair, b.ints([hidden], "hidden/size")), "hidden/shape", axis=0)
    taps["hidden"] = b.add("Reshape", (x, wide), "hidden")
    x = b.relu(b.dense(x, "linear", "linear/sum"), "linear/relu")
    x = unit(b, x, 1, "linear/unit")
    width = b.ints([shapes["linear.weight"][0]], "width")
    x = b.add("Reshape", (x, b.add("Concat", (pair, width), "linear/size", axis=0)), "linear")
    taps["linear"] = x
    x = b.add("ReduceMean", (x, b.ints([1], "mean/axis")), "mean", keepdims=0)
    taps["mean"] = unit(b, x, 1, "embedding")
    return Graph(tuple(b.nodes), shapes, taps)


def lstm(b: Builder, layer: int, x: str, hidden: int) -> str:
    """Add one LSTM layer: (frames, n, in) to (frames, n, hidden)."""
    name = f"lstm{layer}"
    rows = [gate * hidden + row for gate in GATES for row in range(hidden)]
    order, axis = b.ints(rows, f"{name}/order"), b.ints([0], f"{name}/direction")

    def ordered(tensor: str) -> str:
        return b.add("Gather", (f"lstm.{tensor}_l{layer}", order), f"{name}/{tensor}", axis=0)

    def directed(tensor: str) -> str:
        return b.add("Unsqueeze", (tensor, axis), f"{tensor}/directed")

    kernels = [directed(ordered(tensor)) for tensor in ("weight_ih", "weight_hh")]
    both = (ordered("bias_ih"), ordered("bias_hh"))
    bias = directed(b.add("Concat", both, f"{name}/bias", axis=0))
    y = b.add("LSTM", (x, *kernels, bias), f"{name}/states", hidden_size=hidden)
    return b.add("Squeeze", (y, b.ints([1], f"{name}/axis")), f"{name}/output")


def unit(b: Builder, x: str, axis: int, output: str) -> str:
    """Add a division by the length along an axis."""
    axes = b.ints([axis], f"{output}/axis")
    length = b.add("ReduceL2", (x, axes), f"{output}/length", keepdims=1)
    least = b.add("Constant", (), f"{output}/least", value_float=1e-12)
    return b.add("Div", (x, b.add("Max", (length, least), f"{output}/divisor")), output)
