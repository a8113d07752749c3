from __future__ import annotations

import tracemalloc

import numpy as np
import pytest

from nearfar.errors import DataError
from nearfar.evaluate import class_mean_predict, knn_correct, knn_predict, leave_one_out_knn
from nearfar.evaluate.knn import few_of_each


def units(rng: np.random.Generator, *shape: int) -> np.ndarray:
    vectors = rng.normal(size=shape)
    return (vectors / np.linalg.norm(vectors, axis=-1, keepdims=True)).astype(np.float32)


def directions(*degrees: float) -> np.ndarray:
    angles = np.deg2rad(degrees)
    return np.stack([np.cos(angles), np.sin(angles)], axis=1).astype(np.float32)


def by_hand(bank: np.ndarray, labels: np.ndarray, query: np.ndarray, k: int) -> int:
    cosines = bank @ query
    nearest = np.argsort(-cosines, kind="stable")[:k]
    of_label = {int(label): cosines[nearest][labels[nearest] == label] for label in labels[nearest]}
    return max(of_label, key=lambda label: (len(of_label[label]), of_label[label].sum(), -label))


@pytest.mark.parametrize("k", [1, 2, 10, 1000])
def test_prediction_is_the_vote_of_the_nearest(k):
    rng = np.random.default_rng(0)
    bank, queries, labels = units(rng, 300, 5), units(rng, 2000, 5), rng.integers(7, size=300)
    expected = [by_hand(bank, labels, query, k) for query in queries]
    predicted = knn_predict(bank, labels, queries, classes=7, k=k)
    assert predicted.dtype == np.int64
    np.testing.assert_array_equal(predicted, expected)


def test_a_tie_goes_to_the_nearer_label_then_to_the_lower():
    bank, query = directions(10, -30, 20, -15), directions(0)
    assert knn_predict(bank, np.array([1, 0, 1, 0]), query, classes=2, k=4).tolist() == [
        1
    ]  # 10 and 20 against 30 and 15
    assert knn_predict(bank, np.array([0, 1, 0, 1]), query, classes=2, k=4).tolist() == [0]
    assert knn_predict(directions(5, -5), np.array([4, 2]), query, classes=5, k=2).tolist() == [2]
    # Two votes beat one however near it is.
    assert knn_predict(directions(0, 40, 50), np.array([0, 1, 1]), query, classes=2, k=3).tolist() == [1]


def test_correct_is_one_figure_a_query():
    bank, labels = directions(0, 90), np.array([0, 1])
    right = knn_correct(bank, labels, directions(10, 80, 20), np.array([0, 1, 1]), classes=2, k=1)
    assert right.dtype == np.float64
    assert right.tolist() == [1.0, 1.0, 0.0]


def test_leaving_one_out_is_asking_the_others():
    rng = np.random.default_rng(1)
    vectors, labels = units(rng, 1200, 4), rng.integers(3, size=1200)
    expected = [
        by_hand(np.delete(vectors, i, axis=0), np.delete(labels, i), vectors[i], 5) == labels[i] for i in range(1200)
    ]
    np.testing.assert_array_equal(leave_one_out_knn(vectors, labels, classes=3, k=5), expected)


def test_leaving_one_out_of_many_equal_vectors():
    vectors = np.tile(directions(30), (50, 1))
    labels = np.zeros(50, dtype=np.int64)
    labels[-1] = 1
    # The last is never its own neighbour, so nothing votes for its label.
    assert leave_one_out_knn(vectors, labels, classes=2, k=3).tolist() == [1.0] * 49 + [0.0]


def test_class_means_need_one_example_of_each_label():
    assert class_mean_predict(directions(0, 60, 120), np.array([3, 1, 1]), directions(20, 70), classes=5).tolist() == [
        3,
        1,
    ]
    opposite = directions(0, 180, 90)  # the mean of label 0 has no direction
    assert class_mean_predict(opposite, np.array([0, 0, 1]), directions(80), classes=2).tolist() == [1]


def test_few_of_each_draws_by_its_seed():
    labels = np.repeat([0, 1, 2], [50, 50, 3])
    drawn = few_of_each(labels, 5, 0)
    assert np.bincount(labels[drawn]).tolist() == [5, 5, 3]
    assert len(set(drawn.tolist())) == 13
    np.testing.assert_array_equal(drawn, few_of_each(labels, 5, 0))
    assert set(drawn.tolist()) != set(few_of_each(labels, 5, 1).tolist())
    with pytest.raises(ValueError, match="at least 1"):
        few_of_each(labels, 0, 0)


def test_memory_is_bounded():
    rng = np.random.default_rng(2)
    bank, queries = units(rng, 20_000, 8), units(rng, 4_000, 8)
    tracemalloc.start()
    knn_predict(bank, rng.integers(10, size=20_000), queries, classes=10)
    _, peak = tracemalloc.get_traced_memory()
    tracemalloc.stop()
    assert peak < 20_000 * 4_000 * 4 / 5  # a fifth of all cosines


def test_what_cannot_be_compared_is_refused():
    with pytest.raises(DataError, match="no labelled item"):
        knn_predict(np.empty((0, 2), np.float32), np.empty(0, np.int64), directions(0), classes=2)
    with pytest.raises(DataError, match="at least two"):
        leave_one_out_knn(directions(0), np.array([0]), classes=2)
    with pytest.raises(ValueError, match=r"0 to 1 for 2 classes, got -1 to 1"):
        knn_predict(directions(0, 1), np.array([-1, 1]), directions(0), classes=2)
    with pytest.raises(ValueError, match="labels of shape"):
        knn_correct(directions(0, 1), np.array([0, 1]), directions(0), np.array([0, 1]), classes=2)
    with pytest.raises(ValueError, match="vectors must be"):
        knn_predict(directions(0, 1), np.array([0]), directions(0), classes=2)
