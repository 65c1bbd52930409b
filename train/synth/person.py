"""One invented person: the latent values, and the traits of face and voice drawn from them.

Face and voice depend on each other only through sex, age and body size; the rest of both is drawn
independently. The strengths of the ties are in `looks.TIES` and `voice.traits.TIES`.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from vox2face.train.synth.face.looks import Look, sample_look
from vox2face.train.synth.voice.traits import Voice, sample_voice

# The numbers of each split in twenty consecutive people, in an order drawn for these twenty.
BLOCK = {"train": 15, "val": 2, "test": 3}
YOUNGEST, OLDEST = 18.0, 80.0  # years, drawn evenly


@dataclass(frozen=True)
class Person:
    """An invented person: the latent values, and the traits of face and voice.

    `years` is the age, `size` the size of body and head in standard deviations within a sex,
    `ancestry` 0, 1 or 2 (African, Asian, Caucasian, as the head's mesh names its shapes).
    """

    index: int
    split: str
    male: bool
    years: float
    size: float
    ancestry: int
    look: Look
    voice: Voice

    @property
    def identity(self) -> str:
        """The name, as in folders of faces."""
        return f"Synthetic_Person_{self.index:06d}"

    @property
    def speaker(self) -> str:
        """The id, as in folders of recordings."""
        return f"id0{self.index:05d}"

    @property
    def gender(self) -> str:
        """ "m" or "f", as in VoxCeleb's metadata."""
        return "m" if self.male else "f"


def split_of(seed: int, index: int) -> str:
    """Return a person's split: a function of the seed and the number alone."""
    size = sum(BLOCK.values())
    splits = [name for name, count in BLOCK.items() for _ in range(count)]
    order = np.random.default_rng([seed, 1, index // size]).permutation(size)
    return splits[int(order[index % size])]


def sample_person(seed: int, index: int, voices: Sequence[Sequence[str]]) -> Person:
    """Draw a person. `voices` are the base voices of women and of men that its split may use."""
    rng = np.random.default_rng([seed, 2, index])
    male = bool(rng.random() < 0.5)
    years = float(rng.uniform(YOUNGEST, OLDEST))
    size = float(rng.normal())
    ancestry = int(rng.integers(3))
    # separate streams: a change to how faces are drawn leaves the voices unchanged
    look = sample_look(np.random.default_rng([seed, 3, index]), male, years, size, ancestry)
    voice = sample_voice(
        np.random.default_rng([seed, 4, index]), male, years, size, voices[int(male)]
    )
    return Person(index, split_of(seed, index), male, years, size, ancestry, look, voice)
