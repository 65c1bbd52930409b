"""Bootstrap intervals and correlations."""

from __future__ import annotations

import functools
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import ArrayLike, NDArray

from vox2face.core.errors import CorpusError
from vox2face.train.metrics.similarity import Array, Indices

DRAWS = 2000  # resamples of a bootstrap
LEVEL = 0.95
BLOCK = 256  # resamples at a time, which limits the memory for their counts


@dataclass(frozen=True)
class Interval:
    """A mean over identities, and its 95 % interval."""

    mean: float
    low: float
    high: float


@dataclass(frozen=True)
class Correlation:
    """Pearson's r with its 95 % interval, and the r of shuffled pairs; all None for a constant."""

    r: float | None
    low: float | None
    high: float | None
    shuffled: float | None


@dataclass(frozen=True)
class Share:
    """The fraction of the headroom with its 95 % interval; None and the reason without headroom."""

    share: float | None
    low: float | None
    high: float | None
    why: str | None = None


@functools.lru_cache(maxsize=2)
def resamples(count: int, seed: int, draws: int = DRAWS) -> NDArray[np.int64]:
    """Return the number of times each identity is drawn in each resample, (draws, count).

    Raises `CorpusError` for fewer than two identities.
    """
    if count < 2:
        raise CorpusError(
            f"An interval over {count} identities is not defined: evaluate two or more."
        )
    rng = np.random.default_rng([seed, 1])
    drawn = rng.integers(count, size=(draws, count))
    offsets = count * np.arange(draws)[:, None]
    counts = np.bincount((drawn + offsets).ravel(), minlength=draws * count)
    return counts.reshape(draws, count)


def resampled_means(values: ArrayLike, seed: int, draws: int = DRAWS) -> Array:
    """Return the means of bootstrap resamples of identities, (draws, ...), for values (n, ...).

    Tables of equally many rows use the same resamples, so their differences are paired.
    """
    table = np.asarray(values, np.float64)
    counts = resamples(len(table), seed, draws)
    flat = table.reshape(len(table), -1)
    parts = [counts[i : i + BLOCK] @ flat for i in range(0, draws, BLOCK)]
    means = np.concatenate(parts) / len(table)
    result: Array = means.reshape(draws, *table.shape[1:])
    return result


def percentiles(samples: Array, level: float = LEVEL) -> tuple[float, float]:
    """Return the percentile interval of resampled values (draws,)."""
    low, high = np.quantile(samples, [(1 - level) / 2, (1 + level) / 2])
    return float(low), float(high)


def bootstrap(values: ArrayLike, seed: int, draws: int = DRAWS) -> Interval:
    """Return the mean of one value an identity, and its 95 % interval.

    Identities are resampled with replacement, the percentiles 2.5 and 97.5 reported (Efron);
    a seed gives the same interval every time.
    """
    table = np.asarray(values, np.float64)
    return Interval(float(table.mean()), *percentiles(resampled_means(table, seed, draws)))


def correlations(first: ArrayLike, second: ArrayLike, weights: ArrayLike | None = None) -> Array:
    """Return Pearson's r of each column of two tables (n, columns); NaN where one is constant.

    `weights` (n,) are the counts of the rows, as in a resample.
    """
    a, b = np.asarray(first, np.float64), np.asarray(second, np.float64)
    w = np.full(len(a), 1 / len(a)) if weights is None else np.asarray(weights, np.float64)
    w = w / w.sum()
    a, b = a - w @ a, b - w @ b
    spread = np.sqrt((w @ (a * a)) * (w @ (b * b)))
    # the spread of a constant is not exactly zero after rounding
    varies = spread > 1e-12 * np.maximum(1e-300, np.abs(a).max(0) + np.abs(b).max(0)) ** 2
    result = np.full(a.shape[1], np.nan)
    np.divide(w @ (a * b), spread, out=result, where=varies)
    return result


def correlation_table(
    first: ArrayLike, second: ArrayLike, names: Sequence[str], seed: int, draws: int = 500
) -> dict[str, Correlation]:
    """Return r, its bootstrap interval and that of shuffled pairs for each named column.

    A column that is constant in either table has no correlation: its values are None.
    """
    a, b = np.asarray(first, np.float64), np.asarray(second, np.float64)
    counts = resamples(len(a), seed, draws)
    resampled = np.array([correlations(a, b, row) for row in counts])
    order = derangement(len(a), seed)
    real, control = correlations(a, b), correlations(a, b[order])
    table: dict[str, Correlation] = {}
    for column, name in enumerate(names):
        samples = resampled[:, column][np.isfinite(resampled[:, column])]
        if np.isfinite(real[column]) and samples.size:
            r, shuffled = float(real[column]), float(control[column])
            table[name] = Correlation(r, *percentiles(samples), shuffled)
        else:
            table[name] = Correlation(None, None, None, None)
    return table


def derangement(count: int, seed: int) -> Indices:
    """Return a permutation of 0..count-1 without fixed points, drawn by the seed."""
    if count < 2:
        raise CorpusError(f"{count} identities cannot be shuffled: evaluate two or more.")
    order = np.random.default_rng([seed, 3]).permutation(count)
    result = np.empty(count, np.intp)
    result[order] = np.roll(order, 1)
    return result


def fraction_of_headroom(
    model: ArrayLike, floor: ArrayLike, ceiling: ArrayLike, seed: int
) -> Share:
    """Return the fraction of the way from `floor` to `ceiling` that a model covers.

    All are recalls of the same identities, (n,): (model - floor) / (ceiling - floor) of the means;
    the interval resamples identities, the same in all three. None where the ceiling is not
    above the floor.
    """
    table = np.stack([np.asarray(part, np.float64) for part in (model, floor, ceiling)], 1)
    mean, resampled = table.mean(0), resampled_means(table, seed)
    headroom, headrooms = mean[2] - mean[1], resampled[:, 2] - resampled[:, 1]
    low, _ = percentiles(headrooms)
    if headroom <= 0 or low <= 0:
        return Share(None, None, None, "the oracle is not above sex only")
    positive = headrooms > 0  # at most one in forty resamples has no headroom, and is left out
    fractions = ((resampled[:, 0] - resampled[:, 1]) / np.where(positive, headrooms, 1))[positive]
    return Share(float((mean[0] - mean[1]) / headroom), *percentiles(fractions))
