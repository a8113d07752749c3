"""SigLIP against algorithm 1 of its paper, by numerical gradients, and at the ends of what bias and temperature may be."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest
import torch
import torch.nn.functional as F
from by_formula import siglip_by_formula
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor

from nearfar.learn.losses import Match, siglip, tiles


@pytest.fixture(params=["one tile", "many tiles"])
def tiling(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> None:
    if request.param == "many tiles":
        use_small_tiles(monkeypatch)


def use_small_tiles(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(tiles, "_ROWS", 3)
    monkeypatch.setattr(tiles, "_COLUMNS", 4)


def drawn(*shape: int, seed: int = 0) -> Tensor:
    return torch.randn(*shape, generator=torch.Generator().manual_seed(seed), dtype=torch.float64)


def integers(low: int, high: int, *shape: int, seed: int) -> Tensor:
    return torch.randint(low, high, shape, generator=torch.Generator().manual_seed(seed))


def with_gradients(loss: Callable[..., Tensor], *inputs: Tensor) -> tuple[Tensor, ...]:
    leaves = [tensor.detach().clone().requires_grad_() for tensor in inputs]
    value = loss(*leaves)
    return (value.detach(), *torch.autograd.grad(value, leaves))


def algorithm_1(images: Tensor, texts: Tensor, t_prime: Tensor, bias: Tensor) -> Tensor:
    """As the paper prints it."""
    n = len(images)
    logits = F.normalize(images, dim=-1) @ F.normalize(texts, dim=-1).T * t_prime.exp() + bias
    labels = 2 * torch.eye(n, dtype=images.dtype) - torch.ones(n, n, dtype=images.dtype)
    return -F.logsigmoid(labels * logits).sum() / n


@pytest.mark.usefixtures("tiling")
@pytest.mark.parametrize("n", [1, 3, 8, 11])
def test_it_is_algorithm_1(n: int) -> None:
    images, texts, places = drawn(n, 4), drawn(n, 4, seed=1) * 7, torch.arange(n)
    t_prime, bias = torch.tensor(10.0).log().double(), torch.tensor(-10.0).double()
    expected = with_gradients(algorithm_1, images, texts, t_prime, bias)
    loss = with_gradients(
        lambda a, c, t, b: siglip(a, c, places, temperature=(-t).exp(), bias=b), images, texts, t_prime, bias
    )
    torch.testing.assert_close(loss, expected, rtol=1e-7, atol=1e-10)


@pytest.mark.usefixtures("tiling")
@pytest.mark.parametrize("bias", [-10.0, 0.0, 3.0])
@pytest.mark.parametrize("temperature", [0.02, 0.1, 1.0])
def test_it_is_the_formula_with_several_positives_and_ignored_pairs(temperature: float, bias: float) -> None:
    for n, m in ((1, 1), (5, 7), (7, 5), (4, 9)):
        anchors, candidates = drawn(n, 3), drawn(m, 3, seed=1)
        several = drawn(n, m, seed=2).argsort(dim=1)[:, :3]
        several = several.masked_fill(drawn(*several.shape, seed=3) > 0.3, -1)
        rules = (
            Match(integers(-2, 4, n, seed=4), integers(-2, 4, m, seed=5)),
            Match.places(integers(-1, m, n, 2, seed=6), m),
        )
        for places in (integers(-1, m, n, seed=7), several, torch.full((n,), -1)):
            for ignored in ((), rules):
                options: dict[str, Any] = {"temperature": temperature, "bias": bias, "ignored": ignored}
                expected = siglip_by_formula(anchors, candidates, places, **options)
                loss = siglip(anchors, candidates, places, **options)
                assert loss.dtype == torch.float64
                assert loss.shape == ()
                assert float(loss) == pytest.approx(expected, rel=1e-10)


@settings(max_examples=60, deadline=None)
@given(
    st.integers(1, 8),
    st.integers(1, 9),
    st.integers(1, 3),
    st.sampled_from([0.01, 0.1, 1.0, 10.0]),
    st.floats(-30, 30),
    st.integers(0, 10**6),
)
def test_it_is_the_formula_at_any_size(n: int, m: int, p: int, temperature: float, bias: float, seed: int) -> None:
    anchors, candidates = drawn(n, 3, seed=seed), drawn(m, 3, seed=seed + 1)
    places = drawn(n, m, seed=seed + 2).argsort(dim=1)[:, :p]
    places = places.masked_fill(drawn(*places.shape, seed=seed + 3) > 0.5, -1)
    ignored = (Match(integers(-1, 3, n, seed=seed + 4), integers(-1, 3, m, seed=seed + 5)),)
    options: dict[str, Any] = {"temperature": temperature, "bias": bias, "ignored": ignored}
    with pytest.MonkeyPatch.context() as monkeypatch:
        use_small_tiles(monkeypatch)
        loss = siglip(anchors, candidates, places, **options)
    assert float(loss) == pytest.approx(siglip_by_formula(anchors, candidates, places, **options), rel=1e-9)


@pytest.mark.usefixtures("tiling")
def test_all_four_gradients_are_right() -> None:
    places = torch.tensor([[2, 4], [-1, 0], [-1, -1], [1, -1], [3, 5]])
    ignored = (Match(torch.tensor([0, 1, -1, 2, 0]), torch.tensor([1, 0, -1, 2, 0, 0])),)

    def loss(a: Tensor, c: Tensor, t: Tensor, b: Tensor) -> Tensor:
        return siglip(a, c, places, temperature=t, bias=b, ignored=ignored)

    inputs = drawn(5, 2), drawn(6, 2, seed=1), torch.tensor(0.4).double(), torch.tensor(-1.5).double()
    assert torch.autograd.gradcheck(loss, tuple(tensor.requires_grad_() for tensor in inputs))
    for k, together in enumerate(with_gradients(loss, *inputs)[1:]):
        leaves = [tensor.detach().clone().requires_grad_(k == other) for other, tensor in enumerate(inputs)]
        (alone,) = torch.autograd.grad(loss(*leaves), leaves[k])
        torch.testing.assert_close(alone, together)


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
@pytest.mark.parametrize("bias", [-1e4, -100.0, 0.0, 100.0, 1e4])
@pytest.mark.parametrize("temperature", [1e-4, 0.01, 1e3])
def test_extreme_biases_and_temperatures_are_finite_and_right(
    temperature: float, bias: float, dtype: torch.dtype
) -> None:
    anchors, candidates, places = drawn(5, 3).to(dtype), drawn(6, 3, seed=1).to(dtype), torch.arange(5)

    def loss(a: Tensor, c: Tensor, t: Tensor, b: Tensor) -> Tensor:
        return siglip(a, c, places, temperature=t, bias=b)

    inputs = anchors, candidates, torch.tensor(temperature, dtype=dtype), torch.tensor(bias, dtype=dtype)
    value, *gradients = with_gradients(loss, *inputs)
    exact = float(inputs[2])
    expected = siglip_by_formula(anchors, candidates, places, temperature=exact, bias=bias)
    rel = 1e-4 if dtype == torch.float32 else 1e-9
    assert float(value) == pytest.approx(expected, rel=rel, abs=1e-30)
    for gradient in gradients:
        assert bool(torch.isfinite(gradient).all())


@pytest.mark.parametrize("autocast", [False, True])
def test_half_precision_vectors_are_compared_in_single_precision(autocast: bool) -> None:
    anchors, candidates, places = drawn(8, 64).bfloat16(), drawn(9, 64, seed=1).bfloat16(), torch.arange(8)

    def loss(a: Tensor, c: Tensor) -> Tensor:
        return siglip(a, c, places, temperature=0.02, bias=-10.0)

    with torch.autocast("cpu", torch.bfloat16, enabled=autocast):
        value, *gradients = with_gradients(loss, anchors, candidates)
        _, *of_single = with_gradients(loss, anchors.float(), candidates.float())
    expected = siglip_by_formula(anchors.double(), candidates.double(), places, temperature=0.02, bias=-10.0)
    assert value.dtype == torch.float32
    assert float(value) == pytest.approx(expected, rel=1e-5)
    exact = with_gradients(loss, anchors.double(), candidates.double())[1:]
    for half, single, right in zip(gradients, of_single, exact, strict=True):
        assert float((half - right).norm() / right.norm()) < 4e-3
        assert float((single - right).norm() / right.norm()) < 1e-5


def test_real_tiles_in_single_precision_agree_with_the_whole_matrix_in_double() -> None:
    n = 1100
    anchors, candidates, places = drawn(n, 16), drawn(n, 16, seed=1), torch.arange(n)
    scalars = torch.tensor(2.0).double(), torch.tensor(-6.0).double()

    def loss(a: Tensor, c: Tensor, t: Tensor, b: Tensor) -> Tensor:
        return siglip(a, c, places, temperature=(-t).exp(), bias=b)

    exact = with_gradients(algorithm_1, anchors, candidates, *scalars)
    single = with_gradients(loss, *(tensor.float() for tensor in (anchors, candidates, *scalars)))
    for value, right in zip(single, exact, strict=True):
        assert float((value - right).norm() / right.norm()) < 1e-5


def test_neither_length_nor_order_counts() -> None:
    anchors, candidates, places = drawn(5, 4), drawn(7, 4, seed=1), torch.tensor([3, 0, 6, 0, 2])
    loss = siglip(anchors, candidates, places, temperature=0.1, bias=-2.0)
    longer = siglip(anchors * 9, candidates * 1e5, places, temperature=0.1, bias=-2.0)
    assert float(longer) == pytest.approx(float(loss), rel=1e-10)
    rows, columns = drawn(5, seed=2).argsort(), drawn(7, seed=3).argsort()
    permuted = siglip(anchors[rows], candidates[columns], columns.argsort()[places[rows]], temperature=0.1, bias=-2.0)
    assert float(permuted) == pytest.approx(float(loss), rel=1e-12)


def test_an_ignored_candidate_changes_nothing_and_gets_no_gradient() -> None:
    anchors, candidates, places = drawn(4, 3), drawn(6, 3, seed=1), torch.tensor([0, 1, 2, 2])
    rule = Match(torch.zeros(4, dtype=torch.int64), torch.tensor([-1, -1, 0, -1, -1, 0]))  # and 2, which stays positive
    value, *gradients = with_gradients(
        lambda a, c: siglip(a, c, places, temperature=0.1, bias=-2.0, ignored=(rule,)), anchors, candidates
    )
    assert not gradients[1][5].any()
    assert bool(gradients[1][2].any())
    without = siglip(
        anchors, candidates[:5], places, temperature=0.1, bias=-2.0, ignored=(Match(rule.anchors, rule.candidates[:5]),)
    )
    assert float(value) == pytest.approx(float(without), rel=1e-12)


def test_large_and_negative_keys_match_as_integers() -> None:
    anchors, candidates, places = drawn(3, 3).float(), drawn(4, 3, seed=1).float(), torch.arange(3)
    plain = siglip(anchors, candidates, places, temperature=0.1, bias=-2.0)
    nearly = Match(torch.tensor([2**24, -5, -1]), torch.tensor([-1, -5, 2**24 + 1, 2**24 + 1]))
    assert float(siglip(anchors, candidates, places, temperature=0.1, bias=-2.0, ignored=(nearly,))) == float(plain)


@pytest.mark.parametrize("nothing_positive", [False, True])
def test_a_second_derivative_raises(nothing_positive: bool) -> None:
    anchors, candidates = drawn(3, 3).requires_grad_(), drawn(4, 3, seed=1)
    places = torch.full((3,), -1) if nothing_positive else torch.arange(3)

    def penalty() -> Tensor:
        loss = siglip(anchors, candidates, places, temperature=0.5, bias=0.0)
        return torch.autograd.grad(loss, anchors, create_graph=True)[0].square().sum()

    with pytest.raises(RuntimeError):
        penalty().backward()
    with pytest.raises(RuntimeError):
        torch.autograd.grad(penalty(), anchors)


A, C, P = torch.ones(3, 2), torch.ones(4, 2), torch.arange(3)


@pytest.mark.parametrize(
    ("batch", "words"),
    [
        ((torch.ones(3), C, P), r"anchors \(3,\)"),
        ((A, torch.ones(4), P), r"candidates \(4,\)"),
        ((A, torch.ones(4, 3), P), r"candidates \(4, 3\)"),
        ((A, C, P[:2]), r"positive \(2,\)"),
        ((A, C, torch.zeros(2, 3, dtype=torch.int64)), r"positive \(2, 3\)"),
    ],
)
def test_an_error_says_which_shapes_do_not_fit(batch: tuple[Tensor, ...], words: str) -> None:
    with pytest.raises(ValueError, match=f"shapes do not fit.*{words}"):
        siglip(*batch, temperature=0.1, bias=0.0)


@pytest.mark.parametrize("keys", [(P, P), (P[:2], torch.arange(4)), (P[:1], P[:1]), (torch.arange(4), torch.arange(4))])
def test_ignored_keys_that_do_not_fit_are_refused(keys: tuple[Tensor, Tensor]) -> None:
    """Else they are stretched over all anchors or candidates, or fail without a name."""
    with pytest.raises(ValueError, match="ignored"):
        siglip(A, C, P, temperature=0.1, bias=0.0, ignored=(Match(*keys),))
