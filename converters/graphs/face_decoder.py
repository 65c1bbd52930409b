"""The face decoder as an ONNX graph; see `vox2face.zoo.face_decoder`.

A transposed convolution of 5 x 5 and stride 2 is a plain one of 3 x 3 that computes the four pixels
of every output square as channels, which DepthToSpace then spreads: a quarter of the work. The last
1 x 1 convolution comes before its DepthToSpace, which then spreads 3 channels and not 32. Kernels
are rearranged by nodes that have constant inputs, so that ONNX Runtime does it once.
"""

from __future__ import annotations

from vox2face.converters.graphs.graph import Builder, Graph, Shapes

START = 14


def face_decoder(shapes: Shapes) -> Graph:
    """Describe the network, without its warp, from the shapes of its tensors."""
    b = Builder()
    taps: dict[str, str] = {}
    x = "input"
    for number in range(count(shapes, "pre_layers")):
        x = taps[f"trunk{number}"] = dense(b, f"pre_layers.{number}", x)
    marks, last = x, count(shapes, "landmark_layers") - 1
    for number in range(last):
        marks = dense(b, f"landmark_layers.{number}", marks)
    taps["landmarks"] = b.dense(marks, f"landmark_layers.{last}.0", "landmarks")
    x = b.relu(b.dense(x, "texture_layers.0.0", "texture_layers.0/sum"), "texture0")
    taps["texture0"] = x
    x = b.reshape(x, [0, -1, START, START], "map")
    last = count(shapes, "texture_layers") - 1
    for number in range(1, last):
        name = f"texture_layers.{number}.{int(number == 1)}"
        squares = doubled(b, name, x, shapes[f"{name}.weight"])
        x = taps[f"texture{number}"] = spread(b, squares, f"texture{number}")
    coloured(b, f"texture_layers.{last}.0", squares, shapes[f"texture_layers.{last}.0.weight"])
    taps["texture"] = "texture"
    used = {n: shape for n, shape in shapes.items() if n != "mean_landmarks"}
    return Graph(tuple(b.nodes), used, taps)


def count(shapes: Shapes, layers: str) -> int:
    """Return how many layers of a list have weights."""
    return len({name.split(".")[1] for name in shapes if name.startswith(f"{layers}.")})


def dense(b: Builder, name: str, x: str) -> str:
    """Add a dense layer, batch normalisation and ReLU."""
    x = b.batch_norm(b.dense(x, f"{name}.0", f"{name}/sum"), f"{name}.1", f"{name}/norm")
    return b.relu(x, name)


def doubled(b: Builder, name: str, x: str, shape: tuple[int, ...]) -> str:
    """Add a transposed convolution (in, out, 5, 5) of stride 2 and ReLU, not yet spread."""
    before, after = shape[:2]
    # A sixth row and column of zeros; index 2 a + r is the tap a of the output pixels of parity r
    pads = b.ints([0, 0, 0, 0, 0, 0, 1, 1], f"{name}/pads")
    kernel = b.add("Pad", (f"{name}.weight", pads), f"{name}/padded")
    kernel = b.reshape(kernel, [before, after, 3, 2, 3, 2], f"{name}/parities")
    kernel = b.add("Transpose", (kernel,), f"{name}/channels", perm=[1, 3, 5, 0, 2, 4])
    kernel = b.reshape(kernel, [4 * after, before, 3, 3], f"{name}/backward")
    for axis in (2, 3):  # a transposed convolution runs over its kernel backwards
        order = b.ints([2, 1, 0], f"{name}/order{axis}")
        kernel = b.add("Gather", (kernel, order), f"{name}/flipped{axis}", axis=axis)
    attributes = {"kernel_shape": [3, 3], "pads": [1, 1, 1, 1]}
    inputs = (x, kernel, four_times(b, name, after))
    return b.relu(b.add("Conv", inputs, f"{name}/sum", **attributes), f"{name}/squares")


def coloured(b: Builder, name: str, squares: str, shape: tuple[int, ...]) -> None:
    """Add the last convolution (3, in, 1, 1), each pixel of a square by itself, and spread it."""
    after, before = shape[:2]
    # One kernel for each pixel of the square, zero for the other three
    kernel = b.reshape(f"{name}.weight", [after, 1, before, 1], f"{name}/single")
    diagonal = [float(row == column) for row in range(4) for column in range(4)]
    same = b.add("Constant", (), f"{name}/diagonal", value_floats=diagonal)
    same = b.reshape(same, [1, 4, 1, 4], f"{name}/same")
    kernel = b.add("Mul", (kernel, same), f"{name}/pixels")
    kernel = b.reshape(kernel, [4 * after, 4 * before, 1, 1], f"{name}/kernel")
    inputs = (squares, kernel, four_times(b, name, after))
    spread(b, b.add("Conv", inputs, f"{name}/squares", kernel_shape=[1, 1]), "texture")


def spread(b: Builder, squares: str, output: str) -> str:
    """Add the step that spreads four channels over a square of pixels."""
    return b.add("DepthToSpace", (squares,), output, blocksize=2, mode="CRD")


def four_times(b: Builder, name: str, count: int) -> str:
    """Add a layer's bias, each value four times in a row."""
    column = b.ints([1], f"{name}/bias/axis")
    bias = b.add("Unsqueeze", (f"{name}.bias", column), f"{name}/bias/column")
    bias = b.add("Expand", (bias, b.ints([count, 4], f"{name}/bias/size")), f"{name}/bias/all")
    return b.reshape(bias, [-1], f"{name}/bias")
