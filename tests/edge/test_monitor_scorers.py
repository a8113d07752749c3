"""What distances are fitted to: shrunk covariances, prototypes and neighbours, and what near-constant features may do."""

from __future__ import annotations

import numpy as np
import pytest
from sklearn.cluster import KMeans
from sklearn.covariance import LedoitWolf

from nearfar.edge.monitor.distance import Floats
from nearfar.edge.monitor.scorers import By, fit_distance, k_means, ledoit_wolf

ALL: tuple[By, ...] = ("centroid", "mahalanobis", "prototypes", "knn")


def rows_of(n: int, d: int, seed: int = 0) -> Floats:
    rng = np.random.default_rng(seed)
    mix = rng.standard_normal((d, d)) / np.sqrt(d) + np.eye(d)
    return (rng.standard_normal((n, d)) @ mix).astype(np.float32)


@pytest.mark.parametrize(("n", "d"), [(5, 3), (20, 40), (300, 8), (5000, 4)])
def test_the_covariance_is_that_of_scikit_learn(n: int, d: int) -> None:
    rows = rows_of(n, d).astype(np.float64)
    np.testing.assert_allclose(ledoit_wolf(rows), LedoitWolf().fit(rows).covariance_, rtol=1e-8, atol=1e-12)


def test_it_is_shrunk_the_more_the_less_the_rows_tell() -> None:
    rows = rows_of(200, 6).astype(np.float64)
    sample = np.cov(rows.T, bias=True)
    target = np.trace(sample) / 6 * np.eye(6)

    def weight(dependence: float) -> float:
        """How far it went from the sample to the target: 0 to 1."""
        shrunk = ledoit_wolf(rows, dependence)
        return float(((sample - shrunk) * (sample - target)).sum() / ((sample - target) ** 2).sum())

    weights = [weight(dependence) for dependence in (1, 2, 5, 10)]
    np.testing.assert_allclose(np.array(weights) / weights[0], [1, 2, 5, 10], rtol=1e-6)
    assert weight(1e9) == pytest.approx(1.0)
    assert np.linalg.eigvalsh(ledoit_wolf(rows, 30.0)).min() > 0


def test_of_rows_that_repeat_each_other_the_dependence_gives_back_the_shrinkage_of_the_few() -> None:
    few = rows_of(100, 6).astype(np.float64)
    np.testing.assert_allclose(ledoit_wolf(np.repeat(few, 8, axis=0), 8.0), ledoit_wolf(few), rtol=1e-9)


def test_healthy_rows_lie_at_the_distance_that_their_number_of_features_says() -> None:
    distance = fit_distance(rows_of(20_000, 6), "mahalanobis")
    squares = distance.of(rows_of(20_000, 6)) ** 2
    assert squares.mean() == pytest.approx(6, rel=0.03)
    assert squares.var() == pytest.approx(12, rel=0.1)


def test_units_do_not_matter_but_to_the_plain_distance() -> None:
    rows, units = rows_of(500, 4), np.array([1, 10, 0.5, 3], np.float32)
    for by in ALL:
        plain, other = (fit_distance(some, by, references=100).of(some[:50]) for some in (rows, rows * units))
        assert np.allclose(plain, other, rtol=1e-2) == (by != "centroid")


def test_the_plain_distance_is_that_from_the_mean() -> None:
    rows = rows_of(300, 4)
    expected = np.linalg.norm(rows - rows.mean(axis=0), axis=1)
    np.testing.assert_allclose(fit_distance(rows, "centroid").of(rows), expected, rtol=1e-4)


def two_ways(n: int, seed: int = 0) -> Floats:
    """A machine that is either here or there, never between."""
    rng = np.random.default_rng(seed)
    return (rng.standard_normal((n, 3)) + 20 * rng.integers(2, size=(n, 1))).astype(np.float32)


def test_between_two_ways_to_be_normal_only_neighbours_see_a_fault() -> None:
    """Farther than 99 % of healthy rows; the mean lies right there."""
    between = np.full((1, 3), 10, np.float32)
    healthy, found = two_ways(2000), {}
    for by in ALL:
        distance = fit_distance(healthy, by, prototypes=2)
        found[by] = float(distance.of(between)[0] / np.quantile(distance.of(two_ways(500, seed=1)), 0.99))
    assert found["knn"] > 1
    assert found["centroid"] < 0.5
    assert found["mahalanobis"] < 0.5


def test_prototypes_are_as_good_as_those_of_scikit_learn() -> None:
    rng = np.random.default_rng(2)
    rows = rng.standard_normal((600, 3)) + 6 * rng.integers(3, size=(600, 1))
    centres = k_means(rows, 3, seed=0)
    cost = ((rows[:, None] - centres) ** 2).sum(2).min(1).sum()
    assert cost <= 1.05 * KMeans(3, n_init=5, random_state=0).fit(rows).inertia_
    np.testing.assert_array_equal(centres, k_means(rows, 3, seed=0))
    assert len(k_means(rows[:2], 8, seed=0)) == 2


def test_neighbours_are_drawn_by_the_seed_and_never_more_than_asked_for() -> None:
    rows = rows_of(400, 3)
    first, again, other = (fit_distance(rows, "knn", references=50, seed=seed) for seed in (0, 0, 1))
    np.testing.assert_array_equal(first.points, again.points)
    assert not np.array_equal(first.points, other.points)
    assert (len(first.points), first.k) == (50, 5)
    assert fit_distance(rows[:3], "knn").k == 3


@pytest.mark.parametrize("by", ALL)
def test_rows_with_gaps_say_nothing(by: By) -> None:
    rows = rows_of(300, 4)
    gaps = np.insert(rows, 100, np.array([np.nan, 1e6, 0, 0], np.float32), axis=0)
    expected, found = (fit_distance(some, by).of(rows[:20]) for some in (rows, gaps))
    np.testing.assert_array_equal(found, expected)


@pytest.mark.parametrize("by", ["mahalanobis", "prototypes", "knn"])
def test_a_feature_that_never_changed_is_no_reason_for_an_alarm_when_it_does_by_a_hair(by: By) -> None:
    """Half a hundredth of what others vary by is a hair; as much as they vary by is none."""
    rows = np.concatenate([rows_of(5000, 3), np.zeros((5000, 1), np.float32)], axis=1)
    distance = fit_distance(rows, by, dependence=10)
    usual = np.quantile(distance.of(rows), 0.995)
    changed = np.repeat(np.median(rows, axis=0)[None], 2, axis=0)
    changed[:, 3] = 0.005, 1.0
    hair, plain = distance.of(changed)
    assert hair < usual
    assert plain > 3 * usual


def test_features_that_never_change_at_all_can_be_fitted() -> None:
    for by in ALL:
        distance = fit_distance(np.ones((50, 3), np.float32), by)
        assert distance.of(np.ones((1, 3), np.float32))[0] == pytest.approx(0, abs=1e-3)
        assert distance.of(np.full((1, 3), 2, np.float32))[0] > 0.5


@pytest.mark.parametrize("complete", [0, 1])
def test_too_few_rows_are_told(complete: int) -> None:
    rows = np.full((10, 3), np.nan, np.float32)
    rows[:complete] = 1.0
    with pytest.raises(ValueError, match=f"{complete} complete rows are too few"):
        fit_distance(rows, "mahalanobis")
