"""What is done to a history in processes that are killed; see `tests.edge.killed_at_writes`."""

from __future__ import annotations

import sys
from pathlib import Path

from tests.edge.killed_at_writes import Story, play
from tests.edge.tiny_recommender_bundle import write_tiny_recommender_bundle

from nearfar.edge.recommend.answers import Event
from nearfar.edge.recommend.recommender import Recommender

WORK, WHAT = Path(sys.argv[1]), sys.argv[2]
KEY = f"file:{WORK / 'key'}"
NEW, LATE = Event("film-020", time=1.5e9, dwell=3.0), Event("film-021", time=1.0e9 - 5)
MANY = [Event(f"film-{number:03}", time=1.6e9 + 100 * number) for number in range(30, 50)]

DOING = {
    "record": lambda recommender: recommender.record(NEW),
    "late": lambda recommender: recommender.record(LATE),
    "many": lambda recommender: recommender.record_many(MANY),
    "forget": lambda recommender: recommender.forget(item="film-002"),
    "bundle": lambda _: Recommender.open(WORK / "now" / "v", WORK / "b2", clock=lambda: 2e9).close(),
}


def make(folder: Path) -> None:
    write_tiny_recommender_bundle(WORK / "b2", seed=5)
    bundle = write_tiny_recommender_bundle(WORK / "b")
    with Recommender.create(folder / "v", bundle, key=KEY, clock=lambda: 2e9) as recommender:
        recommender.record_many([Event(f"film-{number:03}", time=1e9 + number) for number in range(4)])


def held(recommender: Recommender) -> list[list[object]]:
    return [[event.item, event.time] for event in recommender.events()]


def look(folder: Path) -> list[object]:
    """What is there, whether the profile is its fold, what is there once the same was done again, and how many bundles."""
    with Recommender.open(folder / "v", clock=lambda: 2e9) as recommender:
        events = held(recommender)
        serving, memory = recommender._current()
        with recommender._history.look() as change:
            fold = serving.folded(change.all_events()).profile
        sound = fold == memory.profile and len(recommender.recommend(5)) == 5
        if WHAT != "create":
            DOING[WHAT](recommender)
        return [events, sound, held(recommender), len(list((folder / "v").glob("bundle-*")))]


play(
    Story(
        make,
        create=lambda folder: Recommender.create(folder / "v", WORK / "b", key=KEY),
        open=lambda folder: Recommender.open(folder / "v", clock=lambda: 2e9),
        doing=DOING,
        look=look,
    )
)
