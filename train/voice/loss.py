"""Losses of voice encoders and face decoders: each a function of tensors with a stated reduction.

All take a batch first, (n, ...), and return a scalar. "Mean over the batch" never depends on the
batch's size; where a paper sums over features, so does the function.
"""

from __future__ import annotations

import math
from typing import TYPE_CHECKING

import torch
from torch import Tensor, nn
from torch.nn import functional

from vox2face.core.errors import UsageError
from vox2face.train.trainer.task import unit

if TYPE_CHECKING:
    from vox2face.train.voice.recipe import Loss
    from vox2face.zoo.networks.face_decoder import FaceDecoder


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
    center: Tensor | None = None,
) -> Tensor:
    """Return InfoNCE of matching rows (n, width): cross entropy of cosines over `temperature`.

    Row i of `a` shall be closer to row i of `b` than to the other rows, and the other way round:
    mean of both directions, mean over the batch. Rows of the same `identity` (n,) are no negatives
    of each other. `center` (width,) is subtracted from all rows first: embeddings that point nearly
    the same way, as those of faces do, are told apart only around their mean. Source: van den Oord
    et al. 2018; both directions as in CLIP (Radford et al. 2021).
    """
    if center is not None:
        a, b = a - center, b - center
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


def reduced(each: Tensor, reduction: str) -> Tensor:
    """Return the mean or the sum over the first axis."""
    if reduction not in ("mean", "sum"):
        raise UsageError(f"A reduction is mean or sum, not {reduction!r}.")
    return each.mean(0) if reduction == "mean" else each.sum(0)


DISTANCES = {"per-sample": normalized_distance, "whole-batch": whole_batch_distance}


class VoiceLosses(nn.Module):
    """The weighted loss parts of predicted embeddings, of the whole batch.

    `classifier` (embedding to class scores) and `decoder` are frozen; without them their parts are
    off. `center` (width,) is the mean of the embeddings, for a ranking around it. The weights of
    AM-softmax, one row for each of `identities`, are trained along.
    """

    center: Tensor | None

    def __init__(
        self,
        settings: Loss,
        width: int,
        identities: int,
        classifier: nn.Module | None = None,
        decoder: FaceDecoder | None = None,
        center: Tensor | None = None,
    ) -> None:
        super().__init__()
        self.register_buffer("center", center if settings.contrastive_centered else None, False)
        self.settings = settings
        self.classifier = classifier if settings.distill_weight else None
        self.first = None
        if decoder is not None and settings.decoder_weight:
            self.first = nn.Sequential(*decoder.pre_layers[: settings.decoder_layers])
        self.classes = None
        if settings.contrastive == "am-softmax":
            self.classes = AMSoftmax(width, identities, settings.margin, settings.scale)

    def frozen(self) -> list[nn.Module]:
        """Return the networks that only judge."""
        return [module for module in (self.classifier, self.first) if module is not None]

    def forward(self, predicted: Tensor, target: Tensor, identity: Tensor) -> dict[str, Tensor]:
        """Return the parts for embeddings (n, width) and their identities (n,)."""
        return self.regression(predicted, target) | self.contrastive(predicted, target, identity)

    def regression(self, predicted: Tensor, target: Tensor) -> dict[str, Tensor]:
        """Return the parts that compare each embedding with its own target."""
        s, parts = self.settings, {}
        if s.mse_weight:
            value = (predicted - target).square().sum(1).mean()
            parts["value"] = s.mse_weight * value
        if s.distance_weight:
            measure = DISTANCES[s.distance]
            parts["distance"] = s.distance_weight * measure(predicted, target)
        if self.classifier is not None:
            student, teacher = self.classifier(predicted), self.classifier(target)
            loss = distillation(student, teacher, s.temperature, s.distill_reduction)
            parts["distill"] = s.distill_weight * loss
        if self.first is not None:
            a, b = self.first(predicted), self.first(target)
            parts["decoder"] = s.decoder_weight * decoder_layer_l1(a, b, s.decoder_reduction)
        return parts

    def contrastive(self, predicted: Tensor, target: Tensor, identity: Tensor) -> dict[str, Tensor]:
        """Return the part that tells people apart, if there is one."""
        s = self.settings
        if not s.contrastive_weight or s.contrastive == "none":
            return {}
        if self.classes is not None:
            return {"am_softmax": s.contrastive_weight * self.classes(predicted, identity)}
        loss = info_nce(predicted, target, s.contrastive_temperature, identity, self.center)
        return {"infonce": s.contrastive_weight * loss}
