"""Losses of voice encoders and face decoders: each a function of tensors with a stated reduction.

All take a batch first, (n, ...), and return a scalar. "Mean over the batch" never depends on the
batch's size; where a paper sums over features, so does the function.
"""

from __future__ import annotations

import math

import torch
from torch import Tensor, nn
from torch.nn import functional

from vox2face.errors import UsageError


def normalized_distance(a: Tensor, b: Tensor) -> Tensor:
    """Return the squared distance of unit vectors, ||a/|a| - b/|b|||^2, of rows (n, width).

    Summed over the width, mean over the batch; each row is normalised by its own length. It equals
    2 - 2 cos(a, b). Source: Speech2Face (Oh et al. 2019).
    """
    return (unit(a) - unit(b)).square().sum(1).mean()


def whole_batch_distance(a: Tensor, b: Tensor) -> Tensor:
    """Return `normalized_distance` as the Speech-to-face repo computes it, over the whole batch.

    Both (n, width) are divided by the norm of all their values together, so rows count by the
    square of their length. Summed over everything. Kept to repeat its training, not for new ones.
    """
    difference: Tensor = a / a.norm() - b / b.norm()
    return difference.square().sum()


def distillation(
    student: Tensor, teacher: Tensor, temperature: float = 2.0, reduction: str = "mean"
) -> Tensor:
    """Return the cross entropy -sum_i p_i(teacher) log p_i(student) of class scores (n, classes).

    p is the softmax of the scores over `temperature`. Summed over the classes; mean over the
    batch, or with `reduction` "sum" its sum, as the Speech-to-face repo has it. Gradients flow
    into the student only. Source: Speech2Face.
    """
    truth = functional.softmax(teacher.detach() / temperature, 1)
    each = -(truth * functional.log_softmax(student / temperature, 1)).sum(1)
    return reduced(each, reduction)


def decoder_layer_l1(a: Tensor, b: Tensor, reduction: str = "sum") -> Tensor:
    """Return the L1 distance of two outputs (n, features) of the face decoder's first layers.

    Summed over the features, mean over the batch; with `reduction` "mean" the mean over both, as
    the Speech-to-face repo has it. Source: Speech2Face.
    """
    return reduced((a - b).abs().T, reduction).mean()


def info_nce(
    a: Tensor,
    b: Tensor,
    temperature: float = 0.07,
    identity: Tensor | None = None,
    middle: Tensor | None = None,
) -> Tensor:
    """Return InfoNCE of matching rows (n, width): cross entropy of cosines over `temperature`.

    Row i of `a` shall be closer to row i of `b` than to the other rows, and the other way round:
    mean of both directions, mean over the batch. Rows of the same `identity` (n,) are no negatives
    of each other. `middle` (width,) is subtracted from all rows first: embeddings that point nearly
    the same way, as those of faces do, are told apart only around their mean. Source: van den Oord
    et al. 2018; both directions as in CLIP (Radford et al. 2021).
    """
    if middle is not None:
        a, b = a - middle, b - middle
    scores = unit(a) @ unit(b).T / temperature
    if identity is not None:
        others = ~torch.eye(len(a), dtype=torch.bool, device=a.device)
        same = (identity[:, None] == identity[None, :]) & others
        scores = scores.masked_fill(same, -math.inf)
    truth = torch.arange(len(a), device=a.device)
    there, back = (functional.cross_entropy(s, truth) for s in (scores, scores.T))
    return (there + back) / 2


class AMSoftmax(nn.Module):
    """Additive-margin softmax: tells identities apart by the angle to one vector for each.

    Takes embeddings (n, width) and identities (n,) from 0 to `classes` - 1. The score of a class
    is scale * cos(x, w), of the true one scale * (cos(x, w) - margin); cross entropy, mean over
    the batch. `weight` (classes, width) is trained along. Source: Wang et al. 2018.
    """

    def __init__(self, width: int, classes: int, margin: float = 0.2, scale: float = 30.0) -> None:
        super().__init__()
        if classes < 1 or width < 1:
            raise UsageError(f"AM-softmax needs identities and a width, not {classes} and {width}.")
        self.margin, self.scale = margin, scale
        self.weight = nn.Parameter(torch.empty(classes, width))
        nn.init.xavier_normal_(self.weight)

    def forward(self, x: Tensor, identity: Tensor) -> Tensor:
        """Return the loss."""
        cosine = unit(x) @ unit(self.weight).T
        margins = self.margin * functional.one_hot(identity, cosine.shape[1]).to(x.dtype)
        return functional.cross_entropy(self.scale * (cosine - margins), identity)


def landmarks_mse(predicted: Tensor, true: Tensor) -> Tensor:
    """Return the mean square error of landmarks (n, 68, 2), over all coordinates and the batch.

    In the square of the unit the landmarks are in. Source: Cole et al. 2017.
    """
    return (predicted - true).square().mean()


def texture_mae(predicted: Tensor, true: Tensor) -> Tensor:
    """Return the mean absolute error of pictures (n, 3, height, width), over everything.

    Source: Cole et al. 2017.
    """
    return (predicted - true).abs().mean()


def negative_cosine(predicted: Tensor, true: Tensor) -> Tensor:
    """Return 1 - cos of embeddings (n, width), mean over the batch: 0 is perfect, 2 the worst.

    The gradient is that of Cole et al.'s negative cosine. Source: Cole et al. 2017.
    """
    return 1 - (unit(predicted) * unit(true)).sum(1).mean()


def unit(x: Tensor) -> Tensor:
    """Return rows (n, width) of length 1; a row of zeros stays."""
    return functional.normalize(x, dim=1)


def reduced(each: Tensor, reduction: str) -> Tensor:
    """Return the mean or the sum over the first axis."""
    if reduction not in ("mean", "sum"):
        raise UsageError(f"A reduction is mean or sum, not {reduction!r}.")
    return each.mean(0) if reduction == "mean" else each.sum(0)
