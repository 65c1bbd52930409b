"""Oracles: the recall that the true latent values of synthetic people allow.

Only a synthetic corpus has the true values. A model's order of the gallery is compared with three:

- **random**: K / N.
- **sex only**: the faces of the speaker's true sex first, in random order; exact, of the pool's
  counts (`retrieval.oracle_recall`).
- **latent**: a regression from the speaker's true sex, age and body size to the face embedding,
  fitted on the train split, predicts an embedding for each test speaker, and the gallery is ranked
  by its distance to that, as for a model's embedding. It has all of the voice that the face depends
  on, and of the face what a picture's embedding shows of that.

The **Gaussian** latent oracle ranks by likelihood instead, under the covariance of the regression's
residuals: the best order that sex, age and size allow if the residuals are normal and have the same
distribution for all people.
"""

from __future__ import annotations

import csv
import io
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import ArrayLike

from vox2face.core.errors import CorpusError
from vox2face.train import storage
from vox2face.train.evaluate.results import Accuracy
from vox2face.train.metrics.retrieval import KS, Recall, rank_in_pools, recall
from vox2face.train.metrics.ridge import FittedRidge, folds_of, ridge
from vox2face.train.metrics.similarity import Array, Indices
from vox2face.train.metrics.statistics import percentiles, resampled_means

CENTER, SCALE = 45.0, 20.0  # years, by which ages are standardised
TRUE, FALSE = ("true", "1", "m", "male"), ("false", "0", "f", "female")


@dataclass(frozen=True, eq=False)
class Latents:
    """The true values of people, (n,) each: sex, age in years, body size in standard deviations."""

    male: Array
    years: Array
    size: Array
    ancestry: tuple[str, ...]

    @property
    def sexes(self) -> list[str | None]:
        """ "m" or "f" for each person."""
        return ["m" if male else "f" for male in self.male]

    def basis(self) -> Array:
        """Return the inputs of the regression, (n, 24).

        For each sex apart: 1, age and size to the third power, their products to the third degree,
        and the two hinges of age at 35 and 60 years, since faces age unevenly.
        """
        a, s = (self.years - CENTER) / SCALE, self.size
        hinges = [np.maximum(0, a + 0.5), np.maximum(0, a - 0.75)]
        powers = [np.ones_like(a), a, a**2, a**3, s, s**2, s**3, a * s, a**2 * s, a * s**2]
        curve = np.stack([*powers, *hinges], 1)
        male = self.male[:, None]
        return np.concatenate([curve * male, curve * (1 - male)], 1)


def read_table(file: storage.PathOrUri) -> list[dict[str, str]]:
    """Read a CSV file with a column `identity`. Raises `CorpusError` for another file."""
    try:
        reader = csv.DictReader(io.StringIO(storage.read_bytes(file).decode("utf-8-sig")))
        rows = list(reader)
    except UnicodeDecodeError as error:
        raise CorpusError(f"{file} is not text in UTF-8: give a CSV file.") from error
    except csv.Error as error:
        raise CorpusError(f"{file} cannot be read as CSV ({error}): give a CSV file.") from error
    names = [str(name) for name in reader.fieldnames or ()]
    if not rows or "identity" not in names:
        instead = f", but the columns {', '.join(names)[:80]}" if names else ""
        raise CorpusError(
            f"{file} has no rows with a column 'identity'{instead}: give a CSV file, with commas, "
            "of the manifest's names, such as people.csv of a synthetic corpus."
        )
    for row in rows:
        if None in row:  # the key of surplus values
            raise CorpusError(
                f"{file} has more values for {row['identity']!r} than columns: put values that "
                "hold commas in quotation marks."
            )
    return rows


def read_latents(file: storage.PathOrUri, identities: Sequence[str]) -> Latents:
    """Return the true values of people from people.csv of a synthetic corpus, in this order.

    Raises `CorpusError` for people who are not in it and for values that are not numbers.
    """
    rows = {row["identity"]: row for row in read_table(file)}
    missing = [name for name in identities if name not in rows]
    if missing:
        raise CorpusError(
            f"{file} lacks {len(missing)} of {len(identities)} people, such as {missing[0]}: give "
            "the people.csv of the manifest's corpus."
        )
    people = [rows[name] for name in identities]
    try:
        ancestry = tuple(row["ancestry"] for row in people)
        values = [(sex(row["male"]), float(row["years"]), float(row["size"])) for row in people]
    except (KeyError, ValueError, TypeError, AttributeError) as error:
        raise CorpusError(
            f"{file} lacks one of the columns male, years, size and ancestry, or has a value there "
            f"that is not valid ({error}): give the people.csv of a synthetic corpus."
        ) from error
    table = np.array(values)
    if not np.isfinite(table).all():
        raise CorpusError(f"{file} has values that are not finite: make the corpus again.")
    return Latents(table[:, 0], table[:, 1], table[:, 2], ancestry)


