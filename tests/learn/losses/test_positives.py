"""Positives by place and by label, and the sums over listed pairs they are made of, against loops."""

from __future__ import annotations

import math
from collections.abc import Iterable

import pytest
import torch
from by_formula import Pairs, listed, matched
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor

from nearfar.learn.losses import Match, products
from nearfar.learn.losses.positives import Positives, itself_match, labelled_positives, listed_positives
from nearfar.learn.losses.products import paired_products, segment_count, segment_logsumexp, segment_mean

SCALE = torch.tensor(1.7, dtype=torch.float64)


def drawn(*shape: int, seed: int = 0) -> Tensor:
    return torch.randn(*shape, generator=torch.Generator().manual_seed(seed), dtype=torch.float64)


def log_sum_exp(values: Iterable[float]) -> float:
    return math.log(math.fsum(math.exp(value) for value in values))


def agree(directions: tuple[Positives, Positives], x: Tensor, y: Tensor, pairs: Pairs) -> None:
    """With the loops, both ways; `mean_of` with one value for each partner."""
    for turned, side in enumerate(directions):
        number, partners = (len(y), len(x)) if turned else (len(x), len(y))
        values = drawn(partners, seed=7)
        together, mean_of = side.logsumexp(), side.mean_of(values)
        assert side.count.shape == side.mean.shape == together.shape == mean_of.shape == (number,)
        for k in range(number):
            of_it = sorted((j, i) if turned else (i, j) for i, j in pairs if (j if turned else i) == k)
            own = [partner for _, partner in of_it]
            assert int(side.count[k]) == len(own)
            scores = [1.7 * float((y[k] * x[p]).sum() if turned else (x[k] * y[p]).sum()) for p in own]
            if own:
                assert float(side.mean[k]) == pytest.approx(math.fsum(scores) / len(own), rel=1e-10, abs=1e-12)
                assert float(together[k]) == pytest.approx(log_sum_exp(scores), rel=1e-10, abs=1e-12)
                expected = math.fsum(values[own].tolist()) / len(own)
                assert float(mean_of[k]) == pytest.approx(expected, rel=1e-10, abs=1e-12)
            else:
                assert float(side.mean[k]) == pytest.approx(0.0, abs=1e-12)
                assert float(mean_of[k]) == pytest.approx(0.0, abs=1e-12)
                assert not math.isnan(float(together[k]))


PLACES = [
    torch.tensor([2, 0, 0, -1]),
    torch.tensor([[2, 1], [-1, 0], [-1, -1], [0, 2]]),
    torch.tensor([[-1, -1, 4], [4, 3, 2], [-1, 4, -1], [0, -1, 4]]),
    torch.full((4, 2), -1),
]


@pytest.mark.parametrize("places", PLACES)
def test_listed_positives_are_the_loops(places: Tensor) -> None:
    x, y = drawn(4, 3), drawn(5, 3, seed=1)
    directions = listed_positives(x, y, SCALE, places)
    agree(directions, x, y, listed(places))
    for turned, side in enumerate(directions):
        assert side.listed is not None
        scores, owners = side.listed
        pairs = sorted(listed(places))
        found = sorted(zip(owners.tolist(), scores.tolist(), strict=True))
        expected = sorted((pair[turned], 1.7 * float((x[pair[0]] * y[pair[1]]).sum())) for pair in pairs)
        assert [owner for owner, _ in found] == [owner for owner, _ in expected]
        assert [score for _, score in found] == pytest.approx([score for _, score in expected])


LABELS = [
    (torch.tensor([0, 1, 0, 2]), torch.tensor([0, 0, 1, 0, 3])),
    (torch.tensor([-1, 1, -1, 1]), torch.tensor([-1, 1, 1, -2, -1])),
    (torch.tensor([2**40, 2**40 + 1, 7, -3]), torch.tensor([2**40 + 1, 2**40, 2**40 + 2, 7, -3])),
    (torch.tensor([0, 0, 0, 0]), torch.tensor([0, 0, 0, 0, 0])),
    (torch.tensor([0, 1, 2, 3]), torch.tensor([4, 5, 6, 7, 8])),
]
ITSELF = [None, torch.tensor([0, 1, 2, 3]), torch.tensor([-1, 4, -1, 4]), torch.tensor([2, 2, 2, 2])]


