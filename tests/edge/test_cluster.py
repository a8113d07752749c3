from __future__ import annotations

import numpy as np
import pytest

from nearfar.edge.collections.cluster import find_clusters, silhouettes
from nearfar.edge.collections.top_terms import MOST_TERMS, terms_of, top_terms
from nearfar.errors import DataError


def blobs(groups, each, *, spread=0.25, dim=16, seed=0):
    """Unit vectors around `groups` random directions, and which group each is of."""
    rng = np.random.default_rng(seed)
    centres = np.linalg.qr(rng.standard_normal((dim, dim)))[0][:groups]
    of = np.repeat(np.arange(groups), each)
    rows = centres[of] + spread * rng.standard_normal((len(of), dim)) / np.sqrt(dim) * 2
    return (rows / np.linalg.norm(rows, axis=1, keepdims=True)).astype(np.float32), of


def test_separate_groups_are_found_and_their_number_too():
    vectors, of = blobs(8, 60)
    found = find_clusters(vectors.astype(np.float16))
    assert len(found.medoids) == 8
    for cluster in range(8):
        assert len(np.unique(of[found.of == cluster])) == 1
    assert max(found.scores, key=lambda number: found.scores[number].mean) == 8


def test_a_given_number_is_kept_and_the_largest_comes_first():
    vectors, of = blobs(3, 50)
    vectors = np.concatenate([vectors, vectors[of == 1]])
    found = find_clusters(vectors, 3)
    assert found.scores == {}
    assert np.bincount(found.of).tolist() == [100, 50, 50]


def test_the_same_seed_gives_the_same_clusters():
    vectors, _ = blobs(5, 40, spread=0.8)
    first, second = find_clusters(vectors, seed=3), find_clusters(vectors, seed=3)
    np.testing.assert_array_equal(first.of, second.of)
    assert first.scores == second.scores


def test_the_medoid_has_the_largest_mean_cosine_with_its_cluster():
    vectors, _ = blobs(4, 30)
    found = find_clusters(vectors, 4)
    for cluster, medoid in enumerate(found.medoids):
        rows = np.flatnonzero(found.of == cluster)
        cosines = vectors[rows] @ vectors[rows].T
        assert rows[np.argmax(cosines.mean(axis=1))] == medoid


def test_an_item_far_from_all_others_is_an_outlier():
    vectors, _ = blobs(3, 60, spread=0.2)
    stray = np.zeros((1, 16), dtype=np.float32)
    stray[0] = -vectors[0]
    found = find_clusters(np.concatenate([vectors, stray]), 3)
    assert found.outlier[-1]
    assert found.outlier.mean() < 0.1


def test_equal_items_are_one_cluster_without_outliers():
    vectors = np.tile(np.eye(1, 8, dtype=np.float32), (50, 1))
    found = find_clusters(vectors, 4)
    assert not found.outlier.any()
    assert len(found.medoids) <= 4
    assert np.bincount(found.of).sum() == 50


def test_few_items_and_too_many_clusters():
    vectors, _ = blobs(1, 5)
    assert len(find_clusters(vectors).medoids) == 1
    assert silhouettes(vectors) == {}
    with pytest.raises(DataError, match="5 items cannot be put into 6 clusters"):
        find_clusters(vectors, 6)
    with pytest.raises(DataError, match="0 items"):
        find_clusters(np.empty((0, 4), dtype=np.float32))


def test_terms_name_what_is_particular_to_a_cluster():
    texts = ["the cat sat", "the cat ran", "the dog ran", "the dog barked", "the fish swam", "the fish swam far"]
    found = top_terms(texts, [0, 0, 1, 1, 2, 2], count=1)
    assert found == [["cat"], ["dog"], ["fish"]]


def test_terms_follow_the_formula():
    # Clusters of 6 and 2 words, so A = 4. In the first, "ab" weighs 3 log(1 + 4 / 4) = 2.08 and the others 1 log(1 + 4 / 1)
    # = 1.61; in the second "ab" weighs 1 log(1 + 4 / 4) = 0.69. Alike ones are in the order of the alphabet.
    found = top_terms(["ab cd", "ab ef", "ab ij", "ab gh"], [0, 0, 0, 1], count=4)
    assert found == [["ab", "cd", "ef", "ij"], ["gh", "ab"]]


def test_a_text_that_repeats_a_word_does_not_name_its_cluster():
    assert top_terms(["spam " * 50 + "tea", "tea cup", "tea pot"], [0, 0, 0], count=1) == [["tea"]]


def test_words_are_words():
    assert terms_of("It's 5 o'clock: über_alles x2 a 42") == ["it's", "o'clock", "über_alles", "x2"]
    assert top_terms(["42 !", "??"], [0, 1]) == [[], []]
    assert top_terms([], []) == []


def test_rare_words_are_forgotten_where_there_are_too_many():
    rng = np.random.default_rng(0)
    texts = ("common word" + "".join(f" q{n}z" for n in rng.integers(10**9, size=400)) for _ in range(800))
    found = top_terms(texts, [n % 2 for n in range(800)], count=2)
    assert 8 * MOST_TERMS < 800 * 400
    assert found == [["common", "word"], ["common", "word"]]
