"""How near embeddings are, how sure a mean is, and how telling class scores are. NumPy only.

Everything here takes and returns plain arrays, so that it can be tested against closed formulas.
"""

from __future__ import annotations

import functools
from collections.abc import Sequence
from typing import Any

import numpy as np
from numpy.typing import ArrayLike, NDArray

from vox2face.errors import CorpusError, UsageError

Array = NDArray[np.float64]
Indices = NDArray[np.intp]

DRAWS = 2000  # resamples of a bootstrap
LEVEL = 0.95
SPLITS = 5  # of the VGGFace score, as SF2F's evaluator has it
BLOCK = 256  # resamples weighed at a time: they hold a count for each identity


def checked(values: ArrayLike, what: str = "embeddings") -> Array:
    """Return embeddings as float64 (n, width).

    Raises `CorpusError` unless they are a table of finite rows, none of them zero.
    """
    table = np.asarray(values, np.float64)
    if table.ndim != 2 or not table.size:
        raise CorpusError(
            f"The {what} have the shape {table.shape}: expected are one or more rows, (n, width)."
        )
    if not np.isfinite(table).all():
        bad = int((~np.isfinite(table).all(1)).sum())
        raise CorpusError(
            f"{bad} of {len(table)} {what} are not finite: make them again, and look for NaN in "
            "the network that made them."
        )
    if (zero := ~table.any(1)).any():
        raise CorpusError(
            f"{int(zero.sum())} of {len(table)} {what} are zero, and zero has no direction: leave "
            "those recordings or pictures out, or make their embeddings again."
        )
    return table


def unit(values: ArrayLike, what: str = "embeddings") -> Array:
    """Return embeddings divided by their lengths; raises as `checked` does."""
    table = checked(values, what)
    table = table / np.abs(table).max(1, keepdims=True)  # or squares of tiny values vanish
    result: Array = table / np.linalg.norm(table, axis=1, keepdims=True)
    return result


def similarity(first: ArrayLike, second: ArrayLike) -> dict[str, Array]:
    """Return how near the rows of two tables are, pair by pair: cosine, degrees, l1 and l2.

    L1 and L2 are distances between **unit** vectors, so that L2 = sqrt(2 - 2 cosine) and networks
    of any scale compare; they cannot be compared with figures on vectors of another scale.
    """
    a, b = unit(first), unit(second)
    if a.shape != b.shape:
        raise UsageError(
            f"Embeddings of the shapes {a.shape} and {b.shape} are no pairs: compare as many of "
            "the same width."
        )
    difference = a - b
    l2 = np.linalg.norm(difference, axis=1)
    # Of two unit vectors; arccos would lose half the digits where they are nearly the same
    degrees = np.degrees(2 * np.arcsin(np.clip(l2 / 2, 0, 1)))
    return {
        "cosine": (a * b).sum(1),
        "degrees": degrees,
        "l1": np.abs(difference).sum(1),
        "l2": l2,
    }


@functools.lru_cache(maxsize=2)
def resamples(count: int, seed: int, draws: int = DRAWS) -> NDArray[np.int64]:
    """Return how often each of `count` identities is drawn in each resample, (draws, count).

    Raises `CorpusError` for fewer than two identities: one alone says nothing about others.
    """
    if count < 2:
        raise CorpusError(
            f"An interval over {count} identities cannot be had: evaluate two or more."
        )
    rng = np.random.default_rng([seed, 1])
    chosen = rng.integers(count, size=(draws, count))
    offsets = count * np.arange(draws)[:, None]
    counts = np.bincount((chosen + offsets).ravel(), minlength=draws * count)
    return counts.reshape(draws, count)


def resampled_means(values: ArrayLike, seed: int, draws: int = DRAWS) -> Array:
    """Return the means of bootstrap resamples of identities, (draws, ...), for values (n, ...).

    Tables of as many rows see the same resamples, so that their differences are paired.
    """
    table = np.asarray(values, np.float64)
    counts = resamples(len(table), seed, draws)
    flat = table.reshape(len(table), -1)
    parts = [counts[i : i + BLOCK] @ flat for i in range(0, draws, BLOCK)]
    means = np.concatenate(parts) / len(table)
    result: Array = means.reshape(draws, *table.shape[1:])
    return result


def interval(samples: Array, level: float = LEVEL) -> tuple[float, float]:
    """Return the percentile interval of resampled values (draws,)."""
    low, high = np.quantile(samples, [(1 - level) / 2, (1 + level) / 2])
    return float(low), float(high)


