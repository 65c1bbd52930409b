"""What a recipe for a face decoder states beside the numbers that all recipes have."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Any, ClassVar

from vox2face.core.errors import UsageError
from vox2face.train.trainer.settings import (
    HIGHEST_RATE,
    Loop,
    Optimizer,
    Plan,
    Schedule,
    require_phases,
    require_sizes,
    within,
)

DEFAULT = "decoder-cole"

# What an evaluation gives, and which values are better
MONITORS = {
    **dict.fromkeys(("loss", "landmark_pixels", "texture_mae"), "lower"),
    **dict.fromkeys(("cosine", "recall1", "recall10", "ssim"), "higher"),
}


@dataclass(frozen=True)
class Network:
    """Which network: a zoo `entry`, built with `options` beside its width.

    `start` is a bundle or registry name of weights to start from; "" draws all. With `mean_bias`
    the last layers start at the mean landmarks and the mean colour of the corpus, not at zero.
    """

    entry: str
    start: str
    mean_bias: bool
    options: dict[str, Any]

    def __post_init__(self) -> None:
        require_sizes(self.options)


@dataclass(frozen=True)
class Data:
    """What is learnt from: the pictures of the corpus, and faces between two of them.

    `blend` says whether embeddings are blended from those of two photographs of the person, and
    `noise` how much normal noise is added to them, in deviations within a person. `morph` is the
    part of the items that are morphs of a picture with one of its `neighbours` nearest in landmarks
    and texture (Cole et al. 2017); their embeddings are computed as they are needed. `val_pictures`
    limits the pictures of an evaluation; 0 takes all.
    """

    morph: float
    neighbours: int
    val_pictures: int
    blend: bool = False
    noise: float = 0.0

    def __post_init__(self) -> None:
        within("data", self, morph=(0, 1), neighbours=(1, 10**6), noise=(0, 10))
        if self.morph and (self.blend or self.noise):
            raise UsageError("data.morph and data.blend exclude each other: set one of them to 0.")


@dataclass(frozen=True)
class Loss:
    """The weights of the loss parts, 0 for none; each is a mean over the batch.

    `landmarks`: mean square error in pixels. `texture`: mean absolute error of colours of 0 to 1,
    in the mean shape; places near eyes, nose and mouth count up to 1 + `face_weight` times as much.
    `laplacian` and `ssim`: of the same pictures. `embedding`: 1 - cosine of the embedding of the
    decoded picture, through the warp and the frozen face encoder, and of the true one. `features`
    names activations of that encoder, whose relative difference counts; of a batch it sees the
    first `judged` pictures, 0 for all. `adversarial`: a discriminator of patches.
    """

    landmarks_weight: float
    texture_weight: float
    embedding_weight: float
    face_weight: float = 0.0
    laplacian_weight: float = 0.0
    ssim_weight: float = 0.0
    features_weight: float = 0.0
    features: tuple[str, ...] = ()
    adversarial_weight: float = 0.0
    judged: int = 0


@dataclass(frozen=True)
class Phase:
    """One run of the loop: how long and how fast; `embedding` says whether with the face encoder.

    A first phase without it is several times faster and finds shapes and colours. `critic_lr` is
    the rate of the discriminator, 0 for a phase without one. At the end the weights lie on the line
    from those that the phase began with to its best ones, `mix` of the way: what a discriminator
    adds in speckles goes faster than what it adds in sharpness (Wang et al., ESRGAN, 2018).
    """

    embedding: bool
    epochs: int
    steps: int
    lr: float
    critic_lr: float = 0.0
    mix: float = 1.0


@dataclass(frozen=True)
class DecoderRecipe:
    """A whole recipe; its phases follow each other, each from the best weights of the last."""

    about: str
    network: Network
    data: Data
    loss: Loss
    optimizer: Optimizer
    schedule: Schedule
    loop: Loop
    phases: dict[str, Phase]

    kind: ClassVar[str] = "face-decoder"

    def __post_init__(self) -> None:
        require_phases(self.phases)
        self.loop.require_monitor(MONITORS)
        s = self.loss
        shapes = s.landmarks_weight + s.texture_weight + s.laplacian_weight + s.ssim_weight
        for name, phase in self.phases.items():
            rates = {"lr": (0, HIGHEST_RATE), "critic_lr": (0, HIGHEST_RATE)}
            within(f"phases.{name}", phase, **rates, mix=(0, 1))
            if not shapes and not (phase.embedding and self.loss.embedding_weight):
                raise UsageError(f"phases.{name} has no loss to learn from: give one a weight.")

    def plan(self, phase: Phase) -> Plan:
        """Return what the loop needs to run a phase."""
        return Plan(self.loop, self.optimizer, self.schedule, phase.lr, phase.epochs, phase.steps)


def recipe_of(source: str | None, resumed: Path | None) -> str | Path:
    """Return the name or file of the recipe to take; a run that is resumed has its own."""
    from vox2face.train.trainer.run_folder import recipe_file  # which imports torch

    own = recipe_file(resumed, "decoder") if resumed is not None else None
    return source or own or DEFAULT
