"""Triplet loss and its mining against loops over all triplets, by numerical gradients, and what it must not depend on."""

from __future__ import annotations

import importlib
import itertools
import math
from typing import Literal

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor

from nearfar.learn.losses.distances import Distance
from nearfar.learn.losses.triplet import triplet, triplet_by_label

triplet_module = importlib.import_module("nearfar.learn.losses.triplet")  # the package has a function of that name

Mine = Literal["semi_hard", "hard", "all"]
MINES: list[Mine] = ["semi_hard", "hard", "all"]
DISTANCES: list[Distance] = ["euclidean", "squared", "cosine"]
LABELS = torch.tensor([0, 1, 0, 2, 1, 0, 3, 1])


def drawn(*shape: int, seed: int = 0) -> Tensor:
    return torch.randn(*shape, generator=torch.Generator().manual_seed(seed), dtype=torch.float64)


def far(left: list[float], right: list[float], distance: Distance) -> float:
    if distance == "cosine":
        product = sum(a * b for a, b in zip(left, right, strict=True))
        return 1 - product / (math.hypot(*left) * math.hypot(*right))
    return math.dist(left, right) ** (2 if distance == "squared" else 1)


def penalty(violation: float, soft: bool) -> float:
    return max(violation, 0.0) + math.log1p(math.exp(-abs(violation))) if soft else max(violation, 0.0)


def by_formula(
    embeddings: Tensor,
    labels: Tensor,
    margin: float,
    mine: Mine,
    soft: bool = False,
    distance: Distance = "euclidean",
    candidates: Tensor | None = None,
    candidate_labels: Tensor | None = None,
) -> float:
    others = embeddings if candidates is None else candidates
    other_labels = (labels if candidate_labels is None else candidate_labels).tolist()
    terms: list[float] = []
    for i, anchor in enumerate(embeddings.tolist()):
        positives, negatives = [], []
        for j, other in enumerate(others.tolist()):
            if other_labels[j] != int(labels[i]):
                negatives.append(far(anchor, other, distance))
            elif candidates is not None or i != j:
                positives.append(far(anchor, other, distance))
        if not positives or not negatives:
            continue
        if mine == "hard":
            terms.append(penalty(margin + max(positives) - min(negatives), soft))
        for positive in positives:
            if mine == "semi_hard":
                further = [negative for negative in negatives if negative > positive]
                negative = min(further) if further else max(negatives)
                terms.append(penalty(margin + positive - negative, soft))
            if mine == "all":
                terms += [penalty(margin + positive - negative, soft) for negative in negatives]
    if mine == "all" and not soft:
        terms = [term for term in terms if term > 0] or [0.0]
    return sum(terms) / len(terms)


@pytest.mark.parametrize("distance", DISTANCES)
@pytest.mark.parametrize("soft", [False, True])
def test_given_triplets_are_the_formula(soft: bool, distance: Distance) -> None:
    for n in (1, 5):
        vectors = [drawn(n, 3, seed=seed) for seed in range(3)]
        loss = triplet(*vectors, margin=0.3, soft=soft, distance=distance)
        rows = zip(*(rows.tolist() for rows in vectors), strict=True)
        terms = [penalty(0.3 + far(a, p, distance) - far(a, n, distance), soft) for a, p, n in rows]
        assert loss.dtype == torch.float64
        assert float(loss) == pytest.approx(sum(terms) / n, rel=1e-10)


@pytest.mark.parametrize("mine", MINES)
@pytest.mark.parametrize("soft", [False, True])
@pytest.mark.parametrize("distance", DISTANCES)
@pytest.mark.parametrize("margin", [0.0, 0.2, 5.0, -0.5])
def test_mined_triplets_are_the_formula(mine: Mine, soft: bool, distance: Distance, margin: float) -> None:
    embeddings, candidates, other_labels = drawn(8, 3), drawn(5, 3, seed=1), torch.tensor([1, 1, 0, 4, 2])
    options = {"margin": margin, "mine": mine, "soft": soft, "distance": distance}
    within = triplet_by_label(embeddings, LABELS, **options)  # type: ignore[arg-type]
    assert float(within) == pytest.approx(by_formula(embeddings, LABELS, **options), rel=1e-8)  # type: ignore[arg-type]
    other = {"candidates": candidates, "candidate_labels": other_labels}
    across = triplet_by_label(embeddings, LABELS, **options, **other)  # type: ignore[arg-type]
    assert float(across) == pytest.approx(by_formula(embeddings, LABELS, **options, **other), rel=1e-8)  # type: ignore[arg-type]


@settings(max_examples=60, deadline=None)
@given(
    st.lists(st.tuples(st.integers(0, 3), st.integers(-3, 3), st.integers(-3, 3)), min_size=3, max_size=9),
    st.sampled_from([0.0, 1.0, 2.0]),
)
def test_equal_distances_and_lopsided_classes_are_counted_as_the_loops_do(
    items: list[tuple[int, int, int]], margin: float
) -> None:
    """Points on a grid: coinciding items, many ties, violations of exactly 0."""
    labels = torch.tensor([label for label, _, _ in items])
    if len(labels.unique()) == 1 or len(labels.unique()) == len(labels):
        return
    embeddings = torch.tensor([[x, y] for _, x, y in items], dtype=torch.float64)
    for mine, soft in itertools.product(MINES, (False, True)):
        loss = triplet_by_label(embeddings, labels, margin=margin, mine=mine, soft=soft, distance="squared")
        expected = by_formula(embeddings, labels, margin, mine, soft, "squared")
        assert float(loss) == pytest.approx(expected, rel=1e-8, abs=1e-12)


