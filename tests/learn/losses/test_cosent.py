"""CoSENT against the sum over all pairs of pairs, ties included, and what it must not depend on."""

from __future__ import annotations

import math

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor

from nearfar.learn.losses.cosent import cosent


def drawn(*shape: int, seed: int = 0) -> Tensor:
    return torch.randn(*shape, generator=torch.Generator().manual_seed(seed), dtype=torch.float64)


def by_formula(left: Tensor, right: Tensor, scores: list[float], temperature: float) -> float:
    cosines = []
    for a, b in zip(left.tolist(), right.tolist(), strict=True):
        cosines.append(sum(x * y for x, y in zip(a, b, strict=True)) / (math.hypot(*a) * math.hypot(*b)))
    exponents = [0.0]
    for i, low in enumerate(scores):
        exponents += [(cosines[i] - cosines[j]) / temperature for j, high in enumerate(scores) if low < high]
    largest = max(exponents)
    return largest + math.log(sum(math.exp(exponent - largest) for exponent in exponents))


@settings(max_examples=80, deadline=None)
@given(st.lists(st.integers(0, 4), min_size=1, max_size=12), st.sampled_from([0.001, 0.05, 1.0, 7.0]))
def test_it_is_the_formula_with_any_ties(scores: list[int], temperature: float) -> None:
    left, right = drawn(len(scores), 3), drawn(len(scores), 3, seed=1)
    for given_scores in (torch.tensor(scores), torch.tensor(scores).double() / 7):
        loss = cosent(left, right, given_scores, temperature=temperature)
        assert loss.dtype == torch.float64
        assert float(loss) == pytest.approx(by_formula(left, right, given_scores.tolist(), temperature), rel=1e-10)


def test_its_gradients_are_those_of_the_formula() -> None:
    scores = torch.tensor([3, 0, 1, 1, 5, 0])
    temperature = torch.tensor(0.3, dtype=torch.float64, requires_grad=True)

    def loss(left: Tensor, right: Tensor, t: Tensor) -> Tensor:
        return cosent(left, right, scores, temperature=t)

    assert torch.autograd.gradcheck(
        loss, (drawn(6, 3).requires_grad_(), drawn(6, 3, seed=1).requires_grad_(), temperature)
    )


def test_order_sides_length_rotation_and_scale_of_scores_do_not_count() -> None:
    left, right, scores = drawn(6, 3), drawn(6, 3, seed=1), torch.tensor([3.0, 0.0, 1.0, 1.0, 5.0, 0.0])
    order = torch.tensor([4, 2, 0, 5, 1, 3])
    rotation, _ = torch.linalg.qr(drawn(3, 3, seed=3))
    loss = float(cosent(left, right, scores))
    for changed in [
        (left[order], right[order], scores[order]),
        (right, left, scores),
        (left * 1e6, right * torch.linspace(0.1, 9, 6).unsqueeze(1), scores),
        (left @ rotation, right @ rotation, scores),
        (left, right, scores**3 - 100),
    ]:
        assert float(cosent(*changed)) == pytest.approx(loss, rel=1e-10)
    assert float(cosent(left, right, -scores)) != pytest.approx(loss, rel=0.1)


@pytest.mark.parametrize("scores", [[2.0], [2.0, 2.0, 2.0]])
def test_nothing_to_rank_costs_nothing_and_moves_nothing(scores: list[float]) -> None:
    left = drawn(len(scores), 3).requires_grad_()
    loss = cosent(left, drawn(len(scores), 3, seed=1), torch.tensor(scores))
    loss.backward()
    assert float(loss.detach()) == 0.0
    assert left.grad is not None
    assert not left.grad.any()


def test_a_tiny_temperature_does_not_overflow() -> None:
    """At 0.001 the one wrong comparison has exponent 2000."""
    left = torch.tensor([[1.0, 0.0], [1.0, 0.0], [1.0, 0.0]], requires_grad=True)
    right = torch.tensor([[1.0, 0.0], [-1.0, 0.0], [0.0, 1.0]])
    for scores, expected in [([0.0, 1.0, 1.0], 2000.0), ([1.0, 0.0, 0.0], 0.0)]:
        loss = cosent(left, right, torch.tensor(scores), temperature=0.001)
        (gradient,) = torch.autograd.grad(loss, left)
        assert float(loss.detach()) == pytest.approx(expected)
        assert bool(gradient.isfinite().all())


@pytest.mark.parametrize("temperature", [0.001, 1000.0])
def test_coinciding_opposite_and_zero_vectors_leave_value_and_gradient_finite(temperature: float) -> None:
    left = torch.tensor([[1.0, 0.0], [1.0, 0.0], [0.0, 0.0], [0.0, 1.0]], requires_grad=True)
    right = torch.tensor([[1.0, 0.0], [-1.0, 0.0], [1.0, 0.0], [0.0, 1.0]])
    loss = cosent(left, right, torch.tensor([0, 1, 2, 2]), temperature=temperature)
    loss.backward()
    assert bool(loss.isfinite())
    assert left.grad is not None
    assert bool(left.grad.isfinite().all())


def test_a_hundred_thousand_pairs_need_no_matrix_of_comparisons() -> None:
    """All cosines equal: the loss counts the comparisons. A matrix of them would be 40 GB."""
    n = 100_000
    left = torch.tensor([[1.0, 0.0]]).expand(n, 2)
    loss = cosent(left, left, torch.arange(n) // 2)
    assert float(loss) == pytest.approx(math.log(1 + n * (n - 2) / 2), rel=1e-5)


def test_half_precision_vectors_are_compared_in_single_precision() -> None:
    left, right, scores = drawn(8, 32).bfloat16(), drawn(8, 32, seed=1).bfloat16(), torch.arange(8) % 3
    exact = by_formula(left.double(), right.double(), scores.tolist(), 0.05)
    with torch.autocast("cpu", torch.bfloat16):
        loss = cosent(left, right, scores)
    assert loss.dtype == torch.float32
    assert float(loss) == pytest.approx(exact, rel=1e-5)


def test_what_does_not_fit_is_refused_with_its_shape() -> None:
    with pytest.raises(ValueError, match=r"left \(2, 3\), right \(3, 3\)"):
        cosent(drawn(2, 3), drawn(3, 3), torch.zeros(2))
    with pytest.raises(ValueError, match="expected at least 1 row"):
        cosent(drawn(0, 3), drawn(0, 3), torch.zeros(0))
    with pytest.raises(ValueError, match=r"got \(3,\) for 2 pairs"):
        cosent(drawn(2, 3), drawn(2, 3), torch.zeros(3))
    with pytest.raises(ValueError, match="not a number"):
        cosent(drawn(2, 3), drawn(2, 3), torch.tensor([0.0, math.nan]))
