"""Errors of verification are those of scikit-learn's curves and of counting."""

from __future__ import annotations

import numpy as np
import pytest
from sklearn.metrics import roc_curve

from vox2face.core.errors import CorpusError
from vox2face.train.metrics.verification import Pairs, measure

WHO = np.repeat(np.arange(12), 3)


def table(spread: float = 1.0) -> np.ndarray:
    rng = np.random.default_rng(5)
    places = rng.standard_normal((12, 4))[WHO] + rng.standard_normal((36, 4)) * spread * 0.5
    return np.linalg.norm(places[:, None] - places[None], axis=2)


def test_errors_are_those_of_scikit_learn() -> None:
    pairs = Pairs(table(), WHO)
    found = measure(pairs, "euclidean", 0, draws=2)
    first, second = np.triu_indices(36, 1)
    accepted, passed, limits = roc_curve(
        WHO[first] == WHO[second], -table()[first, second], drop_intermediate=False
    )
    equal = int(np.argmax(accepted >= 1 - passed))
    strict = int(np.flatnonzero(accepted <= 0.01)[-1])
    assert found.equal.value == pytest.approx(-limits[equal])
    assert found.equal_error.value == pytest.approx((accepted[equal] + 1 - passed[equal]) / 2)
    assert found.strict.value == pytest.approx(-limits[strict])
    assert found.missed.value == pytest.approx(1 - passed[strict])
    assert found.people == 12 and found.published_missed is None


def test_people_count_as_often_as_they_are_drawn() -> None:
    distances, counts = table(), np.array([2, 0, 1, 3] + [1] * 8)
    same, other = [], []
    for a in range(36):
        for b in range(a + 1, 36):
            one, two = int(counts[WHO[a]]), int(counts[WHO[b]])
            if WHO[a] == WHO[b]:
                same += [distances[a, b]] * one
            else:
                other += [distances[a, b]] * (one * two)
    accepted, missed = Pairs(distances, WHO).errors_at(1.5, counts)
    assert accepted == pytest.approx(np.mean(np.array(other) <= 1.5)) and 0 < accepted < 1
    assert missed == pytest.approx(np.mean(np.array(same) > 1.5)) and 0 < missed < 1
    assert Pairs(distances, WHO).errors_at(-1.0, counts) == (0.0, 1.0)


def test_intervals_are_over_people_and_hold_the_value() -> None:
    pairs = Pairs(table(), WHO)
    found = measure(pairs, "euclidean", 0, published=1.5)
    assert found == measure(pairs, "euclidean", 0, published=1.5)
    rows = [value for value in vars(found).values() if isinstance(value, tuple)]
    assert len(rows) == 6 and all(row.low <= row.value <= row.high for row in rows)
    assert found.missed.high - found.missed.low > 0.1  # of twelve people little is known
    sure = measure(Pairs(table(spread=0.0), WHO), "euclidean", 0)
    assert sure.equal_error == sure.missed == (0, 0, 0)


def test_one_person_or_one_picture_of_each_is_too_little() -> None:
    for who in (np.zeros(36, int), np.arange(36)):
        with pytest.raises(CorpusError, match="two people or more, and two pictures of one"):
            Pairs(table(), who)
