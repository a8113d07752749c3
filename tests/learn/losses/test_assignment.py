"""Sinkhorn and the swapped assignment against their formulas, at temperatures where those overflow, and over crops."""

from __future__ import annotations

import contextlib
import math
from collections.abc import Callable
from functools import partial

import pytest
import torch
from torch import Tensor

from nearfar.learn.losses.assignment import sinkhorn, swapped_assignment


def sinkhorn_by_formula(scores: Tensor, epsilon: float, iterations: int) -> list[list[float]]:
    """Caron et al., eq. 5: exp(scores / epsilon), scaled to 1 / k for each prototype, then 1 / n for each row, and so on."""
    n, k = scores.shape
    q = [[math.exp(score / epsilon) for score in row] for row in scores.tolist()]
    for _ in range(iterations):
        for j in range(k):
            use = sum(q[i][j] for i in range(n))
            for i in range(n):
                q[i][j] /= use * k
        for i in range(n):
            held = sum(q[i])
            q[i] = [entry / (held * n) for entry in q[i]]
    return [[entry * n for entry in row] for row in q]


def swapped_by_formula(view_scores: list[Tensor], codes: dict[int, list[list[float]]], temperature: float) -> float:
    """Eqs. 2 and 6, term by term, over the number of terms."""
    terms = []
    for view, scores in enumerate(view_scores):
        for other, code in codes.items():
            if other == view:
                continue
            for row, assigned in zip(scores.tolist(), code, strict=True):
                partition = sum(math.exp(score / temperature) for score in row)
                terms.append(
                    -sum(
                        q * math.log(math.exp(score / temperature) / partition)
                        for q, score in zip(assigned, row, strict=True)
                    )
                )
    return sum(terms) / len(terms)


def drawn(views: int, n: int, k: int, seed: int = 0) -> list[Tensor]:
    """Cosines between rows and prototypes, related between views."""
    source = torch.Generator().manual_seed(seed)
    shared = torch.randn(n, k, generator=source, dtype=torch.float64)
    return [(shared + torch.randn(n, k, generator=source, dtype=torch.float64)).tanh() for _ in range(views)]


@pytest.mark.parametrize("iterations", [1, 3, 10])
@pytest.mark.parametrize("epsilon", [0.05, 0.7])
@pytest.mark.parametrize(("n", "k"), [(1, 1), (1, 4), (6, 3), (4, 9)])
def test_sinkhorn_is_the_formula(n: int, k: int, epsilon: float, iterations: int) -> None:
    (scores,) = drawn(1, n, k, seed=n + k)
    codes = sinkhorn(scores, epsilon=epsilon, iterations=iterations)
    expected = torch.tensor(sinkhorn_by_formula(scores, epsilon, iterations), dtype=torch.float64)
    torch.testing.assert_close(codes, expected, rtol=1e-9, atol=1e-12)


@pytest.mark.parametrize(("n", "k"), [(1, 5), (12, 4), (5, 11)])
def test_many_iterations_use_all_prototypes_alike(n: int, k: int) -> None:
    (scores,) = drawn(1, n, k)
    codes = sinkhorn(scores, epsilon=0.2, iterations=2000)
    torch.testing.assert_close(codes.sum(dim=1), torch.ones(n).double(), rtol=0, atol=1e-12)
    torch.testing.assert_close(codes.sum(dim=0), torch.full((k,), n / k).double(), rtol=0, atol=1e-6)
    once = sinkhorn(scores, epsilon=0.2, iterations=1)
    if n > 1:
        assert float((once.sum(dim=0) - n / k).abs().max()) > 1e-3


@pytest.mark.parametrize("epsilon", [0.001, 0.01, 100.0])
def test_no_epsilon_overflows(epsilon: float) -> None:
    """exp(1 / 0.001) leaves float64, let alone float32."""
    scores = drawn(1, 32, 8)[0].float()
    scores[0] = torch.tensor([1.0, -1, -1, -1, -1, -1, -1, -1])
    scores[1] = -1
    codes = sinkhorn(scores, epsilon=epsilon)
    assert codes.dtype == torch.float32
    assert bool((codes >= 0).all())
    torch.testing.assert_close(codes.sum(dim=1), torch.ones(32))
    torch.testing.assert_close(codes.double(), sinkhorn(scores.double(), epsilon=epsilon), rtol=0, atol=2e-4)


def test_codes_follow_rows_and_prototypes_and_nothing_else() -> None:
    (scores,) = drawn(1, 6, 4)
    codes = sinkhorn(scores)
    rows, prototypes = (torch.randperm(m, generator=torch.Generator().manual_seed(1)) for m in (6, 4))
    torch.testing.assert_close(
        sinkhorn(scores[rows][:, prototypes]), codes[rows][:, prototypes], rtol=1e-10, atol=1e-14
    )
    # A prototype that scores high with every row is used no more for that.
    torch.testing.assert_close(sinkhorn(scores + torch.arange(4)), codes, rtol=1e-9, atol=1e-14)


