"""What a recipe for a face decoder has beside the tables of all recipes."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import ClassVar, Literal

from pydantic import Field, model_validator

from vox2face.train.trainer import settings
from vox2face.train.trainer.settings import Count, Fraction, Phase, Rate, Recipe, Table, Weight

DEFAULT = "decoder-cole"


class Network(settings.Network):
    """Which network is trained, and how it begins."""

    init_to_mean: bool = False
    """Whether the last layers start at the mean landmarks and colours of the corpus."""


class Data(Table):
    """What is learnt from: the pictures of the corpus, and faces between two of them."""

    morph: Fraction = 0.0
    """The part of the items that are morphs of two neighbours (Cole et al. 2017)."""
    neighbours: int = Field(default=200, ge=1, le=10**6)
    """How many nearest pictures, in landmarks and texture, one is morphed with."""
    val_pictures: Count = 2000
    """The most pictures of an evaluation; 0 for all."""
    blend: bool = False
    """Whether embeddings are blended from those of two photographs of a person."""
    noise: float = Field(default=0.0, ge=0, le=10)
    """Normal noise on embeddings, in standard deviations within a person."""

    @model_validator(mode="after")
    def _check(self) -> Data:
        if self.morph and (self.blend or self.noise):
            raise ValueError("data.morph and data.blend exclude each other: set one of them to 0.")
        return self


class Loss(Table):
    """The weights of the loss parts, 0 for none; each is a mean over the batch."""

    landmarks_weight: Weight = 0.0
    """Mean square error of the landmarks, in pixels."""
    texture_weight: Weight = 0.0
    """Mean absolute error of colours of 0 to 1, in the mean shape."""
    face_weight: Weight = 0.0
    """How much more of it places near eyes, nose and mouth count: up to 1 + this."""
    laplacian_weight: Weight = 0.0
    """Mean absolute error of the Laplacian pyramids."""
    ssim_weight: Weight = 0.0
    """1 - SSIM."""
    embedding_weight: Weight = 0.0
    """1 - cosine of the embeddings, through the warp and the frozen face encoder."""
    features_weight: Weight = 0.0
    """Relative difference of activations of the face encoder."""
    features: tuple[str, ...] = ()
    """The names of these activations."""
    judged: Count = 0
    """How many pictures of a batch the face encoder sees; 0 for all."""
    adversarial_weight: Weight = 0.0
    """A discriminator of patches."""


class DecoderPhase(Phase):
    """One run of the loop: with which losses, how long and how fast."""

    embedding: bool = False
    """Whether the losses through the face encoder count; without, it is several times faster."""
    critic_lr: Rate = 0.0
    """The learning rate of the discriminator; 0 for none."""


class DecoderRecipe(Recipe[DecoderPhase]):
    """A recipe for a face decoder."""

    network: Network
    data: Data = Data()
    loss: Loss

    kind: ClassVar[str] = "face-decoder"
    monitors: ClassVar[Mapping[str, Literal["min", "max"]]] = {
        "loss": "min",
        "landmark_pixels": "min",
        "texture_mae": "min",
        "cosine": "max",
        "recall1": "max",
        "recall10": "max",
        "ssim": "max",
    }

    @model_validator(mode="after")
    def _check_loss(self) -> DecoderRecipe:
        s = self.loss
        shapes = s.landmarks_weight or s.texture_weight or s.laplacian_weight or s.ssim_weight
        if s.features_weight and not s.features:
            raise ValueError(
                "loss.features_weight is set and loss.features names nothing: name activations of "
                "the face encoder, or set the weight to 0."
            )
        for name, phase in self.phases.items():
            if not shapes and not (phase.embedding and s.embedding_weight):
                raise ValueError(f"phases.{name} has no loss to learn from: give one a weight.")
        return self


def recipe_of(source: str | None, resumed: Path | None) -> str | Path:
    """Return the name or file of the recipe to take; a run that is resumed has its own."""
    from vox2face.train.trainer.run_folder import recipe_file  # which imports torch

    own = recipe_file(resumed, "decoder") if resumed is not None else None
    return source or own or DEFAULT