@pytest.mark.parametrize("mine", MINES)
@pytest.mark.parametrize("soft", [False, True])
@pytest.mark.parametrize("distance", DISTANCES)
def test_its_gradients_are_those_of_the_formula(mine: Mine, soft: bool, distance: Distance) -> None:
    def within(embeddings: Tensor) -> Tensor:
        return triplet_by_label(embeddings, LABELS, margin=0.4, mine=mine, soft=soft, distance=distance)

    def across(embeddings: Tensor, candidates: Tensor) -> Tensor:
        return triplet_by_label(
            embeddings,
            LABELS,
            margin=0.4,
            mine=mine,
            soft=soft,
            distance=distance,
            candidates=candidates,
            candidate_labels=LABELS[:5],
        )

    assert torch.autograd.gradcheck(within, (drawn(8, 3).requires_grad_(),))
    assert torch.autograd.gradcheck(across, (drawn(8, 3).requires_grad_(), drawn(5, 3, seed=1).requires_grad_()))


@pytest.mark.parametrize("soft", [False, True])
def test_gradients_on_given_triplets_are_those_of_the_formula(soft: bool) -> None:
    vectors = tuple(drawn(4, 3, seed=seed).requires_grad_() for seed in range(3))
    assert torch.autograd.gradcheck(lambda a, p, n: triplet(a, p, n, margin=0.5, soft=soft), vectors)


@pytest.mark.parametrize("mine", MINES)
@pytest.mark.parametrize("soft", [False, True])
def test_order_names_and_rotation_do_not_count(mine: Mine, soft: bool) -> None:
    embeddings = drawn(8, 3)
    order = torch.randperm(8, generator=torch.Generator().manual_seed(0))
    rotation, _ = torch.linalg.qr(drawn(3, 3, seed=3))
    loss = float(triplet_by_label(embeddings, LABELS, margin=0.2, mine=mine, soft=soft))
    for changed, labels in [
        (embeddings[order], LABELS[order]),
        (embeddings, 1000 - LABELS * 17),
        (embeddings @ rotation + 5, LABELS),
    ]:
        again = triplet_by_label(changed, labels, margin=0.2, mine=mine, soft=soft)
        assert float(again) == pytest.approx(loss, rel=1e-9)
    by_direction = triplet_by_label(embeddings, LABELS, margin=0.2, mine=mine, soft=soft, distance="cosine")
    stretched = embeddings * torch.linspace(0.1, 9, 8).unsqueeze(1)
    again = triplet_by_label(stretched, LABELS, margin=0.2, mine=mine, soft=soft, distance="cosine")
    assert float(again) == pytest.approx(float(by_direction), rel=1e-6)


def test_an_anchor_that_lacks_a_positive_is_left_out_of_the_mean() -> None:
    """Its own distances would otherwise lower a mean over anchors; as a negative it stays."""
    points = torch.tensor([[0.0], [1.0], [5.0]])
    loss = triplet_by_label(points, torch.tensor([0, 0, 1]), margin=4.5, mine="hard")
    assert float(loss) == pytest.approx(((4.5 + 1 - 5) + (4.5 + 1 - 4)) / 2)


@pytest.mark.parametrize("mine", MINES)
def test_a_batch_that_is_right_costs_nothing_and_moves_nothing(mine: Mine) -> None:
    embeddings = torch.tensor([[0.0], [0.1], [5.0], [5.1]], requires_grad=True)
    loss = triplet_by_label(embeddings, torch.tensor([0, 0, 1, 1]), margin=0.5, mine=mine)
    loss.backward()
    assert float(loss.detach()) == 0.0
    assert embeddings.grad is not None
    assert not embeddings.grad.any()


@pytest.mark.parametrize("mine", MINES)
@pytest.mark.parametrize("soft", [False, True])
@pytest.mark.parametrize("distance", DISTANCES)
@pytest.mark.parametrize("scale", [0.0, 1.0, 1e6])
def test_value_and_gradient_stay_finite_at_coinciding_opposite_zero_and_huge_vectors(
    mine: Mine, soft: bool, distance: Distance, scale: float
) -> None:
    rows = torch.tensor([[1.0, 0.0], [1.0, 0.0], [-1.0, 0.0], [0.0, 0.0], [0.0, 1.0]])
    embeddings = (rows * scale).requires_grad_()
    labels = torch.tensor([0, 1, 0, 1, 2])
    loss = triplet_by_label(embeddings, labels, margin=0.2, mine=mine, soft=soft, distance=distance)
    loss.backward()
    assert bool(loss.isfinite())
    assert embeddings.grad is not None
    assert bool(embeddings.grad.isfinite().all())


