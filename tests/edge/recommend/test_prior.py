"""The prior: what it keeps, how it mixes, and that its file gives it back."""

from __future__ import annotations

import numpy as np
import pytest
from scipy import sparse
from tests.edge.tiny_recommender_bundle import MadeCounts, made_prior

from nearfar.edge.recommend.prior import LATEST, Prior, action_weights
from nearfar.errors import BundleError

ITEMS = 50


@pytest.fixture(scope="module")
def counts() -> np.ndarray:
    generator = np.random.default_rng(0)
    dense = generator.poisson(0.3, (ITEMS, ITEMS)) * generator.uniform(0.5, 2.0, (ITEMS, ITEMS))
    dense[7] = 0  # an item that nothing came after
    np.fill_diagonal(dense, 0)
    return dense


def dense_strengths(counts: np.ndarray, smoothing: float) -> np.ndarray:
    """The formula in the head of the module, over a whole matrix."""
    likely = counts / (counts.sum(axis=1, keepdims=True) + smoothing)
    likely = likely / np.maximum(counts.sum(axis=0, keepdims=True), 1e-9) ** 0.2
    return np.log(1 + likely / (0.1 * likely.max()))


def dense_of(prior: Prior) -> np.ndarray:
    dense = np.zeros((prior.items, prior.items))
    for item in range(prior.items):
        numbers, strengths = prior.row(item)
        dense[item, numbers] = strengths
    return dense


def part_of(prior: Prior, history: np.ndarray, times: np.ndarray) -> np.ndarray:
    numbers, parts = prior.part(history, times)
    assert (np.diff(numbers) > 0).all()
    assert parts.dtype == np.float32
    dense = np.zeros(prior.items)
    dense[numbers] = parts
    return dense


def test_strengths_are_those_of_the_formula_within_a_step_of_the_scale(counts):
    prior = Prior.of(MadeCounts(counts), 10**6, smoothing=3.0)
    expected, found = dense_strengths(counts, 3.0), dense_of(prior)
    there = counts > 0
    assert ((found > 0) == there).all()
    step = np.log(expected[there].max() / expected[there].min()) / 254
    assert np.abs(np.log(found[there] / expected[there])).max() <= step / 2 + 1e-5


def test_a_scipy_matrix_gives_the_same_table(counts):
    assert Prior.of(sparse.csr_matrix(counts), 10**6).to_bytes() == Prior.of(MadeCounts(counts), 10**6).to_bytes()


def test_what_came_after_itself_is_left_out(counts):
    with_itself = counts + np.diag(np.full(ITEMS, 9.0))
    assert not np.diag(dense_of(Prior.of(MadeCounts(with_itself), 10**6))).any()


@pytest.mark.parametrize("recency", [0.8, 0.5])
def test_a_history_expects_what_the_formula_says(counts, recency):
    prior = Prior.of(MadeCounts(counts), 10**6, recency=recency)
    generator = np.random.default_rng(1)
    history, times = generator.integers(0, ITEMS, 70), np.sort(generator.uniform(0, 20_000, 70))
    ages, since = np.arange(70)[::-1], times[-1] - times
    weights = recency**ages * (0.2 + 0.8 * np.exp(-since / 3600))
    weights[:-LATEST] = 0
    expected = weights @ dense_of(prior)[history]
    np.testing.assert_allclose(part_of(prior, history, times), expected / expected.max(), rtol=1e-5, atol=1e-9)


def test_an_earlier_sitting_counts_less():
    weights = action_weights(np.array([0.0, 86_400.0, 86_460.0]), 0.5)
    np.testing.assert_allclose(weights, [0.25 * 0.2, 0.5 * (0.2 + 0.8 * np.exp(-60 / 3600)), 1.0], rtol=1e-6)


def test_times_that_go_back_are_taken_as_now():
    assert action_weights(np.array([50.0, 10.0]), 0.5).tolist() == [0.5, 1.0]


@pytest.mark.parametrize("history", [[], [7], [7, 7]])
def test_nothing_comes_of_a_history_that_nothing_came_after(counts, history):
    prior = Prior.of(MadeCounts(counts), 10**6)
    assert not part_of(prior, np.array(history, dtype=np.int64), np.zeros(len(history))).any()


@pytest.mark.parametrize("budget", [1200, 1400, 1600])
def test_within_a_budget_the_strongest_entries_stay(counts, budget):
    whole, small = Prior.of(MadeCounts(counts), 10**6), Prior.of(MadeCounts(counts), budget)
    assert len(small.to_bytes()) <= budget
    assert 0 < len(small) < len(whole)
    worth, kept = dense_strengths(counts, 5.0) * counts.sum(axis=1, keepdims=True) ** 0.25, dense_of(small) > 0
    assert worth[kept].min() >= worth[(counts > 0) & ~kept].max()


def test_the_budget_is_used():
    counts = sparse.random(3000, 3000, density=0.01, random_state=0, format="csr")
    assert 0.97 * 50_000 < len(Prior.of(counts, 50_000).to_bytes()) <= 50_000


def test_no_budget_leaves_no_entries(counts):
    prior = Prior.of(MadeCounts(counts), 0)
    assert len(prior) == 0
    assert len(Prior.from_bytes(prior.to_bytes(), "prior", ITEMS)) == 0


def test_its_file_gives_it_back(counts):
    for prior in (Prior.of(MadeCounts(counts), 10**6, recency=0.3), Prior.of(MadeCounts(counts), 1500), made_prior(9)):
        again = Prior.from_bytes(prior.to_bytes(), "prior.npz", prior.items)
        for part in ("offsets", "columns", "codes", "range", "recency"):
            np.testing.assert_array_equal(getattr(again, part), getattr(prior, part))
        assert again.to_bytes() == prior.to_bytes()


def test_a_file_of_another_catalogue_or_of_nothing_is_refused(counts):
    content = Prior.of(MadeCounts(counts), 10**6).to_bytes()
    with pytest.raises(BundleError, match=r"prior\.npz: is of another catalogue than this one of 51 items"):
        Prior.from_bytes(content, "prior.npz", ITEMS + 1)
    for broken in (b"", b"PK\x03\x04", content[:100]):
        with pytest.raises(BundleError, match=r"prior\.npz: not a table"):
            Prior.from_bytes(broken, "prior.npz", ITEMS)


def test_after_a_change_of_the_catalogue_the_rest_is_where_it_was(counts):
    prior = Prior.of(MadeCounts(counts), 10**6)
    new = np.random.default_rng(2).permutation(ITEMS + 5)[:ITEMS]
    new[[0, 13]] = -1
    changed, before = dense_of(prior.renumbered(new, ITEMS + 5)), dense_of(prior)
    for row in range(ITEMS):
        for column in range(ITEMS):
            if new[row] >= 0 and new[column] >= 0:
                assert changed[new[row], new[column]] == before[row, column]
    kept = [row for row in range(ITEMS) if new[row] >= 0]
    assert np.count_nonzero(changed) == np.count_nonzero(before[np.ix_(kept, kept)])
