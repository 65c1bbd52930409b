"""Seconds of VE_conv's convolutions, forward and backward: Winograd's method against PyTorch's.

Both sides in turn in one process, on the CPU; the best of some rounds.
`python benchmarks/winograd.py [--batch N] [--rounds N] [--narrow]`
"""

from __future__ import annotations

import argparse
import time

import torch
from torch import Tensor, nn

from vox2face.zoo import ve_conv, winograd

BINS, FRAMES = 257, 601  # of six seconds


def layers(channels: tuple[int, ...]) -> list[tuple[int, int, int, int, int]]:
    """Return (inputs, outputs, stride, height, width) of every convolution but the first."""
    found, before, height, width = [], 2, BINS, FRAMES
    for number, after in enumerate(channels, start=1):
        stride = 2 if number in ve_conv.STRIDED else 1
        found.append((before, after, stride, height, width))
        height, width = ((side - winograd.SIZE) // stride + 1 for side in (height, width))
        if number in ve_conv.POOLED:
            width //= 2
        before = after
    return found[1:]


def seconds(conv: nn.Conv2d, x: Tensor, gradient: Tensor) -> tuple[float, float]:
    """Return how long forward and backward take."""
    start = time.perf_counter()
    y = conv(x)
    middle = time.perf_counter()
    y.backward(gradient)
    return middle - start, time.perf_counter() - middle


def main() -> None:
    """Print a line for each layer, and one for all."""
    parser = argparse.ArgumentParser()
    parser.add_argument("--batch", type=int, default=2)
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--narrow", action="store_true")
    given = parser.parse_args()
    channels = ve_conv.TINY if given.narrow else ve_conv.CHANNELS
    print(f"torch {torch.__version__}, {torch.get_num_threads()} threads, batch {given.batch}")
    whole = [0.0, 0.0]
    for inputs, outputs, stride, height, width in layers(channels):
        ours = winograd.Conv2d(inputs, outputs, stride)
        theirs = nn.Conv2d(inputs, outputs, winograd.SIZE, stride)
        theirs.load_state_dict(ours.state_dict())
        x = torch.randn(given.batch, inputs, height, width)
        last = x.to(memory_format=torch.channels_last).requires_grad_()
        first = x.clone().requires_grad_()
        gradient = torch.randn_like(theirs(x))
        behind = gradient.to(memory_format=torch.channels_last)
        found: tuple[list[tuple[float, float]], list[tuple[float, float]]] = ([], [])
        for _ in range(given.rounds):
            found[0].append(seconds(ours, last, behind))
            found[1].append(seconds(theirs, first, gradient))
        mine, other = ([min(parts) for parts in zip(*each, strict=True)] for each in found)
        whole = [whole[0] + sum(mine), whole[1] + sum(other)]
        print(
            f"{inputs:>3} to {outputs:>3}, stride {stride}, {height} x {width}: "
            f"ours {mine[0]:.2f} + {mine[1]:.2f} s, PyTorch {other[0]:.2f} + {other[1]:.2f} s, "
            f"{sum(other) / sum(mine):.2f} times as fast"
        )
    print(f"all: {whole[1] / whole[0]:.2f} times as fast")


if __name__ == "__main__":
    main()
