"""Multi-similarity loss and its mining against loops from the paper, and what it must not depend on."""

from __future__ import annotations

import math

import pytest
import torch
from torch import Tensor

from nearfar.learn.losses.multi_similarity import multi_similarity

LABELS = torch.tensor([0, 1, 0, 2, 1, 0, 3, 1])


def drawn(*shape: int, seed: int = 0) -> Tensor:
    return torch.randn(*shape, generator=torch.Generator().manual_seed(seed), dtype=torch.float64)


def by_formula(
    embeddings: Tensor,
    labels: Tensor,
    alpha: float = 2.0,
    beta: float = 50.0,
    threshold: float = 0.5,
    epsilon: float = 0.1,
    candidates: Tensor | None = None,
    candidate_labels: Tensor | None = None,
) -> float:
    others = embeddings if candidates is None else candidates
    other_labels = (labels if candidate_labels is None else candidate_labels).tolist()
    terms = []
    for i, anchor in enumerate(embeddings.tolist()):
        positives, negatives = [], []
        for j, other in enumerate(others.tolist()):
            product = sum(a * b for a, b in zip(anchor, other, strict=True))
            cosine = product / (math.hypot(*anchor) * math.hypot(*other))
            if other_labels[j] != int(labels[i]):
                negatives.append(cosine)
            elif candidates is not None or i != j:
                positives.append(cosine)
        if positives and negatives:
            hard_negatives = [s for s in negatives if s > min(positives) - epsilon]
            hard_positives = [s for s in positives if s < max(negatives) + epsilon]
            pulled = math.log(1 + sum(math.exp(-alpha * (s - threshold)) for s in hard_positives)) / alpha
            pushed = math.log(1 + sum(math.exp(beta * (s - threshold)) for s in hard_negatives)) / beta
            terms.append(pulled + pushed)
    return sum(terms) / len(terms)


@pytest.mark.parametrize("epsilon", [-0.5, 0.0, 0.1, 2.0])
@pytest.mark.parametrize(("alpha", "beta", "threshold"), [(2.0, 50.0, 0.5), (2.0, 50.0, 1.0), (0.3, 7.0, -0.2)])
def test_it_is_the_formula(alpha: float, beta: float, threshold: float, epsilon: float) -> None:
    for seed in range(5):
        embeddings, candidates, other_labels = (
            drawn(8, 3, seed=seed),
            drawn(5, 3, seed=9),
            torch.tensor([1, 1, 0, 4, 2]),
        )
        options = {"alpha": alpha, "beta": beta, "threshold": threshold, "epsilon": epsilon}
        within = multi_similarity(embeddings, LABELS, **options)
        assert within.dtype == torch.float64
        assert float(within) == pytest.approx(by_formula(embeddings, LABELS, **options), rel=1e-10)
        across = multi_similarity(embeddings, LABELS, **options, candidates=candidates, candidate_labels=other_labels)
        expected = by_formula(embeddings, LABELS, **options, candidates=candidates, candidate_labels=other_labels)
        assert float(across) == pytest.approx(expected, rel=1e-10)


def test_its_gradients_are_those_of_the_formula() -> None:
    def across(embeddings: Tensor, candidates: Tensor) -> Tensor:
        return multi_similarity(embeddings, LABELS, candidates=candidates, candidate_labels=LABELS[:5])

    assert torch.autograd.gradcheck(lambda e: multi_similarity(e, LABELS), (drawn(8, 3).requires_grad_(),))
    assert torch.autograd.gradcheck(across, (drawn(8, 3).requires_grad_(), drawn(5, 3, seed=1).requires_grad_()))


def test_order_names_length_and_rotation_do_not_count() -> None:
    embeddings = drawn(8, 3)
    order = torch.randperm(8, generator=torch.Generator().manual_seed(0))
    rotation, _ = torch.linalg.qr(drawn(3, 3, seed=3))
    loss = float(multi_similarity(embeddings, LABELS))
    for changed, labels in [
        (embeddings[order], LABELS[order]),
        (embeddings, 1000 - LABELS * 17),
        (embeddings @ rotation, LABELS),
        (embeddings * torch.linspace(0.1, 50, 8).unsqueeze(1), LABELS),
    ]:
        assert float(multi_similarity(changed, labels)) == pytest.approx(loss, rel=1e-10)


def test_what_mining_drops_has_no_part_in_the_gradient() -> None:
    """A far class of its own is no hard negative for the others, nor are they for it."""
    embeddings = torch.tensor([[1.0, 0.1], [1.0, -0.3], [1.0, 0.4], [1.0, -0.2], [-1.0, 0.0], [-1.0, 0.1]])
    embeddings.requires_grad_()
    multi_similarity(embeddings, torch.tensor([0, 0, 1, 1, 2, 2])).backward()
    assert embeddings.grad is not None
    assert embeddings.grad[:4].any(dim=1).all()
    assert not embeddings.grad[4:].any()


def test_a_batch_of_which_nothing_is_mined_costs_nothing() -> None:
    embeddings = torch.tensor([[1.0, 0.0], [1.0, 0.0], [0.0, 1.0], [0.0, 1.0]], requires_grad=True)
    loss = multi_similarity(embeddings, torch.tensor([0, 0, 1, 1]))
    loss.backward()
    assert float(loss.detach()) == 0.0
    assert embeddings.grad is not None
    assert not embeddings.grad.any()


@pytest.mark.parametrize("sharpness", [1e-3, 1.0, 1000.0, 1e6])
def test_extreme_sharpness_and_coinciding_opposite_zero_vectors_do_not_overflow(sharpness: float) -> None:
    rows = torch.tensor([[1.0, 0.0], [1.0, 0.0], [-1.0, 0.0], [0.0, 0.0], [0.0, 1.0]], requires_grad=True)
    labels = torch.tensor([0, 1, 0, 1, 2])
    loss = multi_similarity(rows, labels, alpha=sharpness, beta=sharpness)
    loss.backward()
    assert bool(loss.isfinite())
    assert rows.grad is not None
    assert bool(rows.grad.isfinite().all())


def test_very_sharp_it_is_the_largest_violation_on_either_side() -> None:
    embeddings = torch.tensor([[1.0, 0.0], [-1.0, 0.0], [1.0, 0.0]])
    candidates = {"candidates": embeddings[1:], "candidate_labels": torch.tensor([0, 1])}
    loss = multi_similarity(embeddings[:1], torch.tensor([0]), alpha=1000.0, beta=1000.0, **candidates)  # type: ignore[arg-type]
    assert float(loss) == pytest.approx((0.5 + 1) + (1 - 0.5))


def test_half_precision_vectors_are_compared_in_single_precision() -> None:
    embeddings = drawn(8, 32).bfloat16()
    with torch.autocast("cpu", torch.bfloat16):
        loss = multi_similarity(embeddings, LABELS)
    assert loss.dtype == torch.float32
    assert float(loss) == pytest.approx(by_formula(embeddings.double(), LABELS), rel=1e-5)


def test_a_batch_without_pairs_is_refused() -> None:
    with pytest.raises(ValueError, match="two items of an identity"):
        multi_similarity(drawn(1, 3), LABELS[:1])
    with pytest.raises(ValueError, match="two items of an identity"):
        multi_similarity(drawn(3, 3), torch.arange(3))
    with pytest.raises(ValueError, match="two identities"):
        multi_similarity(drawn(3, 3), torch.zeros(3))
    with pytest.raises(ValueError, match=r"got \(3, 3\) and \(2,\)"):
        multi_similarity(drawn(3, 3), torch.zeros(2))
