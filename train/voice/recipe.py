"""What a recipe for a voice encoder has beside the tables of all recipes."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, ClassVar, Literal

from pydantic import Field, model_validator

from vox2face.core.errors import UsageError
from vox2face.train.trainer import recipe, settings
from vox2face.train.trainer.settings import Count, Fraction, Phase, Rate, Recipe, Table, Weight

NYQUIST = 8000.0  # Hz, half the rate of all recordings here
NARROWEST = 1000.0  # Hz
# What changes how a clip sounds
CHANGES = ("gain", "noise", "room", "band", "equalizer", "coloured_noise", "encoded")
WEIGHTS = ("mse_weight", "distance_weight", "distill_weight", "decoder_weight")
Decibels = Annotated[float, Field(ge=0, le=200)]
Reduction = Literal["mean", "sum"]

# What the shorthand of the command line stands for.
ARCHITECTURES = {
    "ve_conv": "ve_conv-speech2face",
    "ast": "ast-speech-to-face-repo",
    "tiny": "tiny-ve_conv",
    "tiny-ve_conv": "tiny-ve_conv",
    "tiny-ast": "tiny-ast",
    "tiny-ge2e": "tiny-ge2e",
}


class Network(settings.Network):
    """Which network is trained, and how it begins."""

    preset: str = ""
    """The preprocessing; "" for the entry's own."""
    init_to_mean: bool = False
    """Whether it starts close to the mean embedding, and standardises a frozen encoder's output."""


@dataclass(frozen=True)
class Channel:
    """How strongly recordings differ; 0 leaves a part out. See `Data` for the units."""

    room: float = 0.0
    band: float = 0.0
    equalizer: float = 0.0
    noise: float = 0.0

    def __bool__(self) -> bool:
        """Whether anything is changed."""
        return bool(self.room or self.band or self.equalizer or self.noise)


class Data(Table):
    """Which clips and pictures go together, and what is heard of a clip.

    What begins with `room` is for other recordings than those of the corpus, and changes only what
    is trained on.
    """

    pairing: str = "all-to-one"
    """Which pictures a clip is paired with, as `VoiceEncoderDataset` has it."""
    one: str = "mean"
    """Which one picture "all-to-one" takes, as `VoiceEncoderDataset` has it."""
    crop: str = "random"
    """Where a clip is cut: "start", "center" or "random"."""
    seconds: float = Field(default=0.0, ge=0, le=3600)
    """Seconds of a clip; 0 for the preset's length."""
    gain: float = Field(default=0.0, ge=0, le=100)
    """The largest change of level in dB, up or down."""
    noise: Decibels = 0.0
    """The smallest signal-to-noise ratio in dB of added white noise; 0 for none."""
    val_clips: Count = 2000
    """The most clips of an evaluation; 0 for all."""
    room: float = Field(default=0.0, ge=0, le=3)
    """Every other clip echoes; the longest time in s until that is 60 dB weaker. 0 for none."""
    band: float = Field(default=0.0, ge=0, le=NYQUIST)
    """The lowest upper limit in Hz of what is heard; 0 for none."""
    equalizer: float = Field(default=0.0, ge=0, le=20)
    """Deviation in dB of the gains of neighbouring octaves."""
    coloured_noise: Decibels = 0.0
    """The smallest signal-to-noise ratio in dB of noise, white to brown; 0 for none."""
    encoded: Fraction = 0.0
    """The part of the clips in whose place an encoded copy is heard."""
    copies: int = Field(default=0, ge=0, le=1000)
    """For how many hearings of each clip the output of a frozen backbone is kept; 0 for none."""

    @model_validator(mode="after")
    def _check(self) -> Data:
        if 0 < self.band < NARROWEST:
            raise ValueError(
                f"data.band is {self.band}: the lowest upper limit is from {NARROWEST:g} to "
                f"{NYQUIST:g} Hz, or 0 for none."
            )
        if self.copies and self.fixed:
            raise ValueError(
                f"data.copies is {self.copies} and a clip always sounds the same, so the copies "
                "would be equal: set it to 0, or set one of "
                f"{', '.join(f'data.{name}' for name in CHANGES)}."
            )
        return self

    @property
    def channel(self) -> Channel:
        """What is changed on the device."""
        return Channel(self.room, self.band, self.equalizer, self.coloured_noise)

    @property
    def fixed(self) -> bool:
        """Whether a clip always sounds the same."""
        return self.crop != "random" and not any(getattr(self, name) for name in CHANGES)


