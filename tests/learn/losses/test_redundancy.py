"""Barlow Twins and VICReg against their formulas, by either way to the off-diagonal, and what must not matter to them."""

from __future__ import annotations

import contextlib
import statistics
from collections.abc import Callable

import pytest
import torch
from torch import Tensor
from torch.utils._python_dispatch import TorchDispatchMode

from nearfar.learn.losses.redundancy import _over_features, _over_rows, barlow_twins, vicreg, vicreg_terms

# Both ways to the off-diagonal (over rows from 2n = d on), their border, and the smallest cases.
SIZES = [(2, 1), (2, 4), (3, 5), (4, 8), (4, 7), (9, 5), (3, 12)]


def barlow_by_formula(a: Tensor, b: Tensor, weight: float) -> float:
    """Zbontar et al., eqs. 1 and 2, each entry a Pearson correlation."""
    total = 0.0
    for i, left in enumerate(a.T.tolist()):
        for j, right in enumerate(b.T.tolist()):
            correlation = statistics.correlation(left, right)
            total += (1 - correlation) ** 2 if i == j else weight * correlation**2
    return total


def vicreg_by_formula(a: Tensor, b: Tensor, gamma: float, epsilon: float) -> tuple[float, float, float]:
    """Bardes et al., eqs. 1 to 5, with the invariance over features and the variance over views averaged."""
    n, d = a.shape
    invariance = sum((x - y) ** 2 for x, y in zip(a.flatten().tolist(), b.flatten().tolist(), strict=True)) / (n * d)
    variance = covariance = 0.0
    for columns in (a.T.tolist(), b.T.tolist()):
        deviations = [(statistics.variance(column) + epsilon) ** 0.5 for column in columns]
        variance += sum(max(0.0, gamma - deviation) for deviation in deviations) / d / 2
        covariance += (
            sum(statistics.covariance(columns[i], columns[j]) ** 2 for i in range(d) for j in range(d) if i != j) / d
        )
    return invariance, variance, covariance


def drawn(n: int, d: int, seed: int = 0) -> tuple[Tensor, Tensor]:
    """Two views that have something in common, features that have too, some of deviation below 1 and some above."""
    source = torch.Generator().manual_seed(seed)
    mixed = torch.randn(n, d, generator=source, dtype=torch.float64) @ torch.randn(d, d, generator=source).double()
    mixed = mixed / d**0.5 * torch.linspace(0.3, 2, d)
    a, b = (mixed + 0.5 * torch.randn(n, d, generator=source, dtype=torch.float64) + shift for shift in (1, -2))
    return a, b


Loss = Callable[..., Tensor]
LOSSES = [pytest.param(barlow_twins, id="barlow_twins"), pytest.param(vicreg, id="vicreg")]


@pytest.mark.parametrize("weight", [0.005, 1.5])
@pytest.mark.parametrize(("n", "d"), SIZES)
def test_barlow_twins_is_the_formula(n: int, d: int, weight: float) -> None:
    a, b = drawn(n, d, seed=n + d)
    loss = barlow_twins(a, b, off_diagonal=weight)
    assert loss.shape == ()
    assert loss.dtype == torch.float64
    assert float(loss) == pytest.approx(barlow_by_formula(a, b, weight), rel=1e-10, abs=1e-12)


@pytest.mark.parametrize(("gamma", "epsilon"), [(1.0, 1e-4), (2.5, 0.3)])
@pytest.mark.parametrize(("n", "d"), SIZES)
def test_vicreg_is_the_formula_term_by_term(n: int, d: int, gamma: float, epsilon: float) -> None:
    a, b = drawn(n, d, seed=n + d)
    terms = vicreg_terms(a, b, gamma=gamma, epsilon=epsilon)
    expected = vicreg_by_formula(a, b, gamma, epsilon)
    assert [float(term) for term in terms] == pytest.approx(expected, rel=1e-10, abs=1e-12)
    assert all(term.shape == () and term.dtype == torch.float64 for term in terms)
    weights = {"invariance": 3.0, "variance": 5.0, "covariance": 7.0}
    weighed = sum(weight * term for weight, term in zip(weights.values(), expected, strict=True))
    assert float(vicreg(a, b, gamma=gamma, epsilon=epsilon, **weights)) == pytest.approx(weighed, rel=1e-10)
    published = 25 * expected[0] + 25 * expected[1] + expected[2]
    assert float(vicreg(a, b, gamma=gamma, epsilon=epsilon)) == pytest.approx(published, rel=1e-10)


@pytest.mark.parametrize(("n", "d"), [(5, 3), (3, 7)])
@pytest.mark.parametrize("loss", LOSSES)
def test_its_gradients_are_those_of_the_formula(loss: Loss, n: int, d: int) -> None:
    a, b = drawn(n, d)
    assert torch.autograd.gradcheck(loss, (a.requires_grad_(), b.requires_grad_()))