def test_constant_scores_give_even_codes() -> None:
    torch.testing.assert_close(sinkhorn(torch.full((3, 4), 0.3), epsilon=0.001), torch.full((3, 4), 0.25))


def test_a_queue_lets_a_small_batch_share_a_prototype() -> None:
    """Alone, two rows must spread over two prototypes; among stored scores that do, both keep the one they are near."""
    near_first = torch.tensor([[0.9, 0.1], [0.8, 0.1]])
    queue_scores = torch.eye(2).repeat(50, 1)
    alone = sinkhorn(near_first, iterations=50)
    among_stored = sinkhorn(torch.cat([queue_scores, near_first]))[-2:]
    assert float(alone[:, 0].sum()) == pytest.approx(1.0, abs=1e-3)
    assert float(among_stored[:, 0].min()) > 0.99


@pytest.mark.parametrize("temperature", [0.1, 1.3])
@pytest.mark.parametrize("given", [False, True])
@pytest.mark.parametrize(
    ("views", "n", "k", "assign"),
    [(2, 5, 3, (0, 1)), (2, 1, 4, (1,)), (4, 3, 6, (0, 1)), (5, 4, 2, (3, 0, 2)), (3, 2, 1, (0, 2))],
)
def test_the_swapped_assignment_is_the_formula(
    views: int, n: int, k: int, assign: tuple[int, ...], given: bool, temperature: float
) -> None:
    view_scores = drawn(views, n, k, seed=views + n)
    codes = {i: sinkhorn_by_formula(view_scores[i], 0.2, 4) for i in assign}
    if given:
        codes = {i: sinkhorn_by_formula(-view_scores[i], 0.5, 2) for i in assign}
    loss = swapped_assignment(
        view_scores,
        assign=assign,
        temperature=temperature,
        epsilon=0.2,
        iterations=4,
        codes=[torch.tensor(codes[i], dtype=torch.float64) for i in assign] if given else None,
    )
    assert loss.shape == ()
    assert loss.dtype == torch.float64
    assert float(loss) == pytest.approx(swapped_by_formula(view_scores, codes, temperature), rel=1e-9, abs=1e-12)


def test_the_published_numbers_are_the_defaults() -> None:
    view_scores = drawn(3, 4, 5)
    spelt_out = swapped_assignment(view_scores, assign=(0, 1), temperature=0.1, epsilon=0.05, iterations=3)
    assert float(swapped_assignment(view_scores)) == float(spelt_out)


@pytest.mark.parametrize("assign", [(0, 1), (2,)])
def test_its_gradients_are_those_of_the_formula(assign: tuple[int, ...]) -> None:
    view_scores = [scores.requires_grad_() for scores in drawn(3, 4, 3)]
    codes = [sinkhorn(view_scores[i]) for i in assign]

    def loss(*scores: Tensor) -> Tensor:
        return swapped_assignment(scores, assign=assign, codes=codes)

    assert torch.autograd.gradcheck(loss, tuple(view_scores))


def test_no_gradient_flows_through_codes() -> None:
    view_scores = [scores.requires_grad_() for scores in drawn(3, 4, 3)]
    made_outside = [scores.detach().clone().softmax(dim=1).requires_grad_() for scores in view_scores[:2]]
    assert not sinkhorn(view_scores[0]).requires_grad
    with_codes = swapped_assignment(view_scores, codes=made_outside)
    assert torch.autograd.grad(with_codes, made_outside, allow_unused=True) == (None, None)
    own = torch.autograd.grad(swapped_assignment(view_scores), view_scores)
    held = [sinkhorn(scores) for scores in view_scores[:2]]
    for left, right in zip(
        own, torch.autograd.grad(swapped_assignment(view_scores, codes=held), view_scores), strict=True
    ):
        torch.testing.assert_close(left, right, rtol=0, atol=0)


def test_a_view_does_not_predict_its_own_codes() -> None:
    view_scores = [scores.requires_grad_() for scores in drawn(3, 4, 3)]
    teacher, *pupils = torch.autograd.grad(swapped_assignment(view_scores, assign=(0,)), view_scores, allow_unused=True)
    assert teacher is None
    assert all(bool(gradient.any()) for gradient in pupils)


def test_neither_order_of_rows_nor_numbering_of_prototypes_counts() -> None:
    view_scores = drawn(4, 6, 5)
    loss = float(swapped_assignment(view_scores))
    rows, prototypes = (torch.randperm(m, generator=torch.Generator().manual_seed(1)) for m in (6, 5))
    for moved in (
        [s[rows] for s in view_scores],
        [s[:, prototypes] for s in view_scores],
        view_scores[1::-1] + view_scores[2:],
    ):
        assert float(swapped_assignment(moved)) == pytest.approx(loss, rel=1e-10)
    one_renumbered = [view_scores[0][:, prototypes], *view_scores[1:]]
    assert float(swapped_assignment(one_renumbered)) != pytest.approx(loss, rel=1e-2)