def sex(word: str) -> float:
    """Return 1 for a man and 0 for a woman. Raises `ValueError` for another word."""
    lower = word.strip().lower()
    if lower not in (*TRUE, *FALSE):
        raise ValueError(f"{word!r} is not True or False")
    return float(lower in TRUE)


def latent_predictions(
    train: Latents, faces: ArrayLike, owners: ArrayLike, test: Latents, seed: int
) -> tuple[Array, FittedRidge]:
    """Return the face embedding that each test speaker's true values predict, and the regression.

    `faces` (n, width) are pictures' embeddings of the train split, `owners` (n,) positions in
    `train`.
    """
    owner = np.asarray(owners, np.intp)
    fitted = ridge(train.basis()[owner], faces, owner, seed)
    return fitted.predict(test.basis()), fitted


def gaussian_recall(
    predicted: Array,
    gallery: Array,
    residuals: Array,
    pools: Sequence[Indices],
    ks: Sequence[int] = KS,
) -> Recall:
    """Return the recall of ranking by likelihood: Mahalanobis distance to the prediction.

    `residuals` (n, width) are the regression's of the train people's gallery embeddings;
    their covariance is shrunk by the method of Ledoit and Wolf (2004).
    """
    from sklearn.covariance import ledoit_wolf

    factor = np.linalg.cholesky(ledoit_wolf(residuals)[0])
    p = np.linalg.solve(factor, predicted.T).T
    g = np.linalg.solve(factor, gallery.T).T
    scale = float((g**2).sum(1).mean())

    def measure(rows: Indices, faces: Indices) -> Array:
        a, b = p[rows], g[faces]
        squares: Array = (a * a).sum(1)[:, None] + (b * b).sum(1) - 2 * (a @ b.T)
        return squares / scale

    people = np.arange(len(gallery))
    return recall(rank_in_pools(measure, people, pools, None, people), ks)


def predicted_classes(
    fit: tuple[ArrayLike, ArrayLike, Sequence[str]],
    test: ArrayLike,
    seed: int,
) -> tuple[list[str], tuple[str, ...]]:
    """Predict the class of each row of `test` by ridge regression; return all classes too.

    `fit` is (embeddings (n, width), owners (n,), the class of each row). The outputs are one
    column a class, 0 or 1, divided by its frequency so that frequent classes have no advantage.
    """
    x, owners, labels = fit
    names = tuple(sorted(set(labels)))
    if len(names) < 2:
        raise CorpusError(f"All people are of the class {names[0]}: there is nothing to predict.")
    hot = np.array([[float(label == name) for name in names] for label in labels])
    fitted = ridge(x, hot / hot.mean(0), owners, seed)
    guesses = fitted.predict(test).argmax(1)
    return [names[i] for i in guesses], names


def balanced_accuracy(
    guesses: Sequence[str], truth: Sequence[str], names: Sequence[str], seed: int
) -> Accuracy:
    """Return the mean over classes of the part guessed right, with its interval; chance is 1 / n.

    The interval resamples people. Every class counts the same, so a constant guess is at chance.
    """
    correct = np.array([float(a == b) for a, b in zip(guesses, truth, strict=True)])
    classes = [name for name in names if name in truth]
    member = np.array([[float(t == name) for name in classes] for t in truth])
    resampled = resampled_means(np.concatenate([member * correct[:, None], member], 1), seed)
    count = len(classes)
    weight = np.maximum(resampled[:, count:], 1e-12)
    low, high = percentiles((resampled[:, :count] / weight).mean(1))
    mean = float(((member * correct[:, None]).sum(0) / member.sum(0)).mean())
    chance = 1 / len(names)
    return Accuracy(mean, low, high, chance, len(truth), bool(low <= chance <= high))


def crossed_classes(
    embeddings: ArrayLike, labels: Sequence[str], seed: int
) -> tuple[list[str], tuple[str, ...]]:
    """Predict the class of each person by a regression fitted to the other people.

    `embeddings` (people, width); five folds. Where the others are all of one class, it is that one.
    """
    x = np.asarray(embeddings, np.float64)
    fold = folds_of(np.arange(len(x)), seed)
    guesses = [""] * len(x)
    for number in range(int(fold.max()) + 1):
        test, train = np.flatnonzero(fold == number), np.flatnonzero(fold != number)
        train_labels = [labels[i] for i in train.tolist()]
        predicted = [train_labels[0]] * len(test)
        if len(set(train_labels)) > 1:
            predicted, _ = predicted_classes((x[train], train, train_labels), x[test], seed)
        for i, guess in zip(test.tolist(), predicted, strict=True):
            guesses[i] = guess
    return guesses, tuple(sorted(set(labels)))
