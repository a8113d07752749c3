"""Altered copies of histories."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest

from nearfar.learn.views.events import CopyRules, Sequences, altered
from nearfar.recipe.events import EventsViews

LENGTHS = (10, 1, 0, 6)


def sequences():
    rows, length = len(LENGTHS), 10
    mask = np.arange(length) >= length - np.array(LENGTHS)[:, None]
    items = np.where(mask, np.arange(rows * length).reshape(rows, length), -1)
    times = np.cumsum(np.ones((rows, length)), axis=1)
    return Sequences(
        items, times, mask * 0.5, mask.astype(np.float32), np.full(rows, 11.0), lambda s: s.astype(np.int64)
    )


def rules(**shares):
    shares = {"crop": 0.0, "mask": 0.0, "reorder": 0.0, "substitute": 0.0, **shares}
    return CopyRules(EventsViews(weight=0.1, **shares), np.arange(40) + 100)


def test_crop_keeps_a_share_in_a_row():
    copies = altered(sequences(), rules(crop=0.6), np.random.default_rng(0))
    assert copies.mask.sum(axis=1).tolist() == [6, 6, 1, 1, 0, 0, 3, 3]
    whole = sequences().items
    for row, items in enumerate(copies.items):
        kept = items[items >= 0]
        assert (np.diff(kept) == 1).all()
        assert np.isin(kept, whole[row // 2]).all()
        assert (items[copies.mask[row] == 0] == -1).all()
        assert (copies.weights[row] == 0.5 * copies.mask[row]).all()


def test_mask_hides_a_share():
    copies = altered(sequences(), rules(mask=0.3), np.random.default_rng(0))
    hidden = (copies.items == -1) & (copies.mask == 1)
    assert hidden.sum(axis=1).tolist() == [3, 3, 1, 1, 0, 0, 1, 1]


def test_reorder_keeps_the_items():
    copies = altered(sequences(), rules(reorder=0.6), np.random.default_rng(0))
    whole = np.repeat(sequences().items, 2, axis=0)
    np.testing.assert_array_equal(np.sort(copies.items, axis=1), np.sort(whole, axis=1))
    assert (copies.items != whole).any()
    assert ((copies.items != whole).sum(axis=1) <= [6, 6, 0, 0, 0, 0, 3, 3]).all()


def test_reorder_moves_weights_with_their_items():
    given = sequences()
    given = replace(given, weights=np.where(given.mask > 0, given.items + 1, 0).astype(np.float32))
    copies = altered(given, rules(reorder=0.6), np.random.default_rng(0))
    np.testing.assert_array_equal(copies.weights, np.where(copies.mask > 0, copies.items + 1, 0))


def test_substitute_takes_what_is_acted_on_together():
    copies = altered(sequences(), rules(substitute=0.2), np.random.default_rng(0))
    whole = np.repeat(sequences().items, 2, axis=0)
    other = copies.items != whole
    assert other.sum(axis=1).tolist() == [2, 2, 1, 1, 0, 0, 1, 1]
    np.testing.assert_array_equal(copies.items[other], whole[other] + 100)


def test_both_copies_differ_and_the_original_stays():
    given = sequences()
    before = given.items.copy()
    copies = altered(given, rules(crop=0.6, mask=0.3, reorder=0.6, substitute=0.2), np.random.default_rng(1))
    np.testing.assert_array_equal(given.items, before)
    assert (copies.items[0] != copies.items[1]).any()


@pytest.mark.parametrize("seed", [0, 1])
def test_without_any_way_copies_are_copies(seed):
    copies = altered(sequences(), rules(), np.random.default_rng(seed))
    np.testing.assert_array_equal(copies.items, np.repeat(sequences().items, 2, axis=0))
