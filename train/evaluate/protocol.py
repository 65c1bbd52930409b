"""Measure a system that finds faces: similarity, recall with chance and oracles, groups.

Pure functions of arrays; `train.evaluate.run` reads a corpus and runs networks for them.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field

import numpy as np
from numpy.typing import ArrayLike

from vox2face.core.errors import CorpusError
from vox2face.train.evaluate.results import (
    Group,
    Groups,
    PermutationControl,
    References,
    Similarity,
    Spread,
    SystemResult,
    WithinGender,
)
from vox2face.train.metrics import retrieval
from vox2face.train.metrics.retrieval import KS, Recall, by_identity, rank, recall
from vox2face.train.metrics.similarity import Array, Indices, check_embeddings, similarity
from vox2face.train.metrics.statistics import (
    Share,
    bootstrap,
    derangement,
    fraction_of_headroom,
)

LEAST_GROUP = 5  # people: figures of fewer would describe single persons
QUARTERS = 4
MANY = 12  # values: a column of numbers with more is cut into quarters


@dataclass(frozen=True, eq=False)
class Protocol:
    """The people, faces and pools that all systems are measured with.

    `names` and `genders` are those of the people; `pictures` (n, width) are the embeddings of their
    faces and `owners` (n,) their people, as positions in `names`. `gallery` (people, width) is
    the mean over each one's pictures.
    """

    names: Sequence[str]
    genders: Sequence[str | None]
    pictures: Array
    owners: Indices
    pools: Sequence[Indices]
    distance: str = "cosine"
    seed: int = 0
    ks: tuple[int, ...] = KS
    gallery: Array = field(init=False)

    def __post_init__(self) -> None:
        pictures = check_embeddings(self.pictures, "face embeddings")
        gallery, who = by_identity(pictures, np.asarray(self.owners, np.intp))
        if len(who) != len(self.names):
            raise CorpusError(
                f"{len(self.names) - len(who)} of {len(self.names)} people have no picture: leave "
                "them out."
            )
        object.__setattr__(self, "gallery", gallery)

    @property
    def people(self) -> Indices:
        """The people in the pools, pool by pool."""
        return np.concatenate(self.pools)

    def recall(self, queries: ArrayLike, owners: ArrayLike) -> Recall:
        """Return the recall of queries (n, width) of people `owners` (n,) in the pools."""
        return recall(rank(queries, owners, self.gallery, self.pools, self.distance), self.ks)


def make_protocol(
    names: Sequence[str],
    genders: Sequence[str | None],
    pictures: ArrayLike,
    owners: ArrayLike,
    size: int | None = None,
    pools: int | None = None,
    distance: str = "cosine",
    seed: int = 0,
) -> Protocol:
    """Return a protocol with pools of `size` people in the order given; None is one pool."""
    cut = retrieval.cut_pools(len(names), size, pools)
    return Protocol(
        names, genders, np.asarray(pictures), np.asarray(owners, np.intp), cut, distance, seed
    )


def evaluate_queries(where: Protocol, queries: ArrayLike, owners: ArrayLike) -> SystemResult:
    """Measure queries (n, width) of people `owners` (n,)."""
    q, owner = check_embeddings(queries, "query embeddings"), np.asarray(owners, np.intp)
    inside = np.isin(owner, where.people)
    q, owner = q[inside], owner[inside]
    return SystemResult(
        queries=len(q),
        similarity=similarity_to_own(where, q, owner),
        recall=where.recall(q, owner).table(where.seed),
        shuffled=_permutation_control(where, q, owner),
        within=within_gender_recall(where, q, owner) if gendered(where, owner) else None,
    )


def gendered(where: Protocol, owner: Indices) -> bool:
    """Whether the gender of two people or more is known, as an interval needs."""
    return sum(bool(where.genders[i]) for i in np.unique(owner)) >= 2


def similarity_to_own(where: Protocol, q: Array, owner: Indices) -> Similarity:
    """Return mean, interval and deviation of cosine, degrees, L1 and L2 to one's own pictures.

    The clips of a person are paired with the pictures in turn, each clip once.
    """
    values = similarity(q, where.pictures[partners(owner, where.owners)])
    table, _ = by_identity(np.stack(list(values.values()), 1), owner)
    spreads = {}
    for name, column in zip(values, table.T, strict=True):
        mean = bootstrap(column, where.seed)
        spreads[name] = Spread(mean.mean, mean.low, mean.high, float(column.std()))
    return spreads


def partners(owner: Indices, owners: Indices) -> Indices:
    """Return a picture for each clip, the pictures of its person in turn: (clips,)."""
    order = np.argsort(owners, kind="stable")
    count = np.bincount(owners)
    first = np.concatenate([[0], np.cumsum(count)[:-1]])
    nth = occurrence(owner)
    result: Indices = order[first[owner] + nth % count[owner]]
    return result


def occurrence(owner: Indices) -> Indices:
    """Return the number of earlier rows of the same person for each row (n,): 0, 1, ..."""
    order = np.argsort(owner, kind="stable")
    ordered = owner[order]
    start = np.flatnonzero(np.concatenate([[True], ordered[1:] != ordered[:-1]]))
    lengths = np.diff([*start, len(ordered)])
    result = np.empty(len(owner), np.intp)
    result[order] = np.arange(len(owner)) - np.repeat(start, lengths)
    return result


def _permutation_control(where: Protocol, q: Array, owner: Indices) -> PermutationControl:
    """Return recall and cosine with the faces permuted within each pool.

    The control of the measurement: recall must be at chance, and the cosine is the similarity of
    different people's faces to this network.
    """
    truth = np.arange(len(where.names))
    for pool in where.pools:
        truth[pool] = pool[derangement(len(pool), where.seed)]
    ranks = rank(q, owner, where.gallery, where.pools, where.distance, truth=truth)
    others = truth[owner]
    cosine = similarity(q, where.pictures[partners(others, where.owners)])["cosine"]
    table, _ = by_identity(cosine, owner)
    return PermutationControl(
        recall(ranks, where.ks).table(where.seed), bootstrap(table, where.seed)
    )


def within_gender_recall(where: Protocol, q: Array, owner: Indices) -> WithinGender:
    """Return recall among the faces of the speaker's own gender, and its chance."""
    ranks = rank(q, owner, where.gallery, where.pools, where.distance, where.genders)
    recalls = recall(ranks, where.ks)
    chance = retrieval.chance_recall(ranks, where.ks)
    sizes = np.unique(ranks.pool)
    above = {f"R@{k}": bootstrap(recalls.at(k) - chance.at(k), where.seed) for k in where.ks}
    return WithinGender(
        recall=recalls.table(where.seed),
        chance=chance.means(),
        pool=(int(sizes[0]), int(sizes[-1])),
        above=above,
        excludes_chance={name: value.low > 0 for name, value in above.items()},
    )


