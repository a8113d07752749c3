"""InfoNCE against its formula, in float64 and by numerical gradients, and what it must not depend on."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import Any

import pytest
import torch
import torch.nn.functional as F
from by_formula import info_nce_by_formula
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils._pytree import tree_leaves

from nearfar.learn.losses import Match, Negatives, info_nce, tiles

SMALL_TILES = (3, 4)
BIG_KEY = 2**24
"""From here on neighbouring integers are the same float32."""


@pytest.fixture(params=["one tile", "many tiles"])
def tiling(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> None:
    if request.param == "many tiles":
        use_small_tiles(monkeypatch)


@pytest.fixture
def many_tiles(monkeypatch: pytest.MonkeyPatch) -> None:
    use_small_tiles(monkeypatch)


def use_small_tiles(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(tiles, "_ROWS", SMALL_TILES[0])
    monkeypatch.setattr(tiles, "_COLUMNS", SMALL_TILES[1])


def drawn(*shape: int, seed: int = 0) -> Tensor:
    return torch.randn(*shape, generator=torch.Generator().manual_seed(seed), dtype=torch.float64)


def integers(low: int, high: int, *shape: int, seed: int) -> Tensor:
    return torch.randint(low, high, shape, generator=torch.Generator().manual_seed(seed))


def made(
    n: int,
    m: int,
    d: int = 3,
    *,
    seed: int = 0,
    positives: str = "one",
    itself: bool = False,
    ignored: bool = False,
    negatives: bool = False,
    weighted: bool = False,
    **settings: Any,
) -> tuple[tuple[Tensor, Tensor, Tensor | Match], dict[str, Any]]:
    """The arguments of `info_nce`, by what is wanted of them."""
    anchors, candidates = drawn(n, d, seed=seed) * 3, drawn(m, d, seed=seed + 1)
    positive: Tensor | Match = integers(0, m, n, seed=seed + 2)
    if positives == "several":
        order = drawn(n, m, seed=seed + 3).argsort(dim=1)[:, :3]
        positive = order.masked_fill(drawn(*order.shape, seed=seed + 4) > 0.3, -1)
        positive[0, -1] = order[0, -1]  # at least one, and not in the first slot
    if positives == "labels":
        positive = Match(integers(-1, 3, n, seed=seed + 5), integers(-1, 3, m, seed=seed + 6))
    if itself:
        settings["itself"] = integers(-1, m, n, seed=seed + 7)
        if isinstance(positive, Tensor):
            of_anchors = positive.reshape(n, -1)
            settings["itself"][(of_anchors == settings["itself"].unsqueeze(1)).any(dim=1)] = -1
    if ignored:
        settings["ignored"] = (
            Match.places(integers(-1, m, n, 2, seed=seed + 8), m),
            Match(integers(-2, 9, n, seed=seed + 9) + BIG_KEY, integers(-2, 9, m, seed=seed + 10) + BIG_KEY),
            Match(integers(-3, 4, n, seed=seed + 11), integers(-3, 4, m, seed=seed + 12)),
        )
    if negatives:
        owners = Match(integers(-1, 3, n, 2, seed=seed + 13), integers(-1, 3, 6, seed=seed + 14))
        settings["negatives"] = (
            Negatives(drawn(6, d, seed=seed + 15), (owners,)),
            Negatives(drawn(2, d, seed=seed + 16)),
        )
    if weighted:
        settings["weights"] = drawn(n, seed=seed + 17).abs() + 0.1
    return (anchors, candidates, positive), settings


FAMILIES: dict[str, dict[str, Any]] = {
    "one positive": {},
    "one positive, not itself": {"itself": True},
    "mean of several": {"positives": "several"},
    "several apart": {"positives": "several", "several": "apart"},
    "any of several": {"positives": "several", "several": "any"},
    "labels": {"positives": "labels"},
    "labels, not itself": {"positives": "labels", "itself": True},
    "any of a label": {"positives": "labels", "itself": True, "several": "any"},
    "ignored": {"ignored": True},
    "labels, ignored": {"positives": "labels", "ignored": True},
    "negatives": {"negatives": True},
    "labels, negatives": {"positives": "labels", "itself": True, "negatives": True},
    "margin": {"positives": "several", "margin": 0.1},
    "negative margin": {"margin": -0.3, "negatives": True, "ignored": True},
    "labels, margin": {"positives": "labels", "itself": True, "margin": 0.0, "negatives": True},
    "weights": {"weighted": True, "positives": "several"},
    "labels, weights": {"weighted": True, "positives": "labels", "itself": True},
    "debias": {"debias": 0.05, "negatives": True},
    "debias, several apart": {"debias": 0.1, "positives": "several", "several": "apart"},
    "debias, labels": {"debias": 0.1, "positives": "labels", "itself": True},
    "debias to the floor": {"debias": 0.8, "positives": "several"},
    "hardness": {"hardness": 0.7, "negatives": True},
    "hardness, labels": {"hardness": 2.0, "positives": "labels", "itself": True},
    "debias and hardness": {"debias": 0.1, "hardness": 1.0, "positives": "several", "ignored": True, "margin": 0.2},
    "dot": {"similarity": "dot", "positives": "several", "ignored": True, "margin": 0.5},
    "dot, hardness, labels": {"similarity": "dot", "hardness": 0.5, "positives": "labels", "negatives": True},
}


@pytest.mark.usefixtures("tiling")
@pytest.mark.parametrize("symmetric", [False, True])
@pytest.mark.parametrize("family", FAMILIES)
def test_it_is_the_formula(family: str, symmetric: bool) -> None:
    for n, m, temperature, seed in ((5, 7, 1.0, 0), (7, 5, 0.05, 1), (6, 9, 0.3, 2)):
        batch, options = made(n, m, seed=seed, temperature=temperature, symmetric=symmetric, **FAMILIES[family])
        loss = info_nce(*batch, **options)
        assert loss.dtype == torch.float64
        assert float(loss) == pytest.approx(info_nce_by_formula(*batch, **options), rel=1e-9)


@pytest.mark.usefixtures("tiling")
@pytest.mark.parametrize("temperature", [0.001, 0.05, 1.0, 7.0])
@pytest.mark.parametrize(("n", "m", "d"), [(1, 1, 1), (1, 4, 3), (5, 5, 2), (9, 6, 8), (6, 9, 8)])
def test_it_is_the_formula_at_every_size_and_temperature(n: int, m: int, d: int, temperature: float) -> None:
    for ignored in (False, True):
        for symmetric in (False, True):
            batch, options = made(n, m, d, temperature=temperature, ignored=ignored, symmetric=symmetric)
            expected = info_nce_by_formula(*batch, **options)
            assert float(info_nce(*batch, **options)) == pytest.approx(expected, rel=1e-9, abs=1e-14)


@settings(max_examples=120, deadline=None)
@given(st.data())
def test_it_is_the_formula_for_any_combination(data: st.DataObject) -> None:
    choose = data.draw
    positives = choose(st.sampled_from(["one", "several", "labels"]))
    similarity = choose(st.sampled_from(["cosine", "cosine", "dot"]))
    batch, options = made(
        choose(st.integers(1, 8)),
        choose(st.integers(1, 9)),
        choose(st.integers(1, 4)),
        seed=choose(st.integers(0, 10**6)),
        positives=positives,
        itself=choose(st.booleans()),
        ignored=choose(st.booleans()),
        negatives=choose(st.booleans()),
        weighted=choose(st.booleans()),
        margin=choose(st.sampled_from([None, None, -0.2, 0.05])),
        several=choose(st.sampled_from(["mean", "any"] + ["apart"] * (positives != "labels"))),
        debias=0.0 if similarity == "dot" else choose(st.sampled_from([0.0, 0.01, 0.2, 0.7])),
        hardness=choose(st.sampled_from([0.0, 0.3, 2.0])),
        symmetric=choose(st.booleans()),
        similarity=similarity,
        temperature=choose(st.sampled_from([0.02, 0.2, 1.0, 5.0])),
    )
    expected = info_nce_by_formula(*batch, **options)
    with pytest.MonkeyPatch.context() as monkeypatch:
        if choose(st.booleans()):
            use_small_tiles(monkeypatch)
        if expected is None:
            with pytest.raises(ValueError, match="no anchor has a positive"):
                info_nce(*batch, **options)
        else:
            assert float(info_nce(*batch, **options)) == pytest.approx(expected, rel=1e-8, abs=1e-12)


@pytest.mark.usefixtures("many_tiles")
@pytest.mark.parametrize("symmetric", [False, True])
@pytest.mark.parametrize("family", FAMILIES)
def test_its_gradients_are_those_of_the_formula(family: str, symmetric: bool) -> None:
    (anchors, candidates, positive), options = made(4, 5, 2, seed=3, symmetric=symmetric, **FAMILIES[family])

    def loss(a: Tensor, c: Tensor, t: Tensor) -> Tensor:
        return info_nce(a, c, positive, temperature=t, **options)

    temperature = torch.tensor(0.4, dtype=torch.float64, requires_grad=True)
    assert torch.autograd.gradcheck(loss, (anchors.requires_grad_(), candidates.requires_grad_(), temperature))


@pytest.mark.parametrize("family", ["mean of several", "labels, not itself", "debias and hardness"])
def test_each_gradient_alone_is_that_of_all_together(family: str) -> None:
    (anchors, candidates, positive), options = made(5, 7, symmetric=True, **FAMILIES[family])

    def gradients(*wanted: bool) -> list[Tensor | None]:
        inputs = [anchors, candidates, torch.tensor(0.2, dtype=torch.float64)]
        inputs = [tensor.clone().requires_grad_(of_it) for tensor, of_it in zip(inputs, wanted, strict=True)]
        info_nce(inputs[0], inputs[1], positive, temperature=inputs[2], **options).backward()
        return [tensor.grad for tensor in inputs]

    together = gradients(True, True, True)
    for k in range(3):
        alone = gradients(*(k == other for other in range(3)))
        torch.testing.assert_close(alone[k], together[k], rtol=1e-12, atol=1e-14)


def official_hard_negatives(
    first: Tensor, second: Tensor, temperature: float, debias: float, hardness: float
) -> Tensor:
    """The criterion of the authors of arXiv:2010.04592 as they wrote it, over the 2n views of n items."""
    n = len(first)
    views = torch.cat([first, second])
    of_other_items = ~torch.eye(n, dtype=torch.bool).repeat(2, 2)
    negative = torch.exp(views @ views.T / temperature).masked_select(of_other_items).view(2 * n, -1)
    positive = torch.exp((first * second).sum(dim=-1) / temperature).repeat(2)
    count = 2 * n - 2
    importance = (hardness * negative.log()).exp()
    reweighted = (importance * negative).sum(dim=-1) / importance.mean(dim=-1)
    repelled = (-debias * count * positive + reweighted) / (1 - debias)
    repelled = repelled.clamp(min=count * torch.e ** (-1 / temperature))
    return -torch.log(positive / (positive + repelled)).mean()


@pytest.mark.parametrize("hardness", [0.0, 0.5, 1.0, 2.0])
@pytest.mark.parametrize("debias", [0.0, 0.01, 0.1, 0.6])
@pytest.mark.parametrize("temperature", [0.1, 0.5, 3.0])
def test_reweighted_negatives_are_those_of_the_official_criterion(
    temperature: float, debias: float, hardness: float
) -> None:
    first = F.normalize(drawn(5, 3, seed=1), dim=-1).requires_grad_()
    second = F.normalize(drawn(5, 3, seed=2), dim=-1)
    expected = official_hard_negatives(first, second, temperature, debias, hardness)
    views, places = torch.cat([first, second]), torch.arange(10)
    other = places.roll(5)
    loss = info_nce(views, views, other, itself=places, temperature=temperature, debias=debias, hardness=hardness)
    assert float(loss.detach()) == pytest.approx(float(expected.detach()), rel=1e-10)
    # The views lie on the sphere, so of the criterion's gradient only the part along it is comparable.
    gradients = [torch.autograd.grad(value, first, retain_graph=True)[0] for value in (loss, expected)]
    along = [g - (g * first).sum(dim=1, keepdim=True) * first for g in gradients]
    torch.testing.assert_close(along[0], along[1], rtol=1e-7, atol=1e-10)


def test_a_share_of_false_negatives_above_their_sum_leaves_the_lowest_sum_there_can_be() -> None:
    """Eq. 8 of arXiv:2007.00224 ends in max(., exp(-1/t)): all negatives opposite to the anchor."""
    anchors, candidates, positive = drawn(4, 6), drawn(7, 6, seed=1), torch.arange(4)
    near = anchors + 0.1 * drawn(4, 6, seed=2)
    candidates = torch.cat([near, candidates[4:]])
    for temperature in (0.2, 0.5):
        cosines = F.cosine_similarity(anchors, near)
        floor = torch.exp(torch.tensor(-1 / temperature)) * 6
        expected = torch.log1p(floor / (cosines / temperature).exp()).mean()
        loss = info_nce(anchors, candidates, positive, temperature=temperature, debias=0.99)
        assert float(loss) == pytest.approx(float(expected), rel=1e-6)
        assert float(loss) < float(info_nce(anchors, candidates, positive, temperature=temperature, debias=0.01))


def dense(anchors: Tensor, candidates: Tensor, attracting: Tensor, left_out: Tensor, temperature: float) -> Tensor:
    """Mean over the rows with positives of the mean over these of -log softmax, with the (n, m) matrix."""
    scores = F.normalize(anchors, dim=-1) @ F.normalize(candidates, dim=-1).T / temperature
    log_softmax = scores.masked_fill(left_out & ~attracting, -torch.inf).log_softmax(dim=1)
    counts = attracting.sum(dim=1)
    losses = torch.where(attracting, -log_softmax, 0.0).sum(dim=1) / counts.clamp(min=1)
    return losses[counts > 0].mean()


def test_real_tiles_in_single_precision_agree_with_the_whole_matrix_in_double() -> None:
    n, m, d, k, temperature = 1100, 2100, 16, 1300, 0.05
    anchors, candidates, queue = (drawn(count, d, seed=seed) for seed, count in enumerate((n, m, k)))
    places = drawn(n, m, seed=3).argsort(dim=1)[:, :3].masked_fill(integers(0, 2, n, 3, seed=4) == 0, -1)
    texts = BIG_KEY + integers(0, 300, n, seed=5), BIG_KEY + integers(0, 300, m, seed=6)
    owners = integers(-1, 50, n, seed=7), integers(-1, 50, k, seed=8)
    listed = torch.zeros(n, m + 1, dtype=torch.bool)
    listed[torch.arange(n).unsqueeze(1), places] = True
    listed = listed[:, :m]  # the last is where -1 leads
    ignored = texts[0].unsqueeze(1) == texts[1]
    of_owner = (owners[0].unsqueeze(1) == owners[1]) & (owners[0] >= 0).unsqueeze(1)
    labels = integers(-1, 400, n, seed=9), integers(-1, 400, m, seed=10)
    same = (labels[0].unsqueeze(1) == labels[1]) & (labels[0] >= 0).unsqueeze(1)
    itself = integers(-1, m, n, seed=11)
    own = itself.unsqueeze(1) == torch.arange(m)

    def by_place(a: Tensor, c: Tensor) -> Tensor:
        more = Negatives(queue.to(a.dtype), (Match(*owners),))
        return info_nce(
            a, c, places, temperature=temperature, ignored=(Match(*texts),), negatives=(more,), symmetric=True
        )

    def by_place_dense(a: Tensor, c: Tensor) -> Tensor:
        nothing = torch.zeros(n, k, dtype=torch.bool)
        rows = dense(
            a, torch.cat([c, queue]), torch.cat([listed, nothing], 1), torch.cat([ignored, of_owner], 1), temperature
        )
        return (rows + dense(c, a, listed.T, ignored.T, temperature)) / 2

    def by_label(a: Tensor, c: Tensor) -> Tensor:
        return info_nce(a, c, Match(*labels), itself=itself, temperature=temperature, symmetric=True)

    def by_label_dense(a: Tensor, c: Tensor) -> Tensor:
        rows = dense(a, c, same & ~own, own, temperature)
        return (rows + dense(c, a, (same & ~own).T, own.T, temperature)) / 2

    for tiled, whole in ((by_place, by_place_dense), (by_label, by_label_dense)):
        loss, *gradients = with_gradients(tiled, anchors.float(), candidates.float())
        expected, *exact = with_gradients(whole, anchors, candidates)
        assert float(loss) == pytest.approx(float(expected), rel=1e-6)
        for gradient, right in zip(gradients, exact, strict=True):
            assert float((gradient - right).norm() / right.norm()) < 1e-5


def with_gradients(loss: Callable[..., Tensor], *inputs: Tensor) -> tuple[Tensor, ...]:
    leaves = [tensor.detach().clone().requires_grad_() for tensor in inputs]
    value = loss(*leaves)
    return (value.detach(), *torch.autograd.grad(value, leaves))


class LargestStorage(TorchDispatchMode):
    """The most bytes behind any one tensor that an operation hands out, but for those known before."""

    bytes = 0

    def __init__(self, *known: Tensor) -> None:
        super().__init__()
        self._known = {tensor.untyped_storage().data_ptr() for tensor in known}

    def __torch_dispatch__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        out = func(*args, **(kwargs or {}))
        for leaf in tree_leaves(out):
            if isinstance(leaf, Tensor) and leaf.untyped_storage().data_ptr() not in self._known:
                self.bytes = max(self.bytes, leaf.untyped_storage().nbytes())
        return out


@pytest.mark.parametrize(
    "settings",
    [
        {"margin": 0.1, "negatives": True, "ignored": True, "weighted": True},
        {"positives": "several", "several": "apart", "debias": 0.1, "hardness": 1.0},
        {"positives": "labels", "itself": True, "margin": 0.1, "ignored": True},
        {"positives": "labels", "several": "any", "debias": 0.1},
    ],
)
def test_no_tensor_is_larger_than_a_tile(settings: dict[str, Any]) -> None:
    n = 3000
    (anchors, candidates, positive), options = made(n, n, 8, **settings)
    anchors, candidates = anchors.float().requires_grad_(), candidates.float().requires_grad_()
    options["negatives"] = [Negatives(drawn(n, 8, seed=9).float())] * ("negatives" in options)
    temperature = torch.tensor(0.1, requires_grad=True)
    with LargestStorage() as seen:
        info_nce(anchors, candidates, positive, temperature=temperature, symmetric=True, **options).backward()
    assert 4 * n < seen.bytes <= 4 * 512 * 1024
    with LargestStorage() as seen:
        anchors @ candidates.T
    assert seen.bytes == 4 * n * n


def test_further_negatives_are_not_copied() -> None:
    """A queue of hundreds of thousands is only read: nothing nearly as large is made."""
    queue, anchors = torch.randn(200_000, 8), torch.randn(4, 8).requires_grad_()
    with LargestStorage(queue) as largest:
        negatives = (Negatives(queue[:, :7], (Match(torch.arange(4), torch.arange(200_000)),)),)
        info_nce(
            anchors[:, :7], anchors[:, :7].detach().roll(1, 0), torch.arange(4), temperature=0.1, negatives=negatives
        ).backward()
    assert 0 < largest.bytes < queue.untyped_storage().nbytes() / 3


def test_frozen_negatives_get_no_gradient() -> None:
    (anchors, candidates, positive), _ = made(4, 5)
    queue = drawn(6, 3, seed=8).requires_grad_()
    anchors.requires_grad_()
    info_nce(anchors, candidates, positive, temperature=0.2, negatives=(Negatives(queue),)).backward()
    assert queue.grad is None
    assert anchors.grad is not None
    assert bool(anchors.grad.any())


def test_further_negatives_are_as_good_as_candidates_that_are_nobodys_positive() -> None:
    (anchors, candidates, positive), _ = made(4, 5)
    queue = drawn(3, 3, seed=8)
    apart = info_nce(anchors, candidates, positive, temperature=0.2, negatives=(Negatives(queue),))
    within = info_nce(anchors, torch.cat([candidates, queue]), positive, temperature=0.2)
    assert float(apart) == pytest.approx(float(within), rel=1e-12)


def test_a_queue_that_is_still_empty_changes_nothing() -> None:
    (anchors, candidates, positive), _ = made(4, 5)
    empty = Negatives(torch.empty(0, 3), (Match(torch.arange(4), torch.empty(0, dtype=torch.int64)),))
    for further in ({}, {"hardness": 1.0, "debias": 0.1}, {"margin": 0.1}):
        for dtype in (torch.float32, torch.float64):
            batch = anchors.to(dtype), candidates.to(dtype)

            def loss(a: Tensor, c: Tensor, *more: Negatives, further: dict[str, float] = further) -> Tensor:
                return info_nce(a, c, positive, temperature=0.2, negatives=more, **further)

            without = with_gradients(loss, *batch)
            with_it = with_gradients(lambda a, c, loss=loss: loss(a, c, empty), *batch)
            torch.testing.assert_close(with_it, without, rtol=0, atol=0)


@pytest.mark.parametrize("similarity", ["cosine", "dot"])
@pytest.mark.parametrize("family", ["one positive", "labels, not itself", "hardness, labels"])
@pytest.mark.parametrize("of", ["anchors", "temperature"])
def test_differentiating_the_gradients_raises(of: str, family: str, similarity: str) -> None:
    """The gradients are made by hand, so a second derivative, as a gradient penalty wants it, would silently be wrong."""
    (anchors, candidates, positive), options = made(5, 6, **FAMILIES[family], similarity=similarity)
    temperature = torch.tensor(0.3).double()
    leaf = {"anchors": anchors, "temperature": temperature}[of].requires_grad_()

    def penalty() -> Tensor:
        loss = info_nce(anchors, candidates, positive, temperature=temperature, **options)
        return torch.autograd.grad(loss, leaf, create_graph=True)[0].square().sum()

    with pytest.raises(RuntimeError):
        penalty().backward()
    with pytest.raises(RuntimeError):
        torch.autograd.grad(penalty(), leaf)


@pytest.mark.parametrize("family", ["one positive", "labels, not itself"])
def test_a_second_backward_raises(family: str) -> None:
    (anchors, candidates, positive), options = made(5, 6, temperature=0.3, **FAMILIES[family])
    loss = info_nce(anchors.requires_grad_(), candidates, positive, **options)
    loss.backward()
    with pytest.raises(RuntimeError, match="second time"):
        loss.backward()


@pytest.mark.usefixtures("tiling")
@pytest.mark.parametrize("similarity", ["cosine", "dot"])
def test_it_does_not_depend_on_order_or_rotation(similarity: str) -> None:
    wanted: dict[str, Any] = {"positives": "several", "margin": 0.1, "hardness": 0.5, "symmetric": True}
    (anchors, candidates, positive), options = made(6, 7, 4, similarity=similarity, temperature=0.5, **wanted)
    assert isinstance(positive, Tensor)
    weights, texts = drawn(6, seed=5).abs(), (integers(0, 4, 6, seed=6), integers(0, 4, 7, seed=7))
    loss = info_nce(anchors, candidates, positive, weights=weights, ignored=(Match(*texts),), **options)

    rotation = torch.linalg.qr(drawn(4, 4, seed=9)).Q
    rotated = info_nce(
        anchors @ rotation, candidates @ rotation, positive, weights=weights, ignored=(Match(*texts),), **options
    )
    assert float(rotated) == pytest.approx(float(loss), rel=1e-10)

    rows, columns = drawn(6, seed=10).argsort(), drawn(7, seed=11).argsort()
    places = torch.cat([columns.argsort(), torch.tensor([-1])])  # the last one is where -1 leads
    permuted = info_nce(
        anchors[rows],
        candidates[columns],
        places[positive[rows]].flip(1),
        weights=weights[rows],
        ignored=(Match(texts[0][rows], texts[1][columns]),),
        **options,
    )
    assert float(permuted) == pytest.approx(float(loss), rel=1e-12)


def test_length_counts_for_inner_products_only() -> None:
    (anchors, candidates, positive), options = made(5, 7, 4, seed=2, ignored=True, debias=0.1, symmetric=True)
    loss = info_nce(anchors, candidates, positive, temperature=0.1, **options)
    longer = drawn(5, 1).abs().add(0.1) * anchors, candidates * 1e6
    assert float(info_nce(*longer, positive, temperature=0.1, **options)) == pytest.approx(float(loss), rel=1e-10)
    options["debias"] = 0.0
    by_length = info_nce(anchors * 2, candidates, positive, temperature=1.0, similarity="dot", **options)
    by_temperature = info_nce(anchors, candidates, positive, temperature=0.5, similarity="dot", **options)
    assert float(by_length) == pytest.approx(float(by_temperature), rel=1e-12)


@pytest.mark.parametrize("further", [{}, {"hardness": 0.5}, {"debias": 0.1}, {"several": "any"}, {"margin": 0.1}])
@pytest.mark.parametrize("positives", ["several", "labels"])
def test_adding_an_ignored_candidate_changes_nothing(positives: str, further: dict[str, Any]) -> None:
    (anchors, candidates, positive), _ = made(5, 6, positives=positives)
    texts = integers(0, 4, 5, seed=1), integers(0, 4, 6, seed=2)

    def loss(a: Tensor, c: Tensor) -> Tensor:
        more = len(c) - 6
        same = Match(torch.stack([texts[0], torch.full((5,), 9)], 1), F.pad(texts[1], (0, more), value=9))
        found = Match(positive[0], F.pad(positive[1], (0, more), value=-1)) if positives == "labels" else positive
        return info_nce(a, c, found, temperature=0.1, ignored=(same,), symmetric=True, **further)

    without = with_gradients(loss, anchors, candidates)
    with_it = with_gradients(loss, anchors, torch.cat([candidates, drawn(1, 3, seed=5)]))
    assert float(with_it[0]) == pytest.approx(float(without[0]), rel=1e-12)
    torch.testing.assert_close(with_it[1], without[1], rtol=1e-10, atol=1e-13)
    torch.testing.assert_close(with_it[2][:6], without[2], rtol=1e-10, atol=1e-13)
    assert not with_it[2][6].any()


def test_what_is_ignored_has_no_part_in_loss_or_gradient() -> None:
    anchors, candidates, positive = drawn(3, 4), drawn(5, 4, seed=1).requires_grad_(), torch.arange(3)
    # Candidate 3 for all, 4 for the first, and for the second its own positive, which stays whatever the rule says.
    rule = Match.places(torch.tensor([[3, 4], [3, 1], [3, -1]]), 5)
    loss = info_nce(anchors, candidates, positive, temperature=0.1, ignored=(rule,))
    (gradient,) = torch.autograd.grad(loss, candidates)
    assert not gradient[3].any()
    assert bool(gradient[[0, 1, 2, 4]].any(dim=1).all())
    # Candidate 4 gets exactly what the two anchors that do not ignore it say.
    of_two = info_nce(
        anchors[1:], candidates, positive[1:], temperature=0.1, ignored=(Match(rule.anchors[1:], rule.candidates),)
    )
    (expected,) = torch.autograd.grad(of_two, candidates)
    torch.testing.assert_close(gradient[4], expected[4] * 2 / 3)
    moved = candidates.detach().clone()
    moved[3] = -moved[3] * 5 + 1
    assert float(info_nce(anchors, moved, positive, temperature=0.1, ignored=(rule,))) == float(loss.detach())


def test_candidates_that_are_nobodys_positive_do_not_look_for_anchors() -> None:
    anchors, candidates, positive = drawn(4, 3), drawn(7, 3, seed=1), torch.tensor([2, 0, 6, 3])
    loss = info_nce(anchors, candidates, positive, temperature=0.2, symmetric=True)
    forwards = info_nce(anchors, candidates, positive, temperature=0.2)
    backwards = info_nce(candidates[positive], anchors, torch.arange(4), temperature=0.2)
    assert float(loss) == pytest.approx(float(forwards + backwards) / 2, rel=1e-12)


def test_anchors_without_a_positive_do_not_count_but_are_negatives_of_the_other_direction() -> None:
    anchors, candidates = drawn(4, 3).requires_grad_(), drawn(5, 3, seed=1)
    places = torch.tensor([[2, 4], [-1, -1], [-1, 0], [1, -1]])
    loss = info_nce(anchors, candidates, places, temperature=0.2)
    without = info_nce(anchors[[0, 2, 3]], candidates, places[[0, 2, 3]], temperature=0.2)
    assert float(loss.detach()) == pytest.approx(float(without.detach()), rel=1e-12)
    assert not torch.autograd.grad(loss, anchors)[0][1].any()
    both = info_nce(anchors, candidates, places, temperature=0.2, symmetric=True)
    assert bool(torch.autograd.grad(both, anchors)[0][1].any())


def test_anchors_of_weight_zero_do_not_count() -> None:
    anchors, candidates, positive = drawn(4, 3), drawn(5, 3, seed=1), torch.tensor([1, 0, 4, 2])
    weights = torch.tensor([1.0, 0.0, 1.0, 1.0])
    loss = info_nce(anchors, candidates, positive, temperature=0.2, weights=weights)
    without = info_nce(anchors[[0, 2, 3]], candidates, positive[[0, 2, 3]], temperature=0.2)
    assert float(loss) == pytest.approx(float(without), rel=1e-12)
    scaled = info_nce(anchors, candidates, positive, temperature=0.2, weights=weights * 17)
    assert float(scaled) == pytest.approx(float(loss), rel=1e-12)


@pytest.mark.parametrize("weights", [[0.0, 0.0, 0.0], [1.0, 0.0, 0.0], [2.0, -1.0, 1.0]])
def test_weights_that_are_negative_or_leave_no_anchor_are_refused(weights: list[float]) -> None:
    """Else the mean is NaN, or of the wrong sign. The first anchor has no positive."""
    with pytest.raises(ValueError, match="weights"):
        info_nce(drawn(3, 2), drawn(3, 2), torch.tensor([-1, 1, 2]), temperature=0.2, weights=torch.tensor(weights))


def test_a_positive_is_not_counted_among_the_suspects_however_close() -> None:
    anchors = torch.tensor([[1.0, 0.0]])
    candidates = torch.tensor([[1.0, 0.0], [0.0, 1.0], [0.9, 0.1], [-1.0, 0.0]])
    # The mean of the positives is 0.5, so at margin 0.1 candidate 2 is suspected; candidate 0 is as close but known.
    loss = info_nce(anchors, candidates, torch.tensor([[0, 1]]), temperature=1.0, margin=0.1)
    scores = torch.tensor([1.0, 0.0, -1.0])
    expected = scores.logsumexp(0) - 0.5
    assert float(loss) == pytest.approx(float(expected), rel=1e-6)


def test_a_wide_margin_changes_nothing_and_a_narrow_one_leaves_nothing() -> None:
    (anchors, candidates, _), options = made(5, 7, negatives=True, symmetric=True)
    positive = torch.tensor([3, 0, 6, 4, 1])
    plain = info_nce(anchors, candidates, positive, temperature=0.1, **options)
    assert float(info_nce(anchors, candidates, positive, temperature=0.1, margin=2.1, **options)) == float(plain)
    assert float(info_nce(anchors, candidates, positive, temperature=0.1, margin=-2.1, **options)) == 0.0


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
def test_large_keys_do_not_collide(dtype: torch.dtype) -> None:
    """Neighbours beyond 2^24 are one float32, those beyond 2^53 one float64; hashes of texts are that large."""
    anchors, candidates, positive = drawn(3, 3).to(dtype), drawn(4, 3, seed=1).to(dtype), torch.arange(3)
    plain = info_nce(anchors, candidates, positive, temperature=0.1)
    without_last = info_nce(anchors, candidates[:3], positive, temperature=0.1)
    for base in (BIG_KEY, 2**31, 2**53, 2**62):
        nearly = Match(torch.tensor([base, base + 4, -1]), torch.tensor([-1, -1, -1, base + 1]))
        same = Match(torch.tensor([base + 1] * 3), torch.tensor([-1, base, base + 2, base + 1]))
        assert float(info_nce(anchors, candidates, positive, temperature=0.1, ignored=(nearly,))) == float(plain)
        loss = info_nce(anchors, candidates, positive, temperature=0.1, ignored=(same,))
        assert float(loss) == pytest.approx(float(without_last), rel=1e-6)
        owners = torch.tensor([[base + 9, base + 1], [base + 1, -1], [-1, base + 1]])
        loss = info_nce(anchors, candidates, positive, temperature=0.1, ignored=(Match(owners, same.candidates),))
        assert float(loss) == pytest.approx(float(without_last), rel=1e-6)


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
def test_negative_keys_match_nothing(dtype: torch.dtype) -> None:
    anchors, candidates, positive = drawn(3, 3).to(dtype), drawn(4, 3, seed=1).to(dtype), torch.arange(3)
    plain = info_nce(anchors, candidates, positive, temperature=0.1)
    for further in (3, BIG_KEY + 3):  # large ones go another way
        for negative in (-1, -2, -(2**40)):
            keys = Match(torch.tensor([negative, further, -1]), torch.tensor([negative, -1, -2, further + 1]))
            loss = info_nce(anchors, candidates, positive, temperature=0.1, ignored=(keys,))
            assert float(loss) == float(plain)


def test_keys_of_different_rules_have_nothing_to_do_with_each_other() -> None:
    anchors, candidates, positive = drawn(3, 3), drawn(4, 3, seed=1), torch.arange(3)
    owners = Match(torch.tensor([5, 6, 7]), torch.tensor([1, 2, 3, 4]))
    texts = Match(torch.tensor([1, 2, 3]), torch.tensor([5, 6, 7, 8]))
    plain = info_nce(anchors, candidates, positive, temperature=0.1)
    assert float(info_nce(anchors, candidates, positive, temperature=0.1, ignored=(owners, texts))) == float(plain)


def test_a_rule_without_keys_changes_nothing() -> None:
    anchors, candidates, positive = drawn(3, 3), drawn(4, 3, seed=1), torch.arange(3)
    plain = info_nce(anchors, candidates, positive, temperature=0.1)
    for none in (torch.empty(3, 0, dtype=torch.int64), torch.full((3, 2), -1)):
        loss = info_nce(anchors, candidates, positive, temperature=0.1, ignored=(Match.places(none, 4),))
        assert float(loss) == float(plain)


def test_the_rules_of_the_candidates_do_not_touch_further_negatives() -> None:
    anchors, candidates, positive, queue = drawn(3, 3), drawn(4, 3, seed=1), torch.arange(3), drawn(4, 3, seed=2)
    everything = Match(torch.zeros(3, dtype=torch.int64), torch.zeros(4, dtype=torch.int64))
    loss = info_nce(
        anchors, candidates, positive, temperature=0.1, ignored=(everything,), negatives=(Negatives(queue),)
    )
    expected = info_nce_by_formula(
        anchors, candidates, positive, temperature=0.1, ignored=(everything,), negatives=(Negatives(queue),)
    )
    assert float(loss) == pytest.approx(expected, rel=1e-10)
    assert float(loss) > 0


def test_a_tiny_temperature_does_not_overflow() -> None:
    """At 0.001 the logits span -1000 to 1000; exp of either leaves float32."""
    anchors = torch.tensor([[1.0, 0.0], [0.0, 1.0]], requires_grad=True)
    candidates = torch.tensor([[-1.0, 0.0], [1.0, 0.0], [0.0, 1.0]])
    loss = info_nce(anchors, candidates, torch.tensor([0, 2]), temperature=0.001)
    assert float(loss.detach()) == pytest.approx(1000.0)  # 2000 for the first anchor, 0 for the second
    loss.backward()
    assert anchors.grad is not None
    assert bool(torch.isfinite(anchors.grad).all())


@pytest.mark.parametrize("symmetric", [False, True])
@pytest.mark.parametrize("family", FAMILIES)
def test_at_temperature_0_001_single_precision_is_close_to_double(family: str, symmetric: bool) -> None:
    wanted = {"positives": "several", **FAMILIES[family], "symmetric": symmetric}
    (anchors, candidates, positive), options = made(9, 12, 8, seed=5, **wanted)

    def loss(a: Tensor, c: Tensor, t: Tensor) -> Tensor:
        return info_nce(a, c, positive, temperature=t, **options)

    inputs = anchors / 3, candidates, torch.tensor(0.001, dtype=torch.float64)
    exact = with_gradients(loss, *inputs)
    single = with_gradients(loss, *(tensor.float() for tensor in inputs))
    for value, right in zip(single, exact, strict=True):
        assert bool(torch.isfinite(value).all())
        assert float((value - right).norm()) <= 2e-4 * float(right.norm())


@pytest.mark.parametrize("family", FAMILIES)
@pytest.mark.parametrize("symmetric", [False, True])
def test_an_anchor_whose_negatives_are_all_ignored_has_nothing_to_learn_from(family: str, symmetric: bool) -> None:
    batch, options = made(4, 5, 3, seed=3, **{**FAMILIES[family], "negatives": False, "symmetric": symmetric})
    everything = Match(torch.zeros(4, dtype=torch.int64), torch.zeros(5, dtype=torch.int64))
    several = options.pop("several", "mean")
    options |= {"ignored": (everything,), "several": "any" if several == "mean" else several}

    def loss(a: Tensor, c: Tensor, t: Tensor) -> Tensor:
        return info_nce(a, c, batch[2], temperature=t, **options)

    for dtype in (torch.float32, torch.float64):
        inputs = (tensor.to(dtype) for tensor in (*batch[:2], torch.tensor(0.05)))
        for value in with_gradients(loss, *inputs):
            assert not value.any()


@pytest.mark.parametrize("further", [{}, {"symmetric": True}, {"debias": 0.1}, {"hardness": 1.0}, {"margin": 0.0}])
def test_one_pair_alone_has_nothing_to_learn_from(further: dict[str, Any]) -> None:
    def loss(a: Tensor, c: Tensor, t: Tensor) -> Tensor:
        return info_nce(a, c, torch.tensor([0]), temperature=t, **further)

    for value in with_gradients(loss, drawn(1, 4).float(), drawn(1, 4, seed=1).float(), torch.tensor(0.05)):
        assert not value.any()


def test_one_anchor_among_several_candidates_learns() -> None:
    anchors, candidates = drawn(1, 4).requires_grad_(), drawn(3, 4, seed=1).requires_grad_()
    loss = info_nce(anchors, candidates, torch.tensor([1]), temperature=0.5)
    scores = F.cosine_similarity(anchors, candidates) / 0.5
    expected = F.cross_entropy(scores.unsqueeze(0), torch.tensor([1]))
    for leaf in (anchors, candidates):
        (gradient,) = torch.autograd.grad(loss, leaf, retain_graph=True)
        (right,) = torch.autograd.grad(expected, leaf, retain_graph=True)
        assert bool(right.any())
        torch.testing.assert_close(gradient, right, rtol=1e-10, atol=1e-14)


@pytest.mark.parametrize("family", ["one positive", "labels, not itself", "debias and hardness", "several apart"])
@pytest.mark.parametrize("dtype", [torch.bfloat16, torch.float16])
def test_half_precision_vectors_are_compared_in_single_precision(family: str, dtype: torch.dtype) -> None:
    (anchors, candidates, positive), options = made(8, 9, 64, seed=3, symmetric=True, **FAMILIES[family])
    anchors, candidates = anchors.to(dtype), candidates.to(dtype)

    def loss(a: Tensor, c: Tensor) -> Tensor:
        return info_nce(a, c, positive, temperature=0.02, **options)

    expected = info_nce_by_formula(anchors.double(), candidates.double(), positive, temperature=0.02, **options)
    exact = with_gradients(loss, anchors.double(), candidates.double())
    plain = with_gradients(loss, anchors, candidates)
    with torch.autocast("cpu", torch.bfloat16):  # backward too: it is what must not be brought to half precision
        mixed = with_gradients(loss, anchors, candidates)
        of_single = with_gradients(loss, anchors.float(), candidates.float())
    for value, *gradients in (plain, mixed, of_single):
        assert value.dtype == torch.float32
        assert float(value) == pytest.approx(expected, rel=2e-5)
        for gradient, right in zip(gradients, exact[1:], strict=True):
            allowed = 1e-5 if gradient.dtype == torch.float32 else 4e-3
            assert float((gradient - right).norm() / right.norm()) < allowed


def test_vectors_of_two_precisions_are_compared_in_the_finer_one() -> None:
    (anchors, candidates, positive), _ = made(4, 5)
    anchors = anchors.bfloat16()
    loss = info_nce(anchors, candidates, positive, temperature=torch.tensor(0.25))
    assert loss.dtype == torch.float64
    expected = info_nce_by_formula(anchors.double(), candidates, positive, temperature=0.25)
    assert float(loss) == pytest.approx(expected, rel=1e-10)


def test_a_learned_temperature_may_be_a_parameter_of_one_element() -> None:
    (anchors, candidates, positive), _ = made(4, 5)
    for shape in ((), (1,)):
        temperature = torch.nn.Parameter(torch.full(shape, 0.25, dtype=torch.float64))
        loss = info_nce(anchors, candidates, positive, temperature=temperature, debias=0.1, symmetric=True)
        assert loss.shape == ()
        loss.backward()
        assert temperature.grad is not None
        assert bool(temperature.grad.any())


@pytest.mark.parametrize("family", ["one positive", "labels, not itself", "debias and hardness", "negatives"])
def test_a_vector_of_length_zero_is_as_far_from_all_and_gets_no_gradient(family: str) -> None:
    (anchors, candidates, positive), options = made(5, 6, symmetric=True, temperature=0.1, **FAMILIES[family])
    anchors[1], candidates[2] = 0.0, 0.0
    loss, of_anchors, of_candidates = with_gradients(
        lambda a, c: info_nce(a, c, positive, **options), anchors, candidates
    )
    assert bool(torch.isfinite(loss))
    assert not of_anchors[1].any()
    assert not of_candidates[2].any()
    assert bool(torch.isfinite(of_anchors).all())
    assert bool(torch.isfinite(of_candidates).all())


def test_two_runs_agree_to_the_last_bit() -> None:
    (anchors, candidates, positive), options = made(600, 1100, 8, positives="labels", itself=True, ignored=True)

    def loss(a: Tensor, c: Tensor, t: Tensor) -> Tensor:
        return info_nce(a, c, positive, temperature=t, symmetric=True, hardness=0.5, **options)

    inputs = anchors.float(), candidates.float(), torch.tensor(0.1)
    for first, second in zip(with_gradients(loss, *inputs), with_gradients(loss, *inputs), strict=True):
        assert torch.equal(first, second)


A, C, P = torch.ones(3, 2), torch.ones(4, 2), torch.arange(3)
KEYS = torch.arange(9)


def wrong_calls() -> Iterator[Any]:
    def call(name: str, words: str, *batch: Any, **options: Any) -> Any:
        return pytest.param(words, batch or (A, C, P), options, id=name)

    yield call("anchors of three axes", r"anchors is \(3, 2, 2\)", torch.ones(3, 2, 2), C, P)
    yield call("one anchor without its axis", r"anchors is \(3,\)", torch.ones(3), C, P)
    yield call("other dimensions", r"candidates is \(4, 5\), expected \(4, 2\)", A, torch.ones(4, 5), P)
    yield call("too few positives", r"positive is \(2,\), expected \(3,\)", A, C, P[:2])
    yield call("too few rows of positives", r"positive is \(2, 2\)", A, C, torch.zeros(2, 2, dtype=torch.int64))
    yield call("too few labels", r"positive\.anchors is \(2,\)", A, C, Match(P[:2], KEYS[:4]))
    yield call("labels of the wrong side", r"positive\.candidates is \(3,\), expected \(4,\)", A, C, Match(P, P))
    yield call("several labels each", r"positive\.anchors is \(3, 2\)", A, C, Match(KEYS[:6].view(3, 2), KEYS[:4]))
    yield call("itself", r"itself is \(4,\), expected \(3,\)", itself=KEYS[:4])
    yield call("weights", r"weights is \(3, 1\), expected \(3,\)", weights=torch.ones(3, 1))
    yield call("ignored anchors", r"ignored\.anchors is \(4,\)", ignored=(Match(KEYS[:4], KEYS[:4]),))
    yield call("ignored candidates", r"ignored\.candidates is \(3,\)", ignored=(Match(P, P),))
    yield call("negatives", r"negatives\.vectors is \(5, 3\)", negatives=(Negatives(torch.ones(5, 3)),))
    wrong = Negatives(torch.ones(5, 2), (Match(P, KEYS[:4]),))
    yield call("negatives ignored", r"negatives\.ignored\.candidates is \(4,\), expected \(5,\)", negatives=(wrong,))
    yield call("no anchors", "empty", torch.ones(0, 2), C, KEYS[:0])
    yield call("no candidates", "empty", A, torch.ones(0, 2), torch.full((3,), -1))
    yield call("all at once", r"itself is .*; weights is ", itself=KEYS[:4], weights=torch.ones(2))
    yield call("apart by label", r"several='apart'.*labels", A, C, Match(P, KEYS[:4]), several="apart")
    yield call("debias of one", r"debias is 1.*\[0, 1\)", debias=1.0)
    yield call("debias below zero", r"debias is -0\.1.*\[0, 1\)", debias=-0.1)
    yield call("debias that is no number", r"debias is nan", debias=float("nan"))
    yield call("debias of products", "debias.*similarity='cosine'", debias=0.1, similarity="dot")
    yield call("hardness", r"hardness is -1.*negative", hardness=-1.0)
    yield call("nothing positive", "no anchor has a positive", A, C, torch.full((3,), -1))
    yield call("no slot for a positive", "no anchor has a positive", A, C, torch.empty(3, 0, dtype=torch.int64))
    yield call("no equal labels", "no anchor has a positive", A, C, Match(P, KEYS[4:8]))
    yield call("only negative labels", "no anchor has a positive", A, C, Match(P * 0 - 1, KEYS[:4] * 0 - 1))
    alone = {"itself": P, "symmetric": True}
    yield call("only itself", "no anchor has a positive.*two items of a label", A, A, Match(P, P), **alone)


@pytest.mark.parametrize(("words", "batch", "options"), wrong_calls())
def test_an_error_says_what_is_wrong(words: str, batch: tuple[Any, ...], options: dict[str, Any]) -> None:
    with pytest.raises(ValueError, match=words):
        info_nce(*batch, temperature=0.1, **options)


def test_an_error_of_shapes_says_what_they_should_fit() -> None:
    with pytest.raises(ValueError, match="with 3 anchors and 4 candidates of 2 dimensions"):
        info_nce(A, C, P[:2], temperature=0.1)


def test_a_place_beyond_the_candidates_and_an_unknown_setting_are_refused() -> None:
    anchors, candidates = drawn(2, 3), drawn(2, 3, seed=1)
    places = torch.arange(2)
    for options, named in (
        ({"positive": places + 1}, "positive has place 2, but the last candidate is 1"),
        ({"positive": places, "itself": places + 4}, "itself has place 5"),
        ({"positive": places, "several": "all"}, "several is 'all'"),
        ({"positive": places, "similarity": "cos"}, "similarity is 'cos'"),
        ({"positive": places, "hardness": float("nan")}, "hardness is nan"),
    ):
        with pytest.raises(ValueError, match=named):
            info_nce(anchors, candidates, temperature=0.1, **options)
