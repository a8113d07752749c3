import numpy as np
import pytest

from nearfar.bundle import Fusion
from nearfar.edge.fusion import FEATURES, NEUTRAL, check_fusion, fit_fusion, fuse
from nearfar.errors import BundleError, DataError


def queries_from(weights, count=300, candidates=30, seed=0):
    """Queries whose relevant document is drawn with the probabilities that the model assumes."""
    rng = np.random.default_rng(seed)
    made = []
    for _ in range(count):
        features = rng.random((candidates, 3)).astype(np.float32) * [1, 10, 1]
        scores = features @ np.asarray(weights)
        chances = np.exp(scores - scores.max())
        relevant = np.zeros(candidates, dtype=bool)
        relevant[rng.choice(candidates, p=chances / chances.sum())] = True
        made.append((features.astype(np.float32), relevant))
    return made


def cross_entropy(queries, weights):
    total = 0.0
    for features, relevant in queries:
        scores = features.astype(np.float64) @ weights
        total += np.log(np.exp(scores - scores.max()).sum()) + scores.max() - scores[relevant].mean()
    return total / len(queries)


def test_it_finds_the_weights_that_made_the_data():
    fusion = fit_fusion(queries_from((6.0, 0.3, 2.0), count=3000))
    assert fusion.features == FEATURES
    assert fusion.queries == 3000
    np.testing.assert_allclose(fusion.weights, (6.0, 0.3, 2.0), rtol=0.15)


def test_it_is_the_minimum_among_allowed_weights():
    queries = queries_from((4.0, 0.2, 1.0))
    best = np.array(fit_fusion(queries, penalty=1e-9).weights)
    lowest = cross_entropy(queries, best)
    rng = np.random.default_rng(3)
    for scale in (0.01, 0.1, 1.0):
        for _ in range(30):
            other = best + scale * rng.standard_normal(3) * [1, 0.1, 1]
            other[1:] = np.maximum(other[1:], 0)
            assert cross_entropy(queries, other) >= lowest - 1e-9


def test_keywords_never_count_against_a_document():
    # Data in which BM25 misleads: without the bound its weight would be negative.
    fusion = fit_fusion(queries_from((3.0, -0.4, -1.0)))
    assert fusion.weights[1:] == (0.0, 0.0)
    assert fusion.weights[0] > 2


def test_data_that_can_be_separated_gives_finite_weights():
    features = np.array([[1.0, 5, 1], [0.2, 0, 0]], dtype=np.float32)
    fusion = fit_fusion([(features, np.array([True, False]))] * 20)
    assert np.isfinite(fusion.weights).all()
    assert fuse(features, fusion)[0] > fuse(features, fusion)[1]


def test_no_keyword_matches_anywhere_is_no_problem():
    queries = [(features * np.float32([1, 0, 0]), relevant) for features, relevant in queries_from((5.0, 0, 0))]
    fusion = fit_fusion(queries)
    assert fusion.weights[0] > 3
    assert fusion.weights[1:] == (0.0, 0.0)


def test_it_is_deterministic():
    assert fit_fusion(queries_from((2, 0.1, 1))) == fit_fusion(queries_from((2, 0.1, 1)))


def test_queries_that_tell_nothing_are_refused():
    features = np.ones((3, 3), dtype=np.float32)
    with pytest.raises(DataError, match="held-out"):
        fit_fusion([(features, np.zeros(3, dtype=bool)), (features, np.ones(3, dtype=bool))])


def test_weights_go_by_the_name_of_the_feature():
    features = np.array([[0.5, 8.0, 1.0], [0.9, 0.0, 0.0]], dtype=np.float32)
    np.testing.assert_allclose(fuse(features, Fusion(features=("bm25", "dense"), weights=(0.1, 2.0))), [1.8, 1.8])
    assert fuse(features, NEUTRAL)[1] > 0
    with pytest.raises(BundleError, match="clicks"):
        check_fusion(Fusion(features=("dense", "clicks"), weights=(1.0, 1.0)))
