"""Ridge regression by scikit-learn, with the penalty chosen by cross-validation over people."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import ArrayLike

from vox2face.core.errors import CorpusError
from vox2face.train.metrics.similarity import Array, Indices

FOLDS = 5

# Relative to the mean eigenvalue of the inputs' scatter matrix
PENALTIES = tuple(10.0**power for power in range(-6, 5))


@dataclass(frozen=True, eq=False)
class FittedRidge:
    """A fitted regression, and its penalty in units of the mean eigenvalue."""

    model: Any
    penalty: float

    def predict(self, x: ArrayLike) -> Array:
        """Return the predictions for rows (n, inputs), (n, outputs)."""
        result: Array = self.model.predict(np.asarray(x, np.float64))
        return result.reshape(len(result), -1)  # scikit-learn drops the axis of a single output


def folds_of(groups: ArrayLike, seed: int, folds: int = FOLDS) -> Indices:
    """Return the fold of each row (n,); rows of a group share it.

    Raises `CorpusError` below two groups.
    """
    names, member = np.unique(np.asarray(groups), return_inverse=True)
    if len(names) < 2:
        raise CorpusError(
            f"A regression over {len(names)} identities cannot be cross-validated: use two or more."
        )
    order = np.random.default_rng([seed, 4]).permutation(len(names))
    fold = np.empty(len(names), np.intp)
    fold[order] = np.arange(len(names)) % min(folds, len(names))
    result: Indices = fold[member]
    return result


def ridge(x: ArrayLike, y: ArrayLike, groups: ArrayLike, seed: int) -> FittedRidge:
    """Fit ridge regression of y (n, outputs) on x (n, inputs), with an unpenalised constant.

    The penalty, of 1e-6 to 1e4 in units of the mean eigenvalue, is the one whose squared
    error is smallest on held-out folds; rows of one of the `groups` (people) are held out together.
    """
    a, b = np.asarray(x, np.float64), np.asarray(y, np.float64)
    fold = folds_of(groups, seed)
    errors = np.zeros(len(PENALTIES))
    for number in range(int(fold.max()) + 1):
        held_out = fold == number
        for index, penalty in enumerate(PENALTIES):
            guess = FittedRidge(_fit(a[~held_out], b[~held_out], penalty), penalty).predict(
                a[held_out]
            )
            errors[index] += ((guess - b[held_out]) ** 2).sum()
    penalty = PENALTIES[int(errors.argmin())]
    return FittedRidge(_fit(a, b, penalty), penalty)


def _fit(x: Array, y: Array, penalty: float) -> Any:
    from sklearn.linear_model import Ridge

    scatter = ((x - x.mean(0)) ** 2).sum() / min(len(x) - 1, x.shape[1]) or 1.0
    return Ridge(alpha=penalty * scatter).fit(x, y)
