"""Pair clips with pictures by integer arithmetic, without a list of the pairs.

| pairing    | pairs                                                              | how many       |
|------------|--------------------------------------------------------------------|----------------|
| all-to-all | every clip with every picture of the identity                      | sum of c_i p_i |
| one-to-one | clip j of an identity with its picture j mod p_i                   | clips          |
| all-to-one | every clip with the identity's first picture                       | clips          |
| random     | every clip with one of the pictures, drawn again in each epoch     | clips          |

c_i and p_i are the numbers of clips and pictures of identity i. Pairs are not stored: memory
grows with the rows of the manifest, and a pair is found by binary search over the identities.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import NamedTuple

import numpy as np

from vox2face.core.errors import UsageError
from vox2face.train.corpus.groups import Groups, Numbers, starts

PAIRINGS = ("all-to-all", "one-to-one", "all-to-one", "random")
DRAW_PICTURE, DRAW_CROP, DRAW_COPY, DRAW_CODEC = 0, 1, 2, 3  # the uses of random numbers


class Pair(NamedTuple):
    """Number of an identity, and positions of a clip and a picture of it in `Groups`."""

    identity: int
    clip: int
    picture: int


@dataclass(frozen=True, eq=False)
class Pairs:
    """The pairs of groups in which every identity has a clip and a picture, numbered from 0.

    Raises `UsageError` for an unknown pairing and a negative seed.
    """

    groups: Groups
    pairing: str = "random"
    seed: int = 0
    first_pair: Numbers = field(init=False, repr=False)  # of each identity, and the end

    def __post_init__(self) -> None:
        if self.pairing not in PAIRINGS:
            raise UsageError(
                f"There is no pairing {self.pairing!r}: use one of {', '.join(PAIRINGS)}."
            )
        if self.seed < 0:
            raise UsageError(f"A seed is a whole number from 0, not {self.seed}.")
        first = self.groups.first_clip
        if self.pairing == "all-to-all":
            first = starts(np.diff(first) * np.diff(self.groups.first_picture))
        object.__setattr__(self, "first_pair", first)

    def __len__(self) -> int:
        return int(self.first_pair[-1])

    def at(self, index: int, epoch: int = 0) -> Pair:
        """Return pair `index`; only "random" depends on `epoch`. Raises `IndexError` beyond."""
        if not 0 <= index < len(self):
            raise IndexError(f"There are {len(self)} pairs, none of number {index}.")
        identity = int(np.searchsorted(self.first_pair, index, side="right")) - 1
        offset = index - int(self.first_pair[identity])
        clip, picture = self.groups.first_clip[identity], self.groups.first_picture[identity]
        pictures = int(self.groups.first_picture[identity + 1] - picture)
        if self.pairing == "all-to-all":
            offset, picture_offset = divmod(offset, pictures)
        elif self.pairing == "one-to-one":
            picture_offset = offset % pictures
        elif self.pairing == "all-to-one":
            picture_offset = 0
        else:
            picture_offset = drawn(pictures, self.seed, epoch, index, DRAW_PICTURE)
        return Pair(identity, int(clip) + offset, int(picture) + picture_offset)


def drawn(below: int, *numbers: int) -> int:
    """Return a pseudo-random number from 0 to below - 1 that depends on `numbers` alone.

    NumPy promises the same numbers from a SeedSequence in every version and on every machine.
    """
    word = np.random.SeedSequence(numbers).generate_state(1, np.uint64)[0]
    return int(word) % below


def spread_over(count: int, most: int) -> Numbers:
    """Return at most `most` evenly spaced numbers below `count`, ascending."""
    return np.unique(np.linspace(0, count - 1, min(count, most)).round().astype(np.int64))
