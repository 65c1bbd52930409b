"""Face verification: thresholds of a distance, and the errors at them.

A false accept is a pair of two people at or below the threshold, a miss a pair of one person
above it. Intervals resample people, with all pairs they are in.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import ArrayLike, NDArray

from vox2face.core.errors import CorpusError
from vox2face.train.metrics.statistics import percentiles, resamples
from vox2face.zoo.thresholds import Estimate, Measured

FALSE_ACCEPTS = 0.01  # at the stricter of the two thresholds
DRAWS = 500

Weights = NDArray[np.int64]
Values = NDArray[np.float64]


class Pairs:
    """All pairs of pictures, nearest first: `distances` (pairs,), `first` and `second` person.

    `table` is the matrix of distances (pictures, pictures), `who` the number 0, 1, ... of the
    person on each picture. Raises `CorpusError` without a pair of one person and one of two.
    """

    def __init__(self, table: ArrayLike, who: ArrayLike) -> None:
        people = np.asarray(who)
        first, second = np.triu_indices(len(people), 1)
        values = np.asarray(table, np.float64)[first, second]
        order = np.argsort(values, kind="stable")
        self.distances: Values = values[order]
        self.first, self.second = people[first][order], people[second][order]
        self.same: NDArray[np.bool_] = self.first == self.second
        self.people = int(people.max()) + 1
        if self.same.all() or not self.same.any():
            raise CorpusError(
                "Errors of verification need two people or more, and two pictures of one: make "
                "up more."
            )

    def errors(self, counts: Weights) -> tuple[Values, Values]:
        """Return the rates of false accepts and misses, (pairs,) each, at each pair's distance.

        `counts` (people,) is the weight of each person, as in a resample.
        """
        same = np.cumsum(np.where(self.same, counts[self.first], 0))
        other = np.cumsum(np.where(self.same, 0, counts[self.first] * counts[self.second]))
        return other / max(other[-1], 1), 1 - same / max(same[-1], 1)

    def operating_points(self, counts: Weights) -> tuple[float, float, float, float]:
        """Return threshold and error at equal rates, threshold and misses at 1 % false accepts.

        `counts` is that of `errors`.
        """
        accepted, missed = self.errors(counts)
        equal = int(np.argmax(accepted >= missed))
        strict = max(int(np.searchsorted(accepted, FALSE_ACCEPTS, "right")) - 1, 0)
        return (
            float(self.distances[equal]),
            float(accepted[equal] + missed[equal]) / 2,
            float(self.distances[strict]),
            float(missed[strict]),
        )

    def errors_at(self, threshold: float, counts: Weights) -> tuple[float, float]:
        """Return false accepts and misses at a threshold; `counts` is that of `errors`."""
        accepted, missed = self.errors(counts)
        index = int(np.searchsorted(self.distances, threshold, "right")) - 1
        return (float(accepted[index]), float(missed[index])) if index >= 0 else (0.0, 1.0)


def measure(
    pairs: Pairs, metric: str, seed: int, published: float | None = None, draws: int = DRAWS
) -> Measured:
    """Return the thresholds of a metric, each with its errors and 95 % intervals over people.

    The errors at the threshold `published` are measured too.
    """

    def points(counts: Weights) -> tuple[float, ...]:
        at_published = () if published is None else pairs.errors_at(published, counts)
        return (*pairs.operating_points(counts), *at_published)

    values = points(np.ones(pairs.people, np.int64))
    resampled = np.array([points(counts) for counts in resamples(pairs.people, seed, draws)])
    estimates = [
        Estimate(value, *percentiles(column))
        for value, column in zip(values, resampled.T, strict=True)
    ]
    return Measured(metric, pairs.people, *estimates)
