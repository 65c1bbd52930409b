"""Which clip goes with which picture, and that it takes neither time nor memory to know."""

from __future__ import annotations

import tracemalloc
from itertools import product

import numpy as np
import pytest

from vox2face.core.errors import UsageError
from vox2face.train.corpus.groups import Groups, group
from vox2face.train.datasets.pairing import PAIRINGS, Pairs, drawn

CLIPS, PICTURES = [3, 1, 2], [2, 1, 4]  # of three identities


def small() -> Groups:
    """Clips are rows 0..5, pictures rows 10..16, in the order of the identities."""
    return group(
        np.arange(6), np.repeat([0, 1, 2], CLIPS), 10 + np.arange(7), np.repeat([0, 1, 2], PICTURES)
    )


def all_of(pairs: Pairs, epoch: int = 0) -> list[tuple[int, int, int]]:
    """Return every pair as (identity, row of the clip, row of the picture)."""
    found = [pairs.at(i, epoch) for i in range(len(pairs))]
    rows = pairs.groups.clips, pairs.groups.pictures
    return [(p.identity, int(rows[0][p.clip]), int(rows[1][p.picture])) for p in found]


def test_all_to_all_is_the_product_of_each_identity() -> None:
    want = [
        (i, clip, picture)
        for i in range(3)
        for clip, picture in product(small().clips_of(i), small().pictures_of(i))
    ]
    assert all_of(Pairs(small(), "all-to-all")) == want
    assert len(want) == 3 * 2 + 1 * 1 + 2 * 4


def test_one_to_one_goes_round_the_pictures() -> None:
    found = all_of(Pairs(small(), "one-to-one"))
    assert found == [(0, 0, 10), (0, 1, 11), (0, 2, 10), (1, 3, 12), (2, 4, 13), (2, 5, 14)]


def test_all_to_one_takes_the_first_picture() -> None:
    found = all_of(Pairs(small(), "all-to-one"))
    assert found == [(0, 0, 10), (0, 1, 10), (0, 2, 10), (1, 3, 12), (2, 4, 13), (2, 5, 13)]


def test_random_pairs_are_of_one_identity_and_a_function_of_seed_epoch_and_clip() -> None:
    pairs = Pairs(small(), "random", seed=5)
    for identity, clip, picture in all_of(pairs):
        assert clip in small().clips_of(identity) and picture in small().pictures_of(identity)
    assert [clip for _, clip, _ in all_of(pairs)] == list(range(6))
    assert all_of(pairs, 3) == all_of(Pairs(small(), "random", seed=5), 3)
    epochs = {tuple(all_of(pairs, epoch)) for epoch in range(8)}
    assert len(epochs) > 4
    assert all_of(pairs) != all_of(Pairs(small(), "random", seed=6))


def test_random_pictures_come_equally_often() -> None:
    groups = group(np.arange(1), np.zeros(1, int), np.arange(5), np.zeros(5, int))
    pairs = Pairs(groups, "random")
    counts = np.bincount([pairs.at(0, epoch).picture for epoch in range(2000)], minlength=5)
    assert counts.min() > 330 and counts.max() < 470  # 400 each; four standard deviations


def test_rows_in_any_order_are_grouped() -> None:
    groups = group(np.array([7, 8, 9]), np.array([1, 0, 1]), np.array([3, 2]), np.array([1, 0]))
    assert [groups.clips_of(i).tolist() for i in range(2)] == [[8], [7, 9]]
    assert [groups.pictures_of(i).tolist() for i in range(2)] == [[2], [3]]


def test_hundreds_of_millions_of_pairs_take_no_memory() -> None:
    random = np.random.default_rng(0)
    people = np.sort(random.zipf(1.4, 1_000_000) % 6000)
    kinds = random.random(1_000_000) < 0.9
    rows = np.arange(1_000_000)
    tracemalloc.start()
    groups = group(rows[kinds], people[kinds], rows[~kinds], people[~kinds])
    pairs = Pairs(groups, "all-to-all")
    _, peak = tracemalloc.get_traced_memory()
    tracemalloc.stop()
    assert len(pairs) > 300_000_000
    assert peak < 60_000_000
    for index in (0, 1, len(pairs) // 3, len(pairs) - 1):
        pair = pairs.at(index)
        assert people[groups.clips[pair.clip]] == people[groups.pictures[pair.picture]]
    last = pairs.at(len(pairs) - 1)
    assert groups.clips[last.clip] == groups.clips_of(last.identity)[-1]
    assert groups.pictures[last.picture] == groups.pictures_of(last.identity)[-1]
    with pytest.raises(IndexError):
        pairs.at(len(pairs))


def test_a_pair_is_found_in_few_steps(monkeypatch: pytest.MonkeyPatch) -> None:
    """One binary search, whatever the number of pairs, and no loop over identities."""
    searched: list[int] = []
    search = np.searchsorted

    def counted(array: np.ndarray, *values: object, **options: object) -> object:
        searched.append(len(array))
        return search(array, *values, **options)

    monkeypatch.setattr(np, "searchsorted", counted)
    Pairs(small(), "all-to-all").at(9)
    assert searched == [4]


@pytest.mark.parametrize("pairing", PAIRINGS)
def test_nobody_gives_no_pairs(pairing: str) -> None:
    nothing = np.empty(0, np.int64)
    pairs = Pairs(group(nothing, nothing, nothing, nothing), pairing)
    assert len(pairs) == 0
    with pytest.raises(IndexError):
        pairs.at(0)


def test_what_cannot_be_meant_is_told() -> None:
    with pytest.raises(UsageError, match=r"no pairing 'some-to-some': use one of all-to-all"):
        Pairs(small(), "some-to-some")
    with pytest.raises(UsageError, match="whole number from 0"):
        Pairs(small(), "random", seed=-1)


def test_drawn_numbers_stay_the_same_for_ever() -> None:
    assert [drawn(1000, 0, epoch, 7, 0) for epoch in range(4)] == PINNED


PINNED = [629, 746, 738, 765]
