"""Convolutions of 4 x 4 with 7 products where there are 16, for training and inference on CPUs.

Winograd's minimal filtering along the rows (S. Winograd, Arithmetic Complexity of Computations,
SIAM 1980; A. Lavin, S. Gray, Fast Algorithms for Convolutional Neural Networks, CVPR 2016): four
rows of the output take 7 products a column of the kernel, not 16; with a stride of 2, even and odd
rows take 5 each. No value is noticeably further off than float32 rounds. Along the columns the
four of a kernel and all channels lie side by side in memory, so that what is left are large matrix
products. `benchmarks/winograd.py` compares them with PyTorch's own convolutions.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor, nn
from torch.autograd.function import once_differentiable

SIZE = 4  # of the kernel, and rows of the output that are computed together


@dataclass(frozen=True, eq=False)
class Filter:
    """y = output @ ((kernel @ w) * (given @ x)): 4 values y of some w, a kernel's, and x.

    `output` is (4, products), `kernel` (products, taps) and `given` (products, taps + 3). The
    products belong to points: the second to 1, and goes into all values alike.
    """

    output: Tensor
    kernel: Tensor
    given: Tensor


def filter_of(output: list[list[float]], scale: list[float], given: list[list[float]]) -> Filter:
    """Return a filter; its kernel has the first powers of the points too, divided by a scale."""
    taps = len(given) - SIZE + 1
    powers, last = torch.tensor(output), torch.zeros(len(given), taps)
    last[:-1], last[-1, -1] = powers.T[:-1, :taps], 1
    return Filter(powers, last / torch.tensor(scale)[:, None], torch.tensor(given))


FILTERS = {  # by the stride
    1: filter_of(  # points 0, 1, -1, 1/2, -1/2, 2 and infinity
        [
            [1.0, 1, 1, 1, 1, 1, 0],
            [0.0, 1, -1, 1 / 2, -1 / 2, 2, 0],
            [0.0, 1, 1, 1 / 4, 1 / 4, 4, 0],
            [0.0, 1, -1, 1 / 8, -1 / 8, 8, 1],
        ],
        [2.0, 6, 18, 9 / 8, 15 / 8, 90, 4],
        [
            [2.0, -1, -10, 5, 8, -4, 0],
            [0.0, -2, -1, 9, 4, -4, 0],
            [0.0, 2, -3, -7, 12, -4, 0],
            [0.0, 2, 3, -4, -3, 2, 0],
            [0.0, -2, 5, 0, -5, 2, 0],
            [0.0, 1, 0, -5, 0, 4, 0],
            [0.0, -2, 1, 10, -5, -8, 4],
        ],
    ),
    2: filter_of(  # points 0, 1, -1, 2 and infinity
        [
            [1.0, 1, 1, 1, 0],
            [0.0, 1, -1, 2, 0],
            [0.0, 1, 1, 4, 0],
            [0.0, 1, -1, 8, 1],
        ],
        [2.0, 2, 6, 6, 1],
        [
            [2.0, -1, -2, 1, 0],
            [0.0, 2, 1, -1, 0],
            [0.0, -2, 3, -1, 0],
            [0.0, -1, 0, 1, 0],
            [0.0, 2, -1, -2, 1],
        ],
    ),
}
ALIKE = 1  # the product that goes into all rows of the output as it is
AT_ONCE = 8 << 20  # values in work, so that they stay in the processor's cache
NARROWEST = 32  # channels, below which PyTorch's own convolution is faster


class Conv2d(nn.Conv2d):
    """A convolution of 4 x 4, stride 1 or 2 and no padding, on CPUs by Winograd's method."""

    def __init__(self, inputs: int, outputs: int, stride: int = 1) -> None:
        super().__init__(inputs, outputs, SIZE, stride)

    def forward(self, x: Tensor) -> Tensor:
        """Return (n, outputs, rows, columns) of (n, inputs, height, width)."""
        assert self.bias is not None
        if not usable(x, self.weight):
            return super().forward(x)
        y: Tensor = Convolution.apply(x, self.weight, self.bias, self.stride[0])  # type: ignore[no-untyped-call]
        return y


