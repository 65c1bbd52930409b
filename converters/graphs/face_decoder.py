"""The face decoder as an ONNX graph; see `vox2face.zoo.face_decoder`.

A transposed convolution of 5 x 5 and stride 2 is four plain ones, of 3 x 3, 3 x 2, 2 x 3 and 2 x 2,
one for each pixel of every output square, which DepthToSpace then spreads: a quarter of the work.
The last 1 x 1 convolution comes before its DepthToSpace, which then spreads 3 channels and not 32.
Kernels are rearranged by nodes that have constant inputs, so that ONNX Runtime does it once.
"""

from __future__ import annotations

from itertools import product

from vox2face.converters.graphs.graph import Builder, Graph, Shapes

START = 14

# Parity of an output row or column -> the taps that reach it, from the pixel before (only for even
# ones) to the pixel behind: a transposed convolution runs over its kernel backwards
TAPS = {0: (4, 2, 0), 1: (3, 1)}


def face_decoder(shapes: Shapes, output_activation: str) -> Graph:
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
        squares = doubled(b, name, x)
        x = taps[f"texture{number}"] = spread(b, squares, f"texture{number}")
    name = f"texture_layers.{last}.0"
    x = coloured(b, name, squares, shapes[f"{name}.weight"])
    taps["texture"] = b.activated(x, output_activation, "texture")
    used = {n: shape for n, shape in shapes.items() if n != "mean_landmarks"}
    return Graph(tuple(b.nodes), used, taps)


def count(shapes: Shapes, layers: str) -> int:
    """Return how many layers of a list have weights."""
    return len({name.split(".")[1] for name in shapes if name.startswith(f"{layers}.")})


def dense(b: Builder, name: str, x: str) -> str:
    """Add a dense layer, batch normalisation and ReLU."""
    x = b.batch_norm(b.dense(x, f"{name}.0", f"{name}/sum"), f"{name}.1", f"{name}/norm")
    return b.relu(x, name)


def doubled(b: Builder, name: str, x: str) -> str:
    """Add a transposed convolution (in, out, 5, 5) of stride 2 and ReLU, not yet spread.

    The channels are those of the first pixel of every square, then those of the second, and so on.
    """
    pixels = []
    for row, column in product(TAPS, TAPS):
        place = f"{name}/pixel{row}{column}"
        kernel = f"{name}.weight"
        for axis, parity in ((2, row), (3, column)):
            taps = b.ints(TAPS[parity], f"{place}/taps{axis}")
            kernel = b.add("Gather", (kernel, taps), f"{place}/kernel{axis}", axis=axis)
        kernel = b.add("Transpose", (kernel,), f"{place}/kernel", perm=[1, 0, 2, 3])
        attributes = {
            "kernel_shape": [len(TAPS[row]), len(TAPS[column])],
            "pads": [1 - row, 1 - column, 1, 1],
        }
        y = b.add("Conv", (x, kernel, f"{name}.bias"), f"{place}/sum", **attributes)
        pixels.append(b.relu(y, place))
    return b.add("Concat", tuple(pixels), f"{name}/squares", axis=1)


def coloured(b: Builder, name: str, squares: str, shape: tuple[int, ...]) -> str:
    """Add the last convolution (3, in, 1, 1), each pixel of a square by itself, and spread it."""
    after, before = shape[:2]
    # One kernel for each pixel of the square, zero for the other three
    kernel = b.reshape(f"{name}.weight", [1, after, 1, before], f"{name}/single")
    diagonal = [float(row == column) for row in range(4) for column in range(4)]
    same = b.add("Constant", (), f"{name}/diagonal", value_floats=diagonal)
    same = b.reshape(same, [4, 1, 4, 1], f"{name}/same")
    kernel = b.add("Mul", (kernel, same), f"{name}/pixels")
    kernel = b.reshape(kernel, [4 * after, 4 * before, 1, 1], f"{name}/kernel")
    bias = b.add("Concat", (f"{name}.bias",) * 4, f"{name}/bias", axis=0)
    inputs = (squares, kernel, bias)
    colours = b.add("Conv", inputs, f"{name}/squares", kernel_shape=[1, 1])
    return spread(b, colours, "texture/colours")


def spread(b: Builder, squares: str, output: str) -> str:
    """Add the step that spreads the pixels of every square."""
    return b.add("DepthToSpace", (squares,), output, blocksize=2, mode="DCR")