def test_a_collapsed_batch_costs_the_margin() -> None:
    embeddings = torch.ones(4, 3, requires_grad=True)
    for mine in MINES:
        loss = triplet_by_label(embeddings, torch.tensor([0, 0, 1, 1]), margin=0.2, mine=mine)
        (gradient,) = torch.autograd.grad(loss, embeddings)
        assert float(loss.detach()) == pytest.approx(0.2)
        assert not gradient.any()


def test_soft_triplets_come_out_the_same_in_small_blocks(monkeypatch: pytest.MonkeyPatch) -> None:
    embeddings = drawn(8, 3).requires_grad_()
    found = []
    for block in (2**22, 1, 50):
        monkeypatch.setattr(triplet_module, "BLOCK_TRIPLETS", block)
        loss = triplet_by_label(embeddings, LABELS, margin=0.2, mine="all", soft=True)
        found.append((loss.detach(), *torch.autograd.grad(loss, embeddings)))
    for value, gradient in found[1:]:
        torch.testing.assert_close(value, found[0][0])
        torch.testing.assert_close(gradient, found[0][1])


class _Largest(torch.utils._python_dispatch.TorchDispatchMode):
    """Notes the most elements that any tensor made under it has."""

    elements = 0

    def __torch_dispatch__(self, func, types, args=(), kwargs=None):  # type: ignore[no-untyped-def]
        made = func(*args, **(kwargs or {}))
        for tensor in made if isinstance(made, tuple | list) else [made]:
            if isinstance(tensor, Tensor):
                self.elements = max(self.elements, tensor.numel())
        return made


@pytest.mark.parametrize(("mine", "soft"), [("semi_hard", False), ("hard", False), ("all", False), ("all", True)])
def test_no_tensor_outgrows_a_matrix_of_pairs_or_a_block(
    mine: Mine, soft: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    """All 64^3 triplets at once would be 64 times the matrix."""
    monkeypatch.setattr(triplet_module, "BLOCK_TRIPLETS", 2 * 64 * 64)
    embeddings = drawn(64, 4).requires_grad_()
    with _Largest() as largest:
        triplet_by_label(embeddings, torch.arange(64) % 2, margin=0.2, mine=mine, soft=soft).backward()
    assert 64 * 64 <= largest.elements <= (2 if soft else 1) * 64 * 64


@pytest.mark.parametrize("mine", MINES)
@pytest.mark.parametrize("soft", [False, True])
def test_half_precision_vectors_are_compared_in_single_precision(mine: Mine, soft: bool) -> None:
    embeddings = drawn(8, 32).bfloat16()
    exact = by_formula(embeddings.double(), LABELS, 0.5, mine, soft)
    with torch.autocast("cpu", torch.bfloat16):
        loss = triplet_by_label(embeddings, LABELS, margin=0.5, mine=mine, soft=soft)
        rows = triplet(embeddings, embeddings.roll(1, 0), embeddings.roll(2, 0), margin=0.5, soft=soft)
    assert loss.dtype == rows.dtype == torch.float32
    assert float(loss) == pytest.approx(exact, rel=1e-4)
    precise = embeddings.double()
    expected = triplet(precise, precise.roll(1, 0), precise.roll(2, 0), margin=0.5, soft=soft)
    assert float(rows) == pytest.approx(float(expected), rel=1e-4)


def test_one_item_has_triplets_only_with_candidates() -> None:
    with pytest.raises(ValueError, match="two items of an identity"):
        triplet_by_label(drawn(1, 3), torch.tensor([0]), margin=0.2)
    candidates, labels = drawn(2, 3, seed=1), torch.tensor([0, 1])
    for mine in MINES:
        loss = triplet_by_label(
            drawn(1, 3), torch.tensor([0]), margin=9.0, mine=mine, candidates=candidates, candidate_labels=labels
        )
        near, beyond = (math.dist(drawn(1, 3)[0].tolist(), other) for other in candidates.tolist())
        assert float(loss) == pytest.approx(9 + near - beyond)


def test_what_does_not_fit_is_refused() -> None:
    labels = torch.tensor([0, 0, 1])
    with pytest.raises(ValueError, match=r"positives \(2, 3\), negatives \(3, 3\)"):
        triplet(drawn(3, 3), drawn(2, 3), drawn(3, 3), margin=0.2)
    with pytest.raises(ValueError, match="expected at least 1 row"):
        triplet(drawn(0, 3), drawn(0, 3), drawn(0, 3), margin=0.2)
    with pytest.raises(ValueError, match="mine is 'easy': choose 'semi_hard', 'hard' or 'all'"):
        triplet_by_label(drawn(3, 3), labels, margin=0.2, mine="easy")  # type: ignore[arg-type]
    with pytest.raises(ValueError, match="distance is 'l1'"):
        triplet_by_label(drawn(3, 3), labels, margin=0.2, distance="l1")  # type: ignore[arg-type]
    with pytest.raises(ValueError, match="two identities"):
        triplet_by_label(drawn(3, 3), torch.zeros(3), margin=0.2)
