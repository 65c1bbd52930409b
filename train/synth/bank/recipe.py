"""The recipe of a bank of base voices: the sentences, and the style packs of each voice.

A smaller bank is the first part of a larger one of the same seed: the voice `f003` and the
sentence `s05` are the same in both.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

VERSION = 1  # of the recipe and of bank.json
SEXES = ("f", "m")
VOICES, SENTENCES = 120, 16  # of the full bank
SEED_VOICES, SEED_SENTENCES = 24, 6  # of the bank that comes with the package
MIXED = 3  # style packs in one voice

# Groups in the order in which voices (of each sex) and sentences are numbered, repeated.
VOICE_GROUPS = ("train", "train", "val", "train", "train", "test")
SENTENCE_GROUPS = ("train", "train", "val", "test")

# Sixteen everyday statements written for this project, 10 to 12 words and about 3 s each.
TEXTS: tuple[str, ...] = (
    "The morning train was late, so we walked along the river.",
    "Please put the yellow cups on the shelf beside the window.",
    "Few people noticed how quickly the light began to change.",
    "My brother keeps a jar of old coins under the stairs.",
    "A thin layer of ice covered the path behind the church.",
    "She bought fresh bread, two lemons and a large bag of rice.",
    "They measured the garden twice before choosing the tree.",
    "The orchestra stopped for a moment and then played on.",
    "Both doors were open, and the whole house smelled of paint.",
    "You could hear the ferry's horn from the top of the hill.",
    "Every Thursday the baker gives us something warm to try.",
    "Leave your gloves in the basket and hang up your jacket.",
    "He usually reads the paper while his coffee cools down.",
    "Our neighbor's dog chased a ball across the wet grass.",
    "The last bus leaves at seven from the square by the bank.",
    "I enjoy quiet evenings with a good book and no noise.",
)

# The style packs of Kokoro v1.0; the first letter is the language, the second the sex.
PACKS: tuple[str, ...] = (
    *("af_alloy", "af_aoede", "af_bella", "af_heart", "af_jessica", "af_kore", "af_nicole"),
    *("af_nova", "af_river", "af_sarah", "af_sky", "bf_alice", "bf_emma", "bf_isabella"),
    *("bf_lily", "ef_dora", "ff_siwis", "hf_alpha", "hf_beta", "if_sara", "jf_alpha"),
    *("jf_gongitsune", "jf_nezumi", "jf_tebukuro", "pf_dora", "zf_xiaobei", "zf_xiaoni"),
    *("zf_xiaoxiao", "zf_xiaoyi"),
    *("am_adam", "am_echo", "am_eric", "am_fenrir", "am_liam", "am_michael", "am_onyx"),
    *("am_puck", "am_santa", "bm_daniel", "bm_fable", "bm_george", "bm_lewis", "em_alex"),
    *("em_santa", "hm_omega", "hm_psi", "im_nicola", "jm_kumo", "pm_alex", "pm_santa"),
    *("zm_yunjian", "zm_yunxi", "zm_yunxia", "zm_yunyang"),
)


@dataclass(frozen=True)
class BaseSentence:
    """One sentence of a bank: its name ("s01"), its words and its group."""

    name: str
    text: str
    group: str


@dataclass(frozen=True)
class BaseVoice:
    """One voice of a bank: its name ("f000"), sex, group, and the mixtures of its two halves.

    `timbre` and `prosody` give the weight of each style pack, with four decimals.
    """

    name: str
    sex: str
    group: str
    timbre: dict[str, float]
    prosody: dict[str, float]


def sentences(count: int = SENTENCES) -> tuple[BaseSentence, ...]:
    """Return the first sentences; of every four, two are for train, one for val, one for test."""
    return tuple(
        BaseSentence(f"s{i + 1:02d}", TEXTS[i], SENTENCE_GROUPS[i % len(SENTENCE_GROUPS)])
        for i in range(count)
    )


def voices(count: int = VOICES, seed: int = 0) -> tuple[BaseVoice, ...]:
    """Return the first voices, half of each sex; of six, four are train, one val, one test."""
    return tuple(_base_voice(sex, i, seed) for sex in SEXES for i in range(count // 2))


def _base_voice(sex: str, number: int, seed: int) -> BaseVoice:
    """Draw one voice: for each half three packs of its sex, and their weights (Dirichlet)."""
    rng = np.random.default_rng([VERSION, seed, SEXES.index(sex), number])
    packs = [pack for pack in PACKS if pack[1] == sex]
    group = VOICE_GROUPS[number % len(VOICE_GROUPS)]
    return BaseVoice(f"{sex}{number:03d}", sex, group, mixture(rng, packs), mixture(rng, packs))


def mixture(rng: np.random.Generator, packs: Sequence[str]) -> dict[str, float]:
    """Draw `MIXED` packs with uniformly distributed weights that sum to 1."""
    drawn = rng.choice(len(packs), MIXED, replace=False)
    # rounded, so that bank.json holds the exact weights
    first, second = np.round(rng.dirichlet(np.ones(MIXED))[:2], 4).tolist()
    weights = (first, second, round(max(0.0, 1 - first - second), 4))
    return {packs[int(i)]: weight for i, weight in zip(drawn, weights, strict=True)}