def usable(x: Tensor, weight: Tensor) -> bool:
    """Whether the method can be used here, and pays: in float32, and not while a graph is made."""
    return (
        x.device.type == weight.device.type == "cpu"
        and x.dtype == weight.dtype == torch.float32
        and min(weight.shape[:2]) >= NARROWEST
        and x.dim() == 4
        and min(x.shape[2:]) >= SIZE
        and not torch.is_autocast_enabled("cpu")
        and not torch.compiler.is_compiling()
        and not torch.jit.is_tracing()  # type: ignore[attr-defined, no-untyped-call]
    )


class Convolution(torch.autograd.Function):
    """Pictures (n, inputs, height, width) to pictures (n, outputs, rows, columns)."""

    @staticmethod
    def forward(ctx: Any, x: Tensor, weight: Tensor, bias: Tensor, stride: int) -> Tensor:
        """Return the pictures, of weights (outputs, inputs, 4, 4) and a bias (outputs,)."""
        x = x.permute(0, 2, 3, 1).contiguous()
        ctx.save_for_backward(x, weight)
        ctx.stride = stride
        work = Work(x, weight, stride)
        kernels, (y, rows) = work.kernels(weight), pictures(*work.shape)
        for clip, first, count in work.parts():
            work.take(x[clip], first, count)
            for layer, parity, _, a, b in work.pairs(count):
                if parity:
                    b.addmm_(a, kernels[layer, parity])
                elif layer == ALIKE:  # goes into all rows of the output, and so does the bias
                    torch.addmm(bias, a, kernels[layer, parity], out=b)
                else:
                    torch.mm(a, kernels[layer, parity], out=b)
            work.give(rows[clip], first, count)
        return y

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, *gradients: Tensor) -> tuple[Tensor | None, ...]:
        """Return the gradients of pictures, weights and bias; None where one is not needed."""
        (x, weight), gradient = ctx.saved_tensors, gradients[0].permute(0, 2, 3, 1).contiguous()
        for_x, *for_weights = ctx.needs_input_grad[:3]
        work = Work(x, weight, ctx.stride)
        kernels = work.kernels(weight)
        dx, rows = pictures(*x.shape) if for_x else (None, x)
        dkernels, dbias = torch.zeros_like(kernels), weight.new_zeros(len(weight))
        for clip, first, count in work.parts():
            work.take_back(gradient[clip], first, count)
            if any(for_weights):
                work.take(x[clip], first, count)
                for layer, parity, _, a, b in work.pairs(count):
                    dkernels[layer, parity].addmm_(a.T, b)
                dbias += work.products[ALIKE, :count].sum((0, 1))
            if dx is not None:
                for layer, parity, shift, a, b in work.pairs(count):
                    a.addmm_(b, kernels[layer, parity].T, beta=int(shift > 0))
                work.give_back(rows[clip], first, count)
        if dx is not None:
            rows[:, work.reach :] = 0
        dweight = work.weights(dkernels)
        wanted = (
            d if needed else None for d, needed in zip((dweight, dbias), for_weights, strict=True)
        )
        return dx, *wanted, None


def pictures(n: int, height: int, width: int, channels: int) -> tuple[Tensor, Tensor]:
    """Return new pictures (n, channels, height, width), and the same memory, channels last."""
    x = torch.empty(n, channels, height, width, memory_format=torch.channels_last)
    return x, x.permute(0, 2, 3, 1)


