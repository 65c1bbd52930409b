"""Synthetic voices: what a clip costs, and whether a real voice encoder tells the people apart.

Draws people whom nothing was tuned on, renders two clips of different sentences of each, and
embeds them with Resemblyzer (`ge2e.resemblyzer`). Prints the seconds of one core for a clip, the
equal error rate of telling 60 people apart (all, and within a sex), and, for information only,
how well a ridge regression reads age and size from the embeddings of people it has not seen.
`python benchmarks/synth_voices.py [seed|full|FOLDER] [SEED] [PEOPLE]`
"""

from __future__ import annotations

import os

os.environ.setdefault("OPENBLAS_NUM_THREADS", "1")  # seconds of one core

import sys
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

import vox2face
from vox2face.train.synth.bank.bank import Bank, open_bank
from vox2face.train.synth.voice.render import render_voice
from vox2face.train.synth.voice.traits import Voice, sample_voice

IDENTITIES = 60  # of the equal error rate
RIDGE = 1.0  # on embeddings of length 1
FOLDS = 10
TARGET_EER, TARGET_SECONDS = 0.07, 0.05
Clip = Callable[[Voice, str, np.random.Generator], NDArray[np.float32]]


@dataclass(frozen=True)
class Speaker:
    """An invented speaker: the latent values, the traits, and two sentences."""

    male: bool
    years: float
    size: float
    voice: Voice
    sentences: tuple[str, str]


def speakers(bank: Bank, seed: int, count: int) -> list[Speaker]:
    """Draw speakers, half of them men."""
    found = []
    for i in range(count):
        rng = np.random.default_rng([seed, 77, i])
        male, years, size = bool(i % 2), float(rng.uniform(18, 80)), float(rng.normal())
        voice = sample_voice(rng, male, years, size, bank.voices("m" if male else "f"))
        first, second = rng.choice(bank.sentences(), 2, replace=False).tolist()
        found.append(Speaker(male, years, size, voice, (first, second)))
    return found


def equal_error_rate(genuine: NDArray[np.float64], others: NDArray[np.float64]) -> float:
    """Return the rate at which as many true pairs are refused as false pairs are accepted."""
    limits = np.unique(np.concatenate([genuine, others]))
    refused = np.array([(genuine < limit).mean() for limit in limits])
    accepted = np.array([(others >= limit).mean() for limit in limits])
    best = int(np.argmin(np.abs(refused - accepted)))
    return float(refused[best] + accepted[best]) / 2


def verification(vectors: NDArray[np.float64], people: Sequence[Speaker]) -> tuple[float, ...]:
    """Return the equal error rates of all pairs and of pairs of one sex, and rank-1."""
    scores = vectors[:, 0] @ vectors[:, 1].T
    male = np.array([person.male for person in people])
    same = np.eye(len(people), dtype=bool)
    alike = (male[:, None] == male) & ~same
    rank = float((scores.argmax(axis=1) == np.arange(len(people))).mean())
    return (
        equal_error_rate(scores[same], scores[~same]),
        equal_error_rate(scores[same], scores[alike]),
        rank,
    )


def readable(vectors: NDArray[np.float64], wanted: NDArray[np.float64]) -> float:
    """Return the correlation of a value with what ridge regression reads, on unseen people."""
    predicted = np.empty(len(wanted))
    for fold in range(FOLDS):
        held = np.arange(len(wanted)) % FOLDS == fold
        centre = vectors[~held].mean(axis=0)
        known, unknown = vectors[~held] - centre, vectors[held] - centre
        gram = known.T @ known + RIDGE * np.eye(known.shape[1])
        weights = np.linalg.solve(gram, known.T @ (wanted[~held] - wanted[~held].mean()))
        predicted[held] = unknown @ weights
    return float(np.corrcoef(predicted, wanted)[0, 1])


def world(bank: Bank) -> Clip:
    """Return clips by WORLD, from analyses in the cache."""
    return lambda voice, sentence, rng: render_voice(
        bank.analysis(voice.base, sentence), voice, rng
    )


def rendered(
    people: Sequence[Speaker], clip: Clip, seed: int
) -> tuple[list[list[NDArray[np.float32]]], float, float]:
    """Return two clips of each speaker, and the seconds of one core and of sound for a clip."""
    clips, cost = [], 0.0
    for i, person in enumerate(people):
        pair = []
        for k, sentence in enumerate(person.sentences):
            clip(person.voice, sentence, np.random.default_rng(0)) if not i else None  # warm up
            start = time.process_time()
            pair.append(clip(person.voice, sentence, np.random.default_rng([seed, 78, i, k])))
            cost += time.process_time() - start
        clips.append(pair)
    seconds = sum(len(one) for pair in clips for one in pair) / 16_000
    return clips, cost / (2 * len(people)), seconds / (2 * len(people))


def main(place: str = "full", seed: int = 4242, count: int = 240) -> None:
    """Print the table."""
    bank = open_bank(place)
    people = speakers(bank, seed, count)
    start = time.process_time()
    wanted = sorted({(p.voice.base, s) for p in people for s in p.sentences})
    for base, sentence in wanted:
        bank.analysis(base, sentence)
    each = (time.process_time() - start) / len(wanted)
    print(f"analysis, or reading it from the cache: {each:.3f} s for each of {len(wanted)}")
    clips, cost, length = rendered(people, world(bank), seed)
    print(f"clip: {cost:.3f} s of one core for {length:.2f} s (target {TARGET_SECONDS})")
    encoder = vox2face.load("ge2e.resemblyzer")
    embedded = [[encoder(one, 16_000) for one in pair] for pair in clips]
    vectors = np.asarray(embedded, np.float64).reshape(len(people), 2, -1)
    vectors /= np.linalg.norm(vectors, axis=-1, keepdims=True)
    for number in sorted({min(IDENTITIES, count), count}):
        eer, within, rank = verification(vectors[:number], people[:number])
        print(
            f"{number} people: EER {eer:.1%} (target {TARGET_EER:.0%}), within a sex "
            f"{within:.1%}, rank-1 {rank:.0%}"
        )
    means = vectors.mean(axis=1)
    male = np.array([person.male for person in people])
    for name in ("years", "size"):
        values = np.array([getattr(person, name) for person in people])
        rows = ", ".join(
            f"{who} {readable(means[chosen], values[chosen]):.2f}"
            for who, chosen in (("women", ~male), ("men", male))
        )
        print(f"{name} read by ridge regression, r on unseen people: {rows}")


if __name__ == "__main__":
    given = sys.argv[1:]
    main(*given[:1], *(int(one) for one in given[1:3]))
