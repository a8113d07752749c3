"""DenseCL: counterparts of places by the encoders' maps, the two losses, the two queues, the grid."""

from __future__ import annotations

import pytest
import torch
from by_hand import cosine, mean, softmax_loss
from made_methods import drawn, made_batch, made_method

from nearfar.learn.methods.densecl import counterparts


def test_counterparts_are_the_most_alike_by_cosine() -> None:
    maps, others = drawn(3, 5, 4), drawn(3, 7, 4, seed=1)
    found = counterparts(maps, others)
    for i in range(3):
        for place in range(5):
            alike = [cosine(maps[i, place], other) for other in others[i]]
            assert int(found[i, place]) == alike.index(max(alike))


def test_dense_keys_are_matched_by_the_maps_and_not_by_the_heads() -> None:
    method, batch = made_method("densecl"), made_batch()
    with torch.no_grad():
        for seed, weight in enumerate(method.key_encoder.copy.parameters()):
            weight.add_(0.3 * drawn(*weight.shape, seed=seed))
    embedded = method.embed(batch)
    maps, key_maps = method.encoder.maps(batch.views[0]), method.key_encoder.copy.maps(batch.views[1])
    queries, keys = method.dense_projector(maps), method.key_dense_projector.copy(key_maps)
    assert maps.shape[2:] == (3, 3)
    assert embedded.dense_queries.shape == (6, 9, 6)
    for i in range(6):
        for place in range(9):
            y, x = divmod(place, 3)
            alike = [cosine(maps[i, :, y, x], key_maps[i, :, v, u]) for v in range(3) for u in range(3)]
            v, u = divmod(alike.index(max(alike)), 3)
            torch.testing.assert_close(embedded.dense_queries[i, place], queries[i, :, y, x])
            torch.testing.assert_close(embedded.dense_keys[i, place], keys[i, :, v, u])
    torch.testing.assert_close(embedded.pooled_keys, keys.mean(dim=(2, 3)))
    torch.testing.assert_close(embedded.keys, method.key_projector.copy(key_maps.mean(dim=(2, 3))))
    assert not any(f.requires_grad for f in (embedded.keys, embedded.dense_keys, embedded.pooled_keys))


def test_the_loss_is_eq_3_each_half_against_its_own_queue() -> None:
    method = made_method("densecl", temperature=0.3, dense_weight=0.3, queue=30, dense_queue=30)
    first, second = method.embed(made_batch()), method.embed(made_batch(seed=1))
    method.remember(first)
    stored = list(zip(first.items.tolist(), first.keys, first.pooled_keys, strict=True))
    whole, dense = [], []
    for i, item in enumerate(second.items.tolist()):
        negatives = [key for other, key, _ in stored if other != item]
        pooled = [key for other, _, key in stored if other != item]
        whole.append(softmax_loss(second.queries[i].detach(), second.keys[i], negatives, 0.3))
        places = zip(second.dense_queries[i].detach(), second.dense_keys[i], strict=True)
        dense += [softmax_loss(query, key, pooled, 0.3) for query, key in places]
    expected = 0.7 * mean(whole) + 0.3 * mean(dense)
    assert float(method.loss(second).detach()) == pytest.approx(expected, rel=1e-6)  # the queues are float32


def test_before_there_is_a_queue_places_of_other_pictures_are_negatives() -> None:
    method = made_method("densecl", temperature=0.3, dense_weight=1.0)
    embedded = method.embed(made_batch(3))
    terms = []
    for i in range(3):
        others = [key for j in range(3) if j != i for key in embedded.dense_keys[j]]
        places = zip(embedded.dense_queries[i].detach(), embedded.dense_keys[i], strict=True)
        terms += [softmax_loss(query, key, others, 0.3) for query, key in places]
    assert float(method.loss(embedded).detach()) == pytest.approx(mean(terms), rel=1e-9)


def test_a_large_map_is_pooled_to_the_grid() -> None:
    method, batch = made_method("densecl", grid=2), made_batch(size=32)
    assert method.encoder.maps(batch.views[0]).shape[2:] == (8, 8)
    assert method.embed(batch).dense_queries.shape == (6, 4, 6)
    dense = method.dense_map(batch.views[0])
    assert dense.shape == (6, 6, 2, 2)
    torch.testing.assert_close(dense.norm(dim=1), torch.ones_like(dense[:, 0]))
