"""BYOL and SimSiam against their formulas, where their gradients stop, and what they cannot see."""

from __future__ import annotations

import contextlib
import math
from collections.abc import Callable
from functools import partial

import pytest
import torch
from torch import Tensor

from nearfar.learn.losses.regression import byol, simsiam


def cosine(left: list[float], right: list[float]) -> float:
    return sum(x * y for x, y in zip(left, right, strict=True)) / (math.hypot(*left) * math.hypot(*right))


def byol_by_formula(predictions: Tensor, targets: Tensor) -> float:
    """Grill et al., eq. 2: the squared distance between prediction and target, each divided by its length."""
    total = 0.0
    for prediction, target in zip(predictions.tolist(), targets.tolist(), strict=True):
        longs = math.hypot(*prediction), math.hypot(*target)
        total += sum((p / longs[0] - t / longs[1]) ** 2 for p, t in zip(prediction, target, strict=True))
    return total / len(predictions)


def simsiam_by_formula(
    predictions_a: Tensor, predictions_b: Tensor, projections_a: Tensor, projections_b: Tensor
) -> float:
    """Chen and He, eqs. 1 and 2, averaged over the batch."""
    total = 0.0
    for p_a, p_b, z_a, z_b in zip(
        predictions_a.tolist(), predictions_b.tolist(), projections_a.tolist(), projections_b.tolist(), strict=True
    ):
        total += -cosine(p_a, z_b) / 2 - cosine(p_b, z_a) / 2
    return total / len(predictions_a)


def drawn(n: int, d: int, *, count: int = 2, seed: int = 0) -> list[Tensor]:
    source = torch.Generator().manual_seed(seed)
    return [torch.randn(n, d, generator=source, dtype=torch.float64) * (i + 1) for i in range(count)]


Loss = Callable[..., Tensor]
LOSSES = [pytest.param(byol, 2, id="byol"), pytest.param(simsiam, 4, id="simsiam")]
SIZES = [(1, 1), (1, 5), (6, 2), (7, 9)]


@pytest.mark.parametrize(("n", "d"), SIZES)
@pytest.mark.parametrize(
    ("loss", "by_formula", "count"), [(byol, byol_by_formula, 2), (simsiam, simsiam_by_formula, 4)]
)
def test_it_is_the_formula(loss: Loss, by_formula: Callable[..., float], count: int, n: int, d: int) -> None:
    vectors = drawn(n, d, count=count, seed=n + d)
    value = loss(*vectors)
    assert value.shape == ()
    assert value.dtype == torch.float64
    assert float(value) == pytest.approx(by_formula(*vectors), rel=1e-10, abs=1e-12)


@pytest.mark.parametrize(("loss", "count"), LOSSES)
def test_its_gradients_are_those_of_the_formula(loss: Loss, count: int) -> None:
    vectors = drawn(4, 3, count=count)
    half = count // 2
    predictions, targets = [v.requires_grad_() for v in vectors[:half]], vectors[half:]
    assert torch.autograd.gradcheck(lambda *p: loss(*p, *targets), tuple(predictions))


