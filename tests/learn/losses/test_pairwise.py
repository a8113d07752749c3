"""Contrastive loss against its formula, by numerical gradients, and what it must not depend on."""

from __future__ import annotations

import math
from collections.abc import Iterable

import pytest
import torch
from torch import Tensor

from nearfar.learn.losses.pairwise import contrastive, contrastive_by_label

LABELS = torch.tensor([0, 1, 0, 2, 1, 0, 3])


def drawn(*shape: int, seed: int = 0) -> Tensor:
    return torch.randn(*shape, generator=torch.Generator().manual_seed(seed), dtype=torch.float64)


def pairs_by_formula(pairs: Iterable[tuple[list[float], list[float], bool]], margin: float) -> float:
    """Mean of D^2 / 2 for the same and max(0, m - D)^2 / 2 for the different."""
    terms = []
    for left, right, same in pairs:
        apart = math.sqrt(sum((a - b) ** 2 for a, b in zip(left, right, strict=True)))
        terms.append(0.5 * apart**2 if same else 0.5 * max(0.0, margin - apart) ** 2)
    return sum(terms) / len(terms)


def labels_by_formula(
    embeddings: Tensor,
    labels: Tensor,
    positive_margin: float,
    negative_margin: float,
    candidates: Tensor | None = None,
    candidate_labels: Tensor | None = None,
) -> float:
    """Each kind's squared hinges averaged over those that are not 0, and the two averages added."""
    others = embeddings if candidates is None else candidates
    other_labels = labels if candidate_labels is None else candidate_labels
    kinds: dict[bool, list[float]] = {True: [], False: []}
    for i, left in enumerate(embeddings.tolist()):
        for j, right in enumerate(others.tolist()):
            if candidates is None and i == j:
                continue
            same = int(labels[i]) == int(other_labels[j])
            hinge = math.dist(left, right) - positive_margin if same else negative_margin - math.dist(left, right)
            if hinge > 0:
                kinds[same].append(0.5 * hinge**2)
    return sum(sum(terms) / len(terms) for terms in kinds.values() if terms)


@pytest.mark.parametrize("margin", [0.1, 1.5, 4.0])
@pytest.mark.parametrize(("n", "d"), [(1, 1), (1, 4), (6, 3)])
def test_given_pairs_are_the_formula(n: int, d: int, margin: float) -> None:
    anchors, others = drawn(n, d), drawn(n, d, seed=1)
    for same in (torch.arange(n) % 2 == 0, torch.arange(n) % 2 == 1):
        loss = contrastive(anchors, others, same, margin=margin)
        expected = pairs_by_formula(zip(anchors.tolist(), others.tolist(), same.tolist(), strict=True), margin)
        assert loss.dtype == torch.float64
        assert float(loss) == pytest.approx(expected, rel=1e-12)


@pytest.mark.parametrize(("positive_margin", "negative_margin"), [(0.0, 1.0), (0.5, 2.5), (1.5, 100.0), (50.0, 2.0)])
def test_all_pairs_of_a_batch_are_the_formula(positive_margin: float, negative_margin: float) -> None:
    embeddings, candidates, other_labels = drawn(7, 3), drawn(5, 3, seed=1), torch.tensor([1, 1, 0, 4, 2])
    margins = {"positive_margin": positive_margin, "negative_margin": negative_margin}
    within = contrastive_by_label(embeddings, LABELS, **margins)
    assert float(within) == pytest.approx(labels_by_formula(embeddings, LABELS, *margins.values()), rel=1e-12)
    across = contrastive_by_label(embeddings, LABELS, **margins, candidates=candidates, candidate_labels=other_labels)
    expected = labels_by_formula(embeddings, LABELS, *margins.values(), candidates, other_labels)
    assert float(across) == pytest.approx(expected, rel=1e-12)


def test_its_gradients_are_those_of_the_formula() -> None:
    same = torch.tensor([True, False, False, True])
    given = (drawn(4, 3).requires_grad_(), drawn(4, 3, seed=1).requires_grad_())
    assert torch.autograd.gradcheck(lambda a, b: contrastive(a, b, same, margin=3.0), given)

    def across(embeddings: Tensor, candidates: Tensor) -> Tensor:
        return contrastive_by_label(
            embeddings, LABELS, negative_margin=2.0, candidates=candidates, candidate_labels=LABELS[:4]
        )

    assert torch.autograd.gradcheck(across, (drawn(7, 3).requires_grad_(), drawn(4, 3, seed=2).requires_grad_()))
    within = drawn(7, 3).requires_grad_()
    assert torch.autograd.gradcheck(lambda e: contrastive_by_label(e, LABELS, negative_margin=2.0), (within,))


