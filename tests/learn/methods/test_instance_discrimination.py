"""Instance discrimination: the bank's slots as positives and negatives, the sample, the proximal term."""

from __future__ import annotations

import pytest
import torch
from by_hand import cosine, mean, softmax_loss
from made_methods import ITEMS, made_batch, made_method


@pytest.mark.parametrize("views", [1, 2])
def test_each_view_looks_for_the_slot_of_its_picture(views: int) -> None:
    method = made_method("instance_discrimination", temperature=0.3, proximal=0.0, sample=None)
    for number in range(2):
        method.remember(method.embed(made_batch(12, seed=number, views=views)))
    embedded = method.embed(made_batch(6, seed=5, views=views))
    assert embedded.projections.shape == (6, views, 6)
    visited = [item for item in range(ITEMS) if method.bank.seen[item]]
    assert {bool(method.bank.seen[i]) for i in embedded.items} == {True, False}  # both kinds are met
    projections = embedded.projections.detach()
    means = (projections / projections.norm(dim=2, keepdim=True)).mean(dim=1)
    terms = []
    for i, item in enumerate(embedded.items.tolist()):
        if item in visited:
            target = method.bank.vectors[item].double()
            negatives = [method.bank.vectors[other].double() for other in visited if other != item]
        else:  # its first visit: among the others of the batch that have no slot either
            target = means[i]
            negatives = [means[j] for j, other in enumerate(embedded.items.tolist()) if other not in (*visited, item)]
        terms += [softmax_loss(view, target, negatives, 0.3) for view in embedded.projections[i].detach()]
    assert float(method.loss(embedded).detach()) == pytest.approx(mean(terms), rel=1e-6)  # the bank is float32


def test_the_proximal_term_is_the_squared_distance_to_visited_slots() -> None:
    with_term, without = (made_method("instance_discrimination", proximal=weight) for weight in (0.7, 0.0))
    embedded = with_term.embed(made_batch(6, seed=5))
    assert float(with_term.loss(embedded).detach()) == float(without.loss(embedded).detach())  # no slot is visited yet
    for method in (with_term, without):
        method.remember(method.embed(made_batch(20)))
    distances = [
        2 - 2 * cosine(view, with_term.bank.vectors[item].double())
        for item, views in zip(embedded.items.tolist(), embedded.projections.detach(), strict=True)
        for view in views
        if with_term.bank.seen[item]
    ]
    assert 0 < len(distances) < 12
    found = float((with_term.loss(embedded) - without.loss(embedded)).detach())
    assert found == pytest.approx(0.7 * sum(distances) / 12, rel=1e-6)  # of the 12 views, those whose slot is visited


def test_the_slot_moves_towards_the_mean_of_the_views() -> None:
    method = made_method("instance_discrimination", momentum=0.25)
    first = method.embed(made_batch(4))
    method.remember(first)
    before = method.bank.vectors.clone()
    method.remember(first._replace(projections=-first.projections + 1))
    fresh = torch.nn.functional.normalize(1 - first.projections.detach().float(), dim=2).mean(dim=1)
    expected = torch.nn.functional.normalize(0.25 * before[first.items] + 0.75 * fresh, dim=1)
    torch.testing.assert_close(method.bank.vectors[first.items], expected)


def test_the_sample_is_a_function_of_the_step() -> None:
    method = made_method("instance_discrimination", sample=7, proximal=0.0)
    method.remember(method.embed(made_batch(30)))
    embedded = method.embed(made_batch(seed=1))

    def loss_at(step: int) -> float:
        method.follow(step, 10)
        return float(method.loss(embedded).detach())

    assert loss_at(1) == loss_at(1)
    assert len({loss_at(step) for step in range(1, 6)}) == 5
