"""Distances against their definitions, where floating point goes wrong first, and what a labelled pair counts as."""

from __future__ import annotations

import math
from collections.abc import Callable

import pytest
import torch
from torch import Tensor

from nearfar.learn.losses.distances import (
    Distance,
    cosines,
    distances,
    labelled_pairs,
    matched_distances,
    with_both_kinds,
)

ALL: list[Distance] = ["euclidean", "squared", "cosine"]


def drawn(*shape: int, seed: int = 0) -> Tensor:
    return torch.randn(*shape, generator=torch.Generator().manual_seed(seed), dtype=torch.float64)


def by_definition(left: list[float], right: list[float], distance: Distance) -> float:
    if distance == "cosine":
        product = sum(a * b for a, b in zip(left, right, strict=True))
        return 1 - product / (math.hypot(*left) * math.hypot(*right))
    return math.dist(left, right) ** (2 if distance == "squared" else 1)


@pytest.mark.parametrize("distance", ALL)
def test_every_pair_and_matched_pairs_are_the_definition(distance: Distance) -> None:
    left, right = drawn(4, 3), drawn(5, 3, seed=1)
    expected = [[by_definition(a, b, distance) for b in right.tolist()] for a in left.tolist()]
    torch.testing.assert_close(distances(left, right, distance), torch.tensor(expected, dtype=torch.float64))
    matched = matched_distances(left, right[:4], distance)
    torch.testing.assert_close(matched, torch.tensor(expected, dtype=torch.float64)[:, :4].diagonal())


@pytest.mark.parametrize("distance", ALL)
def test_gradients_are_numerically_right(distance: Distance) -> None:
    left, right = drawn(4, 3).requires_grad_(), drawn(5, 3, seed=1).requires_grad_()
    assert torch.autograd.gradcheck(lambda a, b: distances(a, b, distance), (left, right))
    assert torch.autograd.gradcheck(lambda a, b: matched_distances(a, b[:4], distance), (left, right))
    assert torch.autograd.gradcheck(lambda a: distances(a, right.detach(), distance), (left,))
    assert torch.autograd.gradcheck(lambda b: distances(left.detach(), b, distance), (right,))


def test_equal_vectors_are_exactly_at_distance_zero_in_single_precision() -> None:
    """The product form |a|^2 + |b|^2 - 2ab misses this by about 0.001."""
    vectors = torch.nn.functional.normalize(drawn(50, 64).float())
    assert not distances(vectors, vectors).diagonal().any()
    near = vectors + 1e-5 * torch.eye(50, 64)
    torch.testing.assert_close(distances(vectors, near).diagonal(), torch.full((50,), 1e-5), rtol=0.01, atol=0)


@pytest.mark.parametrize("distance", ALL)
def test_at_distance_zero_the_gradient_is_zero_not_infinite(distance: Distance) -> None:
    vectors = torch.tensor([[0.6, 0.8], [0.6, 0.8]], requires_grad=True)
    for apart in (distances(vectors, vectors, distance), matched_distances(vectors, vectors.flip(0), distance)):
        (gradient,) = torch.autograd.grad(apart.sum(), vectors)
        torch.testing.assert_close(gradient, torch.zeros(2, 2), atol=1e-6, rtol=0)


@pytest.mark.parametrize("of", [cosines, distances])
def test_half_precision_and_autocast_are_compared_in_single_precision(of: Callable[[Tensor, Tensor], Tensor]) -> None:
    left, right = drawn(6, 64).bfloat16(), drawn(7, 64, seed=1).bfloat16()
    with torch.autocast("cpu", torch.bfloat16):
        found = of(left, right)
    assert found.dtype == torch.float32
    torch.testing.assert_close(found.double(), of(left.double(), right.double()), rtol=1e-5, atol=1e-6)


def test_a_backward_pass_inside_autocast_finds_distances_in_single_precision_too() -> None:
    vectors = [drawn(6, 64).requires_grad_(), drawn(7, 64, seed=1).requires_grad_()]
    exact = torch.autograd.grad(distances(*vectors).sum(), vectors)
    with torch.autocast("cpu", torch.bfloat16):
        found = torch.autograd.grad(distances(vectors[0].float(), vectors[1].float()).sum(), vectors)
    torch.testing.assert_close(found, exact, rtol=1e-4, atol=1e-5)