@pytest.mark.parametrize(("flipped", "expected"), [(False, 0.0), (True, 2000.0)])
def test_a_tiny_temperature_does_not_overflow(flipped: bool, expected: float) -> None:
    """Logits of -1000 and 1000: where the views disagree, each row costs their difference."""
    scores = torch.tensor([[1.0, -1.0], [-1.0, 1.0]])
    views = [scores.clone().requires_grad_(), (scores.flip(0) if flipped else scores.clone()).requires_grad_()]
    loss = swapped_assignment(views, temperature=0.001, epsilon=0.001)
    loss.backward()
    assert float(loss.detach()) == pytest.approx(expected)
    for view in views:
        assert view.grad is not None
        assert bool(view.grad.isfinite().all())
        assert bool(view.grad.any()) is flipped


@pytest.mark.parametrize("constant", [0.0, 1.0])
def test_a_collapsed_batch_is_scored_worse_than_a_spread_one(constant: float) -> None:
    """Equal rows get even codes, so the best that they can score is log k; rows with a prototype each score nearly 0."""
    collapsed = [torch.full((4, 4), constant, requires_grad=True) for _ in range(2)]
    loss = swapped_assignment(collapsed)
    loss.backward()
    assert float(loss.detach()) == pytest.approx(math.log(4))
    assert all(bool(view.grad.isfinite().all()) for view in collapsed)
    # Rows that agree on one prototype are no way out.
    on_one = torch.tensor([[1.0, -1, -1, -1]]).expand(4, 4)
    assert float(swapped_assignment([on_one, on_one])) > math.log(4)
    assert float(swapped_assignment([torch.eye(4), torch.eye(4)])) < 0.01


@pytest.mark.parametrize("autocast", [False, True])
def test_half_precision_scores_are_compared_in_single_precision(autocast: bool) -> None:
    view_scores = [scores.bfloat16() for scores in drawn(3, 16, 12)]
    with torch.autocast("cpu", torch.bfloat16) if autocast else contextlib.nullcontext():
        loss, codes = swapped_assignment(view_scores, temperature=0.02), sinkhorn(view_scores[0])
    exact = [scores.double() for scores in view_scores]
    assert loss.dtype == codes.dtype == torch.float32
    assert float(loss) == pytest.approx(float(swapped_assignment(exact, temperature=0.02)), rel=1e-4)
    torch.testing.assert_close(codes.double(), sinkhorn(exact[0]), rtol=1e-4, atol=1e-6)


SCORES = torch.ones(3, 4)


@pytest.mark.parametrize(
    ("call", "message"),
    [
        (partial(sinkhorn, torch.ones(3)), r"scores \(3,\)"),
        (partial(sinkhorn, torch.ones(0, 3)), r"scores \(0, 3\)"),
        (partial(sinkhorn, SCORES, epsilon=0.0), "epsilon above 0"),
        (partial(sinkhorn, SCORES, iterations=0), "iterations of at least 1"),
        (partial(swapped_assignment, [SCORES]), "at least two views, got 1"),
        (partial(swapped_assignment, [SCORES, torch.ones(3, 5)]), r"view_scores\[1\] \(3, 5\)"),
        (partial(swapped_assignment, [SCORES, SCORES, torch.ones(2, 4)]), r"view_scores\[2\] \(2, 4\)"),
        (partial(swapped_assignment, [SCORES, SCORES], assign=()), r"views 0 to 1.*got \[\]"),
        (partial(swapped_assignment, [SCORES, SCORES], assign=(0, 0)), r"each once, got \[0, 0\]"),
        (partial(swapped_assignment, [SCORES, SCORES], assign=(0, 2)), r"views 0 to 1.*got \[0, 2\]"),
        (partial(swapped_assignment, [SCORES, SCORES], assign=(-1,)), r"views 0 to 1.*got \[-1\]"),
        (partial(swapped_assignment, [SCORES, SCORES], temperature=0.0), "temperature above 0"),
        (partial(swapped_assignment, [SCORES, SCORES], codes=[SCORES]), "each of the 2 views in assign, got 1"),
        (partial(swapped_assignment, [SCORES, SCORES], codes=[SCORES, torch.ones(7, 4)]), r"codes\[1\] \(7, 4\)"),
    ],
)
def test_what_does_not_fit_is_refused_by_name(call: Callable[[], Tensor], message: str) -> None:
    with pytest.raises(ValueError, match=message):
        call()
