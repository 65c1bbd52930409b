"""What a recipe for a voice encoder states beside the numbers that all recipes have."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Any, ClassVar

from vox2face.core.errors import UsageError
from vox2face.train.trainer import recipe
from vox2face.train.trainer.settings import (
    HIGHEST_RATE,
    Loop,
    Optimizer,
    Plan,
    Schedule,
    one_of,
    require_phases,
    require_sizes,
    within,
)

NYQUIST = 8000.0  # Hz, half the rate of all recordings here
LONGEST = 3.0  # s, of reverberation
NARROWEST = 1000.0  # Hz
MOST_COPIES = 1000
CHANGES = (
    "gain",
    "noise",
    "room",
    "band",
    "equalizer",
    "coloured_noise",
    "encoded",
)  # of what is heard

DISTANCES = ("per-sample", "whole-batch")
REDUCTIONS = ("mean", "sum")
RANKINGS = ("none", "infonce", "am-softmax")

# What an evaluation gives, and which values are better
MONITORS = {
    **dict.fromkeys(("loss", "rank"), "lower"),
    **dict.fromkeys(("cosine", "recall1", "recall10"), "higher"),
}
WEIGHTS = ("value_weight", "distance_weight", "distill_weight", "decoder_weight")

# What the shorthand of the command line stands for.
ARCHITECTURES = {
    "ve_conv": "ve_conv-speech2face",
    "ast": "ast-speech-to-face-repo",
    "tiny": "tiny-ve_conv",
    "tiny-ve_conv": "tiny-ve_conv",
    "tiny-ast": "tiny-ast",
    "tiny-ge2e": "tiny-ge2e",
}


@dataclass(frozen=True)
class Network:
    """Which network: a zoo `entry`, built with `options` beside its width.

    `start` is a bundle or registry name of weights to start from: those of another AST (its head
    is drawn anew), the encoder of a head, or a whole network; "" draws all. `preset` is the
    preprocessing, "" for the entry's own. With `mean_bias` the network starts close to the mean of
    the embeddings to be learnt, whatever it hears, and a head on a frozen encoder takes in its
    outputs standardised: small corpora and short runs profit from that.
    """

    entry: str
    start: str
    preset: str
    mean_bias: bool
    options: dict[str, Any]

    def __post_init__(self) -> None:
        require_sizes(self.options)


@dataclass(frozen=True)
class Channel:
    """How strongly recordings differ; 0 leaves a part out.

    `room` is the longest reverberation in seconds (until it is 60 dB weaker), which every other
    clip gets; `band` the lowest upper limit of a band in Hz; `equalizer` the deviation of its
    gains in dB; `noise` the smallest signal-to-noise ratio in dB of noise, white to brown.
    """

    room: float = 0.0
    band: float = 0.0
    equalizer: float = 0.0
    noise: float = 0.0

    def __bool__(self) -> bool:
        """Whether anything is changed."""
        return bool(self.room or self.band or self.equalizer or self.noise)


@dataclass(frozen=True)
class Data:
    """Which clips and pictures go together, and what is heard of a clip.

    `pairing` and `one` as `vox2face.train.datasets.voice.VoiceEncoderDataset` has them. `crop` is
    where a clip is cut; `seconds` how long, 0 for the preset's length. `gain` is the largest
    change of level in dB, up or down; `noise` the smallest signal-to-noise ratio in dB of white
    noise that is added, 0 for none. `val_clips` limits the clips of an evaluation; 0 takes all.

    What follows is for other recordings than those of the corpus, 0 for none, and changes only
    what is trained on. `room` (s), `band` (Hz), `equalizer` (dB) and `coloured_noise` (dB) are
    those of `Channel`. `encoded` is the part of the clips in whose place an encoded copy of the
    prepared corpus is heard. Where the network below the head is frozen, its output is computed for
    `copies` hearings of each clip, each with other crops and changes, of which an epoch draws one;
    with 0 it is computed anew in every step.
    """

    pairing: str
    one: str
    crop: str
    seconds: float
    gain: float
    noise: float
    val_clips: int
    room: float = 0.0
    band: float = 0.0
    equalizer: float = 0.0
    coloured_noise: float = 0.0
    encoded: float = 0.0
    copies: int = 0

    def __post_init__(self) -> None:
        within("data", self, seconds=(0, 3600), gain=(0, 100), noise=(0, 200))
        within("data", self, room=(0, LONGEST), band=(0, NYQUIST), equalizer=(0, 20))
        within("data", self, coloured_noise=(0, 200), encoded=(0, 1), copies=(0, MOST_COPIES))
        if 0 < self.band < NARROWEST:
            raise UsageError(
                f"data.band is {self.band}: the lowest upper limit is from {NARROWEST:g} to "
                f"{NYQUIST:g} Hz, or 0 for none."
            )
        if self.copies and self.fixed:
            raise UsageError(
                f"data.copies is {self.copies} and a clip always sounds the same, so the copies "
                "would be equal: set it to 0, or set one of "
                f"{', '.join(f'data.{name}' for name in CHANGES)}."
            )

    @property
    def channel(self) -> Channel:
        """What is changed on the device."""
        return Channel(self.room, self.band, self.equalizer, self.coloured_noise)

    @property
    def fixed(self) -> bool:
        """Whether a clip always sounds the same."""
        return self.crop != "random" and not any(getattr(self, name) for name in CHANGES)


@dataclass(frozen=True)
class Loss:
    """The weights of the loss parts, 0 for none, and how each is reduced over the batch.

    `value` is the squared distance of the embeddings as they are, which alone among the losses
    without a decoder sees their length. `distance` is "per-sample" (both embeddings divided by
    their length) or "whole-batch" (by the norm of the whole batch, as the Speech-to-face repo
    does). `distill` compares class scores at
    `temperature`, `decoder` the activations of the first `decoder_layers` layers of a decoder.
    `ranking` is "none", "infonce" (over the batch, at `ranking_temperature`; `ranking_centred`
    subtracts the mean embedding first) or "am-softmax" (over identities, with `margin` and
    `scale`).
    """

    value_weight: float
    distance: str
    distance_weight: float
    distill_weight: float
    distill_reduction: str
    temperature: float
    decoder_weight: float
    decoder_reduction: str
    decoder_layers: int
    ranking: str
    ranking_weight: float
    ranking_temperature: float
    ranking_centred: bool
    margin: float
    scale: float

    def __post_init__(self) -> None:
        one_of("loss", self, distance=DISTANCES, ranking=RANKINGS)
        one_of("loss", self, distill_reduction=REDUCTIONS, decoder_reduction=REDUCTIONS)
        for name in ("temperature", "ranking_temperature", "scale"):
            if getattr(self, name) <= 0:
                raise UsageError(f"loss.{name} is {getattr(self, name)}: it must be above 0.")


@dataclass(frozen=True)
class Phase:
    """One run of the loop: what is trained, how long and how fast.

    `trains` is "all", "head", or "top-4" for the head and the four layers below it. `lr` is the
    learning rate of the head, `body_lr` that of everything else.
    """

    trains: str
    epochs: int
    steps: int
    lr: float
    body_lr: float


@dataclass(frozen=True)
class VoiceRecipe:
    """A whole recipe; its phases follow each other, each from the best weights of the last."""

    about: str
    network: Network
    data: Data
    loss: Loss
    optimizer: Optimizer
    schedule: Schedule
    loop: Loop
    phases: dict[str, Phase]

    kind: ClassVar[str] = "voice-encoder"

    def __post_init__(self) -> None:
        require_phases(self.phases)
        self.loop.require_monitor(MONITORS)
        for name, phase in self.phases.items():
            within(f"phases.{name}", phase, lr=(0, HIGHEST_RATE), body_lr=(0, HIGHEST_RATE))
        weighed = any(getattr(self.loss, name) for name in WEIGHTS)
        ranked = self.loss.ranking != "none" and self.loss.ranking_weight
        if not ranked and not weighed:
            raise UsageError(
                "The recipe has no loss to learn from: give one of these of loss a weight: "
                f"{', '.join(WEIGHTS)}, ranking_weight with a ranking."
            )
        if not weighed and self.loop.monitor == "loss":
            raise UsageError(
                "loop.monitor is 'loss', which an evaluation gives without ranking, and there is "
                "no other: monitor rank, cosine or a recall."
            )
        if ranked and self.loss.ranking == "infonce" and self.loop.batch < 2:
            raise UsageError(
                "loop.batch is 1: infonce tells clips of a batch apart, give 2 or more."
            )

    def plan(self, phase: Phase) -> Plan:
        """Return what the loop needs to run a phase."""
        return Plan(self.loop, self.optimizer, self.schedule, phase.lr, phase.epochs, phase.steps)


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
        require_same_network(arch, own)
        return own
    if arch is None:
        raise UsageError("Name --arch or --recipe; vox2face train voice --help lists them.")
    return ARCHITECTURES[arch]


def require_same_network(arch: str | None, file: Path) -> None:
    """Raise `UsageError` if a run's recipe is for another network than that of `arch`."""
    if arch is None:
        return
    own, asked = (recipe.read(r, VoiceRecipe).network.entry for r in (file, ARCHITECTURES[arch]))
    if own != asked:
        raise UsageError(
            f"The run in {file.parent} trains {own}, and --arch {arch} is another: leave --arch "
            "out to go on with it, or choose another --out."
        )