@pytest.mark.parametrize(("loss", "count"), LOSSES)
def test_no_gradient_flows_into_the_targets(loss: Loss, count: int) -> None:
    vectors = [v.requires_grad_() for v in drawn(5, 4, count=count)]
    gradients = torch.autograd.grad(loss(*vectors), vectors, allow_unused=True)
    assert all(gradient is not None and bool(gradient.any()) for gradient in gradients[: count // 2])
    assert gradients[count // 2 :] == (None,) * (count // 2)


def test_projections_from_which_predictions_were_made_train_through_the_predictor_alone() -> None:
    view_a, view_b = drawn(5, 4)
    (weights,) = drawn(4, 4, count=1, seed=1)
    weights.requires_grad_()
    predictor = torch.tensor([[0.0, 1, 0, 0], [1, 0, 2, 0], [0, 0, 1, 3], [0, 1, 0, 1]], dtype=torch.float64)
    a, b = view_a @ weights, view_b @ weights
    (attached,) = torch.autograd.grad(simsiam(a @ predictor, b @ predictor, a, b), weights, retain_graph=True)
    detached = simsiam(a @ predictor, b @ predictor, a.detach(), b.detach())
    torch.testing.assert_close(attached, torch.autograd.grad(detached, weights)[0], rtol=0, atol=0)


@pytest.mark.parametrize(("loss", "count"), LOSSES)
def test_neither_length_of_vectors_nor_order_of_rows_counts(loss: Loss, count: int) -> None:
    vectors = drawn(6, 4, count=count)
    value = float(loss(*vectors))
    order = torch.randperm(6, generator=torch.Generator().manual_seed(0))
    lengths = torch.logspace(-6, 6, 6, dtype=torch.float64)[:, None]
    assert float(loss(*(v * lengths for v in vectors))) == pytest.approx(value, rel=1e-12)
    assert float(loss(*(v[order] for v in vectors))) == pytest.approx(value, rel=1e-12)


@pytest.mark.parametrize("length", [1e-15, 1e15])
@pytest.mark.parametrize(("loss", "count"), LOSSES)
def test_very_short_and_very_long_vectors_are_compared_like_others(loss: Loss, count: int, length: float) -> None:
    vectors = drawn(6, 4, count=count)
    single = [(v * length).float().requires_grad_() for v in vectors]
    value = loss(*single)
    value.backward()
    assert float(value.detach()) == pytest.approx(float(loss(*vectors)), rel=1e-5)
    assert all(bool(v.grad.isfinite().all()) and bool(v.grad.any()) for v in single[: count // 2])


@pytest.mark.parametrize(("sign", "as_byol", "as_simsiam"), [(1, 0.0, -1.0), (-1, 4.0, 1.0)])
def test_its_range_runs_from_same_to_opposite_direction(sign: int, as_byol: float, as_simsiam: float) -> None:
    a, b = drawn(5, 7)
    assert float(byol(a, sign * 3 * a)) == pytest.approx(as_byol, abs=1e-12)
    assert float(simsiam(sign * b, sign * a, a, b)) == pytest.approx(as_simsiam, abs=1e-12)


def test_a_collapsed_batch_scores_best() -> None:
    """What keeps training from collapse is the predictor and the stopped gradient, not the loss."""
    spread = drawn(8, 4, count=4)
    collapsed = [torch.ones(8, 4)] * 4
    assert float(byol(*collapsed[:2])) == pytest.approx(0.0, abs=1e-6)
    assert float(simsiam(*collapsed)) == pytest.approx(-1.0, abs=1e-6)
    assert float(byol(*spread[:2])) > 1
    assert float(simsiam(*spread)) > -0.5


@pytest.mark.parametrize("zero", ["predictions", "targets", "both"])
def test_a_zero_vector_counts_as_a_right_angle_and_moves_nothing(zero: str) -> None:
    predictions, targets = (v.float() for v in drawn(3, 4))
    if zero != "targets":
        predictions[1] = 0
    if zero != "predictions":
        targets[1] = 0
    predictions.requires_grad_()
    loss = byol(predictions, targets)
    loss.backward()
    rest = [0, 2]
    of_rest = byol(predictions[rest].detach(), targets[rest])
    assert float(loss.detach()) == pytest.approx((2 * float(of_rest) + 2) / 3, rel=1e-6)
    assert predictions.grad is not None
    assert not predictions.grad[1].any()
    assert bool(predictions.grad[rest].isfinite().all())
    assert bool(predictions.grad[rest].any(dim=1).all())


@pytest.mark.parametrize("autocast", [False, True])
@pytest.mark.parametrize(("loss", "count"), LOSSES)
def test_half_precision_vectors_are_compared_in_single_precision(loss: Loss, count: int, autocast: bool) -> None:
    vectors = [v.bfloat16() for v in drawn(16, 64, count=count)]
    with torch.autocast("cpu", torch.bfloat16) if autocast else contextlib.nullcontext():
        value = loss(*vectors)
    assert value.dtype == torch.float32
    assert float(value) == pytest.approx(float(loss(*(v.double() for v in vectors))), rel=1e-5)


@pytest.mark.parametrize(
    ("call", "message"),
    [
        (partial(byol, torch.ones(3, 4), torch.ones(3, 5)), r"predictions \(3, 4\), targets \(3, 5\)"),
        (partial(byol, torch.ones(3, 4), torch.ones(1, 4)), r"predictions \(3, 4\), targets \(1, 4\)"),
        (partial(byol, torch.ones(4), torch.ones(4)), r"predictions \(4,\), targets \(4,\)"),
        (partial(byol, torch.ones(0, 4), torch.ones(0, 4)), "at least 1 row, "),
        (partial(byol, torch.ones(4, 0), torch.ones(4, 0)), "at least one column"),
        (partial(simsiam, *[torch.ones(3, 4)] * 3, torch.ones(2, 4)), r"projections_b \(2, 4\)"),
    ],
)
def test_shapes_that_do_not_fit_are_refused_by_name(call: Callable[[], Tensor], message: str) -> None:
    with pytest.raises(ValueError, match=message):
        call()