def test_order_names_rotation_and_shift_do_not_count() -> None:
    embeddings = drawn(7, 3)
    loss = float(contrastive_by_label(embeddings, LABELS, negative_margin=2.0))
    order = torch.randperm(7, generator=torch.Generator().manual_seed(0))
    rotation, _ = torch.linalg.qr(drawn(3, 3, seed=3))
    for changed, labels in [
        (embeddings[order], LABELS[order]),
        (embeddings, 1000 - LABELS * 17),
        (embeddings @ rotation + 5, LABELS),
    ]:
        assert float(contrastive_by_label(changed, labels, negative_margin=2.0)) == pytest.approx(loss, rel=1e-10)


def test_a_batch_that_is_right_costs_nothing_and_moves_nothing() -> None:
    embeddings = torch.tensor([[0.0, 0.0], [0.0, 0.0], [5.0, 0.0], [5.0, 0.0]], requires_grad=True)
    loss = contrastive_by_label(embeddings, torch.tensor([0, 0, 1, 1]))
    loss.backward()
    assert float(loss.detach()) == 0.0
    assert embeddings.grad is not None
    assert not embeddings.grad.any()


@pytest.mark.parametrize("scale", [0.0, 1e-18, 1.0, 1e15])
def test_value_and_gradient_stay_finite_from_coinciding_to_far_apart(scale: float) -> None:
    embeddings = (torch.tensor([[1.0, 0.0], [1.0, 0.0], [-1.0, 0.0], [0.0, 0.0]]) * scale).requires_grad_()
    labels = torch.tensor([0, 1, 0, 1])
    for loss in (
        contrastive_by_label(embeddings, labels),
        contrastive(embeddings, embeddings.flip(0), labels == 0, margin=1.0),
        contrastive(embeddings, embeddings.detach(), labels == 0, margin=1.0),
    ):
        (gradient,) = torch.autograd.grad(loss, embeddings)
        assert bool(loss.isfinite())
        assert bool(gradient.isfinite().all())


def test_different_items_at_one_place_are_charged_for_without_a_direction_to_go() -> None:
    embeddings = torch.ones(4, 3, requires_grad=True)
    loss = contrastive_by_label(embeddings, torch.tensor([0, 0, 1, 1]), negative_margin=2.0)
    loss.backward()
    assert float(loss.detach()) == 2.0  # half of 2 squared
    assert embeddings.grad is not None
    assert not embeddings.grad.any()


def test_half_precision_vectors_are_compared_in_single_precision() -> None:
    embeddings = drawn(7, 32).bfloat16()
    exact = labels_by_formula(embeddings.double(), LABELS, 0.0, 9.0)
    with torch.autocast("cpu", torch.bfloat16):
        loss = contrastive_by_label(embeddings, LABELS, negative_margin=9.0)
        given = contrastive(embeddings, embeddings.flip(0), LABELS == 0, margin=9.0)
    assert loss.dtype == given.dtype == torch.float32
    assert float(loss) == pytest.approx(exact, rel=1e-5)
    precise = contrastive(embeddings.double(), embeddings.double().flip(0), LABELS == 0, margin=9.0)
    assert float(given) == pytest.approx(float(precise), rel=1e-5)


def test_what_does_not_fit_is_refused_with_its_shape() -> None:
    same = torch.tensor([True, False])
    with pytest.raises(ValueError, match=r"anchors \(2, 3\), others \(2, 4\)"):
        contrastive(drawn(2, 3), drawn(2, 4), same, margin=1.0)
    with pytest.raises(ValueError, match=r"anchors \(3,\)"):
        contrastive(drawn(3), drawn(3), same, margin=1.0)
    with pytest.raises(ValueError, match="expected at least 1 row"):
        contrastive(drawn(0, 3), drawn(0, 3), same[:0], margin=1.0)
    with pytest.raises(ValueError, match=r"same must be \(n,\) bool: got \(2,\) .* for 3 pairs"):
        contrastive(drawn(3, 3), drawn(3, 3), same, margin=1.0)
    with pytest.raises(ValueError, match=r"torch\.int64"):
        contrastive(drawn(2, 3), drawn(2, 3), same.long(), margin=1.0)
    with pytest.raises(ValueError, match="two items of an identity"):
        contrastive_by_label(drawn(3, 2), torch.arange(3))
    with pytest.raises(ValueError, match="two identities"):
        contrastive_by_label(drawn(3, 2), torch.zeros(3))
