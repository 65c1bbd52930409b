"""The loss of a voice encoder: the parts that a recipe asks for, weighted."""

from __future__ import annotations

from typing import TYPE_CHECKING

from torch import Tensor, nn

from vox2face.train.losses import (
    AMSoftmax,
    decoder_layer_l1,
    distillation,
    info_nce,
    normalized_distance,
    whole_batch_distance,
)

if TYPE_CHECKING:
    from vox2face.train.voice_recipe import Loss
    from vox2face.zoo.face_decoder import FaceDecoder


DISTANCES = {"per-sample": normalized_distance, "whole-batch": whole_batch_distance}


class VoiceLosses(nn.Module):
    """The weighted loss parts of predicted embeddings, of the whole batch.

    `classifier` (embedding to class scores) and `decoder` are frozen; without them their parts are
    off. `middle` (width,) is the mean of the embeddings, for a ranking around it. The weights of
    AM-softmax, one row for each of `identities`, are trained along.
    """

    middle: Tensor | None

    def __init__(
        self,
        settings: Loss,
        width: int,
        identities: int,
        classifier: nn.Module | None = None,
        decoder: FaceDecoder | None = None,
        middle: Tensor | None = None,
    ) -> None:
        super().__init__()
        self.register_buffer("middle", middle if settings.ranking_centred else None, False)
        self.settings = settings
        self.classifier = classifier if settings.distill_weight else None
        self.first = None
        if decoder is not None and settings.decoder_weight:
            self.first = nn.Sequential(*decoder.pre_layers[: settings.decoder_layers])
        self.classes = None
        if settings.ranking == "am-softmax":
            self.classes = AMSoftmax(width, identities, settings.margin, settings.scale)

    def frozen(self) -> list[nn.Module]:
        """Return the networks that only judge."""
        return [module for module in (self.classifier, self.first) if module is not None]

    def forward(self, predicted: Tensor, target: Tensor, identity: Tensor) -> dict[str, Tensor]:
        """Return the parts for embeddings (n, width) and their identities (n,)."""
        return self.regression(predicted, target) | self.ranking(predicted, target, identity)

    def regression(self, predicted: Tensor, target: Tensor) -> dict[str, Tensor]:
        """Return the parts that compare each embedding with its own target."""
        s, parts = self.settings, {}
        if s.value_weight:
            value = (predicted - target).square().sum(1).mean()
            parts["value"] = s.value_weight * value
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

    def ranking(self, predicted: Tensor, target: Tensor, identity: Tensor) -> dict[str, Tensor]:
        """Return the part that tells people apart, if there is one."""
        s = self.settings
        if not s.ranking_weight or s.ranking == "none":
            return {}
        if self.classes is not None:
            return {"am_softmax": s.ranking_weight * self.classes(predicted, identity)}
        loss = info_nce(predicted, target, s.ranking_temperature, identity, self.middle)
        return {"infonce": s.ranking_weight * loss}