def bootstrap(values: ArrayLike, seed: int, draws: int = DRAWS) -> dict[str, float]:
    """Return the mean of one value an identity, and its 95 % interval: mean, low, high.

    Identities are resampled with replacement, the percentiles 2.5 and 97.5 reported (Efron);
    a seed gives the same interval every time.
    """
    table = np.asarray(values, np.float64)
    low, high = interval(resampled_means(table, seed, draws))
    return {"mean": float(table.mean()), "low": low, "high": high}


def vggface_score(probabilities: ArrayLike, seed: int, splits: int = SPLITS) -> dict[str, float]:
    """Return the VGGFace score of pictures: exp of the mean KL(p(y|x) || p(y)); mean and std.

    `probabilities` are those of any classifier of faces, (pictures, classes); the pictures are
    shuffled and cut into `splits` parts, each of which has its own p(y). The formula is that of
    the Inception score: it measures that single pictures are told apart with confidence and that
    all are diverse, and says nothing of whether they show the right person. 1 is the least, the
    smaller of the number of classes and of pictures a part the most. Source: SF2F's evaluator.
    """
    table = np.asarray(probabilities, np.float64)
    sums = table.sum(1) if table.ndim == 2 else np.zeros(0)
    if not sums.size or not np.allclose(sums, 1, atol=1e-4) or (table < 0).any():
        raise UsageError(
            f"A VGGFace score needs probabilities (pictures, classes) whose rows add up to 1; "
            f"these have the shape {table.shape}: apply softmax to class scores first."
        )
    if len(table) < 2 * splits:
        raise UsageError(
            f"A VGGFace score of {splits} parts needs {2 * splits} pictures or more, not "
            f"{len(table)}: decode more of them."
        )
    order = np.random.default_rng([seed, 2]).permutation(len(table))
    scores = [diversity(table[part]) for part in np.array_split(order, splits)]
    return {"mean": float(np.mean(scores)), "std": float(np.std(scores))}


def diversity(table: Array) -> float:
    """Return exp of the mean KL(p(y|x) || p(y)) of one part, where 0 log 0 is 0."""
    marginal = np.broadcast_to(table.mean(0), table.shape)
    there = table > 0
    logs = np.zeros_like(table)
    np.log(table, out=logs, where=there)
    logs[there] -= np.log(marginal[there])
    return float(np.exp((table * logs).sum(1).mean()))


def correlations(first: ArrayLike, second: ArrayLike, weights: ArrayLike | None = None) -> Array:
    """Return Pearson's r of each column of two tables (n, columns); NaN where one is constant.

    `weights` (n,) count the rows, as those of a resample.
    """
    a, b = np.asarray(first, np.float64), np.asarray(second, np.float64)
    w = np.full(len(a), 1 / len(a)) if weights is None else np.asarray(weights, np.float64)
    w = w / w.sum()
    a, b = a - w @ a, b - w @ b
    spread = np.sqrt((w @ (a * a)) * (w @ (b * b)))
    # What is left of a constant by rounding is no spread
    known = spread > 1e-12 * np.maximum(1e-300, np.abs(a).max(0) + np.abs(b).max(0)) ** 2
    result = np.full(a.shape[1], np.nan)
    np.divide(w @ (a * b), spread, out=result, where=known)
    return result


def correlation_table(
    first: ArrayLike, second: ArrayLike, names: Sequence[str], seed: int, draws: int = 500
) -> dict[str, dict[str, Any]]:
    """Return r, its bootstrap interval and that of shuffled pairs for each named column.

    A column that is constant in either table has no correlation: its values are None.
    """
    a, b = np.asarray(first, np.float64), np.asarray(second, np.float64)
    counts = resamples(len(a), seed, draws)
    drawn = np.array([correlations(a, b, row) for row in counts])
    order = derangement(len(a), seed)
    real, control = correlations(a, b), correlations(a, b[order])
    table: dict[str, dict[str, Any]] = {}
    for column, name in enumerate(names):
        samples = drawn[:, column][np.isfinite(drawn[:, column])]
        known = bool(np.isfinite(real[column]) and samples.size)
        low, high = interval(samples) if known else (None, None)
        table[name] = {
            "r": float(real[column]) if known else None,
            "low": low,
            "high": high,
            "shuffled": float(control[column]) if known else None,
        }
    return table


def derangement(count: int, seed: int) -> Indices:
    """Return a permutation that leaves nothing in its place: 0..count-1, drawn by the seed."""
    if count < 2:
        raise CorpusError(f"{count} identities cannot be shuffled: evaluate two or more.")
    order = np.random.default_rng([seed, 3]).permutation(count)
    result = np.empty(count, np.intp)
    result[order] = np.roll(order, 1)
    return result