def test_zero_vectors_have_cosine_zero_and_finite_gradients() -> None:
    vectors = torch.tensor([[0.0, 0.0], [1.0, 1.0]], requires_grad=True)
    similar = cosines(vectors, vectors)
    torch.testing.assert_close(similar, torch.tensor([[0.0, 0.0], [0.0, 1.0]]))
    similar.sum().backward()
    assert vectors.grad is not None
    assert bool(vectors.grad.isfinite().all())


def test_an_unknown_distance_is_refused_by_name() -> None:
    with pytest.raises(ValueError, match="'manhattan': choose 'euclidean', 'squared' or 'cosine'"):
        distances(drawn(2, 2), drawn(2, 2), "manhattan")  # type: ignore[arg-type]


def test_within_a_batch_no_item_is_its_own_positive() -> None:
    pairs = labelled_pairs(drawn(4, 2), torch.tensor([7, 3, 7, 5]))
    assert pairs.positive.nonzero().tolist() == [[0, 2], [2, 0]]
    assert (~pairs.negative).nonzero().tolist() == [[0, 0], [0, 2], [1, 1], [2, 0], [2, 2], [3, 3]]
    assert with_both_kinds(pairs).labels.tolist() == [7, 7]


def test_against_candidates_every_pair_counts() -> None:
    pairs = labelled_pairs(drawn(2, 2), torch.tensor([7, 3]), drawn(3, 2), torch.tensor([7, 3, 7]))
    assert pairs.positive.tolist() == [[True, False, True], [False, True, False]]
    assert torch.equal(pairs.negative, ~pairs.positive)


@pytest.mark.parametrize(
    ("labels", "candidate_labels", "message"),
    [
        ([1, 2, 3], None, "no item shares its label with another: batches need at least two items of an identity"),
        ([1], None, "no item shares its label"),
        ([], None, "no item shares its label"),
        ([1, 1], None, "every pair shares its label: batches need at least two identities"),
        ([1, 2], [3, 4], "no anchor shares its label with a candidate"),
        ([1, 1], [1], "every pair shares its label"),
    ],
)
def test_a_batch_without_a_kind_of_pair_is_refused(
    labels: list[int], candidate_labels: list[int] | None, message: str
) -> None:
    candidates = None if candidate_labels is None else drawn(len(candidate_labels), 2)
    others = None if candidate_labels is None else torch.tensor(candidate_labels)
    with pytest.raises(ValueError, match=message):
        labelled_pairs(drawn(len(labels), 2), torch.tensor(labels), candidates, others)


def test_anchors_that_have_one_kind_each_make_no_triplet() -> None:
    pairs = labelled_pairs(drawn(2, 2), torch.tensor([1, 2]), drawn(1, 2), torch.tensor([1]))
    with pytest.raises(ValueError, match="no anchor has both a positive and a negative"):
        with_both_kinds(pairs)


def test_shapes_that_do_not_fit_are_named() -> None:
    labels = torch.tensor([0, 0, 1])
    with pytest.raises(ValueError, match=r"got \(3, 2\) and \(2,\)"):
        labelled_pairs(drawn(3, 2), labels[:2])
    with pytest.raises(ValueError, match=r"got \(3,\) and \(3,\)"):
        labelled_pairs(drawn(3), labels)
    with pytest.raises(ValueError, match=r"candidates must be .* got \(4, 2\) and \(3,\)"):
        labelled_pairs(drawn(3, 2), labels, drawn(4, 2), labels)
    with pytest.raises(ValueError, match=r"agree in d: got \(3, 2\) and \(3, 5\)"):
        labelled_pairs(drawn(3, 2), labels, drawn(3, 5), labels)
    with pytest.raises(ValueError, match="candidate_labels missing"):
        labelled_pairs(drawn(3, 2), labels, drawn(3, 2))
    with pytest.raises(ValueError, match="candidates missing"):
        labelled_pairs(drawn(3, 2), labels, candidate_labels=labels)
