"""Rank faces for a voice: pools, ranks with ties, recall, and chance.

The definitions follow SF2F's evaluator (Bai et al., ACM MM 2022) where it states them: the gallery
holds one embedding for each identity, the mean over all its faces; pools are disjoint and in the
order of names, those of VoxCeleb1 first. Every figure comes with the size of its pool.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np
from numpy.typing import ArrayLike, NDArray

from vox2face.core.errors import CorpusError, UsageError
from vox2face.train.metrics.similarity import Array, Indices, check_embeddings, unit
from vox2face.train.metrics.statistics import Interval, bootstrap

KS = (1, 2, 5, 10)
DISTANCES = ("cosine", "l2", "l1", "centred")
TIE = 1e-11  # distances, at the scale of unit vectors, that count as equal
ROWS = 512  # queries ranked at a time


def cut_pools(
    count: int, size: int | None, pools: int | None, who: str = "identities to rank"
) -> list[Indices]:
    """Return disjoint pools of `size` identities each, in order: positions in 0..count-1.

    `size` None is one pool of everybody. `pools` None is three, as SF2F has it, or as many as fit.
    Raises `UsageError` if they do not fit, and for numbers that are not valid; `who` names in it
    what is counted.
    """
    if size is None and pools not in (None, 1):
        raise UsageError(f"The whole gallery is one pool, not {pools}: leave --pools out.")
    if count < 2:
        raise UsageError(
            f"Ranking needs two or more {who}, and there {'is' if count == 1 else 'are'} {count}: "
            "choose another split, or prepare more people."
        )
    if size is None:
        size, pools = count, 1
    if size < 2 or (pools is not None and pools < 1):
        raise UsageError(
            f"{pools or 3} pools of {size} identities are not valid: a pool has two or more "
            "identities, and there is at least one pool."
        )
    if (pools or 1) * size > count:
        request = f"{pools} disjoint pools" if (pools or 1) > 1 else "a pool"
        raise UsageError(
            f"There are {count} {who}, too few for {request} of {size}: "
            f"{advice(count, size, pools or 1)}."
        )
    number = min(3, count // size) if pools is None else pools
    return [np.arange(i * size, (i + 1) * size) for i in range(number)]


def advice(count: int, size: int, pools: int) -> str:
    """Return the options to give where `pools` of `size` do not fit."""
    every = f"add --pool all, which ranks all {count}"
    if pools == 1:
        return f"{every}, or a smaller one such as --pool {max(2, count // 2)}"
    first = f"give --pools {count // size}" if size <= count else f"{every}, without --pools"
    smaller = count // pools
    return first + (f", or --pool {smaller}" if smaller >= 2 else "")


def require_distance(distance: str) -> None:
    """Raise `UsageError` for an unknown distance."""
    if distance not in DISTANCES:
        raise UsageError(f"There is no distance {distance!r}: choose {', '.join(DISTANCES)}.")


def distances(queries: Array, gallery: Array, distance: str) -> Array:
    """Return the distances by which faces are ranked, (queries, faces).

    "cosine" is 1 - cosine. "l2" (squared, which ranks the same) and "l1" are between the vectors
    **as they are**, in units of the gallery's mean length: between unit vectors L2 would rank
    exactly as the cosine. "centred" is 1 - cosine after the mean of the gallery is subtracted from
    both: where all faces have nearly the same direction, as dlib's do, predictions are near that
    mean, and the plain cosine ranks the most average faces first for all queries.
    """
    require_distance(distance)
    if distance == "cosine":
        return 1 - unit(queries) @ unit(gallery, "face embeddings").T
    if distance == "centred":
        center = gallery.mean(0)
        return 1 - directions(queries - center) @ directions(gallery - center).T
    scale = np.linalg.norm(gallery, axis=1).mean()
    q, g = queries / scale, gallery / scale
    if distance == "l2":
        squares: Array = (q * q).sum(1)[:, None] + (g * g).sum(1) - 2 * (q @ g.T)
        return squares
    return np.stack([np.abs(g - row).sum(1) for row in q])


def directions(values: Array) -> Array:
    """Return rows divided by their lengths; a row at the mean stays zero, and ties with all."""
    lengths = np.linalg.norm(values, axis=1, keepdims=True)
    result: Array = np.divide(
        values, lengths, out=np.zeros_like(values), where=lengths > TIE * lengths.max(initial=0)
    )
    return result


@dataclass(frozen=True, eq=False)
class Ranks:
    """The rank of the true face for each query: (n,) each.

    `closer` is the number of other faces of the pool that are nearer, `tied` of those equally near,
    `pool` of all ranked faces. `owner` is the position of the query's identity.
    """

    closer: NDArray[np.int64]
    tied: NDArray[np.int64]
    pool: NDArray[np.int64]
    owner: Indices

    def recall_at_k(self, k: int) -> Array:
        """Return the probability that the face is among the first k, ties in random order (n,).

        Embeddings that are all the same thus give chance, k / pool, and not 100 %.
        """
        return np.clip((k - self.closer) / (self.tied + 1), 0.0, 1.0)

    def normalized_rank(self) -> Array:
        """Return the expected rank as a part of the pool (n,): 0 is first, 0.5 chance, 1 last."""
        behind = np.maximum(self.pool - 1, 1)
        return np.where(self.pool > 1, (self.closer + self.tied / 2) / behind, 0.5)


def rank(
    queries: ArrayLike,
    owners: ArrayLike,
    gallery: ArrayLike,
    pools: Sequence[Indices],
    distance: str = "cosine",
    groups: Sequence[str | None] | None = None,
    truth: ArrayLike | None = None,
) -> Ranks:
    """Rank the faces of each pool for the queries whose identities are in it.

    `queries` (n, width), `owners` (n,) positions in `gallery` (identities, width). With `groups`,
    one for each identity, only faces of the query's own group are ranked, and queries without a
    group are left out. `truth` (identities,) replaces the true faces by others, as the permutation
    control does.
    """
    q, g = (
        check_embeddings(queries, "query embeddings"),
        check_embeddings(gallery, "face embeddings"),
    )
    if q.shape[1] != g.shape[1]:
        raise UsageError(
            f"The queries have {q.shape[1]} values and the faces {g.shape[1]}: use a voice encoder "
            "that was trained on these face embeddings."
        )
    owner = np.asarray(owners, np.intp)
    true_position = np.arange(len(g)) if truth is None else np.asarray(truth, np.intp)
    return rank_in_pools(
        lambda rows, faces: distances(q[rows], g[faces], distance),
        owner,
        pools,
        groups,
        true_position,
    )


def rank_in_pools(
    measure: Any,
    owner: Indices,
    pools: Sequence[Indices],
    groups: Sequence[str | None] | None,
    true_position: Indices,
) -> Ranks:
    """Rank the true faces; `measure(rows, faces)` returns the distances (rows, faces)."""
    group_of = None if groups is None else np.array([group or "" for group in groups])
    parts: list[tuple[Any, ...]] = []
    for pool in pools:
        position = np.full(len(true_position), -1)
        position[pool] = np.arange(len(pool))
        inside = np.flatnonzero(position[owner] >= 0)
        for start in range(0, len(inside), ROWS):
            rows = inside[start : start + ROWS]
            true_column = position[true_position[owner[rows]]]
            table = measure(rows, pool)
            allowed = np.ones(table.shape, bool)
            if group_of is not None:
                allowed = group_of[pool][None] == group_of[owner[rows]][:, None]
                keep = group_of[owner[rows]] != ""
                rows, true_column, table, allowed = (
                    rows[keep],
                    true_column[keep],
                    table[keep],
                    allowed[keep],
                )
            parts.append(closer_and_tied(table, true_column, allowed, owner[rows]))
    if not parts or not sum(len(part[0]) for part in parts):
        raise CorpusError("No query belongs to an identity of the pools: there is nothing to rank.")
    return Ranks(*(np.concatenate(column) for column in zip(*parts, strict=True)))


def closer_and_tied(
    table: Array, true_column: Indices, allowed: NDArray[np.bool_], owner: Indices
) -> tuple[Any, ...]:
    """Return the fields of `Ranks` for queries with their distances (n, faces)."""
    difference = table - np.take_along_axis(table, true_column[:, None], 1)
    closer = ((difference < -TIE) & allowed).sum(1)
    tied = ((np.abs(difference) <= TIE) & allowed).sum(1) - 1  # the true face itself
    return closer, tied, allowed.sum(1), owner


def by_identity(values: Array, owner: Indices) -> tuple[Array, Indices]:
    """Return the mean of the queries of each identity, and the identities.

    Every identity counts the same, whatever the number of its clips.
    """
    who, index_of = np.unique(owner, return_inverse=True)
    sums = np.zeros((len(who), *values.shape[1:]))
    np.add.at(sums, index_of, values)
    counts = np.bincount(index_of).reshape(-1, *[1] * (values.ndim - 1))
    result: Array = sums / counts
    return result, who


@dataclass(frozen=True)
class RecallTable:
    """Recall over identities: by name, "R@1" and so on, and the rank as a part of the pool."""

    at: Mapping[str, Interval] = field(metadata={"flat": True})
    rank: Interval
    identities: int


@dataclass(frozen=True, eq=False)
class Recall:
    """Recall at each K of each identity: `hits` (identities, Ks); `who` are the identities."""

    hits: Array
    who: Indices
    normalized_rank: Array
    ks: tuple[int, ...] = KS

    def at(self, k: int) -> Array:
        """Return the recall at one K, (identities,)."""
        return self.hits[:, self.ks.index(k)]

    def table(self, seed: int) -> RecallTable:
        """Return the means over identities with their 95 % intervals."""
        recall = {f"R@{k}": bootstrap(self.at(k), seed) for k in self.ks}
        return RecallTable(recall, bootstrap(self.normalized_rank, seed), len(self.who))

    def means(self) -> dict[str, float]:
        """Return the mean recall by name, "R@1" and so on."""
        return {f"R@{k}": float(self.at(k).mean()) for k in self.ks}


def recall(ranks: Ranks, ks: Sequence[int] = KS) -> Recall:
    """Return the recall of ranked queries, averaged over each identity's queries."""
    hits, who = by_identity(np.stack([ranks.recall_at_k(k) for k in ks], 1), ranks.owner)
    normalized_rank, _ = by_identity(ranks.normalized_rank(), ranks.owner)
    return Recall(hits, who, normalized_rank, tuple(ks))


