"""The method of the next action: every objective learns, and never from what a user has acted on."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
import torch
from made_actions import made_actions
from pydantic import TypeAdapter

from nearfar.evaluate.counting import Popularity
from nearfar.evaluate.ranking import measure_ranking
from nearfar.frontend.events import EventsFrontend
from nearfar.learn.data.action_cases import ranking_task
from nearfar.learn.data.batches import Share
from nearfar.learn.data.history_batches import TrainingHistories
from nearfar.learn.data.split import TEST, TRAIN
from nearfar.learn.encoders.build_sequence import build_sequence_encoder
from nearfar.learn.encoders.item_tower import ItemTower
from nearfar.learn.methods.next_action import NextAction
from nearfar.learn.trainer.actions import ActionRanker, item_table
from nearfar.learn.trainer.caching import embed_by_chunks
from nearfar.learn.views.events import CopyRules
from nearfar.recipe.events import ActedTogetherPairing, EventsViews, NextActionPairing, SequenceEncoderSettings
from nearfar.recipe.events import NextAction as Settings

LOSSES = ("softmax", "sampled_softmax", "in_batch", "gbce", "bce")
KINDS = ("sequence_transformer", "sequence_gru", "decayed_average")


def made_method(corpus, *, kind="sequence_transformer", content_only=0.0, copies=(0.0, 1.0), together=0.0, **settings):
    torch.manual_seed(0)
    encoder = TypeAdapter(SequenceEncoderSettings).validate_python({"kind": kind, "dim": 16, "dropout": 0.0})
    frontend = EventsFrontend(corpus.settings)
    tower = build_sequence_encoder(
        encoder,
        length=corpus.settings.length,
        gaps=len(corpus.settings.gaps) + 1,
        context=frontend.context.widths if frontend.context else (),
    )
    items = ItemTower(len(corpus.names), warm=corpus.warm, dim=16, content=corpus.content)
    counts = np.bincount(corpus.items[corpus.side == TRAIN], minlength=len(corpus.names)).astype(float)
    own = Settings(kind="next_action", **{"negatives": 16, **settings})
    return NextAction(items, tower, own, counts=counts, content_only=content_only, copies=copies, together=together)


def rows_of(corpus, **options):
    pairing = NextActionPairing(kind="next_action", window=options.pop("window", 1))
    return TrainingHistories.of(corpus, pairing, seed=0, **options)


def ndcg(method, corpus):
    task = ranking_task(corpus, TEST)
    return measure_ranking(task, ActionRanker(method, EventsFrontend(corpus.settings))).ndcg.mean()


def learned(method, rows, steps=150):
    optimiser = torch.optim.Adam(method.parameters(), lr=0.01)
    for step in range(steps):
        batch = rows[Share(step, np.random.default_rng(step).integers(len(rows), size=32))]
        method.follow(step)
        optimiser.zero_grad()
        method.loss(method.embed(batch)).backward()
        optimiser.step()
    return method


@pytest.fixture(scope="module")
def corpus():
    return made_actions()


@pytest.mark.parametrize("loss", LOSSES)
def test_every_objective_learns(corpus, loss):
    popular = measure_ranking(ranking_task(corpus, TEST), Popularity()).ndcg.mean()
    untrained = ndcg(made_method(corpus, loss=loss), corpus)
    found = ndcg(learned(made_method(corpus, loss=loss), rows_of(corpus)), corpus)
    assert found > 2 * max(popular, untrained)
    assert found > 0.4


@pytest.mark.parametrize("kind", KINDS)
def test_every_encoder_learns(corpus, kind):
    found = ndcg(learned(made_method(corpus, kind=kind), rows_of(corpus)), corpus)
    assert found > (0.3 if kind == "decayed_average" else 0.4)


def test_directions_and_further_positives_learn(corpus):
    method = made_method(corpus, cosine=True, temperature=0.1)
    assert ndcg(learned(method, rows_of(corpus, window=3)), corpus) > 0.3
    np.testing.assert_allclose(np.linalg.norm(item_table(method), axis=1), 1, atol=1e-5)


def test_softmax_is_cross_entropy_over_what_the_user_has_not_acted_on(corpus):
    method, rows = made_method(corpus, loss="softmax").double(), rows_of(corpus, window=2)
    batch = rows[Share(0, np.arange(6))]
    batch = type(batch)(
        *(part.double() if isinstance(part, torch.Tensor) and part.is_floating_point() else part for part in batch)
    )
    histories = batch.histories
    batch = batch._replace(
        histories=histories._replace(weights=histories.weights.double(), mask=histories.mask.double())
    )
    embedded = method.embed(batch)
    n, places, _ = embedded.users.shape
    targets, weights = (part.view(n, places, 2) for part in (embedded.targets, embedded.weights))
    table = method.item_vectors(torch.arange(40))
    total = share = 0.0
    for row in range(n):
        for place in range(places):
            scores = table @ embedded.users[row, place] + method.popularity * method.log_popularity
            seen = set(embedded.seen[row, :place].tolist()) | set(targets[row, place].tolist())
            others = [item for item in range(40) if item not in seen]
            for slot in range(2):
                if targets[row, place, slot] >= 0:
                    good = scores[targets[row, place, slot]]
                    total += weights[row, place, slot] * (torch.cat([good[None], scores[others]]).logsumexp(0) - good)
                    share += weights[row, place, slot]
    torch.testing.assert_close(method.loss(embedded), total / share)


@pytest.mark.parametrize("loss", LOSSES)
def test_what_a_user_knows_is_no_negative(corpus, loss):
    """A loss has no slope at items that are in every history, wherever they are not positive."""
    method = made_method(corpus, loss=loss, negatives=40)
    batch = rows_of(corpus)[Share(0, np.arange(4))]
    embedded = method.embed(batch)
    n, places, _ = embedded.users.shape
    # Only the last place looks, and knows all items but its target.
    targets = torch.full((n, places), -1)
    targets[:, -1] = 7
    everything = torch.tensor([item for item in range(40) if item != 7])
    users = torch.cat([embedded.users[:, :1].expand(-1, 39, -1), embedded.users[:, -1:]], dim=1).detach()
    embedded = embedded._replace(
        users=users,
        seen=everything.expand(n, -1),
        targets=torch.cat([torch.full((n, 39), -1), targets[:, -1:]], dim=1),
        weights=torch.cat([torch.zeros(n, 39), torch.ones(n, 1)], dim=1),
    )
    method.loss(embedded).backward()
    slopes = method.items.own.weight.grad.abs().sum(dim=1)
    assert not slopes[everything].any()


@pytest.mark.parametrize("loss", LOSSES)
def test_a_batch_in_parts_is_the_same(loss):
    corpus = made_actions(content=True, context=True, impressions=300)
    views, alike = EventsViews(weight=0.1), np.arange(40)
    rows = rows_of(
        corpus, copies=CopyRules(views, alike), together=ActedTogetherPairing(kind="acted_together"), window=2
    )
    method = made_method(corpus, loss=loss, content_only=0.3, copies=(0.1, 0.2), together=0.1)
    batch = rows[Share(3, np.arange(20))]
    results = []
    for size in (20, 6):
        method.zero_grad()
        method.follow(3)
        cached = embed_by_chunks(method.embed, batch.split(size), torch.device("cpu"))
        loss_value = method.loss(cached.embedded)
        loss_value.backward()
        cached.backward(torch.enable_grad)
        results.append([loss_value, *(p.grad.clone() for p in method.parameters() if p.grad is not None)])
    assert len(results[0]) == len(results[1]) > 20
    for one, other in zip(*results, strict=True):
        torch.testing.assert_close(one, other, atol=1e-5, rtol=1e-4)


def test_ranks_share_out_what_one_would_have(corpus):
    rows = rows_of(replace(corpus, impressions=made_actions(impressions=50).impressions))
    numbers = np.arange(9)
    whole = rows[Share(2, numbers)]
    parts = [rows[Share(2, numbers, rank, 2)] for rank in range(2)]
    for place, part in enumerate(parts):
        torch.testing.assert_close(part.targets, whole.targets[place::2])
        torch.testing.assert_close(part.histories.items, whole.histories.items[place::2])
        torch.testing.assert_close(part.shown.items, whole.shown.items[place::2])


def test_cold_items_are_found_by_their_content():
    corpus = made_actions(cold=40, content=True)
    method = learned(made_method(corpus, content_only=0.3), rows_of(corpus))
    table = item_table(method)
    unit = table / np.linalg.norm(table, axis=1, keepdims=True)
    # A cold item has the place in the chain of the item of 40 less: its vector is near those of that part.
    own, others = np.arange(40), np.arange(40, 80)
    assert (unit[own] * unit[others]).sum(axis=1).mean() > (unit[own] * unit[np.roll(others, 20)]).sum(
        axis=1
    ).mean() + 0.3
    torch.testing.assert_close(
        method.eval().vectors_of_content(corpus.content).detach()[40:], torch.from_numpy(table[40:])
    )


@pytest.mark.parametrize("loss", LOSSES)
def test_what_has_no_vector_of_its_own_is_no_target(loss):
    """With a split by time, too few act on some items of the histories: they are known by their content alone."""
    corpus = made_actions(cold=40, content=True)
    method = made_method(corpus, loss=loss)
    embedded = method.embed(rows_of(corpus)[Share(0, np.arange(8))])
    cold = torch.where(embedded.targets >= 0, corpus.warm + 3, -1)
    assert method.loss(embedded).item() > 0
    assert method.loss(embedded._replace(targets=cold)).item() == 0


def test_context_tells_where_there_is_no_history():
    corpus = made_actions(context=True)
    method = learned(made_method(corpus), rows_of(corpus))
    task = ranking_task(corpus, TEST)
    empty = replace(
        task,
        end=task.begin,
        values=np.zeros((len(task.begin), 1), np.float32),
        codes=np.where(np.arange(len(task.begin)) % 2, 1, 2)[:, None].astype(np.int64),
    )
    scores = ActionRanker(method, EventsFrontend(corpus.settings)).scores(empty, np.arange(2))
    odd = np.arange(40) % 2 == 1
    assert scores[0][odd].mean() > scores[0][~odd].mean() + 1
    assert scores[1][~odd].mean() > scores[1][odd].mean() + 1


def test_impressions_teach_what_is_acted_on():
    corpus = made_actions(impressions=2000)
    method = made_method(corpus, impressions=1.0)
    untaught = made_method(corpus, impressions=0.0)
    rows = rows_of(corpus)

    def lift(one):
        embedded = learned(one, rows, 60).eval().embed(rows[Share(999, np.arange(100))])
        scores = (embedded.viewers * one.item_vectors(embedded.shown)).sum(1)
        return float((scores[embedded.acted == 1].mean() - scores[embedded.acted == 0].mean()).detach())

    assert lift(method) > lift(untaught) + 1


def test_impressions_are_weighed_by_one_over_their_propensity():
    corpus = made_actions(impressions=200)
    method = made_method(corpus, propensity_floor=0.2)
    embedded = method.embed(rows_of(corpus)[Share(0, np.arange(30))])
    logits = (embedded.viewers * method.item_vectors(embedded.shown)).sum(1)
    logits = logits + method.popularity * method.log_popularity[embedded.shown] + method.click_rate
    chances = logits.sigmoid()
    losses = -torch.where(embedded.acted > 0, chances.log(), (1 - chances).log())
    weights = 1 / embedded.propensities.clamp(min=0.2)
    torch.testing.assert_close(method._of_impressions(embedded), (losses * weights).sum() / weights.sum())
    assert weights.max() == 5
