"""Histories as batches: what is seen, what comes next, and nothing of what is held out."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
from made_actions import made_actions

from nearfar.errors import DataError
from nearfar.frontend.events import EventsFrontend
from nearfar.learn.data.batches import Share
from nearfar.learn.data.history_batches import TrainingHistories, training_lengths
from nearfar.learn.data.split import TEST, TRAIN, VALIDATION
from nearfar.recipe.events import ActedTogetherPairing, NextActionPairing


def rows_of(corpus, window=1, **options):
    return TrainingHistories.of(
        corpus, NextActionPairing(kind="next_action", window=window, decay=0.5), seed=0, **options
    )


def shuffled(corpus, seed=0):
    """The same with an item of its own for every action, so that each says where it is from."""
    events = len(corpus.items)
    return replace(corpus, items=np.arange(events), names=[str(k) for k in range(events)])


@pytest.mark.parametrize("window", [1, 3])
def test_every_place_looks_for_what_came_next(window):
    corpus = shuffled(made_actions())
    rows = rows_of(corpus, window)
    batch = rows[Share(0, np.arange(len(rows)))]
    items, n = batch.histories.items.numpy(), len(rows)
    targets = batch.targets.view(n, -1, window).numpy()
    weights = batch.target_weights.view(n, -1, window).numpy()
    for row in range(n):
        user = rows.windows[row, 0]
        trained = np.arange(*corpus.offsets[user : user + 2])
        trained = trained[corpus.side[trained] == TRAIN]
        for place in range(items.shape[1] + 1):
            seen = items[row, :place][items[row, :place] >= 0]
            if not len(seen):
                # Only what came first of all follows on nothing; before a later window lie actions that it does not show.
                first = trained[:window] if place < items.shape[1] and items[row, place] == trained[0] else []
                assert targets[row, place][targets[row, place] >= 0].tolist() == list(first)
                continue
            assert (np.diff(seen) == 1).all()
            wanted = trained[trained > seen[-1]][:window] if place == items.shape[1] or items[row, place] >= 0 else []
            found = targets[row, place][targets[row, place] >= 0]
            assert found.tolist() == list(wanted)
            shares = 0.5 ** np.arange(len(wanted))
            np.testing.assert_allclose(
                weights[row, place][: len(wanted)], corpus.weights[list(wanted)] * shares / shares.sum(), rtol=1e-5
            )


def test_nothing_held_out_is_in_a_batch():
    corpus = shuffled(made_actions())
    rows = rows_of(corpus, 5, together=ActedTogetherPairing(kind="acted_together"))
    held_out = np.flatnonzero(np.isin(corpus.side, (VALIDATION, TEST)))
    for step in range(5):
        batch = rows[Share(step, np.arange(len(rows)))]
        assert not np.isin(batch.histories.items.numpy(), held_out).any()
        assert not np.isin(batch.targets.numpy(), held_out).any()
        assert not np.isin(batch.pairs.items.numpy(), held_out).any()


def test_every_training_action_becomes_a_target():
    corpus = shuffled(made_actions())
    rows = rows_of(corpus)
    found = [rows[Share(step, np.arange(len(rows)))].targets.numpy().ravel() for step in range(40)]
    trained = np.flatnonzero(corpus.side == TRAIN)
    np.testing.assert_array_equal(np.setdiff1d(np.concatenate(found), [-1]), trained)


def test_windows_of_a_long_history_begin_elsewhere_each_time():
    rows = rows_of(shuffled(made_actions()))
    users, counts = np.unique(rows.windows[:, 0], return_counts=True)
    long = np.flatnonzero(rows.windows[:, 0] == users[counts.argmax()])
    begins = {tuple(rows[Share(step, long)].histories.items[:, 0].tolist()) for step in range(20)}
    assert len(begins) > 5


def test_inputs_are_those_of_the_frontend():
    corpus = made_actions()
    rows = rows_of(corpus)
    batch = rows[Share(0, np.arange(len(rows)))]
    frontend = EventsFrontend(corpus.settings)
    lengths = training_lengths(corpus)
    users = rows.windows[:, 0]
    short = np.flatnonzero(lengths[users] - 1 <= corpus.settings.length)
    begin = corpus.offsets[users[short]]
    end = begin + lengths[users[short]] - 1
    table = np.arange(len(corpus.names), dtype=np.float32)[:, None]
    made = frontend.batch(table, corpus.items, corpus.times, corpus.weights, begin, end, corpus.times[end])
    longest = made["mask"].shape[1]
    for name in ("gaps", "weights", "mask"):
        np.testing.assert_array_equal(getattr(batch.histories, name).numpy()[short][:, -longest:], made[name])
    items = np.where(made["mask"] > 0, made["vectors"][:, :, 0], -1)
    np.testing.assert_array_equal(batch.histories.items.numpy()[short][:, -longest:], items)


def test_a_batch_is_a_function_of_its_step():
    rows = rows_of(made_actions(impressions=40), together=ActedTogetherPairing(kind="acted_together"))
    first, again, other = (rows[Share(step, np.arange(30))] for step in (4, 4, 5))
    assert first.histories.items.equal(again.histories.items)
    assert first.shown.items.equal(again.shown.items)
    assert not first.shown.items.equal(other.shown.items)


def test_pairs_are_near_each_other_and_weighed_by_both():
    corpus = shuffled(made_actions())
    together = ActedTogetherPairing(kind="acted_together", window=3, seconds=250.0)
    batch = rows_of(corpus, together=together)[Share(0, np.arange(60))]
    first, second = batch.pairs.items.numpy().T
    assert len(first)
    assert set(second - first) == {1, 2}  # actions are 100 seconds apart
    np.testing.assert_allclose(
        batch.pairs.weights.numpy(), np.sqrt(corpus.weights[first] * corpus.weights[second]), rtol=1e-6
    )


def test_an_item_is_no_pair_with_itself():
    corpus = made_actions()
    corpus = replace(corpus, items=corpus.items % 3)
    batch = rows_of(corpus, together=ActedTogetherPairing(kind="acted_together"))[Share(0, np.arange(60))]
    first, second = batch.pairs.items.numpy().T
    assert len(first)
    assert (first != second).all()


def test_actions_that_are_no_targets_stay_in_histories():
    corpus = shuffled(made_actions())
    side = corpus.side.copy()
    dropped = corpus.offsets[:-1] + 1  # the second of each user
    side[dropped] = 3
    corpus = replace(corpus, side=side)
    rows = rows_of(corpus)
    batch = rows[Share(0, np.arange(len(rows)))]
    assert not np.isin(batch.targets.numpy(), dropped).any()
    assert np.isin(batch.histories.items.numpy(), dropped).any()


def test_too_little_is_refused():
    corpus = made_actions(users=1)
    with pytest.raises(DataError, match="training needs at least 2 of both"):
        rows_of(replace(corpus, items=np.zeros_like(corpus.items)))