@pytest.mark.parametrize(("n", "d"), [(2, 200), (20, 200), (100, 200), (199, 200), (200, 200), (400, 200)])
def test_both_ways_to_the_off_diagonal_agree(n: int, d: int) -> None:
    source = torch.Generator().manual_seed(0)
    a, b = (torch.randn(n, d, generator=source, dtype=torch.float64, requires_grad=True) for _ in range(2))
    over_features, over_rows = _over_features(a, b), _over_rows(a, b)
    torch.testing.assert_close(over_rows, over_features, rtol=1e-11, atol=0)
    for left, right in zip(
        torch.autograd.grad(over_rows, (a, b)), torch.autograd.grad(over_features, (a, b)), strict=True
    ):
        torch.testing.assert_close(left, right, rtol=1e-9, atol=1e-9 * float(right.abs().max()))


@pytest.mark.parametrize(("n", "d"), [(16, 512), (128, 512), (256, 512), (257, 512), (600, 512)])
@pytest.mark.parametrize("loss", LOSSES)
def test_single_precision_is_enough_when_the_diagonal_dominates(loss: Loss, n: int, d: int) -> None:
    """Trained views agree and are as decorrelated as n rows allow: the off-diagonal is at its smallest."""
    source = torch.Generator().manual_seed(0)
    frame = torch.linalg.qr(torch.randn(max(n, d), min(n, d), generator=source, dtype=torch.float64))[0]
    view = (frame if n >= d else frame.T) * n**0.5
    views = [view + 0.05 * torch.randn(n, d, generator=source, dtype=torch.float64) for _ in range(2)]
    found = []
    for dtype in (torch.float64, torch.float32):
        a, b = (v.to(dtype).requires_grad_() for v in views)
        # The off-diagonal alone: nothing else hides its error.
        value = loss(a, b, off_diagonal=1e6) if loss is barlow_twins else vicreg_terms(a, b).covariance
        found.append((value.detach().double(), *(g.double() for g in torch.autograd.grad(value, (a, b)))))
    for exact, single in zip(*found, strict=True):
        assert float((single - exact).norm() / exact.norm()) < (1e-4 if exact.dim() else 2e-6)


@pytest.mark.parametrize(("n", "d", "largest"), [(8, 64, 8 * 64), (32, 64, 32 * 64), (33, 64, 64 * 64)])
@pytest.mark.parametrize("loss", LOSSES)
def test_few_rows_never_make_a_matrix_of_features_by_features(loss: Loss, n: int, d: int, largest: int) -> None:
    class Largest(TorchDispatchMode):
        seen = 0

        def __torch_dispatch__(self, function, types, args=(), kwargs=None):
            made = function(*args, **(kwargs or {}))
            if isinstance(made, Tensor):
                self.seen = max(self.seen, made.numel())
            return made

    a, b = (v.requires_grad_() for v in drawn(n, d))
    with Largest() as mode:
        loss(a, b).backward()
    assert mode.seen == largest


@pytest.mark.parametrize(("n", "d"), [(9, 4), (4, 9)])
@pytest.mark.parametrize("loss", LOSSES)
def test_neither_order_of_rows_nor_of_features_counts_nor_which_view_is_first(loss: Loss, n: int, d: int) -> None:
    a, b = drawn(n, d)
    value = float(loss(a, b))
    rows, features = (torch.randperm(m, generator=torch.Generator().manual_seed(0)) for m in (n, d))
    for other in (loss(a[rows], b[rows]), loss(a[:, features], b[:, features]), loss(b, a)):
        assert float(other) == pytest.approx(value, rel=1e-10)
    assert float(loss(a, b.roll(1, dims=0))) != pytest.approx(value, rel=1e-2)  # which rows belong together does


@pytest.mark.parametrize(("n", "d"), [(9, 4), (4, 9)])
def test_barlow_twins_minds_neither_scale_nor_shift_of_a_feature(n: int, d: int) -> None:
    a, b = drawn(n, d)
    scale = torch.logspace(-9, 9, d, dtype=torch.float64)
    moved = barlow_twins((a + 5) * scale, (b - 3) / scale)
    assert float(moved) == pytest.approx(float(barlow_twins(a, b)), rel=1e-10)


def test_variance_and_covariance_do_not_mind_a_shift() -> None:
    a, b = drawn(9, 4)
    before, after = vicreg_terms(a, b), vicreg_terms(a + 100 * torch.arange(4), b - 3)
    assert float(after.variance) == pytest.approx(float(before.variance), rel=1e-10)
    assert float(after.covariance) == pytest.approx(float(before.covariance), rel=1e-10)
    assert float(after.invariance) > 100 * float(before.invariance)


