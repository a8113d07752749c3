from __future__ import annotations

from itertools import permutations

import numpy as np
import pytest
from sklearn import metrics
from sklearn.cluster import KMeans

from nearfar.errors import DataError
from nearfar.evaluate import compare_clusters, k_means, nmi_interval


def blobs(count: int = 400, k: int = 6, *, apart: float = 6.0, dim: int = 5):
    rng = np.random.default_rng(0)
    labels = rng.integers(k, size=count)
    return (rng.normal(size=(k, dim)) * apart)[labels].astype(np.float32) + rng.normal(size=(count, dim)).astype(
        np.float32
    ), labels


def total(vectors: np.ndarray, clusters: np.ndarray) -> float:
    return sum(((vectors[clusters == c] - vectors[clusters == c].mean(axis=0)) ** 2).sum() for c in np.unique(clusters))


def test_clear_clusters_are_found():
    vectors, labels = blobs()
    found = compare_clusters(k_means(vectors, 6), labels)
    assert found == pytest.approx((1.0, 1.0, 1.0))


def test_as_tight_as_scikit_learn_where_it_is_hard():
    vectors = np.random.default_rng(1).normal(size=(1500, 12)).astype(np.float32)
    ours = total(vectors, k_means(vectors, 15))
    assert ours < 1.01 * total(vectors, KMeans(15, n_init=10, random_state=0).fit_predict(vectors))


def test_the_same_seed_gives_the_same_clusters_whatever_the_threads():
    import faiss

    vectors = np.random.default_rng(2).normal(size=(3000, 16)).astype(np.float32)
    before = faiss.omp_get_max_threads()
    found = []
    try:
        for threads in (1, 2, 2):
            faiss.omp_set_num_threads(threads)
            found.append(k_means(vectors, 20, restarts=2, seed=5))
    finally:
        faiss.omp_set_num_threads(before)
    assert all((found[0] == other).all() for other in found[1:])
    assert (found[0] != k_means(vectors, 20, restarts=2, seed=6)).any()


def test_equal_vectors_and_as_many_clusters_as_items():
    assert set(k_means(np.ones((5, 3), np.float32), 3).tolist()) <= {0, 1, 2}
    vectors = np.arange(8, dtype=np.float32)[:, None]
    assert sorted(k_means(vectors, 8).tolist()) == list(range(8))
    with pytest.raises(DataError, match="2 items cannot be put into 3"):
        k_means(vectors[:2], 3)
    with pytest.raises(ValueError, match="at least 1"):
        k_means(vectors, 0)


@pytest.mark.parametrize("clusters_count", [1, 3, 5])
def test_agreement_is_that_of_scikit_learn(clusters_count):
    rng = np.random.default_rng(4)
    labels = rng.integers(4, size=300)
    clusters = np.where(rng.random(300) < 0.6, labels, rng.integers(9, size=300)) % clusters_count
    found = compare_clusters(clusters, labels)
    assert found.nmi == pytest.approx(metrics.normalized_mutual_info_score(labels, clusters), abs=1e-12)
    assert found.ari == pytest.approx(metrics.adjusted_rand_score(labels, clusters), abs=1e-12)


def test_accuracy_is_that_of_the_best_matching():
    rng = np.random.default_rng(5)
    labels, clusters = rng.integers(4, size=60), rng.integers(4, size=60)
    best = max((np.array(names)[clusters] == labels).mean() for names in permutations(range(4)))
    assert compare_clusters(clusters, labels).accuracy == pytest.approx(best)


def test_one_cluster_for_one_label_agrees():
    ones = np.zeros(5, dtype=np.int64)
    assert compare_clusters(ones, ones) == pytest.approx((1.0, 1.0, 1.0))


def test_the_interval_is_that_of_drawing_items_anew():
    rng = np.random.default_rng(6)
    labels = rng.integers(3, size=120)
    clusters = np.where(rng.random(120) < 0.7, labels, rng.integers(3, size=120))
    interval = nmi_interval(clusters, labels, resamples=1000)
    drawn = rng.integers(120, size=(1000, 120))
    by_hand = np.quantile([metrics.normalized_mutual_info_score(labels[d], clusters[d]) for d in drawn], [0.025, 0.975])
    assert interval.value == pytest.approx(metrics.normalized_mutual_info_score(labels, clusters))
    assert (interval.low, interval.high) == pytest.approx(by_hand, abs=0.02)
    assert interval == nmi_interval(clusters, labels, resamples=1000)


def test_what_does_not_fit_is_refused():
    with pytest.raises(DataError, match="no items"):
        compare_clusters(np.empty(0, np.int64), np.empty(0, np.int64))
    with pytest.raises(ValueError, match="must both be"):
        nmi_interval(np.zeros(2, np.int64), np.zeros(3, np.int64))
    with pytest.raises(ValueError, match="level"):
        nmi_interval(np.zeros(2, np.int64), np.zeros(2, np.int64), level=1.0)
