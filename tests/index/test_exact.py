import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from nearfar.index import exact_search


def reference(queries, documents, k):
    scores = queries @ documents.T
    order = np.array([sorted(range(scores.shape[1]), key=lambda i: (-row[i], i))[:k] for row in scores], dtype=np.int64)
    return order.reshape(len(queries), -1)


@settings(deadline=None)
@given(
    st.integers(0, 5), st.integers(1, 40), st.integers(1, 45), st.integers(1, 12), st.integers(1, 3), st.integers(0, 99)
)
def test_it_is_a_full_sort_with_ties_by_the_lower_id(q, n, k, block, query_block, seed):
    rng = np.random.default_rng(seed)
    # Small whole numbers: many ties, and no rounding.
    queries = rng.integers(-2, 3, (q, 3)).astype(np.float32)
    documents = rng.integers(-2, 3, (n, 3)).astype(np.float32)
    scores, ids = exact_search(queries, documents, k, block=block, query_block=query_block)
    expected = reference(queries, documents, k) if q else np.empty((0, min(k, n)))
    np.testing.assert_array_equal(ids, expected)
    assert scores.shape == ids.shape == (q, min(k, n))
    assert scores.dtype == np.float32
    assert ids.dtype == np.int64
    np.testing.assert_array_equal(scores, np.take_along_axis(queries @ documents.T, ids, axis=1))


def test_no_documents_give_no_columns():
    scores, ids = exact_search(np.ones((2, 3), np.float32), np.empty((0, 3), np.float32), 5)
    assert scores.shape == ids.shape == (2, 0)


def test_wrong_arguments_are_refused():
    with pytest.raises(ValueError, match="k must be"):
        exact_search(np.ones((1, 2), np.float32), np.ones((1, 2), np.float32), 0)
    with pytest.raises(ValueError, match="must be"):
        exact_search(np.ones((1, 2), np.float32), np.ones((1, 3), np.float32), 1)
