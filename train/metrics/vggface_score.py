"""The VGGFace Score, and the diversity of faces."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import ArrayLike

from vox2face.core.errors import UsageError
from vox2face.train.metrics.similarity import Array

SPLITS = 5  # of the VGGFace score, as SF2F's evaluator has it


@dataclass(frozen=True)
class Score:
    """A score's mean and standard deviation over the parts of the pictures."""

    mean: float
    std: float


def vggface_score(probabilities: ArrayLike, seed: int, splits: int = SPLITS) -> Score:
    """Return the VGGFace score of pictures: exp of the mean KL(p(y|x) || p(y)).

    `probabilities` are those of any classifier of faces, (pictures, classes); the pictures are
    shuffled and cut into `splits` parts, each of which has its own p(y). The formula is that of
    the Inception score: it measures that single pictures are told apart with confidence and that
    all are diverse, and not whether they show the right person. 1 is the least, the
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
    return Score(float(np.mean(scores)), float(np.std(scores)))


def diversity(table: Array) -> float:
    """Return exp of the mean KL(p(y|x) || p(y)) of one part, where 0 log 0 is 0."""
    marginal = np.broadcast_to(table.mean(0), table.shape)
    positive = table > 0
    logs = np.zeros_like(table)
    np.log(table, out=logs, where=positive)
    logs[positive] -= np.log(marginal[positive])
    return float(np.exp((table * logs).sum(1).mean()))
