"""What an Audio Spectrogram Transformer makes its tokens of: patches of the filter bank.

"squares" are the published ones: 16 bins by 16 frames, from one to the next 10. "deltas" are for
small networks and corpora: a token holds all that sounds in 16 frames, as the mean levels of the
128 bins and the mean sizes of their differences to neighbours in time and in pitch, first and
second. How noisy and unsteady a voice is lies in these differences, and a small network that gets
the levels alone does not find them. Differences over time are the deltas of speech recognition
(Furui, IEEE Transactions on Acoustics, Speech, and Signal Processing 34, 1986), here without sign.
"""

from __future__ import annotations

import torch
from torch import Tensor, nn
from torch.nn import functional

BINS = 128
SIZE = 16  # frames of a patch, and bins of a square
STRIDES = {"squares": 10, "deltas": 8}  # frames from one patch to the next
ROWS = {"squares": 12, "deltas": 1}  # patches above each other
UNUSED = {"squares": 8, "deltas": 0}  # frames at the end: 8 of the 1024 of the published network

# What is compared with its neighbours, as kernels over (bins, frames): first and second difference
# over time, then over bins, and the first over both.
DIFFERENCES = (
    ((0, 0, 0), (0, -1, 1), (0, 0, 0)),
    ((0, 0, 0), (1, -2, 1), (0, 0, 0)),
    ((0, 0, 0), (0, -1, 0), (0, 1, 0)),
    ((0, 1, 0), (0, -2, 0), (0, 1, 0)),
    ((0, 0, 0), (0, 1, -1), (0, -1, 1)),
)
MAPS = 1 + len(DIFFERENCES)  # the levels and their differences


class Squares(nn.Conv2d):
    """Filter banks (n, frames, bins) to tokens (n, tokens, hidden), 12 for every ten frames."""

    def __init__(self, hidden: int) -> None:
        super().__init__(1, hidden, SIZE, STRIDES["squares"])

    def forward(self, x: Tensor) -> Tensor:
        """Return the tokens, those of the lowest bins first."""
        return super().forward(x.transpose(1, 2).unsqueeze(1)).flatten(2).transpose(1, 2)


class Deltas(nn.Conv1d):
    """Filter banks (n, frames, bins) to tokens (n, tokens, hidden), one for every eight frames."""

    def __init__(self, hidden: int) -> None:
        super().__init__(MAPS * BINS, hidden, 1)
        self.norm = nn.BatchNorm1d(MAPS * BINS)

    def forward(self, x: Tensor) -> Tensor:
        """Return the tokens in the order of time."""
        x = x.transpose(1, 2).unsqueeze(1)
        near = functional.pad(x, (1, 1, 1, 1), mode="replicate")
        sizes = functional.conv2d(near, x.new_tensor(DIFFERENCES).unsqueeze(1)).abs()
        means = functional.avg_pool2d(torch.cat((x, sizes), 1), (1, SIZE), (1, STRIDES["deltas"]))
        return super().forward(self.norm(means.flatten(1, 2))).transpose(1, 2)


def made(kind: str, hidden: int) -> nn.Module:
    """Return the layer that makes tokens. Raises `ValueError` for an unknown kind."""
    if kind not in STRIDES:
        raise ValueError(f"patches are {' or '.join(STRIDES)}")
    return Squares(hidden) if kind == "squares" else Deltas(hidden)


def tokens(kind: str, frames: int) -> int:
    """Return how many tokens a filter bank of so many frames becomes.

    Raises `ValueError` for numbers of frames that could not be told from the tokens.
    """
    least, stride = SIZE + UNUSED[kind], STRIDES[kind]
    if frames < least or (frames - least) % stride:
        raise ValueError(
            f"with patches {kind}, frames are {least}, {least + stride}, {least + 2 * stride} and "
            f"so on, and not {frames}"
        )
    return ROWS[kind] * ((frames - least) // stride + 1)


def frames(kind: str, tokens: int) -> int:
    """Return of how many frames so many tokens are made."""
    return (tokens // ROWS[kind] - 1) * STRIDES[kind] + SIZE + UNUSED[kind]
