"""The objectives that have names against the equations of their papers, by loops."""

from __future__ import annotations

import math

import pytest
import torch
import torch.nn.functional as F
from torch import Tensor

from nearfar.learn.losses import clip, moco, n_pair, nt_xent, sup_con


def drawn(*shape: int, seed: int = 0) -> Tensor:
    return torch.randn(*shape, generator=torch.Generator().manual_seed(seed), dtype=torch.float64)


def cosine(left: Tensor, right: Tensor) -> float:
    return float(F.cosine_similarity(left, right, dim=0))


def inner(left: Tensor, right: Tensor) -> float:
    return float((left * right).sum())


@pytest.mark.parametrize("temperature", [0.05, 0.5])
@pytest.mark.parametrize("n", [1, 2, 5])
def test_nt_xent_is_eq_1_of_simclr(n: int, temperature: float) -> None:
    first, second = drawn(n, 3), drawn(n, 3, seed=1)
    views = [view for pair in zip(first, second, strict=True) for view in pair]  # the paper's 2k - 1 and 2k

    def loss(i: int, j: int) -> float:
        others = sum(math.exp(cosine(views[i], views[k]) / temperature) for k in range(2 * n) if k != i)
        return -math.log(math.exp(cosine(views[i], views[j]) / temperature) / others)

    expected = sum(loss(2 * k, 2 * k + 1) + loss(2 * k + 1, 2 * k) for k in range(n)) / (2 * n)
    assert float(nt_xent(first, second, temperature=temperature)) == pytest.approx(expected, rel=1e-10, abs=1e-14)
    assert float(nt_xent(second, first, temperature=temperature)) == pytest.approx(expected, rel=1e-10, abs=1e-14)


def test_moco_is_eq_1_of_its_paper() -> None:
    queries, keys, queue = drawn(4, 3), drawn(4, 3, seed=1), drawn(6, 3, seed=2)
    expected = 0.0
    for query, key in zip(queries, keys, strict=True):
        own = math.exp(cosine(query, key) / 0.07)
        expected -= math.log(own / (own + sum(math.exp(cosine(query, other) / 0.07) for other in queue))) / 4
    assert float(moco(queries, keys, queue, temperature=0.07)) == pytest.approx(expected, rel=1e-10)


def test_other_keys_of_the_batch_do_not_count_for_moco() -> None:
    queries, keys, queue = drawn(4, 3).requires_grad_(), drawn(4, 3, seed=1), drawn(6, 3, seed=2)
    (gradient,) = torch.autograd.grad(moco(queries, keys, queue, temperature=0.07), queries)
    for own in range(4):
        others = drawn(4, 3, seed=9)
        others[own] = keys[own]
        (moved,) = torch.autograd.grad(moco(queries, others, queue, temperature=0.07), queries)
        torch.testing.assert_close(moved[own], gradient[own])
    alone = [moco(queries[i : i + 1], keys[i : i + 1], queue, temperature=0.07) for i in range(4)]
    together = moco(queries, keys, queue, temperature=0.07)
    assert float(together.detach()) == pytest.approx(float(torch.stack(alone).mean().detach()), rel=1e-12)


def test_keys_and_queue_of_moco_get_no_gradient() -> None:
    queries, keys, queue = (drawn(4, 3, seed=seed).requires_grad_() for seed in range(3))
    moco(queries, keys, queue, temperature=0.07).backward()
    assert keys.grad is None
    assert queue.grad is None
    assert queries.grad is not None
    assert bool(queries.grad.any(dim=1).all())


def test_the_queue_of_moco_may_be_empty() -> None:
    queries = drawn(4, 3).requires_grad_()
    loss = moco(queries, drawn(4, 3, seed=1), torch.empty(0, 3).double(), temperature=0.07)
    assert float(loss.detach()) == 0.0
    assert not torch.autograd.grad(loss, queries)[0].any()


@pytest.mark.parametrize("n", [1, 2, 7])
def test_clip_is_cross_entropy_both_ways(n: int) -> None:
    images, texts = drawn(n, 3).requires_grad_(), drawn(n, 3, seed=1).requires_grad_()
    temperature = torch.tensor(0.07).double().requires_grad_()
    logits = F.normalize(images, dim=-1) @ F.normalize(texts, dim=-1).T / temperature
    places = torch.arange(n)
    expected = (F.cross_entropy(logits, places) + F.cross_entropy(logits.T, places)) / 2
    loss = clip(images, texts, temperature=temperature)
    inputs = images, texts, temperature
    torch.testing.assert_close(loss, expected, rtol=1e-10, atol=1e-14)
    torch.testing.assert_close(
        torch.autograd.grad(loss, inputs), torch.autograd.grad(expected, inputs), rtol=1e-8, atol=1e-12
    )


