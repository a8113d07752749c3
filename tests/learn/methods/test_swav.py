"""SwAV: who gives codes and who predicts, the queue, the frozen prototypes."""

from __future__ import annotations

import math

import pytest
import torch
import torch.nn.functional as F
from by_hand import assignment
from made_methods import made_batch, made_method
from torch import Tensor


def scores_of(method: object, projections: Tensor) -> Tensor:
    """Cosines with the prototypes, (n, V, prototypes)."""
    weight = method.prototypes.weight.detach()  # type: ignore[attr-defined]
    return F.normalize(projections, dim=-1) @ F.normalize(weight, dim=1).T


def by_formula(scores: Tensor, codes: list[Tensor], temperature: float) -> float:
    """Mean over both codes and all other views of the cross entropy of code and prediction."""
    n, views, _ = scores.shape
    total = 0.0
    for assigned in range(2):
        for view in range(views):
            if view != assigned:
                for i in range(n):
                    exponentials = [math.exp(float(s) / temperature) for s in scores[i, view]]
                    shares = [e / sum(exponentials) for e in exponentials]
                    total -= sum(float(q) * math.log(p) for q, p in zip(codes[assigned][i], shares, strict=True)) / n
    return total / (2 * (views - 1))


@pytest.mark.parametrize("crops", [0, 3])
def test_all_views_predict_the_codes_of_the_two_of_full_size(crops: int) -> None:
    method = made_method("swav", queue=0, temperature=0.2, epsilon=0.3, sinkhorn_iterations=4)
    embedded = method.embed(made_batch(8, crops=crops))
    assert embedded.projections.shape[1] == 2 + crops
    assert embedded.features.shape[1] == 2
    scores = scores_of(method, embedded.projections.detach())
    codes = [assignment(scores[:, view], 0.3, 4) for view in range(2)]
    expected = by_formula(scores, codes, 0.2)
    assert float(method.loss(embedded).detach()) == pytest.approx(expected, rel=1e-9)


def test_crops_go_through_the_encoder_in_their_own_size() -> None:
    method, batch = made_method("swav").eval(), made_batch(crops=2)
    assert batch.views[2].shape[2] < batch.views[0].shape[2]
    embedded = method.embed(batch)
    for view, pixels in enumerate(batch.views):
        torch.testing.assert_close(embedded.projections[:, view], method.projector(method.encoder(pixels)))


def test_a_full_queue_is_assigned_along_with_the_batch() -> None:
    method = made_method("swav", queue=10, epsilon=0.3, temperature=0.2, sinkhorn_iterations=3)
    stored: list[Tensor] = []
    for number in range(4):
        embedded = method.embed(made_batch(6, seed=number, crops=1))
        projections = embedded.projections.detach()
        scores = scores_of(method, projections)
        codes = []
        for view in range(2):
            rows = scores[:, view]
            if number >= 2:  # two batches of six fill a queue of ten
                queued = torch.cat([past[:, view] for past in stored])[-10:]
                rows = torch.cat([rows, scores_of(method, queued)])
            codes.append(assignment(rows, 0.3, 3)[:6])
        expected = by_formula(scores, codes, 0.2)
        assert float(method.loss(embedded).detach()) == pytest.approx(expected, rel=1e-6)  # the queue is float32
        method.remember(embedded)
        stored.append(projections)


def test_the_queue_begins_after_its_share_of_the_steps() -> None:
    method = made_method("swav", queue_start=0.25)
    embedded = method.embed(made_batch())
    method.remember(embedded)
    method.follow(24, 100)
    method.remember(embedded)
    assert [len(queue) for queue in method.queues] == [0, 0]
    method.follow(25, 100)
    method.remember(embedded)
    assert [len(queue) for queue in method.queues] == [6, 6]
    assert not torch.equal(method.queues[0].vectors, method.queues[1].vectors)


def test_prototypes_are_frozen_in_the_first_share_of_the_steps() -> None:
    method = made_method("swav", freeze_prototypes=0.25)

    def gradient_at(step: int) -> Tensor | None:
        if step:
            method.follow(step, 100)
        method.zero_grad(set_to_none=True)
        loss = method.loss(method.embed(made_batch()))
        loss.backward()
        assert method.encoder.layers[0].weight.grad.any()
        found: Tensor | None = method.prototypes.weight.grad
        return found

    assert gradient_at(0) is None
    assert gradient_at(24) is None
    later = gradient_at(25)
    assert later is not None
    assert bool(later.any())
    assert method.prototypes.weight.requires_grad  # an optimiser that is made at the start must not pass over them


def test_codes_get_no_gradient() -> None:
    method = made_method("swav", queue=0)
    embedded = method.embed(made_batch())
    leaf = embedded.projections.detach().clone().requires_grad_()
    method.loss(embedded._replace(projections=leaf)).backward()
    scores = scores_of(method, leaf)
    codes = [assignment(scores[:, view].detach(), 0.05, 3) for view in range(2)]
    logarithms = (scores / 0.1).log_softmax(dim=2)
    expected = -sum((codes[1 - view] * logarithms[:, view]).sum() / 6 for view in range(2)) / 2
    torch.testing.assert_close(leaf.grad, torch.autograd.grad(expected, leaf)[0])