class Loss(Table):
    """The weights of the loss parts, 0 for none, and how each is reduced over the batch."""

    mse_weight: Weight = 0.0
    """Squared distance of the embeddings as they are: the only part that sees their length."""
    distance: Literal["per-sample", "whole-batch"] = "per-sample"
    """Divide by the length of each embedding, or (as the Speech-to-face repo) of the batch."""
    distance_weight: Weight = 0.0
    """Squared distance of the embeddings divided so."""
    distill_weight: Weight = 0.0
    """Class scores of the face encoder; off with those that have none."""
    distill_reduction: Reduction = "mean"
    """How the distillation is reduced over the batch."""
    temperature: float = Field(default=2.0, gt=0)
    """Of the distillation."""
    decoder_weight: Weight = 0.0
    """Activations of the first layers of a face decoder; off unless one is given."""
    decoder_reduction: Reduction = "sum"
    """How these are reduced over the batch."""
    decoder_layers: Count = 1
    """How many layers of the decoder."""
    contrastive: Literal["none", "infonce", "am-softmax"] = "none"
    """Ranking over the batch (InfoNCE), or over identities (AM-softmax)."""
    contrastive_weight: Weight = 0.0
    """Of that part."""
    contrastive_temperature: float = Field(default=0.05, gt=0)
    """Of InfoNCE."""
    contrastive_centered: bool = False
    """Whether InfoNCE takes off the mean embedding first."""
    margin: Weight = 0.2
    """Of AM-softmax."""
    scale: float = Field(default=30.0, gt=0)
    """Of AM-softmax."""


class VoicePhase(Phase):
    """One run of the loop: what is trained, how long and how fast."""

    trainable: str = "all"
    """ "all", "head", or "top-4" for the head and the four layers below it."""
    backbone_lr: Rate = Field(default_factory=lambda phase: phase.get("lr", 0.0))
    """The learning rate of everything but the head; by default that of the head."""


class VoiceRecipe(Recipe[VoicePhase]):
    """A recipe for a voice encoder."""

    network: Network
    data: Data = Data()
    loss: Loss

    kind: ClassVar[str] = "voice-encoder"
    monitors: ClassVar[Mapping[str, Literal["min", "max"]]] = {
        "loss": "min",
        "rank": "min",
        "cosine": "max",
        "recall1": "max",
        "recall10": "max",
    }

    @model_validator(mode="after")
    def _check_loss(self) -> VoiceRecipe:
        weighed = any(getattr(self.loss, name) for name in WEIGHTS)
        contrasted = self.loss.contrastive != "none" and self.loss.contrastive_weight
        if not contrasted and not weighed:
            raise ValueError(
                "The recipe has no loss to learn from: give one of these of loss a weight: "
                f"{', '.join(WEIGHTS)}, contrastive_weight with a contrastive loss."
            )
        if not weighed and self.loop.monitor == "loss":
            raise ValueError(
                "loop.monitor is 'loss', which an evaluation gives without the contrastive part, "
                "and there is no other: monitor rank, cosine or a recall."
            )
        if contrasted and self.loss.contrastive == "infonce" and self.loop.batch_size < 2:
            raise ValueError(
                "loop.batch_size is 1: infonce tells clips of a batch apart, give 2 or more."
            )
        return self


def recipe_of(arch: str | None, source: str | None, resumed: Path | None) -> str | Path:
    """Return the name or file of the recipe that the command line asks for.

    A run that is resumed has its own. Raises `UsageError` for an unknown architecture, or one that
    is not the recipe's.
    """
    if arch is not None and arch not in ARCHITECTURES:
        raise UsageError(
            f"There is no architecture {arch!r}: use one of {', '.join(ARCHITECTURES)}."
        )
    if arch is not None and source is not None:
        raise UsageError(
            f"--arch {arch} and --recipe {source} are both given: --arch stands for the recipe "
            f"{ARCHITECTURES[arch]}, so leave one of them out."
        )
    from vox2face.train.trainer.run_folder import recipe_file  # which imports torch

    own = recipe_file(resumed, "voice") if resumed is not None else None
    if source is not None:
        return source
    if own is not None:
        _check_network(arch, own)
        return own
    if arch is None:
        raise UsageError("Name --arch or --recipe; vox2face train voice --help lists them.")
    return ARCHITECTURES[arch]


def _check_network(arch: str | None, file: Path) -> None:
    """Raise `UsageError` if a run's recipe is for another network than that of `arch`."""
    if arch is None:
        return
    own, asked = (recipe.read(r, VoiceRecipe).network.entry for r in (file, ARCHITECTURES[arch]))
    if own != asked:
        raise UsageError(
            f"The run in {file.parent} trains {own}, and --arch {arch} is another: leave --arch "
            "out to go on with it, or choose another --out."
        )
