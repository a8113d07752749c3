"""The sealed history: what is not as it was written is found, what is forgotten is gone, and careless callers lose nothing."""

from __future__ import annotations

import multiprocessing
import os
import shutil
import signal
import sqlite3
import sys
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from functools import partial
from pathlib import Path
from typing import Any

import pytest
from interrupting import interrupted
from tests.edge.tiny_recommender_bundle import write_tiny_recommender_bundle

pytest.importorskip("cryptography")

import nearfar.edge.recommend.history as history_module
import nearfar.edge.sealed.database as database_module
from nearfar.bundle import Bundle
from nearfar.edge.keys import open_key
from nearfar.edge.recommend.answers import Event
from nearfar.edge.recommend.recommender import Recommender
from nearfar.errors import BundleError, KeyUnavailableError, NearfarError, StoreError

OWN = tuple(str(Path(module.__file__ or "").parent) for module in (history_module, database_module))
FIRST = [Event(f"film-{number:03}", time=1e9 + 1000 * number) for number in range(8)]


@pytest.fixture(scope="module")
def bundle(tmp_path_factory: pytest.TempPathFactory) -> Bundle:
    return write_tiny_recommender_bundle(tmp_path_factory.mktemp("films") / "bundle")


@pytest.fixture(scope="module")
def made(bundle: Bundle, tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("made")
    with Recommender.create(folder / "history", bundle, key=f"file:{folder / 'key'}") as recommender:
        recommender.record_many(FIRST)
    return folder / "history"


@pytest.fixture
def path(made: Path, tmp_path: Path) -> Path:
    shutil.copytree(made, tmp_path / "history")
    return tmp_path / "history"


def edit(path: Path, *statements: str) -> None:
    connection = sqlite3.connect(path / "history.sqlite", isolation_level=None)
    for statement in statements:
        connection.execute(statement)
    connection.close()


def rows(path: Path, table: str) -> list[tuple[Any, ...]]:
    connection = sqlite3.connect(path / "history.sqlite")
    found = connection.execute(f"SELECT * FROM {table}").fetchall()
    connection.close()
    return found


def swap(path: Path, column: str) -> None:
    (one,), (other,) = (row for row in select(path, f"SELECT {column} FROM events WHERE number IN (2, 3)"))
    connection = sqlite3.connect(path / "history.sqlite", isolation_level=None)
    connection.execute("UPDATE events SET tag = x'00' WHERE number = 2" if column == "tag" else "SELECT 1")
    connection.execute(f"UPDATE events SET {column} = ? WHERE number = 3", (one,))
    connection.execute(f"UPDATE events SET {column} = ? WHERE number = 2", (other,))
    connection.close()


def select(path: Path, statement: str) -> list[tuple[Any, ...]]:
    connection = sqlite3.connect(path / "history.sqlite")
    found = connection.execute(statement).fetchall()
    connection.close()
    return found


FORGERIES: dict[str, Callable[[Path], object]] = {
    "an event is deleted": lambda path: edit(path, "DELETE FROM events WHERE number = 3"),
    "the last event is deleted": lambda path: edit(path, "DELETE FROM events WHERE number = 8"),
    "all events are deleted": lambda path: edit(path, "DELETE FROM events"),
    "an event is there twice": lambda path: edit(
        path, "INSERT INTO events SELECT 9, x'00', sealed FROM events LIMIT 1"
    ),
    "an event has another number": lambda path: edit(path, "UPDATE events SET number = 20 WHERE number = 8"),
    "two events change places": lambda path: swap(path, "sealed"),
    "two tags change places": lambda path: swap(path, "tag"),
    "a byte of an event is flipped": lambda path: edit(
        path,
        "UPDATE events SET sealed = CAST(substr(sealed, 1, 40) || x'00' || substr(sealed, 42) AS BLOB) WHERE number = 2",
    ),
    "an event is a text": lambda path: edit(path, "UPDATE events SET sealed = 'text' WHERE number = 2"),
    "the profile is deleted": lambda path: edit(path, "DELETE FROM meta WHERE name = 'profile'"),
    "the head is deleted": lambda path: edit(path, "DELETE FROM meta WHERE name = 'head'"),
    "the identifier is another one": lambda path: edit(
        path, "UPDATE meta SET value = zeroblob(16) WHERE name = 'history'"
    ),
    "a trigger undoes what is written": lambda path: edit(
        path, "CREATE TRIGGER undo BEFORE INSERT ON events BEGIN SELECT RAISE(IGNORE); END"
    ),
    "a view hides events": lambda path: edit(
        path, "ALTER TABLE events RENAME TO old", "CREATE VIEW events AS SELECT * FROM old LIMIT 1"
    ),
    "a newer format": lambda path: edit(path, "UPDATE meta SET value = 2 WHERE name = 'format'"),
    "the file is empty": lambda path: (path / "history.sqlite").write_bytes(b""),
    "the file is cut off": lambda path: (path / "history.sqlite").write_bytes(
        (path / "history.sqlite").read_bytes()[:9000]
    ),
    "the file is missing": lambda path: (path / "history.sqlite").unlink(),
    "the key record is missing": lambda path: (path / "key.json").unlink(),
    "the bundle is missing": lambda path: shutil.rmtree(next(path.glob("bundle-*"))),
}


@pytest.mark.parametrize("forgery", FORGERIES)
def test_a_forged_history_is_not_opened(path: Path, forgery: str) -> None:
    FORGERIES[forgery](path)
    with pytest.raises((StoreError, BundleError), match="history") as caught:
        Recommender.open(path)
    assert any(word in str(caught.value) for word in ("put the", "upgrade", "give the directory"))


@pytest.mark.parametrize("table", ["events", "meta"])
def test_one_part_put_back_as_it_was(path: Path, table: str) -> None:
    """The old events under the new head, or the other way round: neither a forgotten event comes back nor a new one is lost in silence."""
    old = rows(path, table)
    with Recommender.open(path) as recommender:
        recommender.forget(item="film-002")
        recommender.record(Event("film-009"))
    connection = sqlite3.connect(path / "history.sqlite", isolation_level=None)
    connection.execute(f"DELETE FROM {table}")
    connection.executemany(f"INSERT INTO {table} VALUES ({', '.join('?' * len(old[0]))})", old)
    connection.close()
    with pytest.raises(StoreError, match="tampered"):
        Recommender.open(path)


def test_a_history_that_is_put_back_while_it_is_open_answers_nothing(path: Path) -> None:
    events, meta = rows(path, "events"), rows(path, "meta")
    with Recommender.open(path) as recommender:
        recommender.record(Event("film-009"))
        connection = sqlite3.connect(path / "history.sqlite", isolation_level=None)
        for table, old in (("events", events), ("meta", meta)):
            connection.execute(f"DELETE FROM {table}")
            connection.executemany(f"INSERT INTO {table} VALUES ({', '.join('?' * len(old[0]))})", old)
        connection.close()
        for do in (recommender.recommend, lambda: recommender.record(Event("film-010")), recommender.events):
            with pytest.raises(StoreError, match="older state while it was open"):
                do()


@pytest.mark.parametrize("step", [193, pytest.param(41, marks=pytest.mark.recipe)])
def test_a_flipped_byte_anywhere_changes_no_answer(path: Path, step: int) -> None:
    """It is refused, or lies where nothing is: no answer and no event is another one."""
    key = open_key(path)
    with Recommender.open(path, ask=key, clock=lambda: 2e9) as recommender:
        events, answers = recommender.events(), recommender.recommend(5)
    said: list[str] = []
    for file in ("history.sqlite", "key.json"):
        whole = (path / file).read_bytes()
        for place in range(0, len(whole), step):
            (path / file).write_bytes(whole[:place] + bytes([whole[place] ^ 0x41]) + whole[place + 1 :])
            try:
                with Recommender.open(path, clock=lambda: 2e9) as recommender:
                    assert recommender.events() == events, (file, place)
                    assert recommender.recommend(5) == answers, (file, place)
            except NearfarError as error:
                said.append(str(error))
            for left in path.glob("history.sqlite-*"):
                left.unlink()
        (path / file).write_bytes(whole)
    assert len(said) > 8
    # Where the place of the key is what was flipped, it is looked for elsewhere.
    assert all(str(path) in message or "there is no such file" in message for message in said)


def test_another_directory_with_the_same_key_is_another_history(path: Path, made: Path, bundle: Bundle) -> None:
    place = made.parent / "key"
    with Recommender.create(path.parent / "other", bundle, key=f"file:{place}") as other:
        other.record(FIRST[0])
    shutil.copy(path.parent / "other" / "history.sqlite", path / "history.sqlite")
    with pytest.raises(StoreError, match=r"key\.json is of another history"):
        Recommender.open(path)
    with pytest.raises(KeyUnavailableError, match="this is not your history"):
        Recommender.open(path, key="file:/elsewhere")


def test_nothing_readable_is_on_the_medium(path: Path) -> None:
    with Recommender.open(path) as recommender:
        recommender.record(Event("film-017", rating=5.0))
        for file in path.glob("history.sqlite*"):
            content = file.read_bytes()
            assert b"film" not in content
            assert b"rating" not in content


def test_what_is_forgotten_is_written_over(path: Path) -> None:
    """Sealed rows and tags too: who gets the key later finds nothing to open."""
    traces = [part for _, tag, sealed in rows(path, "events") for part in (tag, sealed)]
    with Recommender.open(path) as recommender:
        recommender.record(FIRST[0])
        assert recommender.forget(everything=True) == 8
        content = b"".join(file.read_bytes() for file in path.glob("history.sqlite*"))
    assert not any(trace in content for trace in traces)


@pytest.mark.parametrize("step", [13, pytest.param(1, marks=pytest.mark.recipe)])
def test_ctrl_c_at_each_line(path: Path, step: int) -> None:
    """The event is recorded or not, and so it is forgotten; no lock and no wrong answer is left."""
    with Recommender.open(path, clock=lambda: 2e9) as recommender, Recommender.open(path, clock=lambda: 2e9) as other:
        other._history.connection.execute("PRAGMA busy_timeout = 0")
        line, before = 1, len(other)
        while interrupted(OWN, partial(recommender.record, Event("film-020", time=1.5e9 + line)), line):
            assert len(other) in (before, before + 1), line
            before = len(other)
            assert recommender.recommend(3) == other.recommend(3), line
            line += step
        assert line > 100
        line, late = 1, Event("film-030", time=1.0)
        while interrupted(OWN, partial(recommender.forget, item="film-030"), line):
            assert recommender.events() == other.events(), line
            assert recommender.recommend(3) == other.recommend(3), line
            other.record(late)
            line += step
        assert not any(event.item == "film-030" for event in other.events())
    Recommender.open(path).close()


def _on_a_full_disk(path: Path, rooms: tuple[int, ...], sent: Any) -> None:
    import resource

    unlimited = resource.RLIM_INFINITY
    with Recommender.open(path) as recommender:
        for number, room in enumerate(rooms):
            full = (path / "history.sqlite-wal").stat().st_size + room
            resource.setrlimit(resource.RLIMIT_FSIZE, (full, unlimited))
            try:
                said = str(recommender.record(Event("film-030", time=1.5e9 + number)))
            except StoreError as error:
                said = str(error)
            resource.setrlimit(resource.RLIMIT_FSIZE, (unlimited, unlimited))
            sent.put((said, recommender.record(Event("film-031", time=1.5e9 + number)), len(recommender)))


@pytest.mark.skipif(sys.platform == "win32", reason="has no limits of a process")
def test_a_disk_that_is_full_records_nothing_and_room_mends_it(path: Path) -> None:
    context = multiprocessing.get_context("spawn")
    sent = context.Queue()
    rooms = (0, 1000, 9000, 10**6)
    process = context.Process(target=_on_a_full_disk, args=(path, rooms, sent))
    process.start()
    count, outcomes = 8, []
    for _ in rooms:
        said, again, found = sent.get(timeout=60)
        assert said == "True" or "make room and try again" in said
        outcomes.append(said == "True")
        count += 1 + outcomes[-1]
        assert again
        assert found == count
    process.join()
    assert process.exitcode == 0
    assert outcomes[0] is False
    assert outcomes[-1] is True


def test_a_medium_that_cannot_be_written_records_nothing(path: Path) -> None:
    with Recommender.open(path) as recommender:
        recommender._history.connection.execute("PRAGMA query_only = ON")
        with pytest.raises(StoreError, match="cannot be written"):
            recommender.record(Event("film-030"))
        recommender._history.connection.execute("PRAGMA query_only = OFF")
        assert recommender.record(Event("film-030"))


@pytest.mark.skipif(not hasattr(os, "fork"), reason="has no fork")
@pytest.mark.filterwarnings("ignore::DeprecationWarning")
def test_a_forked_process_opens_the_history_itself(path: Path) -> None:
    with Recommender.open(path) as recommender:
        number = os.fork()
        if not number:
            try:
                recommender.record(Event("film-030"))
            except StoreError as error:
                os._exit(42 if "forked" in str(error) else 1)
            finally:
                os._exit(2)
        signal.alarm(60)
        _, status = os.waitpid(number, 0)
        signal.alarm(0)
        assert os.waitstatus_to_exitcode(status) == 42
        assert recommender.record(Event("film-030"))


def _records(path: Path, of: int) -> None:
    with Recommender.open(path) as recommender:
        for number in range(20):
            assert recommender.record(Event(f"film-{number + 20 * of:03}"))
            assert recommender.record(Event("film-059", time=1.5e9 + number)) in (True, False)


def test_two_processes_and_their_threads_share_a_history(path: Path) -> None:
    """Each sees what the others have recorded, an event of all is one, and the profile is that of the whole history."""
    context = multiprocessing.get_context("spawn")
    processes = [context.Process(target=_records, args=(path, of)) for of in (0, 1)]
    with Recommender.open(path, clock=lambda: 2e9) as recommender:
        for process in processes:
            process.start()
        with ThreadPoolExecutor(4) as pool:
            wanted = [Event(f"film-{number:03}", time=1.2e9 + 100 * number) for number in range(40, 58)]
            assert sum(pool.map(recommender.record, wanted * 2)) == len(wanted)
            list(pool.map(lambda _: recommender.recommend(5), range(20)))
        for process in processes:
            process.join(120)
            assert process.exitcode == 0
        events = recommender.events()
        assert len(events) == len(FIRST) + 18 + 40 + 20
        with Recommender.open(path, clock=lambda: 2e9) as other:
            assert other.recommend(5) == recommender.recommend(5)
        profile = recommender._current()[1].profile
        folded = recommender._current()[0].folded(_all(recommender)).profile
        assert profile == folded


def _all(recommender: Recommender) -> list[Any]:
    with recommender._history.look() as change:
        return change.all_events()
