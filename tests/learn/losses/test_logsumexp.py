"""Log-sum-exp over pairs against torch.logsumexp of the whole matrix, its gradients, and its exclusions one by one."""

from __future__ import annotations

import math
from typing import Any

import pytest
import torch
from by_formula import matched
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor

from nearfar.learn.losses import Match, tiles
from nearfar.learn.losses.logsumexp import pair_logsumexp
from nearfar.learn.losses.tiles import EMPTY, Exclusion


@pytest.fixture(params=["one tile", "many tiles"])
def tiling(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> None:
    if request.param == "many tiles":
        use_small_tiles(monkeypatch)


def use_small_tiles(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(tiles, "_ROWS", 3)
    monkeypatch.setattr(tiles, "_COLUMNS", 4)


def drawn(*shape: int, seed: int = 0) -> Tensor:
    return torch.randn(*shape, generator=torch.Generator().manual_seed(seed), dtype=torch.float64)


def keys(low: int, high: int, *shape: int, seed: int) -> Tensor:
    return torch.randint(low, high, shape, generator=torch.Generator().manual_seed(seed))


def scalar(value: float) -> Tensor:
    return torch.tensor(value, dtype=torch.float64)


def left_out(excluded: Exclusion, scores: Tensor) -> Tensor:
    """Pair by pair what `Exclusion` says."""
    mask = torch.zeros(scores.shape, dtype=torch.bool)
    always, ignored, kept = (
        set().union(*(matched(match) for match in matches))
        for matches in (excluded.always, excluded.ignored, excluded.kept)
    )
    for i, row in enumerate(scores.tolist()):
        for j, score in enumerate(row):
            too_high = excluded.row_limit is not None and score > float(excluded.row_limit[i])
            too_high |= excluded.column_limit is not None and score > float(excluded.column_limit[j])
            mask[i, j] = (i, j) in always
            mask[i, j] |= (too_high or (i, j) in ignored) and (i, j) not in kept
            mask[i, j] |= excluded.only is not None and (i, j) not in matched(excluded.only)
    return mask


def dense(x: Tensor, y: Tensor, scale: Tensor, excluded: Exclusion, power: float) -> tuple[Tensor, Tensor]:
    """Rows and columns from the whole matrix; -inf where nothing is left."""
    scores = scale * x @ y.T
    kept = (power * scores).masked_fill(left_out(excluded, scores), -torch.inf)
    return kept.logsumexp(1), kept.logsumexp(0)


def agree(tiled: tuple[Tensor, Tensor], whole: tuple[Tensor, Tensor], rel: float = 1e-12) -> None:
    for ours, theirs in zip(tiled, whole, strict=True):
        empty = theirs == -torch.inf
        assert bool((ours[empty] <= EMPTY * math.log(2) * (1 - 1e-6)).all())
        torch.testing.assert_close(ours[~empty], theirs[~empty], rtol=rel, atol=rel)


def exclusions(n: int, m: int) -> dict[str, Exclusion]:
    few = Match(keys(-2, 3, n, 2, seed=1), keys(-2, 4, m, seed=2))
    others = Match(keys(-1, 4, n, seed=3), keys(-1, 4, m, seed=4))
    places = Match.places(keys(-1, m, n, 2, seed=5), m)
    limits: dict[str, Any] = {"row_limit": drawn(n, seed=6), "column_limit": drawn(m, seed=7)}
    return {
        "nothing": Exclusion(),
        "always": Exclusion(always=(few, places)),
        "ignored": Exclusion(ignored=(few, others)),
        "ignored unless kept": Exclusion(ignored=(few,), kept=(places, others)),
        "always though kept": Exclusion(always=(places,), kept=(places,)),
        "only": Exclusion(only=others),
        "only, and not always": Exclusion(only=others, always=(places,)),
        "only, though kept": Exclusion(only=others, kept=(places,)),
        "row limit": Exclusion(row_limit=limits["row_limit"]),
        "column limit": Exclusion(column_limit=limits["column_limit"]),
        "limits unless kept": Exclusion(kept=(places,), **limits),
        "no limit for some": Exclusion(row_limit=limits["row_limit"].masked_fill(drawn(n, seed=8) > 0, torch.inf)),
        "all": Exclusion((few,), (others,), (places,), Match(keys(0, 2, n, seed=8), keys(0, 2, m, seed=9)), **limits),
    }


@pytest.mark.usefixtures("tiling")
@pytest.mark.parametrize("power", [1.0, 0.0, 0.3, 2.5])
@pytest.mark.parametrize("name", exclusions(1, 1))
def test_it_is_the_log_sum_exp_of_the_whole_matrix(name: str, power: float) -> None:
    for n, m, d in ((1, 1, 1), (5, 7, 3), (9, 4, 2), (6, 8, 3), (3, 13, 5)):
        x, y, excluded = drawn(n, d), drawn(m, d, seed=1), exclusions(n, m)[name]
        tiled = pair_logsumexp(x, y, scalar(1.7), excluded, power=power)
        agree(tiled, dense(x, y, scalar(1.7), excluded, power))
        rows, columns = pair_logsumexp(x, y, scalar(1.7), excluded, power=power, columns=False)
        assert torch.equal(rows, tiled[0])
        assert columns.shape == (0,)


@settings(max_examples=100, deadline=None)
@given(st.data())
def test_it_is_the_log_sum_exp_for_any_rules(data: st.DataObject) -> None:
    n, m, d = (data.draw(st.integers(1, most)) for most in (9, 10, 4))
    seeds = iter(range(data.draw(st.integers(0, 10**6)), 10**7))

    def match(*, several: bool = True) -> Match:
        shape = (n, data.draw(st.integers(1, 3))) if several and data.draw(st.booleans()) else (n,)
        start = data.draw(st.sampled_from([0, 0, 2**24, 2**40]))
        anchors, candidates = (keys(-2, 4, *size, seed=next(seeds)) for size in (shape, (m,)))
        return Match(*(torch.where(side >= 0, side + start, side) for side in (anchors, candidates)))

    excluded = Exclusion(
        always=tuple(match() for _ in range(data.draw(st.integers(0, 2)))),
        ignored=tuple(match() for _ in range(data.draw(st.integers(0, 2)))),
        kept=tuple(match() for _ in range(data.draw(st.integers(0, 2)))),
        only=match(several=False) if data.draw(st.booleans()) else None,
        row_limit=drawn(n, seed=next(seeds)) if data.draw(st.booleans()) else None,
        column_limit=drawn(m, seed=next(seeds)) if data.draw(st.booleans()) else None,
    )
    x, y = drawn(n, d, seed=next(seeds)), drawn(m, d, seed=next(seeds))
    scale, power = scalar(data.draw(st.sampled_from([0.1, 1.0, 30.0]))), data.draw(st.sampled_from([0.0, 1.0, 1.5]))
    with pytest.MonkeyPatch.context() as monkeypatch:
        use_small_tiles(monkeypatch)
        agree(pair_logsumexp(x, y, scale, excluded, power=power), dense(x, y, scale, excluded, power), rel=1e-10)
        single = pair_logsumexp(x.float(), y.float(), scale.float(), single_precision(excluded), power=power)
        near_a_limit = excluded.row_limit is not None or excluded.column_limit is not None
        if not near_a_limit:
            rows, columns = dense(x, y, scale, excluded, power)
            agree(single, (rows.float(), columns.float()), rel=1e-4)


def single_precision(excluded: Exclusion) -> Exclusion:
    limits = (None if limit is None else limit.float() for limit in (excluded.row_limit, excluded.column_limit))
    return Exclusion(excluded.always, excluded.ignored, excluded.kept, excluded.only, *limits)


@pytest.mark.parametrize("power", [1.0, 0.0, 1.5])
@pytest.mark.parametrize("name", [name for name in exclusions(1, 1) if name != "all"])
def test_its_gradients_are_right(name: str, power: float, monkeypatch: pytest.MonkeyPatch) -> None:
    use_small_tiles(monkeypatch)
    excluded = exclusions(5, 6)[name]
    x, y, scale = drawn(5, 2), drawn(6, 2, seed=1), scalar(1.3)
    left = [(side > EMPTY / 2).nonzero().squeeze(1) for side in pair_logsumexp(x, y, scale, excluded)]

    def of_what_is_left(x: Tensor, y: Tensor, scale: Tensor) -> tuple[Tensor, ...]:
        sides = pair_logsumexp(x, y, scale, excluded, power=power)
        return tuple(side[some] for side, some in zip(sides, left, strict=True))

    inputs = x.requires_grad_(), y.requires_grad_(), scale.requires_grad_()
    assert torch.autograd.gradcheck(of_what_is_left, inputs)
    rows_alone = torch.autograd.grad(of_what_is_left(*inputs)[0].sin().sum(), inputs)
    without_columns = pair_logsumexp(*inputs, excluded, power=power, columns=False)[0][left[0]]
    torch.testing.assert_close(torch.autograd.grad(without_columns.sin().sum(), inputs), rows_alone)


@pytest.mark.parametrize("wanted", [(True, False, False), (False, True, False), (False, False, True)])
def test_each_gradient_alone_is_that_of_all_together(wanted: tuple[bool, ...]) -> None:
    inputs = drawn(5, 2), drawn(6, 2, seed=1), scalar(1.3)

    def gradients(*wanted: bool) -> list[Tensor | None]:
        leaves = [tensor.clone().requires_grad_(of_it) for tensor, of_it in zip(inputs, wanted, strict=True)]
        rows, columns = pair_logsumexp(leaves[0], leaves[1], leaves[2])
        (rows.sin().sum() + columns.cos().sum()).backward()
        return [leaf.grad for leaf in leaves]

    for alone, together, of_it in zip(gradients(*wanted), gradients(True, True, True), wanted, strict=True):
        if of_it:
            torch.testing.assert_close(alone, together)
        else:
            assert alone is None


@pytest.mark.usefixtures("tiling")
def test_power_zero_counts_the_pairs_that_are_left() -> None:
    excluded = exclusions(7, 9)["all"]
    x, y = drawn(7, 3), drawn(9, 3, seed=1)
    counted = (~left_out(excluded, 1.3 * x @ y.T)).double()
    rows, columns = pair_logsumexp(x, y, scalar(1.3), excluded, power=0.0)
    torch.testing.assert_close(rows.exp(), counted.sum(1))
    torch.testing.assert_close(columns.exp(), counted.sum(0))


@pytest.mark.parametrize("power", [0.3, 3.0])
def test_limits_hold_for_the_scores_before_the_power(power: float) -> None:
    x, y = torch.tensor([[1.0]]), torch.tensor([[1.0], [2.0], [3.0]])
    limited = Exclusion(row_limit=torch.tensor([5.0]))
    rows, _ = pair_logsumexp(x, y, torch.tensor(2.0), limited, power=power)
    assert float(rows) == pytest.approx(math.log(math.exp(2 * power) + math.exp(4 * power)), rel=1e-6)


@pytest.mark.parametrize("limits", ["row_limit", "column_limit"])
def test_a_score_at_its_limit_stays(limits: str) -> None:
    x, y = torch.tensor([[1.0], [3.0]]), torch.tensor([[1.0], [3.0]])
    at = Exclusion(**{limits: torch.tensor([1.0, 3.0])})
    rows, columns = pair_logsumexp(x, y, torch.tensor(1.0), at)
    corner, mixed = 1.0, math.log(math.exp(1) + math.exp(3))
    expected = ([corner, 3.0], [mixed, EMPTY]) if limits == "row_limit" else ([mixed, EMPTY], [corner, 3.0])
    torch.testing.assert_close(rows.clamp(min=EMPTY), torch.tensor(expected[0]), rtol=0.4, atol=1e-6)
    torch.testing.assert_close(columns.clamp(min=EMPTY), torch.tensor(expected[1]), rtol=0.4, atol=1e-6)


@pytest.mark.usefixtures("tiling")
@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
@pytest.mark.parametrize("power", [0.0, 1.0, 2.0])
def test_a_row_or_column_of_which_nothing_is_left_has_no_gradient(power: float, dtype: torch.dtype) -> None:
    x, y, scale = drawn(5, 3).to(dtype), drawn(7, 3, seed=1).to(dtype), torch.tensor(1.3, dtype=dtype)
    everything = Match(torch.zeros(5, dtype=torch.int64), torch.zeros(7, dtype=torch.int64))
    for excluded in (Exclusion(always=(everything,)), Exclusion(always=(everything,) * 3, ignored=(everything,))):
        inputs = x.requires_grad_(), y.requires_grad_(), scale.requires_grad_()
        rows, columns = pair_logsumexp(*inputs, excluded, power=power)
        for side in (rows, columns):
            assert bool(torch.isfinite(side).all())
            assert bool((side <= EMPTY * math.log(2) * (1 - 1e-6)).all())
        for gradient in torch.autograd.grad(rows.sum() + columns.sum(), inputs):
            assert not gradient.any()


@pytest.mark.parametrize(("dtype", "rel"), [(torch.float32, 1e-5), (torch.float64, 1e-13)])
@pytest.mark.parametrize("scale", [1e-4, 1.0, 1e2, 1e4])
def test_any_scale_is_finite_and_right(scale: float, dtype: torch.dtype, rel: float) -> None:
    x, y = (torch.nn.functional.normalize(drawn(40, 8, seed=seed), dim=1).to(dtype).double() for seed in (0, 1))
    excluded = Exclusion(ignored=(Match(torch.arange(40), torch.arange(40)),))
    exact = [leaf.clone().requires_grad_() for leaf in (x, y, scalar(scale))]
    single = [leaf.detach().to(dtype).requires_grad_() for leaf in exact]
    results = []
    for function, leaves in ((lambda *a: dense(*a, 1.0), exact), (pair_logsumexp, single)):
        rows, columns = function(leaves[0], leaves[1], leaves[2], excluded)
        (rows.sum() + 2 * columns.sum()).backward()
        results.append((rows, columns, *(leaf.grad for leaf in leaves)))
    # At a scale of 1e4 the softmax picks one, or weighs two by a difference that single precision holds to 1e-3.
    of_gradients = rel * 100 * max(scale, 1.0) ** 0.5
    for k, (right, ours) in enumerate(zip(*results, strict=True)):
        assert bool(torch.isfinite(ours).all())
        assert float((ours - right).norm() / right.norm()) < (rel if k < 2 else of_gradients)


def test_scores_far_below_zero_are_no_empty_rows() -> None:
    x, y = torch.tensor([[-1.0]]), torch.tensor([[1e4], [1e4 + 1]])
    rows, columns = pair_logsumexp(x, y, torch.tensor(1e4), Exclusion(always=(Match(-x[:, 0].long(), y[:, 0].long()),)))
    assert float(rows) == pytest.approx(-1e8, rel=1e-5)
    torch.testing.assert_close(columns, torch.tensor([-1e8, -1e8]), rtol=1e-3, atol=0)


def test_two_runs_agree_to_the_last_bit() -> None:
    x, y = drawn(1100, 8).float().requires_grad_(), drawn(2100, 8, seed=1).float().requires_grad_()
    scale = torch.tensor(3.0, requires_grad=True)
    excluded = Exclusion(ignored=(Match(keys(-1, 9, 1100, seed=1), keys(-1, 9, 2100, seed=2)),))

    def run() -> tuple[Tensor, ...]:
        rows, columns = pair_logsumexp(x, y, scale, excluded, power=1.5)
        return rows, columns, *torch.autograd.grad(rows.sum() + columns.square().sum(), (x, y, scale))

    for first, second in zip(run(), run(), strict=True):
        assert torch.equal(first, second)


def test_the_gradient_of_a_part_is_that_part_of_the_gradient() -> None:
    """What is left out gets nothing from the rest: candidate 2 for all, and all but 0 for anchor 1."""
    x, y = drawn(3, 2), drawn(4, 2, seed=1).requires_grad_()
    rule = Match.places(torch.tensor([[2, -1, -1], [1, 2, 3], [2, -1, -1]]), 4)
    rows, _ = pair_logsumexp(x, y, scalar(2.0), Exclusion(always=(rule,)))
    (gradient,) = torch.autograd.grad(rows.sum(), y, retain_graph=True)
    assert not gradient[2].any()
    (of_row,) = torch.autograd.grad(rows[1], y)
    torch.testing.assert_close(of_row, torch.zeros(4, 2).double().index_put((torch.tensor(0),), 2 * x[1]))


def test_a_second_derivative_raises() -> None:
    x, y = drawn(3, 2).requires_grad_(), drawn(4, 2, seed=1)

    def penalty() -> Tensor:
        rows, _ = pair_logsumexp(x, y, scalar(2.0))
        return torch.autograd.grad(rows.square().sum(), x, create_graph=True)[0].square().sum()

    with pytest.raises(RuntimeError):
        penalty().backward()
    with pytest.raises(RuntimeError):
        torch.autograd.grad(penalty(), x)


@pytest.mark.usefixtures("tiling")
def test_stretched_candidates_are_those_that_were_stretched_before_and_get_no_gradient() -> None:
    x, y = drawn(5, 3).requires_grad_(), drawn(7, 3, seed=1).requires_grad_()
    stretch, excluded = (
        drawn(7, seed=2).abs(),
        Exclusion(ignored=(Match(keys(0, 3, 5, seed=3), keys(0, 3, 7, seed=4)),)),
    )

    def gradients(candidates: Tensor, stretch: Tensor | None) -> tuple[Tensor, tuple[Tensor | None, ...]]:
        rows, columns = pair_logsumexp(x, candidates, scalar(2.0), excluded, stretch=stretch)
        summed = rows.square().sum() + columns.square().sum()
        return summed.detach(), torch.autograd.grad(summed, [x, y], allow_unused=True)

    value, (of_x, of_y) = gradients(y, stretch)
    expected, (expected_of_x, _) = gradients((y * stretch.unsqueeze(1)).detach(), None)
    torch.testing.assert_close(value, expected)
    torch.testing.assert_close(of_x, expected_of_x)
    assert of_y is None
    stretched, (of_x, _) = gradients(y, stretch * 2)
    assert not torch.allclose(stretched, expected)