@pytest.mark.parametrize("itself", ITSELF)
@pytest.mark.parametrize("labels", LABELS)
def test_labelled_positives_are_the_loops(labels: tuple[Tensor, Tensor], itself: Tensor | None) -> None:
    x, y, match = drawn(4, 3), drawn(5, 3, seed=1), Match(*labels)
    pairs = matched(match) - (set() if itself is None else listed(itself))
    directions = labelled_positives(x, y, SCALE, match, itself)
    agree(directions, x, y, pairs)
    assert directions[0].listed is directions[1].listed is None


@settings(max_examples=80, deadline=None)
@given(
    st.lists(st.integers(-2, 3), min_size=1, max_size=7),
    st.lists(st.integers(-2, 3), min_size=1, max_size=7),
    st.none() | st.integers(0, 10**6),
)
def test_labelled_positives_are_the_loops_for_any_labels(ours: list[int], theirs: list[int], seed: int | None) -> None:
    x, y, match = drawn(len(ours), 2), drawn(len(theirs), 2, seed=1), Match(torch.tensor(ours), torch.tensor(theirs))
    itself = None
    if seed is not None:
        itself = torch.randint(-1, len(theirs), (len(ours),), generator=torch.Generator().manual_seed(seed))
    pairs = matched(match) - (set() if itself is None else listed(itself))
    agree(labelled_positives(x, y, SCALE, match, itself), x, y, pairs)


@pytest.mark.parametrize("kind", ["places", "labels"])
def test_their_gradients_are_right(kind: str) -> None:
    weights = drawn(9, seed=5)

    def sums(x: Tensor, y: Tensor, scale: Tensor) -> tuple[Tensor, ...]:
        if kind == "places":
            directions = listed_positives(x, y, scale, PLACES[1])
        else:
            directions = labelled_positives(x, y, scale, Match(*LABELS[0]), torch.tensor([0, -1, 3, -1]))
        results = []
        for side in directions:
            has = side.count > 0
            results += [(side.mean * weights[: len(has)])[has], side.logsumexp()[has]]
        return tuple(results)

    inputs = drawn(4, 3).requires_grad_(), drawn(5, 3, seed=1).requires_grad_(), SCALE.clone().requires_grad_()
    assert torch.autograd.gradcheck(sums, inputs)


def test_positives_by_label_agree_with_the_same_by_place_in_single_precision() -> None:
    ours = torch.randint(-1, 9, (40,), generator=torch.Generator().manual_seed(0))
    theirs = torch.randint(-1, 9, (50,), generator=torch.Generator().manual_seed(1))
    x, y = drawn(40, 16).float(), drawn(50, 16, seed=1).float()
    places = torch.full((40, 50), -1)
    for i, j in matched(Match(ours, theirs)):
        places[i, j] = j
    by_label = labelled_positives(x, y, SCALE.float(), Match(ours, theirs), None)
    by_place = listed_positives(x, y, SCALE.float(), places)
    for left, right in zip(by_label, by_place, strict=True):
        has = left.count > 0
        assert torch.equal(left.count.long(), right.count.long())
        torch.testing.assert_close(left.mean, right.mean, rtol=1e-4, atol=1e-4)
        torch.testing.assert_close(left.logsumexp()[has], right.logsumexp()[has], rtol=1e-5, atol=1e-5)


def test_itself_is_no_match_where_there_is_none() -> None:
    assert itself_match(None, 3) == ()
    (match,) = itself_match(torch.tensor([2, -1, 0]), 3)
    assert match.dense().tolist() == [[False, False, True], [False, False, False], [True, False, False]]


def test_a_match_as_a_matrix_is_its_pairs() -> None:
    match = Match(torch.tensor([[1, 2], [-1, 3], [4, 4], [-1, -1]]), torch.tensor([2, -1, 3, 1, 2]))
    dense = match.dense()
    assert dense.dtype == torch.bool
    assert {(i, j) for i, j in dense.nonzero().tolist()} == matched(match)
    assert Match(match.anchors[:, 0], match.candidates).dense().sum() == 1


