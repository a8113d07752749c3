"""A made shop: the same from the same seed, with what a recommender has to find and what filters have to take out."""

from __future__ import annotations

from collections import Counter
from itertools import pairwise
from pathlib import Path

import numpy as np
import pytest

from nearfar.errors import DataError
from nearfar.simulate import ShopEvent, ShopItems, simulate_shop, write_shop
from nearfar.simulate.shop import DAYS, EPOCH
from nearfar.sources.event_log import EventLog, EventNames
from nearfar.sources.item_table import ItemTable

ITEMS = ShopItems.draw(120, np.random.default_rng([3, 0]))


@pytest.fixture(scope="module")
def log() -> list[ShopEvent]:
    return list(simulate_shop(ITEMS, 80, seed=3))


def test_the_same_seed_gives_the_same_shop(log: list[ShopEvent]) -> None:
    assert list(simulate_shop(ITEMS, 80, seed=3)) == log
    assert list(simulate_shop(ITEMS, 80, seed=4)) != log


def test_a_person_is_the_same_among_fewer(log: list[ShopEvent]) -> None:
    assert list(simulate_shop(ITEMS, 20, seed=3)) == [event for event in log if event.user <= "user-20"]


def test_people_do_one_thing_after_the_other_with_what_is_there(log: list[ShopEvent]) -> None:
    for user in {event.user for event in log}:
        times = [event.time for event in log if event.user == user]
        assert times == sorted(times)
    born = EPOCH + ITEMS.born * DAYS * 86_400
    early = [event for event in log if event.time < born[event.item]]
    assert early == []
    assert (ITEMS.born == 1).sum() == 6  # which are for recommending by content
    assert {"view", "buy", "shown"} <= {event.action for event in log}


def test_propensities_are_those_of_the_draw(log: list[ShopEvent]) -> None:
    shown = [event for event in log if event.action == "shown"]
    assert all(event.propensity is not None for event in shown)
    often = Counter(event.item for event in shown)
    told = np.array([np.mean([e.propensity for e in shown if e.item == item]) for item, _ in often.most_common(10)])
    found = np.array([count / len(shown) for _, count in often.most_common(10)])
    assert np.corrcoef(told, found)[0, 1] > 0.7


def test_what_goes_together_is_looked_at_together(log: list[ShopEvent]) -> None:
    views = [event for event in log if event.action == "view"]
    following = [(a.item, b.item) for a, b in pairwise(views) if a.user == b.user]
    companions = np.mean([b in ITEMS.companions[a] for a, b in following])
    assert companions > 5 * ITEMS.companions.shape[1] / len(ITEMS)


def test_what_is_written_is_read(tmp_path: Path, log: list[ShopEvent]) -> None:
    events, items = write_shop(ITEMS, iter(log), tmp_path / "shop")
    names = EventNames(action="action", dwell="dwell", propensity="propensity")
    read = EventLog(events, names).read()
    assert len(read) == len(log)
    assert (np.diff(read.times) >= 0).all()
    rows = list(ItemTable(items, title="title", categories=("category", "colour"), numbers=("price",)).rows())
    assert [row.name for row in rows] == ITEMS.names
    assert all(row.title and row.numbers["price"] > 0 for row in rows)


def test_a_folder_that_cannot_be_made_is_told(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("x", "utf-8")
    with pytest.raises(DataError, match="cannot be written"):
        write_shop(ITEMS, iter(()), tmp_path / "file" / "shop")