# Three features that are orthogonal to one another and to a constant, of biased deviation 1.
DECORRELATED = torch.tensor([[1.0, 1, 1], [1, -1, -1], [-1, 1, -1], [-1, -1, 1]])


def test_equal_views_of_decorrelated_features_are_perfect() -> None:
    assert float(barlow_twins(DECORRELATED, 3 * DECORRELATED + 1)) == pytest.approx(0.0, abs=1e-12)
    assert float(vicreg(DECORRELATED, DECORRELATED)) == 0.0


@pytest.mark.parametrize("kind", ["zero", "constant", "one direction"])
@pytest.mark.parametrize("loss", LOSSES)
def test_a_collapsed_batch_is_scored_worse_than_a_spread_one(loss: Loss, kind: str) -> None:
    along = torch.tensor([[1.0], [-1.0], [2.0], [-2.0]])
    collapsed = {"zero": torch.zeros(4, 3), "constant": torch.full((4, 3), 0.1), "one direction": along.expand(4, 3)}
    spread = DECORRELATED + 0.3 * torch.randn(4, 3, generator=torch.Generator().manual_seed(0))
    arguments = {"off_diagonal": 1.0} if loss is barlow_twins else {}
    bad, good = loss(collapsed[kind], collapsed[kind], **arguments), loss(DECORRELATED, spread, **arguments)
    assert float(bad) > 1.5 * float(good)


@pytest.mark.parametrize("constant", [0.0, 0.1, 1000.1, -3e7])
@pytest.mark.parametrize("n", [7, 100])
def test_a_constant_feature_correlates_with_nothing(constant: float, n: int) -> None:
    """The rounded mean of 0.1, seven times, is not 0.1: what remains must not pass for a feature."""
    a, b = (v.float() for v in drawn(n, 4))
    without = barlow_twins(a[:, 1:], b[:, 1:])
    a[:, 0] = constant
    b[:, 0] = constant
    a.requires_grad_()
    loss = barlow_twins(a, b)
    loss.backward()
    assert float(loss.detach()) == pytest.approx(float(without) + 1, rel=1e-6)
    assert a.grad is not None
    assert not a.grad[:, 0].any()
    assert bool(a.grad[:, 1:].isfinite().all())


@pytest.mark.parametrize("epsilon", [1e-4, 1e-12])
def test_a_constant_feature_costs_vicreg_gamma_and_has_a_finite_gradient(epsilon: float) -> None:
    a = torch.full((7, 3), 0.1, requires_grad=True)
    terms = vicreg_terms(a, a, gamma=2.0, epsilon=epsilon)
    sum(terms).backward()
    assert [float(term.detach()) for term in terms] == pytest.approx([0.0, 2 - epsilon**0.5, 0.0])
    assert a.grad is not None
    assert bool(a.grad.isfinite().all())


@pytest.mark.parametrize("autocast", [False, True])
@pytest.mark.parametrize(("n", "d"), [(64, 16), (16, 64)])
@pytest.mark.parametrize("loss", LOSSES)
def test_half_precision_vectors_are_compared_in_single_precision(loss: Loss, n: int, d: int, autocast: bool) -> None:
    a, b = (v.bfloat16().requires_grad_() for v in drawn(n, d))
    with torch.autocast("cpu", torch.bfloat16) if autocast else contextlib.nullcontext():
        value = loss(a, b)
    value.backward()
    assert value.dtype == torch.float32
    assert float(value.detach()) == pytest.approx(float(loss(a.detach().double(), b.detach().double())), rel=1e-5)
    assert a.grad is not None
    assert bool(a.grad.isfinite().all())


@pytest.mark.parametrize(
    ("a", "b", "message"),
    [
        ((1, 4), (1, 4), r"at least 2 rows, got a \(1, 4\), b \(1, 4\)"),
        ((3, 4), (3, 5), r"one shape.*a \(3, 4\), b \(3, 5\)"),
        ((3, 4), (1, 4), r"one shape.*a \(3, 4\), b \(1, 4\)"),
        ((2, 3, 4), (2, 3, 4), r"a \(2, 3, 4\)"),
        ((3, 0), (3, 0), "at least one column"),
    ],
)
@pytest.mark.parametrize("loss", LOSSES)
def test_shapes_that_do_not_fit_are_refused_by_name(
    loss: Loss, a: tuple[int, ...], b: tuple[int, ...], message: str
) -> None:
    with pytest.raises(ValueError, match=message):
        loss(torch.ones(a), torch.ones(b))


@pytest.mark.parametrize("epsilon", [0.0, -1e-4])
def test_an_epsilon_that_is_not_above_zero_is_refused(epsilon: float) -> None:
    with pytest.raises(ValueError, match="epsilon above 0"):
        vicreg(*drawn(3, 2), epsilon=epsilon)
