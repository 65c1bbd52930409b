"""The Audio Spectrogram Transformer as an ONNX graph; see `vox2face.zoo.ve_ast`.

Attention is ONNX Runtime's MultiHeadAttention, which has fused kernels for the CPU and for CUDA.
Of the last block only the two tokens in front are used, so only they are computed there.
"""

from __future__ import annotations

from vox2face.converters.graphs.graph import Builder, Graph, Shapes

HEAD_SIZE = 64
EPSILON = 1e-12
SQUARE, STRIDE = 16, 10  # of the published patches: bins or frames, and from one to the next
FRAMES, STEP = 16, 8  # of deltas: frames of a patch, and from one to the next
BINS = 128

# Kernels over (bins, frames): first and second difference over time, over bins, the first over both
DIFFERENCES = (
    *(0, 0, 0, 0, -1, 1, 0, 0, 0),
    *(0, 0, 0, 1, -2, 1, 0, 0, 0),
    *(0, 0, 0, 0, -1, 0, 0, 1, 0),
    *(0, 1, 0, 0, -2, 0, 0, 1, 0),
    *(0, 0, 0, 0, 1, -1, 0, -1, 1),
)
CONTRIB = "com.microsoft"  # the domain of ONNX Runtime's own operators


def ast(shapes: Shapes, output_activation: str) -> Graph:
    """Describe patches, blocks and head; within a block, tokens of all items are rows."""
    b = Builder()
    taps: dict[str, str] = {}
    count, hidden = shapes["positions"][1:]
    x = tokens(b, hidden, count, "patches.norm.weight" in shapes)
    taps["tokens"] = x
    x = b.reshape(x, [-1, hidden], "rows")
    blocks = sum(name.endswith(".fc1.weight") for name in shapes)
    for number in range(blocks):
        before, x = x, block(b, f"blocks.{number}", x, count, hidden)
        taps[f"block{number}"] = b.reshape(x, [-1, count, hidden], f"block{number}")
    x = block(b, f"blocks.{blocks - 1}", before, count, hidden, first=2)
    x = b.reshape(x, [-1, 2, hidden], "two")
    x = norm(b, x, "norm", "two/normalised")
    x = b.add("ReduceMean", (x, b.ints([1], "pooled/axis")), "pooled", keepdims=0)
    taps["pooled"] = x
    x = norm(b, x, "head_norm", "head/normalised")
    taps["head"] = b.activated(b.dense(x, "head", "head/sum"), output_activation, "embedding")
    return Graph(tuple(b.nodes), shapes, taps)


def tokens(b: Builder, hidden: int, count: int, deltas: bool) -> str:
    """Add the patches with their positions, two tokens in front: (n, count, hidden)."""
    x = b.add("Transpose", ("input",), "bins", perm=[0, 2, 1])
    x = b.add("Unsqueeze", (x, b.ints([1], "bins/axis")), "map")
    if deltas:
        x = b.conv(differences(b, x, count - 2), "patches", "patches/flat", kernel_shape=[1])
    else:
        square, strides = [SQUARE] * 2, [STRIDE] * 2
        x = b.conv(x, "patches", "patches", kernel_shape=square, strides=strides)
        x = b.reshape(x, [0, hidden, count - 2], "patches/flat")
    x = b.add("Transpose", (x,), "patches/rows", perm=[0, 2, 1])
    batch = b.add("Shape", ("input",), "batch", start=0, end=1)
    ones = b.ints([1, 1], "ones")
    size = b.add("Concat", (batch, ones), "tokens/size", axis=0)
    first = [b.add("Expand", (f"{name}_token", size), name) for name in ("class", "distillation")]
    x = b.add("Concat", (*first, x), "tokens/all", axis=1)
    return b.add("Add", (x, "positions"), "tokens")


def differences(b: Builder, x: str, count: int) -> str:
    """Add the mean levels and sizes of differences in each patch, normalised: (n, 768, count)."""
    kernels = b.reshape(b.floats(DIFFERENCES, "deltas/values"), [-1, 1, 3, 3], "deltas/kernels")
    around = b.ints([0, 0, 1, 1, 0, 0, 1, 1], "deltas/around")
    near = b.add("Pad", (x, around), "deltas/near", mode="edge")
    sizes = b.add("Conv", (near, kernels), "deltas/signed", kernel_shape=[3, 3])
    sizes = b.add("Abs", (sizes,), "deltas/sizes")
    x = b.add("Concat", (x, sizes), "deltas/maps", axis=1)
    x = b.add("AveragePool", (x,), "deltas/means", kernel_shape=[1, FRAMES], strides=[1, STEP])
    x = b.reshape(x, [0, (1 + len(DIFFERENCES) // 9) * BINS, count], "deltas/flat")
    return b.batch_norm(x, "patches.norm", "deltas")


def block(b: Builder, layer: str, x: str, count: int, hidden: int, first: int = 0) -> str:
    """Add one transformer layer, from (n x count, hidden) to as many rows.

    With `first`, only so many tokens of each item are computed: (n x first, hidden).
    """
    name = f"{layer}/first" if first else layer
    y = norm(b, x, f"{layer}.norm1", f"{name}/norm1")
    asked = y
    if first:
        x, asked = (leading(b, rows, count, hidden, first) for rows in (x, y))
    parts = []
    for part, rows, size in (
        ("query", asked, first or count),
        ("key", y, count),
        ("value", y, count),
    ):
        rows = b.dense(rows, f"{layer}.{part}", f"{name}/{part}/rows")
        parts.append(b.reshape(rows, [-1, size, hidden], f"{name}/{part}"))
    heads = hidden // HEAD_SIZE
    y = b.add("MultiHeadAttention", tuple(parts), f"{name}/mixed", domain=CONTRIB, num_heads=heads)
    y = b.dense(b.reshape(y, [-1, hidden], f"{name}/mixed/rows"), f"{layer}.output", f"{name}/out")
    x = b.add("Add", (x, y), f"{name}/attended")
    y = b.dense(norm(b, x, f"{layer}.norm2", f"{name}/norm2"), f"{layer}.fc1", f"{name}/fc1")
    y = b.dense(b.add("Gelu", (y,), f"{name}/gelu"), f"{layer}.fc2", f"{name}/fc2")
    return b.add("Add", (x, y), f"{name}/sum")


def leading(b: Builder, rows: str, count: int, hidden: int, first: int) -> str:
    """Add the choice of the first tokens of each item, from and to rows."""
    x = b.reshape(rows, [-1, count, hidden], f"{rows}/items")
    bounds = ([0], [first], [1])
    names = ("from", "to", "axis")
    inputs = [b.ints(v, f"{rows}/{n}") for v, n in zip(bounds, names, strict=True)]
    x = b.add("Slice", (x, *inputs), f"{rows}/leading")
    return b.reshape(x, [-1, hidden], f"{rows}/leading/rows")


def norm(b: Builder, x: str, name: str, output: str) -> str:
    """Add a layer normalisation of the last axis."""
    inputs = (x, f"{name}.weight", f"{name}.bias")
    return b.add("LayerNormalization", inputs, output, axis=-1, epsilon=EPSILON)
