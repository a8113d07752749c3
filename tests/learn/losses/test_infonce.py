"""InfoNCE against its formula, in float64 and by numerical gradients, and what it must not depend on."""

from __future__ import annotations

import math

import pytest
import torch
from torch import Tensor

from nearfar.learn.losses import info_nce


def by_formula(
    anchors: Tensor, candidates: Tensor, positive: Tensor, temperature: float, ignored: Tensor | None = None
) -> float:
    """Mean of -log(exp(cos(a, p) / t) / sum of exp(cos(a, c) / t)), term by term."""
    total = 0.0
    for i, anchor in enumerate(anchors.tolist()):
        terms = {}
        for j, candidate in enumerate(candidates.tolist()):
            own = j == int(positive[i])
            if ignored is not None and bool(ignored[i, j]) and not own:
                continue
            product = sum(a * c for a, c in zip(anchor, candidate, strict=True))
            cosine = product / (math.hypot(*anchor) * math.hypot(*candidate))
            terms[j] = cosine / temperature
        largest = max(terms.values())
        partition = sum(math.exp(term - largest) for term in terms.values())
        total += math.log(partition) + largest - terms[int(positive[i])]
    return total / len(anchors)


def drawn(n: int, m: int, d: int, seed: int) -> tuple[Tensor, Tensor, Tensor, Tensor]:
    """Anchors, candidates, a positive for each anchor, and a mask that also covers some positives."""
    source = torch.Generator().manual_seed(seed)
    anchors = torch.randn(n, d, generator=source, dtype=torch.float64) * 3
    candidates = torch.randn(m, d, generator=source, dtype=torch.float64)
    return (
        anchors,
        candidates,
        torch.randint(m, (n,), generator=source),
        torch.rand(n, m, generator=source) < 0.3,
    )


@pytest.mark.parametrize("temperature", [0.001, 0.05, 1.0, 7.0])
@pytest.mark.parametrize(("n", "m", "d"), [(1, 1, 1), (1, 4, 3), (5, 5, 2), (6, 9, 8)])
def test_it_is_the_formula(n: int, m: int, d: int, temperature: float) -> None:
    anchors, candidates, positive, ignored = drawn(n, m, d, seed=n + m)
    for mask in (None, ignored):
        loss = info_nce(anchors, candidates, positive, temperature=temperature, ignored=mask)
        assert loss.dtype == torch.float64
        assert float(loss) == pytest.approx(by_formula(anchors, candidates, positive, temperature, mask), rel=1e-10)


def test_both_directions_are_the_formula_twice() -> None:
    """Backwards, the positives are the anchors and the anchors their candidates; further candidates have no part."""
    anchors, candidates, _, ignored = drawn(4, 7, 3, seed=5)
    positive = torch.tensor([2, 0, 6, 3])
    for mask in (None, ignored):
        loss = info_nce(anchors, candidates, positive, temperature=0.2, ignored=mask, symmetric=True)
        turned = None if mask is None else mask[:, positive].T
        forwards = by_formula(anchors, candidates, positive, 0.2, mask)
        backwards = by_formula(candidates[positive], anchors, torch.arange(4), 0.2, turned)
        assert float(loss) == pytest.approx((forwards + backwards) / 2, rel=1e-10)


@pytest.mark.parametrize("symmetric", [False, True])
@pytest.mark.parametrize("masked", [False, True])
def test_its_gradients_are_those_of_the_formula(masked: bool, symmetric: bool) -> None:
    anchors, candidates, positive, ignored = drawn(4, 6, 3, seed=1)
    temperature = torch.tensor(0.3, dtype=torch.float64, requires_grad=True)

    def loss(a: Tensor, c: Tensor, t: Tensor) -> Tensor:
        mask = ignored if masked else None
        return info_nce(a, c, positive, temperature=t, ignored=mask, symmetric=symmetric)

    assert torch.autograd.gradcheck(loss, (anchors.requires_grad_(), candidates.requires_grad_(), temperature))


