"""Metrics, retrieval and oracles against closed formulas, simulations and brute force."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from vox2face.core.errors import CorpusError, UsageError
from vox2face.train.evaluate import oracles
from vox2face.train.metrics import craniofacial, retrieval, similarity
from vox2face.train.metrics.ridge import ridge
from vox2face.train.metrics.statistics import (
    bootstrap,
    correlation_table,
    correlations,
    derangement,
    fraction_of_headroom,
)
from vox2face.train.metrics.vggface_score import diversity, vggface_score

KS = (1, 2, 5, 10)


def normal(*shape: int, seed: int = 0) -> np.ndarray:
    return np.random.default_rng(seed).normal(size=shape)


def recalls(queries: np.ndarray, gallery: np.ndarray, **options: object) -> np.ndarray:
    """Mean recall at 1, 2, 5, 10 of one query for each face, in one pool."""
    pools = [np.arange(len(gallery))]
    ranks = retrieval.rank(queries, np.arange(len(queries)), gallery, pools, **options)  # type: ignore[arg-type]
    return retrieval.recall(ranks).hits.mean(0)


def test_similarity_of_known_angles() -> None:
    a = np.array([[1.0, 0], [2, 0], [1, 0], [3, 4]])
    b = np.array([[5.0, 0], [0, 1], [-1, 0], [3, 4]])
    found = similarity.similarity(a, b)
    np.testing.assert_allclose(found["cosine"], [1, 0, -1, 1], atol=1e-12)
    np.testing.assert_allclose(found["degrees"], [0, 90, 180, 0], atol=1e-6)
    np.testing.assert_allclose(found["l1"], [0, 2, 2, 0], atol=1e-12)
    np.testing.assert_allclose(found["l2"], np.sqrt(2 - 2 * found["cosine"]), atol=1e-7)


def test_similarity_knows_no_scale() -> None:
    a, b = normal(20, 8), normal(20, 8, seed=1)
    for name, values in similarity.similarity(a * 1e-200, b * 1e200).items():
        np.testing.assert_allclose(values, similarity.similarity(a, b)[name], rtol=1e-9)


@pytest.mark.parametrize(
    ("values", "words"),
    [
        (np.array([[1.0, np.nan]]), "1 of 1 embeddings are not finite"),
        (np.array([[1.0, 2], [0, 0]]), "1 of 2 embeddings are zero"),
        (np.zeros((0, 4)), "one or more rows"),
        (np.ones(4), "one or more rows"),
    ],
)
def test_embeddings_without_direction_are_refused(values: np.ndarray, words: str) -> None:
    with pytest.raises(CorpusError, match=words):
        similarity.unit(values)


@pytest.mark.parametrize("distance", retrieval.DISTANCES)
def test_recall_equals_brute_force(distance: str) -> None:
    queries, gallery = normal(60, 5) * 3, normal(60, 5, seed=1)
    queries += 0.7 * gallery
    middle = gallery.mean(0)

    def cosine(a: np.ndarray, b: np.ndarray) -> float:
        return float(1 - a @ b / np.sqrt((a @ a) * (b @ b)))

    measure = {
        "cosine": cosine,
        "centred": lambda a, b: cosine(a - middle, b - middle),
        "l2": lambda a, b: np.sqrt(((a - b) ** 2).sum()),
        "l1": lambda a, b: np.abs(a - b).sum(),
    }[distance]
    table = np.array([[measure(q, g) for g in gallery] for q in queries])
    places = [sorted(range(60), key=lambda j: table[i, j]).index(i) for i in range(60)]
    want = [np.mean([p < k for p in places]) for k in KS]
    np.testing.assert_allclose(recalls(queries, gallery, distance=distance), want, atol=1e-12)


def test_perfect_embeddings_recall_everybody() -> None:
    gallery = normal(50, 4)
    for distance in retrieval.DISTANCES:
        assert (recalls(gallery * 1.0, gallery, distance=distance) == 1).all()


@pytest.mark.parametrize("distance", retrieval.DISTANCES)
def test_constant_embeddings_give_chance(distance: str) -> None:
    same = np.tile(normal(1, 128, seed=3), (40, 1))
    got = recalls(same.astype(np.float32), same.astype(np.float32), distance=distance)
    np.testing.assert_allclose(got, retrieval.random_recall(40), atol=1e-12)
    constant_queries = recalls(same, normal(40, 128), distance=distance)
    np.testing.assert_allclose(constant_queries, retrieval.random_recall(40), atol=1e-12)


def test_ties_count_by_their_expected_rank() -> None:
    gallery = np.array([[1.0, 0], [0, 1], [0, 1], [0, 1], [-1, 0]])
    ranks = retrieval.rank(np.array([[0.0, 1]]), [2], gallery, [np.arange(5)])
    np.testing.assert_allclose(
        [ranks.recall_at_k(k)[0] for k in (1, 2, 3, 4)], [1 / 3, 2 / 3, 1, 1]
    )
    np.testing.assert_allclose(ranks.normalized_rank(), [1 / 4])  # ranks 0, 1, 2 of 0..4


def test_random_row_equals_simulation() -> None:
    got = np.mean(
        [recalls(normal(30, 6, seed=s), normal(30, 6, seed=-s % 997)) for s in range(1, 120)], 0
    )
    np.testing.assert_allclose(got, retrieval.random_recall(30), atol=0.03)


def test_gender_oracle_equals_simulation() -> None:
    groups: list[str | None] = ["f"] * 13 + ["m"] * 5 + [None] * 4 + ["m"] * 8
    pools = [np.arange(20), np.arange(20, 30)]
    rng = np.random.default_rng(0)
    hits, rounds = np.zeros((30, 4)), 4000
    for _ in range(rounds):
        for pool in pools:
            order = rng.permutation(pool)
            for one in pool:
                right = [i for i in order if groups[i] == groups[one] or groups[one] is None]
                ranked = right + [i for i in order if i not in right]
                hits[one] += [one in ranked[:k] for k in KS]
    exact = retrieval.oracle_recall(groups, pools)
    np.testing.assert_allclose(exact.hits, hits[exact.who] / rounds, atol=0.035)
    np.testing.assert_allclose(exact.hits.mean(0), (hits / rounds).mean(0), atol=0.006)


def test_ranking_within_a_group_leaves_others_out() -> None:
    gallery = normal(12, 3)
    groups: list[str | None] = ["f", "m"] * 5 + [None, "m"]
    ranks = retrieval.rank(gallery, np.arange(12), gallery, [np.arange(12)], groups=groups)
    assert len(ranks.owner) == 11  # nobody to compare the one without a group with
    assert sorted(set(ranks.pool.tolist())) == [5, 6]
    chance = retrieval.chance_recall(ranks)
    np.testing.assert_allclose(chance.at(1).mean(), (5 / 5 + 6 / 6) / 11)
    alone = [np.arange(12)[np.array(groups) == "f"]]
    want = retrieval.rank(gallery + 0.3, np.arange(12), gallery, alone)
    got = retrieval.rank(gallery + 0.3, np.arange(12), gallery, [np.arange(12)], groups=groups)
    for one in alone[0]:
        assert got.closer[got.owner == one] == want.closer[want.owner == one]


def test_every_identity_counts_the_same() -> None:
    gallery = np.eye(4)
    queries = np.concatenate([np.tile(gallery[0], (9, 1)), -gallery[1:2]])
    ranks = retrieval.rank(queries, [0] * 9 + [1], gallery, [np.arange(4)])
    assert retrieval.recall(ranks).at(1).mean() == 0.5


def test_fusing_averages_directions_and_keeps_the_length() -> None:
    fused, who = retrieval.fuse(np.array([[10.0, 0], [0, 1], [3, 4]]), [7, 7, 2])
    assert who.tolist() == [2, 7]
    np.testing.assert_allclose(fused, [[3, 4], [2.75, 2.75]])


def test_pools_are_disjoint_and_in_order() -> None:
    assert [p[[0, -1]].tolist() for p in retrieval.cut_pools(378, 100, None)] == [
        [0, 99],
        [100, 199],
        [200, 299],
    ]
    assert len(retrieval.cut_pools(250, 100, None)) == 2
    assert retrieval.cut_pools(7, None, None)[0].tolist() == list(range(7))


@pytest.mark.parametrize(
    ("arguments", "kind", "words"),
    [
        ((99, 100, None), UsageError, "There are 99 identities .* a pool of 100"),
        ((250, 100, 3), UsageError, "3 disjoint pools of 100"),
        ((1, None, None), UsageError, "two or more"),
        ((10, None, 3), UsageError, "is one pool"),
        ((10, 5, 0), UsageError, "at least one"),
    ],
)
def test_pools_that_cannot_be_are_refused(
    arguments: tuple[int, int | None, int | None], kind: type[Exception], words: str
) -> None:
    with pytest.raises(kind, match=words):
        retrieval.cut_pools(*arguments)


def test_queries_of_another_width_are_refused() -> None:
    with pytest.raises(UsageError, match="256 values and the faces 128"):
        retrieval.rank(normal(3, 256), [0, 1, 2], normal(3, 128), [np.arange(3)])


def test_bootstrap_covers_the_truth_as_often_as_it_says() -> None:
    rng = np.random.default_rng(5)
    covered = []
    for seed in range(300):
        found = bootstrap(rng.random(80) < 0.3, seed, draws=400)
        covered.append(found.low <= 0.3 <= found.high)
    assert 0.90 <= np.mean(covered) <= 0.99


def test_bootstrap_depends_on_the_seed_alone() -> None:
    values = normal(50)
    assert bootstrap(values, 1) == bootstrap(values, 1)
    assert bootstrap(values, 1) != bootstrap(values, 2)
    with pytest.raises(CorpusError, match="over 1 identities"):
        bootstrap([1.0], 0)


def test_vggface_score_of_known_probabilities() -> None:
    sure = np.tile(np.eye(4), (50, 1))
    found = vggface_score(sure, 0, splits=2)
    assert 3.8 < found.mean <= 4  # four classes, seen about as often
    flat = vggface_score(np.full((40, 4), 0.25), 0)
    assert (flat.mean, flat.std) == (pytest.approx(1), pytest.approx(0))
    one = np.array([[0.5, 0.5, 0], [0.5, 0, 0.5]])
    # p(y) = (1/2, 1/4, 1/4): KL = log 2 / 2 for both
    np.testing.assert_allclose(diversity(one), np.sqrt(2))
    with pytest.raises(UsageError, match="softmax"):
        vggface_score(normal(20, 4), 0)
    with pytest.raises(UsageError, match="10 pictures or more"):
        vggface_score(np.eye(4), 0)


def test_correlations_equal_numpy() -> None:
    a, b = normal(30, 3), normal(30, 3, seed=1) + normal(30, 3)
    want = [np.corrcoef(a[:, i], b[:, i])[0, 1] for i in range(3)]
    np.testing.assert_allclose(correlations(a, b), want)
    a[:, 1] = 0.1
    assert np.isnan(correlations(a, b)).tolist() == [False, True, False]
    table = correlation_table(a, b, ["x", "y", "z"], 0)
    assert table["y"].r is None and table["y"].low is None
    found = table["x"]
    assert found.low is not None and found.r is not None and found.high is not None
    assert found.low < found.r < found.high


def test_a_derangement_leaves_nobody_in_place() -> None:
    for count in (2, 3, 10, 101):
        order = derangement(count, 0)
        assert sorted(order) == list(range(count)) and (order != np.arange(count)).all()


def faces(count: int, seed: int = 0) -> np.ndarray:
    points = normal(count, 68, 2, seed=seed) * 2
    points[:, craniofacial.LEFT] += [-30, 0]
    points[:, craniofacial.RIGHT] += [30, 0]
    return points


def test_measurements_know_neither_place_nor_scale_nor_tilt() -> None:
    points = faces(6)
    turn = np.array([[np.cos(0.4), -np.sin(0.4)], [np.sin(0.4), np.cos(0.4)]])
    moved = 2.5 * points @ turn.T + [100, -7]
    before, after = craniofacial.measurements(points), craniofacial.measurements(moved)
    assert list(before) == list(craniofacial.REPORTED)
    for name, values in before.items():
        np.testing.assert_allclose(after[name], values, rtol=1e-9, err_msg=name)
    left = craniofacial.aligned(points)[:, craniofacial.LEFT].mean(1)
    np.testing.assert_allclose(left, np.tile([-0.5, 0], (6, 1)), atol=1e-12)


def test_nose_width_is_in_eye_distances() -> None:
    points = np.zeros((1, 68, 2))
    points[:, craniofacial.LEFT], points[:, craniofacial.RIGHT] = [-20, 0], [20, 0]
    points[0, [31, 35, 27, 33]] = [[-8, 30], [8, 30], [0, 0], [0, 32]]
    found = craniofacial.measurements(points)
    np.testing.assert_allclose(found["nose width"], 16 / 40)
    np.testing.assert_allclose(found["nasal index"], 16 / 32)
    np.testing.assert_allclose(found["nose area"], 0.4 * 0.8 / 2)


def test_faces_agree_with_themselves_and_not_with_others() -> None:
    points = faces(80)
    own = craniofacial.craniofacial_table(points, points, 0)
    assert all(row.r == pytest.approx(1) for row in own.values())
    assert craniofacial.landmark_correlation(points, points, 0).r == pytest.approx(1)
    other = craniofacial.landmark_correlation(points, faces(80, seed=1), 0)
    assert abs(other.r) < 0.05 and abs(other.shuffled) < 0.05
    with pytest.raises(CorpusError, match="both eyes"):
        craniofacial.measurements(np.zeros((1, 68, 2)))
    with pytest.raises(CorpusError, match="faces, 68, 2"):
        craniofacial.measurements(np.zeros((2, 5, 2)))


def test_ridge_equals_its_normal_equations_and_finds_a_line() -> None:
    x = normal(200, 4)
    y = x @ normal(4, 3, seed=1) + 5
    fitted = ridge(x, y, np.arange(200), 0)
    np.testing.assert_allclose(fitted.predict(x), y, atol=1e-3)
    wide = normal(20, 60)
    target = normal(20, 2, seed=2)
    got = ridge(wide, target, np.arange(20), 0)
    c = wide - wide.mean(0)
    kept = np.linalg.eigvalsh(c @ c.T)
    scaled = got.penalty * kept[kept > 1e-12 * kept[-1]].mean()
    want = np.linalg.solve(c.T @ c + scaled * np.eye(60), c.T @ (target - target.mean(0)))
    np.testing.assert_allclose(got.model.coef_.T, want, atol=1e-8)


def test_ridge_shrinks_what_only_rows_of_one_person_share() -> None:
    people = np.repeat(np.arange(40), 5)
    x = normal(40, 30, seed=3)[people] + 0.01 * normal(200, 30)
    noise = normal(40, 1, seed=4)[people]
    assert ridge(x, noise, people, 0).penalty > ridge(x, noise, np.arange(200), 0).penalty


def people(count: int, seed: int = 0) -> oracles.Latents:
    rng = np.random.default_rng(seed)
    return oracles.Latents(
        rng.integers(2, size=count).astype(float),
        rng.uniform(18, 80, count),
        rng.normal(size=count),
        tuple(rng.choice(["0", "1", "2"], count)),
    )


def embedded(latents: oracles.Latents, noise: float, seed: int) -> np.ndarray:
    """Faces that depend on the latents, and on chance."""
    curve = np.stack(
        [latents.male * 2 - 1, latents.years / 30 - 1.5, latents.size * (1 + latents.male)], 1
    )
    return curve @ normal(3, 16, seed=9) + noise * normal(len(curve), 16, seed=seed)


def test_the_latent_oracle_finds_what_latents_decide() -> None:
    train, test = people(400), people(100, seed=1)
    owners = np.repeat(np.arange(400), 2)
    shown = embedded(train, 0.2, 2)[owners] + 0.05 * normal(800, 16, seed=6)
    predicted, fitted = oracles.latent_predictions(train, shown, owners, test, 0)
    gallery = embedded(test, 0.2, 3)
    found = recalls(predicted, gallery)
    sexes = retrieval.oracle_recall(test.sexes, [np.arange(100)]).hits.mean(0)
    assert found[3] > 0.9 > 3 * sexes[3]
    assert fitted.model.coef_.shape[1] == test.basis().shape[1] == 24


def test_likelihood_ranks_better_than_cosine_where_noise_is_unlike() -> None:
    rng, loud = np.random.default_rng(0), np.array([5.0] * 8 + [0.3] * 8)
    predicted = rng.normal(size=(100, 16))
    gallery = predicted + rng.normal(size=(100, 16)) * loud
    pools = [np.arange(100)]
    residuals = rng.normal(size=(2000, 16)) * loud
    found = oracles.gaussian_recall(predicted, gallery, residuals, pools)
    assert found.at(10).mean() > recalls(predicted, gallery)[3] + 0.3


def test_share_is_the_part_of_the_way() -> None:
    floor, ceiling = np.full(50, 0.2), 0.6 + 0.1 * normal(50)
    half = (floor + ceiling) / 2
    found = fraction_of_headroom(half, floor, ceiling, 0)
    assert found.share == pytest.approx(0.5)
    assert found.low == pytest.approx(0.5) and found.high == pytest.approx(0.5)
    assert fraction_of_headroom(floor, floor, ceiling, 0).share == pytest.approx(0)
    assert fraction_of_headroom(ceiling, floor, floor, 0).share is None


def test_the_interval_of_a_share_leaves_out_resamples_without_a_way() -> None:
    floor, model = np.full(60, 0.2), np.full(60, 0.25)
    ceiling = np.where(np.arange(60) % 5 == 0, 0.75, 0.2) - 0.01  # a way in nearly all resamples
    found = fraction_of_headroom(model, floor, ceiling, 0)
    assert found.share == pytest.approx(0.5)
    assert found.low is not None and found.high is not None
    assert 0 < found.low < 0.5 < found.high and np.isfinite(found.high)


def test_classes_are_predicted_where_they_are_and_at_chance_where_not() -> None:
    names = ["a", "b", "c"] * 60
    place = normal(3, 8, seed=1)[[0, 1, 2] * 60]
    seen, known = oracles.crossed_classes(place + 0.3 * normal(180, 8), names, 0)
    assert oracles.balanced_accuracy(seen, names, known, 0).low > 0.9
    blind, known = oracles.crossed_classes(normal(180, 8, seed=2), names, 0)
    found = oracles.balanced_accuracy(blind, names, known, 0)
    assert found.at_chance and found.chance == pytest.approx(1 / 3)
    constant = oracles.balanced_accuracy(["a"] * 180, names, known, 0)
    assert constant.accuracy == pytest.approx(1 / 3)


def test_latents_are_read_in_the_order_asked_for(tmp_path: Path) -> None:
    file = tmp_path / "people.csv"
    file.write_text(
        "identity,speaker,split,male,years,size,ancestry\nA,id1,test,True,30.5,-1,2\n"
        "B,id2,test,False,40,0.5,0\n"
    )
    found = oracles.read_latents(file, ["B", "A"])
    assert found.male.tolist() == [0, 1] and found.years.tolist() == [40, 30.5]
    assert found.ancestry == ("0", "2") and found.sexes == ["f", "m"]
    with pytest.raises(CorpusError, match="lacks 1 of 2 people, such as C"):
        oracles.read_latents(file, ["A", "C"])
    file.write_text("identity,male\nA,True\n")
    with pytest.raises(CorpusError, match="lacks one of the columns"):
        oracles.read_latents(file, ["A"])
    file.write_text("name\nA\n")
    with pytest.raises(CorpusError, match="column 'identity'"):
        oracles.read_latents(file, ["A"])
