"""NNCLR: the neighbour of one view stands for it, and looks for the other view."""

from __future__ import annotations

import pytest
import torch
from by_hand import cosine, mean, softmax_loss
from made_methods import drawn, made_batch, made_method
from torch import Tensor

from nearfar.learn.methods import nnclr


def by_formula(z: Tensor, p: Tensor, items: list[int], stored: list[tuple[int, Tensor]], temperature: float) -> float:
    total = 0.0
    for a in range(2):
        terms = []
        for i, item in enumerate(items):
            others = [vector for other, vector in stored if other != item] or [z[i, a]]
            nearest = max(others, key=lambda vector: cosine(z[i, a], vector))
            candidates = p[:, 1 - a]
            terms.append(softmax_loss(nearest, candidates[i], [*candidates[:i], *candidates[i + 1 :]], temperature))
        total += mean(terms) / 2
    return total


def test_the_loss_is_eq_4_both_ways_and_the_queue_has_the_first_view() -> None:
    method = made_method("nnclr", temperature=0.3, queue=30)
    stored: list[tuple[int, Tensor]] = []
    for number in range(3):
        embedded = method.embed(made_batch(seed=number))
        z, p, items = embedded.projections.detach(), embedded.predictions.detach(), embedded.items.tolist()
        found = float(method.loss(embedded).detach())
        assert found == pytest.approx(by_formula(z, p, items, stored, 0.3), rel=1e-6)  # the queue is float32
        method.remember(embedded)
        stored += list(zip(items, z[:, 0], strict=True))
    assert method.queue.contents().ids.tolist() == [item for item, _ in stored]


def test_gradients_go_through_predictions_only() -> None:
    method = made_method("nnclr")
    for _ in range(2):
        embedded = method.embed(made_batch())
        leaves = type(embedded)(*(f.detach().clone().requires_grad_(f.is_floating_point()) for f in embedded))
        method.loss(leaves).backward()
        assert leaves.projections.grad is None
        assert leaves.predictions.grad is not None
        method.remember(embedded)


def test_neighbours_found_in_parts_are_the_same(monkeypatch: pytest.MonkeyPatch) -> None:
    method = made_method("nnclr", queue=50)
    vectors, items = drawn(50, 6), torch.arange(50) % 20
    method.queue.push(vectors, items, items)
    queries, own = drawn(17, 6, seed=1), torch.arange(17)
    at_once = method.neighbours(queries, own)
    monkeypatch.setattr(nnclr, "_AT_ONCE", 100)
    assert torch.equal(method.neighbours(queries, own), at_once)
    for query, item, found in zip(queries, own.tolist(), at_once, strict=True):
        others = [v for v, other in zip(vectors, items.tolist(), strict=True) if other != item]
        best = max(others, key=lambda vector, query=query: cosine(query, vector))
        torch.testing.assert_close(found.double(), best / best.norm(), atol=1e-6, rtol=0)
