"""Ridge regression whose penalty is chosen on people it was not fitted to. NumPy only."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import ArrayLike

from vox2face.core.errors import CorpusError
from vox2face.train.metrics.similarity import Array, Indices

FOLDS = 5

# Relative to the mean variance of a column of the inputs
PENALTIES = tuple(10.0**power for power in range(-6, 5))


@dataclass(frozen=True, eq=False)
class Ridge:
    """A fitted regression: `predict(x)` is (x - x_mean) @ weights + y_mean."""

    weights: Array
    x_mean: Array
    y_mean: Array
    penalty: float

    def predict(self, x: ArrayLike) -> Array:
        """Return the predictions for rows (n, inputs), (n, outputs)."""
        result: Array = (np.asarray(x, np.float64) - self.x_mean) @ self.weights + self.y_mean
        return result


@dataclass(frozen=True, eq=False)
class Spectrum:
    """Centred inputs and outputs, and the eigenvalues that make every penalty cheap."""

    x_mean: Array
    y_mean: Array
    vectors: Array
    values: Array
    moments: Array

    def weights(self, penalty: float) -> Array:
        """Return the weights (inputs, outputs) for a penalty."""
        base = self.values.mean() or 1.0
        result: Array = self.vectors @ (self.moments / (self.values + penalty * base)[:, None])
        return result


def spectrum(x: Array, y: Array) -> Spectrum:
    """Return what all ridge regressions of y on x share."""
    x_mean, y_mean = x.mean(0), y.mean(0)
    centred = x - x_mean
    if len(x) >= x.shape[1]:
        values, vectors = np.linalg.eigh(centred.T @ centred)
    else:  # fewer rows than columns: the small side has all that is not zero
        values, left = np.linalg.eigh(centred @ centred.T)
        kept = values > 1e-12 * max(values[-1], 1e-300)
        values = values[kept]
        vectors = centred.T @ (left[:, kept] / np.sqrt(values))
    values = np.maximum(values, 0)
    return Spectrum(x_mean, y_mean, vectors, values, (centred @ vectors).T @ (y - y_mean))


def folds_of(groups: ArrayLike, seed: int, folds: int = FOLDS) -> Indices:
    """Return the fold of each row; rows of one group share it. Raises below two groups."""
    names, member = np.unique(np.asarray(groups), return_inverse=True)
    if len(names) < 2:
        raise CorpusError(
            f"A regression over {len(names)} identities cannot be checked: it needs two or more."
        )
    order = np.random.default_rng([seed, 4]).permutation(len(names))
    fold = np.empty(len(names), np.intp)
    fold[order] = np.arange(len(names)) % min(folds, len(names))
    result: Indices = fold[member]
    return result


def ridge(x: ArrayLike, y: ArrayLike, groups: ArrayLike, seed: int) -> Ridge:
    """Fit ridge regression of y (n, outputs) on x (n, inputs), with an unpenalised constant.

    Of the penalties 1e-6 to 1e4, in units of the mean eigenvalue, the one is taken whose squared
    error is smallest on held-out folds; rows of one of the `groups` (people) are held out together.
    """
    a, b = np.asarray(x, np.float64), np.asarray(y, np.float64)
    fold = folds_of(groups, seed)
    errors = np.zeros(len(PENALTIES))
    for number in range(int(fold.max()) + 1):
        held = fold == number
        fitted = spectrum(a[~held], b[~held])
        for place, penalty in enumerate(PENALTIES):
            guess = (a[held] - fitted.x_mean) @ fitted.weights(penalty) + fitted.y_mean
            errors[place] += ((guess - b[held]) ** 2).sum()
    penalty = PENALTIES[int(errors.argmin())]
    whole = spectrum(a, b)
    return Ridge(whole.weights(penalty), whole.x_mean, whole.y_mean, penalty)


def shrunk_covariance(residuals: Array) -> Array:
    """Return the covariance of residuals (n, width), shrunk to a multiple of the identity.

    By as much as Ledoit and Wolf's formula (2004) says, so that it can be inverted even where there
    are fewer rows than columns.
    """
    count, width = residuals.shape
    centred = residuals - residuals.mean(0)
    sample = centred.T @ centred / count
    scale = np.trace(sample) / width
    far = ((sample - scale * np.eye(width)) ** 2).sum()
    squares = (centred**2).sum(1)
    noise = ((squares**2).sum() - count * (sample**2).sum()) / count**2
    part = 1.0 if far == 0 else min(1.0, max(0.0, noise / far))
    result: Array = (1 - part) * sample + part * scale * np.eye(width)
    return result