@pytest.mark.parametrize("at_a_time", [1, 3, 65_536])
def test_paired_products_are_those_of_each_pair(at_a_time: int, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(products, "_PAIRS_AT_A_TIME", at_a_time)
    left, right = drawn(3, 4).requires_grad_(), drawn(5, 4, seed=1).requires_grad_()
    rows, columns = torch.tensor([2, 0, 0, 2, 2, 0, 0]), torch.tensor([4, 1, 1, 0, 4, 3, 2])
    made = paired_products(left, right, rows, columns)
    for value, i, j in zip(made.tolist(), rows.tolist(), columns.tolist(), strict=True):
        assert value == pytest.approx(sum(a * b for a, b in zip(left[i].tolist(), right[j].tolist(), strict=True)))
    assert torch.autograd.gradcheck(lambda a, b: paired_products(a, b, rows, columns), (left, right))
    alone = left.detach().clone().requires_grad_()
    (gradient,) = torch.autograd.grad(paired_products(alone, right.detach(), rows, columns).sum(), alone)
    torch.testing.assert_close(gradient[0], (right[1] * 2 + right[3] + right[2]).detach())
    assert not gradient[1].any()


def test_no_pairs_have_no_products_and_no_gradient() -> None:
    left, right = drawn(3, 4).requires_grad_(), drawn(5, 4).requires_grad_()
    nothing = torch.empty(0, dtype=torch.int64)
    made = paired_products(left, right, nothing, nothing)
    assert made.shape == (0,)
    for gradient in torch.autograd.grad(made.sum(), (left, right)):
        assert not gradient.any()


def test_a_second_derivative_of_paired_products_raises() -> None:
    left, right = drawn(3, 4).requires_grad_(), drawn(3, 4, seed=1).requires_grad_()
    places = torch.arange(3)
    made = paired_products(left, right, places, places).square().sum()

    def penalty() -> Tensor:
        return torch.autograd.grad(made, left, create_graph=True)[0].square().sum()

    with pytest.raises(RuntimeError):
        penalty().backward()


def test_owners_without_values_count_nothing_and_get_zeros() -> None:
    values, owners = torch.tensor([1.0, 5.0, -2.0]), torch.tensor([3, 1, 3])
    assert segment_count(owners, 5).tolist() == [0, 1, 0, 2, 0]
    assert segment_mean(values, owners, 5).tolist() == [0.0, 5.0, 0.0, -0.5, 0.0]
    summed = segment_logsumexp(values, owners, 5)
    expected = [0.0, 5.0, 0.0, log_sum_exp([1.0, -2.0]), 0.0]
    torch.testing.assert_close(summed, torch.tensor(expected))
    nothing = torch.empty(0), torch.empty(0, dtype=torch.int64)
    for empty in (segment_count(nothing[1], 2), segment_mean(*nothing, 2), segment_logsumexp(*nothing, 2)):
        assert empty.tolist() == [0, 0]


def test_log_sum_exp_of_one_value_is_that_value_to_the_last_bit() -> None:
    values = drawn(100).float() * 1e4
    assert torch.equal(segment_logsumexp(values, torch.arange(100).flip(0), 100), values.flip(0))


def test_log_sum_exp_of_huge_values_is_finite() -> None:
    values = torch.tensor([1e4, 1e4, -1e4, -1e4, 1e4, -1e4]).requires_grad_()
    owners = torch.tensor([0, 0, 1, 1, 2, 2])
    summed = segment_logsumexp(values, owners, 3)
    torch.testing.assert_close(summed, torch.tensor([1e4 + math.log(2), -1e4 + math.log(2), 1e4]))
    (gradient,) = torch.autograd.grad(summed.sum(), values)
    assert gradient.tolist() == pytest.approx([0.5, 0.5, 0.5, 0.5, 1.0, 0.0])


def test_segment_gradients_are_right() -> None:
    values, owners = drawn(7).requires_grad_(), torch.tensor([4, 0, 4, 2, 2, 2, 0])
    assert torch.autograd.gradcheck(lambda v: segment_mean(v, owners, 6), (values,))
    assert torch.autograd.gradcheck(lambda v: segment_logsumexp(v, owners, 6), (values,))