class Work:
    """Some rows of tiles at a time.

    `given` is (products, parities, rows of tiles, columns, inputs), a parity for each of the
    stride's; `products` is (products, rows of tiles, columns, outputs). Columns are padded: a
    matrix of the columns s, s + 4, s + 8 ... with the three behind each of them beside it is then
    the buffer itself, from its column s on. The padding of `given` stays finite, and that of
    `products` 0 for gradients.
    """

    def __init__(self, x: Tensor, weight: Tensor, stride: int) -> None:
        n, height, self.width, self.inputs = x.shape
        rows, columns = ((side - SIZE) // stride + 1 for side in (height, self.width))
        self.shape = n, rows, columns, len(weight)
        self.stride, self.filter = stride, FILTERS[stride]
        self.tiles, padded = -(-rows // SIZE), -(-self.width // SIZE) * SIZE
        layers, self.reach = len(self.filter.given), stride * (SIZE * self.tiles - 1) + SIZE
        values = layers * padded * (stride * self.inputs + len(weight) // stride)
        self.together = max(1, min(self.tiles, AT_ONCE // values))
        self.given = torch.zeros(layers, stride, self.together, padded, self.inputs)
        self.products = torch.zeros(layers, self.together, padded // stride, len(weight))
        self.known: dict[int, list[tuple[int, int, int, Tensor, Tensor]]] = {}

    def kernels(self, weight: Tensor) -> Tensor:
        """Return the factors of the products, (products, parities, 4 * inputs, outputs)."""
        parts = weight.reshape(*weight.shape[:2], -1, self.stride, SIZE)
        found = torch.einsum("ft,oitpc->fpcio", self.filter.kernel, parts)
        return found.flatten(2, 3).contiguous()

    def weights(self, factors: Tensor) -> Tensor:
        """Return the gradient of the weights from that of the factors; see `kernels`."""
        columns = factors.view(*factors.shape[:2], SIZE, self.inputs, -1)
        found = torch.einsum("ft,fpcio->oitpc", self.filter.kernel, columns)
        return found.flatten(2, 3)

    def parts(self) -> Iterator[tuple[int, int, int]]:
        """Yield (clip, first row of tiles, how many), until all were there."""
        for clip in range(self.shape[0]):
            for first in range(0, self.tiles, self.together):
                yield clip, first, min(self.together, self.tiles - first)

    def take(self, rows: Tensor, first: int, count: int) -> None:
        """Fill `given` from a clip (height, width, inputs)."""
        for parity in range(self.stride):
            spread(
                self.filter.given, rows[parity :: self.stride], self.given[:, parity, :count], first
            )

    def give(self, rows: Tensor, first: int, count: int) -> None:
        """Write rows of the output (rows, columns, outputs) from `products`."""
        gather(self.filter.output, self.products[:, :count], rows, first)

    def take_back(self, rows: Tensor, first: int, count: int) -> None:
        """Fill `products` from the gradient of the output."""
        spread(self.filter.output.T, rows, self.products[:, :count], first)

    def give_back(self, rows: Tensor, first: int, count: int) -> None:
        """Write the gradient of a clip from `given`."""
        for parity in range(self.stride):
            into, given = rows[parity :: self.stride], self.given[:, parity, :count]
            gather(self.filter.given.T, given, into, first)
        self.given[..., self.width :, :] = 0

    def pairs(self, count: int) -> list[tuple[int, int, int, Tensor, Tensor]]:
        """Return (layer, parity, shift, columns of the input, columns of the products)."""
        if count not in self.known:
            self.known[count] = [
                (layer, parity, shift, *self.pair(layer, parity, shift, count))
                for layer in range(len(self.filter.given))
                for parity in range(self.stride)
                for shift in range(0, SIZE, self.stride)
            ]
        return self.known[count]

    def pair(self, layer: int, parity: int, shift: int, count: int) -> tuple[Tensor, Tensor]:
        """Return the columns of input and products that belong together, from a shift on."""
        given, products = self.given[layer, parity, :count], self.products[layer, :count]
        step = SIZE // self.stride
        return beside(given, shift, SIZE, SIZE), beside(products, shift // self.stride, step, 1)


def spread(matrix: Tensor, rows: Tensor, buffer: Tensor, first: int) -> None:
    """Set rows of tiles (products, tiles, columns, channels) to a matrix times some rows each."""
    for tile, into in enumerate(buffer.flatten(2).unbind(1), first):
        taken = rows[SIZE * tile : SIZE * tile + matrix.shape[1]].flatten(1)
        torch.mm(matrix[:, : len(taken)], taken, out=into[:, : taken.shape[1]])


def gather(matrix: Tensor, buffer: Tensor, rows: Tensor, first: int) -> None:
    """Set rows to the sums of a matrix times each row of tiles, of which neighbours overlap."""
    shared = len(matrix) - SIZE  # rows that the tiles before have written to
    for tile, row in enumerate(buffer.flatten(2).unbind(1), first):
        into = rows[SIZE * tile : SIZE * tile + len(matrix)].flatten(1)
        row = row[:, : into.shape[1]]
        old = shared if tile else 0
        into[:old].addmm_(matrix[:old], row)
        torch.mm(matrix[old : len(into)], row, out=into[old:])


def beside(layer: Tensor, shift: int, step: int, columns: int) -> Tensor:
    """Return the columns shift, shift + step ... of a layer, with those behind them beside each.

    From another shift than 0 the last ones would reach beyond the layer, and are left out.
    """
    channels = layer.shape[2]
    number = layer[..., 0].numel() // step - (shift > 0)
    start = layer.storage_offset() + shift * channels
    return layer.as_strided((number, columns * channels), (step * channels, 1), start)
