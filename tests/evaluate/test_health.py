from __future__ import annotations

import math

import numpy as np
import pytest

from nearfar.evaluate import Health, measure_health
from nearfar.evaluate.health import ROWS, alignment, distance, effective_rank, embedding_std, uniformity, view_recall

RNG = np.random.default_rng(0)


def unit(vectors: np.ndarray) -> np.ndarray:
    return vectors / np.linalg.norm(vectors, axis=-1, keepdims=True)


def test_std_is_one_on_the_sphere_and_nothing_where_all_are_equal():
    assert embedding_std(RNG.normal(size=(2000, 64)).astype(np.float32)) == pytest.approx(1, abs=0.01)
    assert embedding_std(np.tile(RNG.normal(size=64), (50, 1)).astype(np.float32)) == pytest.approx(0, abs=1e-6)
    # Length says nothing.
    same_way = np.linspace(1, 100, 50)[:, None] * np.ones((1, 8))
    assert embedding_std(same_way.astype(np.float32)) == pytest.approx(0, abs=1e-6)


def test_rank_is_by_the_formula_of_rankme():
    matrix = RNG.normal(size=(100, 20)) * np.logspace(0, -3, 20)
    singular = np.linalg.svd(matrix, compute_uv=False)
    shares = singular / singular.sum() + 1e-7
    expected = math.exp(-(shares * np.log(shares)).sum())
    assert effective_rank(matrix.astype(np.float32)) == pytest.approx(expected, rel=1e-5)
    assert effective_rank(matrix.T.astype(np.float32)) == pytest.approx(expected, rel=1e-5)  # more columns than rows


@pytest.mark.parametrize("rank", [1, 3, 10])
def test_rank_counts_equal_dimensions(rank):
    basis = np.linalg.qr(RNG.normal(size=(200, 16)))[0][:, :rank] @ np.linalg.qr(RNG.normal(size=(16, 16)))[0][:rank]
    assert effective_rank(basis.astype(np.float32)) == pytest.approx(rank, rel=1e-3)


def test_rank_of_nothing_is_one():
    assert effective_rank(np.zeros((5, 3), np.float32)) == pytest.approx(1, abs=1e-4)


def test_alignment_uniformity_and_distance_are_by_their_formulas():
    views = RNG.normal(size=(30, 3, 5))
    u = unit(views)
    pairs = [((u[:, a] - u[:, b]) ** 2).sum(axis=1).mean() for a, b in ((0, 1), (0, 2), (1, 2))]
    assert alignment(views) == pytest.approx(np.mean(pairs))
    others = [(i, j) for i in range(30) for j in range(30) if i != j]
    of_view = [np.log(np.mean([np.exp(-2 * ((u[i, v] - u[j, v]) ** 2).sum()) for i, j in others])) for v in range(3)]
    assert uniformity(views) == pytest.approx(np.mean(of_view))
    apart = [((u[i, v] - u[j, w]) ** 2).sum() for i, j in others for v in range(3) for w in range(3)]
    assert distance(views) == pytest.approx(np.mean(apart))


def test_recall_counts_views_that_find_their_other_view():
    plain = unit(RNG.normal(size=(40, 16)))
    swapped = plain.copy()
    swapped[[0, 1]] = swapped[[1, 0]]
    assert view_recall(np.stack([plain, swapped], axis=1)) == pytest.approx(38 / 40)
    assert view_recall(np.ones((40, 2, 16))) == 0
    assert view_recall(np.stack([plain[:1], plain[:1]], axis=1)) == 1


def test_health_puts_them_together():
    views = RNG.normal(size=(64, 2, 8)).astype(np.float32)
    health = measure_health(views, 7)
    assert health.step == 7
    assert health.effective_rank == effective_rank(views.reshape(-1, 8))
    assert health.alignment == alignment(views)
    assert health.view_chance == 1 / 64
    assert all(isinstance(value, (int, float)) for value in health)
    assert health == measure_health(views, 7)


def test_a_single_view_has_no_alignment():
    health = measure_health(RNG.normal(size=(64, 1, 8)).astype(np.float32), 0)
    assert math.isnan(health.alignment)
    assert math.isnan(health.view_recall)
    assert math.isfinite(health.embedding_std)
    assert math.isfinite(health.distance)


def test_what_is_not_finite_is_told_and_not_computed():
    views = np.ones((8, 2, 4), np.float32)
    views[3, 1, 2] = np.inf
    health = measure_health(views, 5)
    assert health.step == 5
    assert all(math.isnan(value) for value in health[1:-1])


def test_many_rows_are_thinned_by_a_rule():
    views = RNG.normal(size=(3 * ROWS, 2, 4)).astype(np.float32)
    assert measure_health(views, 0) == measure_health(views[::3], 0)
    assert measure_health(views, 0).view_chance == 1 / ROWS


def test_half_precision_is_computed_in_full():
    views = RNG.normal(size=(64, 2, 8)).astype(np.float16)
    assert measure_health(views, 0) == measure_health(views.astype(np.float32), 0)


@pytest.mark.parametrize("shape", [(8, 4), (1, 2, 4), (8, 0, 4)])
def test_wrong_shapes_are_refused(shape):
    with pytest.raises(ValueError, match=r"embeddings must be \(n, V, d\)"):
        measure_health(np.zeros(shape, np.float32), 0)


def test_health_has_a_fixed_order():
    assert Health._fields[0] == "step"
