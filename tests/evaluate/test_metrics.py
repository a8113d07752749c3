from __future__ import annotations

import math

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from nearfar.evaluate.metrics import mrr_at, ndcg_at, recall_at

METRICS = [ndcg_at, recall_at, mrr_at]
DOCUMENTS = 12

gains = st.dictionaries(st.integers(0, DOCUMENTS - 1), st.integers(0, 3).map(float), min_size=1)
rankings = st.permutations(range(DOCUMENTS))
tasks = st.lists(st.tuples(rankings, gains), min_size=1, max_size=6)


def unzip(task: list[tuple[list[int], dict[int, float]]]) -> tuple[np.ndarray, list[dict[int, float]]]:
    return np.array([ranking for ranking, _ in task], dtype=np.int64), [judged for _, judged in task]


def test_ndcg_by_hand():
    ranked = np.array([[4, 7, 1, 0, 2]])
    qrels = [{7: 3.0, 0: 1.0, 9: 2.0}]
    gained = 3 / math.log2(3) + 1 / math.log2(5)
    ideal = 3 / math.log2(2) + 2 / math.log2(3) + 1 / math.log2(4)
    np.testing.assert_allclose(ndcg_at(ranked, qrels, 5), [gained / ideal])
    np.testing.assert_allclose(ndcg_at(ranked, qrels, 2), [(3 / math.log2(3)) / (3 + 2 / math.log2(3))])
    np.testing.assert_array_equal(ndcg_at(ranked, qrels, 1), [0.0])


def test_recall_is_of_all_relevant_documents():
    ranked = np.array([[7, 0, 5, 9]])
    qrels = [{7: 3.0, 0: 1.0, 9: 2.0, 5: 0.0}]
    for k, expected in [(1, 1 / 3), (2, 2 / 3), (3, 2 / 3), (4, 1.0), (100, 1.0)]:
        np.testing.assert_allclose(recall_at(ranked, qrels, k), [expected])


def test_mrr_counts_only_the_first_relevant_document():
    ranked = np.array([[3, 1, 2], [1, 2, 3], [4, 5, 6]])
    qrels = [{1: 1.0, 2: 5.0}, {1: 1.0}, {6: 1.0}]
    np.testing.assert_allclose(mrr_at(ranked, qrels, 3), [1 / 2, 1.0, 1 / 3])
    np.testing.assert_allclose(mrr_at(ranked, qrels, 2), [1 / 2, 1.0, 0.0])


@pytest.mark.parametrize("metric", METRICS)
def test_gains_of_zero_and_below_are_not_relevant(metric):
    np.testing.assert_array_equal(metric(np.array([[0, 1]]), [{0: -1.0, 1: 0.0}], 2), [0.0])
    np.testing.assert_array_equal(metric(np.array([[0, 1]]), [{0: 1.0, 1: -4.0}], 2), [1.0])


@pytest.mark.parametrize("metric", METRICS)
def test_places_where_nothing_was_retrieved_earn_nothing(metric):
    qrels = [{0: 1.0, 3: 1.0}, {1: 1.0}]
    padded = metric(np.array([[3, -1, -1], [-1, -1, -1]]), qrels, 3)
    np.testing.assert_allclose(padded, metric(np.array([[3, 8, 9], [7, 8, 9]]), qrels, 3), rtol=1e-12)
    assert padded[0] > 0
    assert padded[1] == 0


def test_ndcg_equals_scikit_learn():
    sklearn_metrics = pytest.importorskip("sklearn.metrics")
    generator = np.random.default_rng(5)
    relevance = generator.integers(0, 4, size=(20, 30)).astype(float)
    relevance[:, 0] = 1.0  # scikit-learn scores a query without relevant documents differently
    scores = generator.permuted(np.tile(np.arange(30.0), (20, 1)), axis=1)
    ranked = np.argsort(-scores, axis=1)
    qrels = [dict(enumerate(row)) for row in relevance]
    for k in (1, 3, 10, 30):
        expected = sklearn_metrics.ndcg_score(relevance, scores, k=k)
        assert ndcg_at(ranked, qrels, k).mean() == pytest.approx(expected)


@settings(deadline=None)
@given(task=tasks, k=st.integers(1, DOCUMENTS + 3), data=st.data())
@pytest.mark.parametrize("metric", METRICS)
def test_the_order_of_the_queries_does_not_matter(metric, task, k, data):
    order = data.draw(st.permutations(range(len(task))))
    ranked, qrels = unzip(task)
    shuffled = metric(*unzip([task[query] for query in order]), k)
    # A row of a matrix product may be summed in another order than its neighbours: the last bit is not promised.
    np.testing.assert_allclose(shuffled, metric(ranked, qrels, k)[list(order)], rtol=1e-12)


@settings(deadline=None)
@given(task=tasks, k=st.integers(1, DOCUMENTS + 3), extra=st.integers(1, 5))
@pytest.mark.parametrize("metric", METRICS)
def test_irrelevant_documents_after_the_last_change_nothing(metric, task, k, extra):
    ranked, qrels = unzip(task)
    more = np.tile(np.arange(DOCUMENTS, DOCUMENTS + extra), (len(ranked), 1))
    np.testing.assert_allclose(metric(np.hstack([ranked, more]), qrels, k), metric(ranked, qrels, k), rtol=1e-12)


@settings(deadline=None)
@given(task=tasks, k=st.integers(1, DOCUMENTS))
def test_moving_a_relevant_document_to_the_front_never_hurts(task, k):
    ranked, qrels = unzip(task)
    best = [max(judged, key=judged.__getitem__) for judged in qrels]
    improved = np.array([[top, *(d for d in row if d != top)] for top, row in zip(best, ranked.tolist(), strict=True)])
    for metric in METRICS:
        before, after = metric(ranked, qrels, k), metric(improved, qrels, k)
        assert (after >= before - 1e-12).all()
        assert (after <= 1 + 1e-12).all()


@settings(deadline=None)
@given(judged=gains, k=st.integers(1, DOCUMENTS))
def test_the_ideal_ranking_has_an_ndcg_of_one(judged, k):
    ideal = sorted(range(DOCUMENTS), key=lambda document: -judged.get(document, 0.0))
    expected = 1.0 if max(judged.values()) > 0 else 0.0
    assert ndcg_at(np.array([ideal]), [judged], k)[0] == pytest.approx(expected)


@pytest.mark.parametrize("metric", METRICS)
def test_a_ranking_that_cannot_be_measured_is_refused(metric):
    with pytest.raises(ValueError, match="twice"):
        metric(np.array([[1, 2, 1]]), [{1: 1.0}], 3)
    with pytest.raises(ValueError, match="one row for each of the 2 queries"):
        metric(np.array([[1, 2]]), [{1: 1.0}, {2: 1.0}], 2)
    with pytest.raises(ValueError, match="k must be at least 1"):
        metric(np.array([[1]]), [{1: 1.0}], 0)