def references(where: Protocol) -> References:
    """Return the recall that needs no network: random (K / N) and the gender oracle."""
    sizes = [len(pool) for pool in where.pools]
    values = retrieval.random_recall(sizes[0], where.ks)
    random = {f"R@{k}": float(v) for k, v in zip(where.ks, values, strict=True)}
    with_gender = sum(where.genders[i] is not None for i in where.people)
    if not with_gender:
        return References(random)
    oracle = retrieval.oracle_recall(where.genders, where.pools, where.ks)
    return References(random, oracle.means(), with_gender)


def same_person_similarity(where: Protocol) -> Similarity | None:
    """Return the similarity of two pictures of one person; None unless two people have two.

    Cosine, degrees, L1 and L2 of the first and the second picture: the ceiling of
    `similarity_to_own`.
    """
    nth = occurrence(where.owners)
    first = np.flatnonzero(nth == 0)[np.argsort(where.owners[nth == 0])]
    second = np.flatnonzero(nth == 1)
    if len(second) < 2:
        return None
    values = similarity(where.pictures[second], where.pictures[first[where.owners[second]]])
    return {name: bootstrap(value, where.seed) for name, value in values.items()}


def shares(
    where: Protocol,
    systems: Mapping[str, Recall],
    latent: Recall,
    sexes: Sequence[str | None],
) -> dict[str, dict[str, Share]]:
    """Return each system's fraction of the way from sex only to the latent oracle, for each K."""
    floor = aligned(retrieval.oracle_recall(sexes, where.pools, where.ks), latent.who)
    table = {}
    for name, system_recall in systems.items():
        model = aligned(system_recall, latent.who)
        table[name] = {
            f"R@{k}": fraction_of_headroom(model[:, i], floor[:, i], latent.hits[:, i], where.seed)
            for i, k in enumerate(where.ks)
        }
    return table


def aligned(recalls: Recall, who: Indices) -> Array:
    """Return the recall of the people `who`, in that order, (people, Ks)."""
    position = {int(person): row for row, person in enumerate(recalls.who)}
    missing = [person for person in who if int(person) not in position]
    if missing:
        raise CorpusError(
            f"{len(missing)} people of the pools have no query: evaluate all systems on them."
        )
    return recalls.hits[[position[int(person)] for person in who]]


def group_table(
    where: Protocol, queries: ArrayLike, owners: ArrayLike, groups: Sequence[str | None]
) -> Groups:
    """Return recall and cosine for each group of people, in the pools of all people.

    Groups of fewer than five people are left out and counted: their figures would describe single
    persons. `groups` are given for each person, never inferred.
    """
    q, owner = check_embeddings(queries, "query embeddings"), np.asarray(owners, np.intp)
    inside = np.isin(owner, where.people)
    q, owner = q[inside], owner[inside]
    recalls = where.recall(q, owner)
    similarities = similarity(q, where.pictures[partners(owner, where.owners)])["cosine"]
    cosine, _ = by_identity(similarities, owner)
    kinds = np.array([groups[i] or "" for i in recalls.who])
    table: dict[str, Group] = {}
    left_out = 0
    for kind in sorted(set(kinds.tolist())):
        member = kinds == kind
        if not kind or member.sum() < LEAST_GROUP:
            left_out += int(member.sum())
            continue
        row = {
            f"R@{k}": bootstrap(recalls.hits[member, i], where.seed) for i, k in enumerate(where.ks)
        }
        table[kind] = Group(int(member.sum()), row, bootstrap(cosine[member], where.seed))
    return Groups(table, left_out)


def binned(values: Sequence[str | None]) -> list[str | None]:
    """Return values as groups; a column of many numbers is divided into four of equal counts."""
    present = [value for value in values if value not in (None, "")]
    try:
        numbers = np.array([float(value) for value in present if value is not None])
    except ValueError:
        return [value or None for value in values]
    if len(set(present)) <= MANY or not np.isfinite(numbers).all():
        return [value or None for value in values]
    edges = np.quantile(numbers, np.arange(1, QUARTERS) / QUARTERS)
    limits = [numbers.min(), *edges, numbers.max()]
    words = [f"{i + 1}: {limits[i]:.3g} to {limits[i + 1]:.3g}" for i in range(QUARTERS)]
    return [
        words[int(np.searchsorted(edges, float(value), side="right"))] if value else None
        for value in values
    ]


def held_out(owners: Indices) -> tuple[Indices, Indices]:
    """Return the first picture of each person with two or more, and all their other pictures."""
    nth = occurrence(owners)
    several = np.bincount(owners)[owners] > 1
    return np.flatnonzero((nth == 0) & several), np.flatnonzero((nth > 0) & several)
