"""MoCo v2 and v3: who makes queries and keys, what is negative, and the scale of the loss."""

from __future__ import annotations

import copy
from typing import Any

import pytest
import torch
from by_hand import mean, softmax_loss
from made_methods import drawn, made_batch, made_method
from torch import Tensor

from nearfar.learn.negatives import MomentumEncoder, momentum_at


def moved_copy(slow: MomentumEncoder) -> None:
    with torch.no_grad():
        for seed, weight in enumerate(slow.copy.parameters()):
            weight.add_(0.3 * drawn(*weight.shape, seed=seed))


def by_formula(embedded: Any, queue: list[tuple[int, Tensor]], temperature: float) -> float:
    """Eq. 1 of arXiv:1911.05722, for each pair of a query and a key; what is stored of the picture itself is left out."""
    terms = []
    for i, item in enumerate(embedded.items.tolist()):
        for query, key in zip(embedded.queries.detach()[i], embedded.keys[i], strict=True):
            terms.append(softmax_loss(query, key, [v for other, v in queue if other != item], temperature))
    return mean(terms)


@pytest.mark.parametrize("symmetric", [False, True])
def test_queries_are_of_the_encoder_and_keys_of_its_copy(symmetric: bool) -> None:
    method, batch = made_method("moco_v2", symmetric=symmetric), made_batch()
    moved_copy(method.key_encoder)
    moved_copy(method.key_projector)
    embedded = method.embed(batch)
    for place, (seeking, sought) in enumerate([(0, 1), (1, 0)][: 1 + symmetric]):
        expected = method.projector(method.encoder(batch.views[seeking]))
        torch.testing.assert_close(embedded.queries[:, place], expected)
        expected = method.key_projector.copy(method.key_encoder.copy(batch.views[sought]))
        torch.testing.assert_close(embedded.keys[:, place], expected)
    assert embedded.queries.shape[1] == 1 + symmetric
    assert not embedded.keys.requires_grad


@pytest.mark.parametrize("symmetric", [False, True])
def test_v2_is_eq_1_against_the_queue_alone(symmetric: bool) -> None:
    method = made_method("moco_v2", temperature=0.3, symmetric=symmetric, queue=30)
    stored: list[tuple[int, Tensor]] = []
    for number in range(3):
        embedded = method.embed(made_batch(seed=number))
        if number:
            expected = by_formula(embedded, stored, 0.3)
            assert float(method.loss(embedded).detach()) == pytest.approx(expected, rel=1e-6)  # the queue is float32
        method.remember(embedded)
        stored += [(int(item), key) for item, keys in zip(embedded.items, embedded.keys, strict=True) for key in keys]
    assert len(stored) > 30 or not symmetric


def test_before_there_is_a_queue_the_other_keys_are_negatives() -> None:
    method = made_method("moco_v2", temperature=0.3)
    embedded = method.embed(made_batch())
    queries, keys = embedded.queries.detach()[:, 0], embedded.keys[:, 0]
    expected = mean(softmax_loss(q, keys[i], [*keys[:i], *keys[i + 1 :]], 0.3) for i, q in enumerate(queries))
    assert float(method.loss(embedded).detach()) == pytest.approx(expected, rel=1e-10)


def test_a_picture_is_no_negative_of_itself_where_the_queue_is_longer_than_the_corpus() -> None:
    method, batch = made_method("moco_v2"), made_batch(4)
    embedded = method.embed(batch)
    method.remember(embedded)
    method.remember(method.embed(batch._replace(views=batch.views[::-1])))
    one = type(embedded)(*(field[:1] for field in embedded))
    before = float(method.loss(one).detach())
    with torch.no_grad():
        own = method.queue.ids == one.items
        assert int(own.sum()) == 2
        method.queue.vectors[own] = one.queries[0, 0].float()  # would be the hardest of negatives
    assert float(method.loss(one).detach()) == before


def test_v3_is_symmetric_over_the_batch_and_scaled_by_twice_the_temperature() -> None:
    method = made_method("moco_v3", temperature=0.3)
    moved_copy(method.key_encoder)
    embedded = method.embed(made_batch())
    expected = 0.0
    for q, k in ((0, 1), (1, 0)):
        queries, keys = embedded.queries.detach()[:, q], embedded.keys[:, k]
        terms = (softmax_loss(query, keys[i], [*keys[:i], *keys[i + 1 :]], 0.3) for i, query in enumerate(queries))
        expected += 2 * 0.3 * mean(terms)
    assert float(method.loss(embedded).detach()) == pytest.approx(expected, rel=1e-10)


def test_v3_has_a_predictor_on_queries_only() -> None:
    method, batch = made_method("moco_v3").eval(), made_batch()
    embedded = method.embed(batch)
    for view in range(2):
        projected = method.projector(method.encoder(batch.views[view]))
        torch.testing.assert_close(embedded.queries[:, view], method.predictor(projected))
        torch.testing.assert_close(embedded.keys[:, view], projected)  # the copy is still the original
    assert not any("predictor" in name for name, _ in method.key_projector.named_parameters())


@pytest.mark.parametrize(
    ("kind", "copies", "grows"),
    [
        ("moco_v2", {"key_encoder": "encoder", "key_projector": "projector"}, False),
        ("moco_v3", {"key_encoder": "encoder", "key_projector": "projector"}, True),
        ("byol", {"target_encoder": "encoder", "target_projector": "projector"}, True),
        (
            "densecl",
            {"key_encoder": "encoder", "key_projector": "projector", "key_dense_projector": "dense_projector"},
            False,
        ),
    ],
)
def test_all_copies_follow_by_the_momentum_of_the_step(kind: str, copies: dict[str, str], grows: bool) -> None:
    method = made_method(kind, momentum=0.8)
    with torch.no_grad():
        for name, parameter in method.named_parameters():
            if parameter.requires_grad:
                parameter.add_(0.1 * drawn(*parameter.shape, seed=len(name)))
    before = copy.deepcopy(method)
    method.follow(3, 10)
    momentum = momentum_at(3, 10, 0.8) if grows else 0.8
    assert (momentum > 0.82) == grows
    for slow, original in copies.items():
        theirs = dict(getattr(method, original).named_parameters())
        assert theirs
        for name, old in getattr(before, slow).copy.named_parameters():
            new = dict(getattr(method, slow).copy.named_parameters())[name]
            torch.testing.assert_close(new, momentum * old + (1 - momentum) * theirs[name])


@pytest.mark.parametrize("kind", ["moco_v2", "moco_v3", "byol", "densecl"])
def test_the_copy_takes_the_statistics_of_its_own_batch(kind: str) -> None:
    """In train mode: running statistics, which `follow` takes over from the original, have no part in what it makes."""
    method, batch = made_method(kind, norm=True), made_batch()
    made = method.embed(batch)
    for module in method.modules():
        if isinstance(module, torch.nn.BatchNorm2d):
            module.running_mean.fill_(5.0)
    field = "targets" if kind == "byol" else "keys"
    torch.testing.assert_close(getattr(method.embed(batch), field), getattr(made, field))
