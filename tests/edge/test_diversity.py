import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from nearfar.edge.diversity import mmr
from nearfar.errors import DataError

# Two near copies that answer best, and one answer of another kind.
VECTORS = np.array([[1, 0, 0], [1, 0.01, 0], [0, 1, 0], [0.9, 0.1, 0]], dtype=np.float32)
RELEVANCE = np.array([0.9, 0.89, 0.6, 0.5], dtype=np.float32)


def written_out(relevance: np.ndarray, vectors: np.ndarray, k: int, diversity: float) -> list[int]:
    """The paper's equation, one candidate and one pair at a time."""
    low, high = relevance.min(), relevance.max()
    scaled = [(each - low) / (high - low) if high > low else 1.0 for each in relevance.tolist()]

    def cosine(one: int, other: int) -> float:
        lengths = np.linalg.norm(vectors[one]) * np.linalg.norm(vectors[other])
        return float(vectors[one] @ vectors[other] / lengths) if lengths else 0.0

    chosen: list[int] = []
    while len(chosen) < min(k, len(scaled)):

        def gain(candidate: int) -> float:
            alike = max([0.0, *(cosine(candidate, other) for other in chosen)])
            return (1 - diversity) * scaled[candidate] - diversity * alike

        left = [candidate for candidate in range(len(scaled)) if candidate not in chosen]
        best = max(gain(candidate) for candidate in left)
        chosen.append(min((c for c in left if gain(c) > best - 1e-5), key=lambda c: (-scaled[c], c)))
    return chosen


def test_no_diversity_is_the_order_of_relevance():
    assert mmr(RELEVANCE[::-1], VECTORS, 4, 0.0).tolist() == [3, 2, 1, 0]


def test_a_copy_waits_for_an_answer_of_another_kind():
    assert mmr(RELEVANCE, VECTORS, 2, 0.0).tolist() == [0, 1]
    assert mmr(RELEVANCE, VECTORS, 2, 0.5).tolist() == [0, 2]


def test_only_difference_still_begins_with_the_best():
    assert mmr(RELEVANCE, VECTORS, 3, 1.0).tolist() == [0, 2, 3]


@pytest.mark.parametrize("scale", [1e-3, 1.0, 40.0])
@pytest.mark.parametrize("shift", [-100.0, 0.0, 7.0])
def test_the_scale_of_the_scores_does_not_matter(scale, shift):
    relevance = RELEVANCE.astype(np.float64)
    assert mmr(relevance * scale + shift, VECTORS * 3, 4, 0.3).tolist() == mmr(relevance, VECTORS, 4, 0.3).tolist()


def test_equals_come_in_their_order():
    same = np.ones((5, 7), dtype=np.float32) / 3
    assert mmr(np.ones(5), same, 5, 0.7).tolist() == [0, 1, 2, 3, 4]
    assert mmr(np.array([0, 1, 1, 0, 1.0]), same, 5, 1.0).tolist() == [1, 2, 4, 0, 3]


@pytest.mark.parametrize(("c", "k", "expected"), [(0, 3, 0), (2, 3, 2), (3, 0, 0)])
def test_chooses_at_most_what_there_is(c, k, expected):
    chosen = mmr(np.zeros(c), np.zeros((c, 4), dtype=np.float32), k, 0.5)
    assert chosen.shape == (expected,)
    assert chosen.dtype == np.int64


@pytest.mark.parametrize("diversity", [-0.1, 1.1, float("nan")])
def test_refuses_a_diversity_out_of_range(diversity):
    with pytest.raises(DataError, match="from 0"):
        mmr(RELEVANCE, VECTORS, 2, diversity)


@given(st.integers(0, 2**32 - 1), st.integers(1, 12), st.integers(1, 12), st.sampled_from([0.0, 0.25, 0.5, 0.9, 1.0]))
def test_chooses_what_the_paper_says(seed, c, k, diversity):
    rng = np.random.default_rng(seed)
    vectors = rng.normal(size=(c, 5)).astype(np.float32)
    vectors[rng.random(c) < 0.2] = 0
    relevance = rng.normal(size=c) * 10
    chosen = mmr(relevance, vectors, k, diversity).tolist()
    assert len(set(chosen)) == min(c, k)
    assert chosen == written_out(relevance, vectors, k, diversity)
