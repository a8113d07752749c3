"""The table that a static student starts with, against the closed form."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from scipy.sparse import csr_matrix

from nearfar.learn.compress.ridge import principal_axes, ridge_table, weighted_bags
from nearfar.learn.data.batches import Tokens
from nearfar.learn.encoders.static import StaticTextEncoder
from nearfar.recipe.text import StaticEncoder

VOCABULARY = 30


def made_texts(count: int, *, seed: int = 0, vocabulary: int = VOCABULARY) -> list[np.ndarray]:
    rng = np.random.default_rng(seed)
    return [rng.integers(0, vocabulary, rng.integers(1, 12)).astype(np.int32) for _ in range(count)]


def closed_form(bags: np.ndarray, targets: np.ndarray, prior: np.ndarray, penalty: float) -> np.ndarray:
    bags, targets, prior = (np.asarray(given, np.float64) for given in (bags, targets, prior))
    inverse = np.linalg.inv(bags.T @ bags + penalty * np.eye(bags.shape[1]))
    return inverse @ (bags.T @ targets + penalty * prior)


@pytest.mark.parametrize("penalty", [0.1, 1.0, 5.0])
@pytest.mark.parametrize("texts", [5, 200])
def test_it_is_the_closed_form(texts: int, penalty: float) -> None:
    rng = np.random.default_rng(1)
    bags = weighted_bags(made_texts(texts), rng.random(VOCABULARY) + 0.1)
    targets = rng.standard_normal((texts, 7)).astype(np.float32)
    prior = rng.standard_normal((VOCABULARY, 7)).astype(np.float32)
    found = ridge_table(bags, targets, prior, penalty=penalty)
    assert found.dtype == np.float32
    np.testing.assert_allclose(found, closed_form(bags.toarray(), targets, prior, penalty), atol=1e-2)
    assert np.abs(found - prior).max() > 0.1


def test_pieces_that_no_text_has_keep_their_prior_to_the_bit() -> None:
    rng = np.random.default_rng(1)
    bags = weighted_bags(made_texts(50, vocabulary=20), np.ones(VOCABULARY))
    prior = rng.standard_normal((VOCABULARY, 4)).astype(np.float32)
    found = ridge_table(bags, rng.standard_normal((50, 4)).astype(np.float32), prior)
    np.testing.assert_array_equal(found[20:], prior[20:])
    assert np.isfinite(found).all()


def test_without_texts_or_with_nothing_left_to_fit_the_prior_stays() -> None:
    prior = np.random.default_rng(1).standard_normal((VOCABULARY, 4)).astype(np.float32)
    bags = weighted_bags([], np.ones(VOCABULARY))
    assert bags.shape == (0, VOCABULARY)
    np.testing.assert_array_equal(ridge_table(bags, np.zeros((0, 4), np.float32), prior), prior)
    bags = weighted_bags(made_texts(9), np.ones(VOCABULARY))
    np.testing.assert_allclose(ridge_table(bags, np.asarray(bags @ prior), prior), prior, atol=1e-5)
    nothing = csr_matrix((3, VOCABULARY), dtype=np.float32)
    np.testing.assert_array_equal(ridge_table(nothing, np.ones((3, 4), np.float32), prior), prior)


@pytest.mark.parametrize("damped", [True, False])
def test_a_bag_times_the_table_points_where_the_static_encoder_does(damped: bool) -> None:
    """Otherwise the table would be fitted to another model than the one that it goes into."""
    torch.manual_seed(0)
    settings = StaticEncoder(kind="static", dim=8, term_frequency="sqrt" if damped else "linear")
    encoder = StaticTextEncoder(settings, vocab_size=VOCABULARY, document_share=np.linspace(0, 1, VOCABULARY)).eval()
    texts = [*made_texts(20), np.array([3, 3, 3, 5], np.int32)]
    with torch.no_grad():
        expected = torch.nn.functional.normalize(encoder(Tokens.of(texts, 0))).numpy()
        bags = weighted_bags(texts, encoder.token_weight.numpy(), damped=damped)
        found = bags @ encoder.table.numpy()
    np.testing.assert_allclose(np.linalg.norm(bags.toarray(), axis=1), 1, rtol=1e-5)
    np.testing.assert_allclose(found / np.linalg.norm(found, axis=1, keepdims=True), expected, atol=1e-5)


def test_texts_without_a_piece_or_of_weight_zero_are_empty_rows() -> None:
    weight = np.ones(VOCABULARY)
    weight[4] = 0
    bags = weighted_bags([np.zeros(0, np.int32), np.array([4, 4], np.int32), np.array([1], np.int32)], weight)
    np.testing.assert_array_equal(np.abs(bags.toarray()).sum(axis=1), [0, 0, 1])


def test_axes_lose_as_little_of_inner_products_as_can_be() -> None:
    rng = np.random.default_rng(0)
    vectors = (rng.standard_normal((60, 8)) * np.arange(1, 9)).astype(np.float32)
    axes = principal_axes(vectors, 3)
    np.testing.assert_allclose(axes.T @ axes, np.eye(3), atol=1e-5)
    kept = vectors @ axes
    lost = np.linalg.norm(vectors @ vectors.T - kept @ kept.T)
    singular = np.linalg.svd(vectors.astype(np.float64), compute_uv=False)
    assert lost == pytest.approx(np.linalg.norm(singular[3:] ** 2), rel=1e-3)
    np.testing.assert_allclose(principal_axes(vectors, 8) @ principal_axes(vectors, 8).T, np.eye(8), atol=1e-5)
