"""Made actions: most users follow a chain of items, so that what comes next can be learned."""

from __future__ import annotations

import numpy as np

from nearfar.frontend.settings import CategoryColumn, EventsSettings, TableSettings
from nearfar.learn.data.actions import ActionCorpus, ActionCounts, Content, Impressions
from nearfar.learn.data.split import TEST, TRAIN, VALIDATION


def made_actions(
    users: int = 120,
    items: int = 40,
    *,
    length: int = 10,
    cold: int = 0,
    content: bool = False,
    context: bool = False,
    impressions: int = 0,
    seed: int = 0,
) -> ActionCorpus:
    """Users who go on from item i to i + 1 or i + 2, and now and then anywhere; the last action tests, the one before it validates.

    Args:
        users: that act.
        items: with actions.
        length: of a history that encoders see.
        cold: further items that nobody has acted on.
        content: whether it is known of items where in the chain they stand (a category for each four).
        context: whether actions have a context of one category, the parity of the item.
        impressions: how many there are; items below 10 are acted on, the others not.
        seed: of all draws.
    """
    rng = np.random.default_rng(seed)
    lengths = rng.integers(4, 24, size=users)
    histories = []
    for count in lengths:
        steps = np.where(rng.random(count) < 0.1, rng.integers(items, size=count), rng.integers(1, 3, size=count))
        histories.append((rng.integers(items) + np.cumsum(steps)) % items)
    offsets = np.concatenate([[0], np.cumsum(lengths)]).astype(np.int64)
    acted = np.concatenate(histories).astype(np.int64)
    events = len(acted)
    side = np.full(events, TRAIN, np.int8)
    side[offsets[1:] - 1], side[offsets[1:] - 2] = TEST, VALIDATION
    total = items + cold
    codes = (acted % 2)[:, None] + 1 if context else np.zeros((events, 0), np.int64)
    seen = None
    if impressions:
        shown = rng.integers(total, size=impressions)
        places = rng.integers(1, lengths[0], size=impressions)
        seen = Impressions(
            items=shown,
            histories=np.stack([np.zeros(impressions, np.int64), places], axis=1),
            now=np.full(impressions, 1e6),
            acted=(shown < 10).astype(np.float32),
            propensities=rng.uniform(0.05, 1.0, impressions).astype(np.float32),
            side=np.full(impressions, TRAIN, np.int8),
            values=np.zeros((impressions, codes.shape[1]), np.float32),
            codes=np.ones((impressions, codes.shape[1]), np.int64),
        )
    column = CategoryColumn(name="parity", values=("even", "odd"))
    return ActionCorpus(
        offsets=offsets,
        items=acted,
        times=np.arange(events) * 100.0,
        weights=rng.uniform(0.5, 1.5, events).astype(np.float32),
        side=side,
        values=np.zeros(codes.shape, np.float32),
        codes=codes.astype(np.int64),
        names=[f"item-{number}" for number in range(total)],
        facts=[{} for _ in range(total)],
        content=made_content(np.arange(total) % items, items) if content else None,
        impressions=seen,
        settings=EventsSettings(length=length, context=TableSettings(columns=(column,)) if context else None),
        counts=ActionCounts(
            users=users,
            items=total,
            cold=cold,
            actions=events,
            train=int((side == TRAIN).sum()),
            validation=users,
            test=users,
            impressions=impressions,
            fingerprint="made",
        ),
    )


def made_content(numbers, items: int) -> Content:
    """What is known of items of these numbers: a category for each four in the chain, and their place as two numbers."""
    angles = 2 * np.pi * np.asarray(numbers) / items
    return Content(
        offsets=np.arange(len(angles) + 1, dtype=np.int64),
        tokens=(np.asarray(numbers) // 4).astype(np.int64),
        vocabulary=[f"part={part}" for part in range(-(-items // 4))],
        numbers=np.stack([np.cos(angles), np.sin(angles)], axis=1).astype(np.float32),
        vectors=np.zeros((len(angles), 0), np.float32),
    )
