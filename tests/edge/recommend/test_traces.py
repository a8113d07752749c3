"""What is left of forgotten events in the files: nothing that was written of them, and what the head tells to who has the key."""

from __future__ import annotations

import multiprocessing
import random
import shutil
import sqlite3
import sys
from pathlib import Path
from typing import Any

import pytest
from tests.edge.killed_at_writes import killed_at_writes
from tests.edge.tiny_recommender_bundle import write_tiny_recommender_bundle
from tests.edge.traces import parts, traces

pytest.importorskip("cryptography")

from nearfar.bundle import Bundle
from nearfar.edge.recommend.answers import Event
from nearfar.edge.recommend.recommender import Recommender
from nearfar.edge.sealed.database import SealedDatabase
from nearfar.errors import DataError, StoreError


@pytest.fixture(scope="module")
def bundle(tmp_path_factory: pytest.TempPathFactory) -> Bundle:
    return write_tiny_recommender_bundle(tmp_path_factory.mktemp("films") / "bundle", length=100)


def fill(recommender: Recommender, path: Path, events: int, seed: int = 1) -> set[bytes]:
    """Record events in batches of many sizes; all that was ever written."""
    rng, written = random.Random(seed), set[bytes]()
    while len(recommender) < events:
        recommender.record_many(
            Event(f"film-{rng.randrange(60):03}", time=1e9 + rng.randrange(10**8))
            for _ in range(rng.choice([1, 30, 120]))
        )
        written |= parts(path / "history.sqlite")
    return written


def test_nothing_that_was_written_of_it_is_left(bundle: Bundle, tmp_path: Path) -> None:
    """Not in SQLite's log, not in free pages, and not between the rows of pages that SQLite has put in order."""
    path = tmp_path / "mine"
    with Recommender.create(path, bundle, key=f"file:{tmp_path / 'key'}", clock=lambda: 2e9) as recommender:
        written = fill(recommender, path, 1500)
        for say in ({"item": "film-001"}, {"since": 1.08e9}, {"since": 1.03e9}, {"everything": True}):
            assert recommender.forget(**say)
            assert not traces(path / "history.sqlite", written), say
            written |= parts(path / "history.sqlite")
        assert (path / "history.sqlite").stat().st_size < 32_768  # nor does the size tell how much there was