LABELS = torch.tensor([3, 1, 3, 2, 1, 3, -1, -1, 7])


def eq_2_of_sup_con(embeddings: Tensor, labels: Tensor, temperature: float) -> float:
    """The mean over the items that have a positive, which is how the paper's sum becomes independent of the batch."""
    terms = []
    for i, anchor in enumerate(embeddings):
        others = {p: cosine(anchor, other) / temperature for p, other in enumerate(embeddings) if p != i}
        denominator = sum(math.exp(score) for score in others.values())
        positives = [score for p, score in others.items() if int(labels[p]) == int(labels[i]) >= 0]
        if positives:
            terms.append(-sum(math.log(math.exp(score) / denominator) for score in positives) / len(positives))
    return sum(terms) / len(terms)


@pytest.mark.parametrize("temperature", [0.1, 1.0])
@pytest.mark.parametrize("labels", [LABELS, torch.zeros(9, dtype=torch.int64), torch.arange(9) // 2, LABELS + 2**40])
def test_sup_con_is_eq_2_of_its_paper(labels: Tensor, temperature: float) -> None:
    embeddings = drawn(9, 3)
    expected = eq_2_of_sup_con(embeddings, labels, temperature)
    assert float(sup_con(embeddings, labels, temperature=temperature)) == pytest.approx(expected, rel=1e-10)


def test_items_of_negative_label_are_negatives_only() -> None:
    embeddings = drawn(9, 3).requires_grad_()
    loss = sup_con(embeddings, LABELS, temperature=0.1)
    assert bool(torch.autograd.grad(loss, embeddings)[0].any(dim=1).all())
    without = sup_con(embeddings[:6], LABELS[:6], temperature=0.1)
    assert float(loss.detach()) > float(without.detach())


def test_sup_con_of_two_views_of_each_item_is_nt_xent() -> None:
    first, second = drawn(5, 3), drawn(5, 3, seed=1)
    loss = sup_con(torch.cat([first, second]), torch.arange(5).repeat(2), temperature=0.1)
    assert float(loss) == pytest.approx(float(nt_xent(first, second, temperature=0.1)), rel=1e-10)


@pytest.mark.parametrize("labels", [torch.arange(4), torch.full((4,), -1)])
def test_sup_con_says_so_where_no_label_repeats(labels: Tensor) -> None:
    with pytest.raises(ValueError, match="two items of a label"):
        sup_con(drawn(4, 3), labels, temperature=0.1)


def test_n_pair_is_eq_7_of_its_paper() -> None:
    anchors, positives = drawn(5, 3), drawn(5, 3, seed=1)
    terms = []
    for i, anchor in enumerate(anchors):
        own = inner(anchor, positives[i])
        others = sum(math.exp(inner(anchor, other) - own) for j, other in enumerate(positives) if j != i)
        terms.append(math.log(1 + others))
    assert float(n_pair(anchors, positives)) == pytest.approx(sum(terms) / 5, rel=1e-10)
    assert float(n_pair(anchors * 2, positives)) != pytest.approx(sum(terms) / 5, rel=1e-2)


def test_gradients_of_all_are_right() -> None:
    first, second = drawn(4, 2).requires_grad_(), drawn(4, 2, seed=1).requires_grad_()
    queue, labels = drawn(5, 2, seed=2), torch.tensor([0, 1, 1, 0])
    temperature = torch.tensor(0.5).double().requires_grad_()
    check = torch.autograd.gradcheck
    assert check(lambda a, b, t: nt_xent(a, b, temperature=t), (first, second, temperature))
    assert check(lambda a, t: moco(a, second.detach(), queue, temperature=t), (first, temperature))
    assert check(lambda a, b, t: clip(a, b, temperature=t), (first, second, temperature))
    assert check(lambda a, t: sup_con(a, labels, temperature=t), (first, temperature))
    assert check(n_pair, (first, second))