def test_neither_length_nor_order_of_vectors_counts() -> None:
    anchors, candidates, positive, ignored = drawn(5, 7, 4, seed=2)
    loss = info_nce(anchors, candidates, positive, temperature=0.1, ignored=ignored)
    scaled = info_nce(anchors * torch.rand(5, 1).add(0.1), candidates * 1e6, positive, temperature=0.1, ignored=ignored)
    assert float(scaled) == pytest.approx(float(loss), rel=1e-10)
    order = torch.randperm(7, generator=torch.Generator().manual_seed(0))
    place = torch.argsort(order)
    permuted = info_nce(anchors, candidates[order], place[positive], temperature=0.1, ignored=ignored[:, order])
    assert float(permuted) == pytest.approx(float(loss), rel=1e-12)


def test_a_tiny_temperature_does_not_overflow() -> None:
    """At 0.001 the logits span -1000 to 1000; exp of either leaves float32."""
    anchors = torch.tensor([[1.0, 0.0], [0.0, 1.0]], requires_grad=True)
    candidates = torch.tensor([[-1.0, 0.0], [1.0, 0.0], [0.0, 1.0]])
    loss = info_nce(anchors, candidates, torch.tensor([0, 2]), temperature=0.001)
    assert float(loss.detach()) == pytest.approx(1000.0)  # 2000 for the first anchor, 0 for the second
    loss.backward()
    assert anchors.grad is not None
    assert bool(torch.isfinite(anchors.grad).all())


def test_one_pair_alone_has_nothing_to_learn_from() -> None:
    anchors = torch.randn(1, 4, requires_grad=True)
    loss = info_nce(anchors, torch.randn(1, 4), torch.tensor([0]), temperature=0.05)
    loss.backward()
    assert float(loss.detach()) == 0.0
    assert anchors.grad is not None
    assert not anchors.grad.any()


def test_half_precision_vectors_are_compared_in_single_precision() -> None:
    anchors, candidates, positive, _ = drawn(8, 8, 64, seed=3)
    anchors, candidates = anchors.bfloat16(), candidates.bfloat16()
    exact = by_formula(anchors.double(), candidates.double(), positive, 0.01)
    plain = info_nce(anchors, candidates, positive, temperature=0.01)
    with torch.autocast("cpu", torch.bfloat16):
        mixed = info_nce(anchors, candidates, positive, temperature=0.01)
    for loss in (plain, mixed):
        assert loss.dtype == torch.float32
        assert float(loss) == pytest.approx(exact, rel=1e-5)


def test_what_is_ignored_has_no_part_in_loss_or_gradient() -> None:
    anchors, candidates, _, _ = drawn(3, 5, 4, seed=4)
    positive = torch.tensor([0, 1, 2])
    ignored = torch.zeros(3, 5, dtype=torch.bool)
    ignored[:, 3] = True
    ignored[0, 4] = True
    ignored[1, 1] = True  # the own positive stays whatever the mask says
    candidates.requires_grad_()
    loss = info_nce(anchors, candidates, positive, temperature=0.1, ignored=ignored)
    (gradient,) = torch.autograd.grad(loss, candidates)
    assert not gradient[3].any()
    assert bool(gradient[[0, 1, 2, 4]].any(dim=1).all())
    # Candidate 4 gets exactly what the two anchors that do not ignore it say.
    of_two = info_nce(anchors[1:], candidates, positive[1:], temperature=0.1, ignored=ignored[1:])
    (expected,) = torch.autograd.grad(of_two, candidates)
    torch.testing.assert_close(gradient[4], expected[4] * 2 / 3)
    moved = candidates.detach().clone()
    moved[3] = -moved[3] * 5 + 1
    assert float(info_nce(anchors, moved, positive, temperature=0.1, ignored=ignored)) == float(loss.detach())