def test_forgetting_that_was_interrupted_ends_when_the_history_is_opened(
    bundle: Bundle, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = tmp_path / "mine"
    recommender = Recommender.create(path, bundle, key=f"file:{tmp_path / 'key'}", clock=lambda: 2e9)
    written = fill(recommender, path, 40)

    def interrupted(self: SealedDatabase) -> bool:
        raise KeyboardInterrupt

    with monkeypatch.context() as patched:
        patched.setattr(SealedDatabase, "_write_over", interrupted)
        with pytest.raises(KeyboardInterrupt):
            recommender.forget(everything=True)
    assert not len(recommender)
    assert traces(path / "history.sqlite", written)
    with Recommender.open(path, clock=lambda: 2e9):
        assert not traces(path / "history.sqlite", written)
    recommender.close()


@pytest.mark.parametrize(("half", "every"), [("1", 5), pytest.param("01", 1, marks=pytest.mark.recipe)])
def test_killed_while_it_forgets(killing: Path, work: Path, half: str, every: int) -> None:
    """At each of its writes, those of making the file anew among them: all is there or all is gone, once it is opened again."""
    outcomes = killed_at_writes(killing, "tests.edge.recommend.killed_forgetting", work, "forget", half, every)
    assert sum(outcome.killed for outcome in outcomes) > 40 / every
    for outcome in outcomes:
        assert outcome.state in ([30, 0], [120, 0]), outcome
        assert outcome.said is None or outcome.state[0] == 30, outcome
    after = [outcome for outcome in outcomes if outcome.killed and outcome.state[0] == 30]
    assert len(after) > 20 / every  # most of its writes come after the transaction


def _forgets_on_a_full_disk(path: Path, room: int, sent: Any) -> None:
    import resource

    unlimited = resource.RLIM_INFINITY
    with Recommender.open(path, clock=lambda: 2e9) as recommender:
        resource.setrlimit(resource.RLIMIT_FSIZE, (room, unlimited))
        try:
            said = str(recommender.forget(since=1e9))
        except StoreError as error:
            said = str(error)
        resource.setrlimit(resource.RLIMIT_FSIZE, (unlimited, unlimited))
        held = len(recommender)
        sent.put((said, held, recommender.forget(since=1e9)))


@pytest.mark.skipif(sys.platform == "win32", reason="has no limits of a process")
def test_a_disk_that_is_full_and_room_mends_it(bundle: Bundle, tmp_path: Path) -> None:
    """Nothing is forgotten, or all is and the user is told that sealed rows are left; the same again ends it."""
    context = multiprocessing.get_context("spawn")
    made = tmp_path / "mine"
    with Recommender.create(made, bundle, key=f"file:{tmp_path / 'key'}", clock=lambda: 2e9) as recommender:
        recommender.record(Event("film-001", time=9e8))
        before, written = len(recommender), fill(recommender, made, 120)
        held = len(recommender)
    seen = set()
    for room in (20_000, 63_000, 10**6):
        path, sent = tmp_path / str(room), context.Queue()
        shutil.copytree(made, path)
        process = context.Process(target=_forgets_on_a_full_disk, args=(path, room, sent))
        process.start()
        said, left, again = sent.get(timeout=60)
        process.join()
        what = next(
            word for word in ("make room and try again", "forget the same again", str(held - before)) if word in said
        )
        assert (left, again) == ((held, held - before) if what.startswith("make") else (before, 0)), said
        assert not traces(path / "history.sqlite", written)
        seen.add(what)
    assert len(seen) == 3


def test_a_reader_that_does_not_end_is_told_of(bundle: Bundle, tmp_path: Path) -> None:
    """What is forgotten lies in the file as long as another process reads of before; forgetting it again ends it."""
    path = tmp_path / "mine"
    with Recommender.create(path, bundle, key=f"file:{tmp_path / 'key'}", clock=lambda: 2e9) as recommender:
        written = fill(recommender, path, 40)
        reader = sqlite3.connect(path / "history.sqlite", isolation_level=None)
        reader.execute("BEGIN")
        reader.execute("SELECT * FROM events").fetchone()
        recommender._history.connection.execute("PRAGMA busy_timeout = 0")
        with pytest.raises(
            StoreError, match=r"it is forgotten, but rows of it, sealed, still lie .*; forget the same again"
        ):
            recommender.forget(everything=True)
        assert not len(recommender)
        reader.close()
        assert traces(path / "history.sqlite", written)
        assert recommender.forget(everything=True) == 0
        assert not traces(path / "history.sqlite", written)


def test_lengths_do_not_tell_actions_from_what_was_only_shown(tmp_path: Path) -> None:
    """Who has the disk and not the key sees rows and parts of the same lengths."""
    rules = {"actions": {"view": 1.0, "shown": 0.0}}
    bundle = write_tiny_recommender_bundle(tmp_path / "bundle", settings=rules)
    lengths = []
    for action in ("view", "shown"):
        path = tmp_path / action
        with Recommender.create(path, bundle, key=f"file:{tmp_path / 'key'}", clock=lambda: 2e9) as recommender:
            recommender.record_many([Event(f"film-{n:03}", action, 1e9 + n) for n in range(20)])
            lengths.append(sorted(map(len, parts(path / "history.sqlite"))))
    assert lengths[0] == lengths[1]


@pytest.mark.parametrize("since", [1.7e12, float("nan"), float("inf"), "yesterday"])
def test_what_is_no_time_is_not_taken_for_one_that_nothing_came_after(
    bundle: Bundle, tmp_path: Path, since: float
) -> None:
    """Milliseconds would forget nothing, and who asked would think that all is gone."""
    with Recommender.create(
        tmp_path / "mine", bundle, key=f"file:{tmp_path / 'key'}", clock=lambda: 2e9
    ) as recommender:
        recommender.record(Event("film-001", time=1.9e9))
        with pytest.raises(DataError, match=r"since .*: give"):
            recommender.forget(since=since)
        assert recommender.forget(since=1.8e9) == 1


def test_the_clock_of_what_was_forgotten_is_forgotten(bundle: Bundle, tmp_path: Path) -> None:
    now = [2e9]
    with Recommender.create(
        tmp_path / "mine", bundle, key=f"file:{tmp_path / 'key'}", clock=lambda: now[0]
    ) as recommender:
        recommender.record(Event("film-001"))
        now[0] = 1e9  # it was a wrong one
        recommender.record(Event("film-002"))
        assert min(event.time or 0.0 for event in recommender.events()) == 2e9
        recommender.forget(everything=True)
        recommender.record(Event("film-003"))
        assert [event.time for event in recommender.events()] == [1e9]