def random_recall(size: int, ks: Sequence[int] = KS) -> Array:
    """Return the recall of a random order of `size` faces, (Ks,): K / N."""
    return np.minimum(np.asarray(ks) / size, 1.0)


def oracle_recall(
    groups: Sequence[str | None], pools: Sequence[Indices], ks: Sequence[int] = KS
) -> Recall:
    """Return the recall of ranking the faces of the right group first, in random order.

    Exact, from the pool's counts: K / n for a query whose group has n faces. People without a
    group are ranked last for all others, and are themselves searched among all faces: K / N.
    """
    who = np.concatenate(pools)
    hits = np.empty((len(who), len(ks)))
    normalized_rank = np.full(len(who), 0.5)
    row = 0
    for pool in pools:
        inside = [groups[i] for i in pool]
        for group in inside:
            size = inside.count(group) if group else len(pool)
            hits[row] = random_recall(size, ks)
            normalized_rank[row] = (size - 1) / 2 / (len(pool) - 1)
            row += 1
    return Recall(hits, who, normalized_rank, tuple(ks))


def chance_recall(ranks: Ranks, ks: Sequence[int] = KS) -> Recall:
    """Return the recall of a random order of the faces that were ranked for each query."""
    table = np.minimum(np.asarray(ks)[None] / ranks.pool[:, None], 1.0)
    hits, who = by_identity(table, ranks.owner)
    return Recall(hits, who, np.full(len(who), 0.5), tuple(ks))


def best(table: Array, count: int) -> NDArray[np.intp]:
    """Return the columns with the smallest distances of each row, nearest first, (n, count)."""
    order: NDArray[np.intp] = np.argsort(table, axis=1, kind="stable")[:, :count]
    return order


def fuse(values: ArrayLike, owners: ArrayLike) -> tuple[Array, Indices]:
    """Return one query for each identity: the mean of its clips' unit embeddings.

    It has the mean length of the clips' embeddings, as `vox2face.runtime.pipelines.fused` does it.
    """
    table, owner = check_embeddings(values), np.asarray(owners, np.intp)
    lengths = np.linalg.norm(table, axis=1)
    directions, who = by_identity(unit(table), owner)
    scale, _ = by_identity(lengths, owner)
    return directions * scale[:, None], who
