"""The commands about what somebody does and may want next, as a user types them: record, recommend, forget."""

from __future__ import annotations

import json
import shutil
from collections.abc import Callable
from pathlib import Path

import pytest
from tests.edge.tiny_recommender_bundle import write_tiny_recommender_bundle

pytest.importorskip("cryptography")

Command = Callable[..., tuple[int, str, str]]


@pytest.fixture(scope="module")
def bundle(tmp_path_factory: pytest.TempPathFactory) -> Path:
    rules = {"actions": {"view": 1.0, "buy": 3.0, "shown": 0.0}}
    return write_tiny_recommender_bundle(tmp_path_factory.mktemp("films") / "[red]films", settings=rules).path


@pytest.fixture
def mine(bundle: Path, tmp_path: Path, nearfar: Command) -> Path:
    """A history with three events; its key lies in a file, because a passphrase is slow on purpose."""
    mine = tmp_path / "mine [x]"
    key = f"file:{tmp_path / 'key'}"
    assert (
        nearfar("record", mine, "film-000", "--action", "view", "--at", "2020-01-01", "--bundle", bundle, "--key", key)[
            0
        ]
        == 0
    )
    for item, day in (("film-010", "2020-01-02"), ("film-020", "2020-01-03")):
        assert nearfar("record", mine, item, "--action", "buy", "--at", day, "--rating", "4")[0] == 0
    return mine


def test_the_first_event_makes_the_directory(bundle: Path, tmp_path: Path, nearfar: Command) -> None:
    mine, key = tmp_path / "mine", f"file:{tmp_path / 'key'}"
    code, _, err = nearfar("record", mine, "film-001")
    assert (code, mine.exists()) == (2, False)
    assert "give the recommender to begin one with: --bundle" in err
    code, _, err = nearfar("record", mine, "film-001", "--at", "one day", "--bundle", bundle, "--key", key)
    assert (code, mine.exists()) == (2, False)
    assert "2025-01-31" in err
    code, _, err = nearfar("record", mine, "film-001", "--action", "veiw", "--bundle", bundle, "--key", key)
    assert (code, mine.exists()) == (2, False)
    code, out, _ = nearfar("record", mine, "film-001", "--action", "view", "--bundle", bundle, "--key", key)
    assert (code, out) == (0, f"film-001: recorded; {mine} has 1 event\n")
    code, _, err = nearfar("record", mine, "film-001", "--action", "view", "--key", "file:/elsewhere")
    assert code == 2
    assert "not your history" in err


def test_the_same_event_is_one(mine: Path, nearfar: Command) -> None:
    code, out, _ = nearfar("record", mine, "film-000", "--action", "view", "--at", "2020-01-01")
    assert code == 0
    assert "was recorded before" in out
    assert "has 3 events" in out
    code, out, _ = nearfar("record", mine, "a film of tomorrow", "--action", "view")
    assert "not in the catalogue" in out
    assert "has 4 events" in out


def test_what_counts_for_nothing_says_so(mine: Path, nearfar: Command) -> None:
    assert "only shown, so it counts for nothing" in nearfar("record", mine, "film-001", "--action", "shown")[1]
    assert "once an update brings it" in nearfar("record", mine, "film-99", "--action", "view")[1]


def test_a_name_to_exclude_that_is_none_is_told(mine: Path, nearfar: Command) -> None:
    code, _, err = nearfar("recommend", mine, "--exclude", "film-002", "--exclude", "flim-003")
    assert (code, " ".join(err.split())) == (0, "--exclude flim-003: is not in the catalogue")


def test_what_may_be_wanted_next(mine: Path, nearfar: Command) -> None:
    code, out, err = nearfar("recommend", mine, "-k", "3")
    assert (code, err) == (0, "")
    header, *lines = out.splitlines()
    assert header.split() == ["item", "title", "score", "genres", "year"]
    assert [line.split()[0] for line in lines] == ["1", "2", "3"]
    code, out, _ = nearfar("recommend", mine, "-k", "3", "--json")
    found = json.loads(out)
    assert [one["item"] for one in found] == [line.split()[1] for line in lines]
    assert {"item", "score", "title", "facts"} == set(found[0])
    first = found[0]["item"]
    code, out, _ = nearfar("recommend", mine, "-k", "3", "--json", "--exclude", first, "--where", "year >= 1960")
    assert all(one["item"] != first and one["facts"]["year"] >= 1960 for one in json.loads(out))
    code, out, _ = nearfar("recommend", mine, "-k", "60", "--json", "--seen", "--diversity", "0.5")
    assert len(json.loads(out)) == 60
    code, out, _ = nearfar("recommend", mine, "--where", "year > 3000")
    assert (code, out) == (0, "nothing is left to recommend; ask for less with --where\n")


def test_why_and_in_which_order(mine: Path, tmp_path: Path, nearfar: Command) -> None:
    code, out, _ = nearfar("recommend", mine, "--explain", "film-021")
    assert code == 0
    assert "film-021: score" in out
    assert "encoder" in out
    assert "film-020" in out
    told = json.loads(nearfar("recommend", mine, "--explain", "film-021", "--json")[1])
    assert sum(told["parts"].values()) == pytest.approx(told["score"], abs=1e-5)
    (tmp_path / "list.txt").write_text("film-050\n\nfilm-021\nfilm-000\n")
    ranked = json.loads(nearfar("recommend", mine, "--rank", tmp_path / "list.txt", "--json")[1])
    assert {one["item"] for one in ranked} == {"film-050", "film-021", "film-000"}
    assert [one["score"] for one in ranked] == sorted((one["score"] for one in ranked), reverse=True)
    (tmp_path / "list.txt").write_text("film-050\nfilm 21\n")
    code, _, err = nearfar("recommend", mine, "--rank", tmp_path / "list.txt")
    assert (code, "'film 21'" in err) == (2, True)


def test_forgetting(mine: Path, nearfar: Command) -> None:
    code, out, _ = nearfar("forget", mine, "--item", "film-033")
    assert (code, out) == (0, f"{mine}: nothing to forget there; it has 3 events\n")
    assert nearfar("forget", mine, "--item", "film-000")[1] == f"{mine}: forgot 1 event, 2 left\n"
    assert nearfar("forget", mine, "--since", "2020-01-02T23:00")[1] == f"{mine}: forgot 1 event, 1 left\n"
    assert nearfar("forget", mine, "--everything")[1] == f"{mine}: forgot 1 event, 0 left\n"
    code, out, err = nearfar("recommend", mine, "-k", "2", "--json")
    assert [one["item"] for one in json.loads(out)] == ["film-000", "film-001"]
    code, _, err = nearfar("recommend", mine, "-k", "2")
    assert "nothing is known of you yet, so this is what is popular" in " ".join(err.split())
    code, _, err = nearfar("forget", mine)
    assert (code, "exactly one" in err) == (2, True)


def test_a_history_goes_out_and_comes_in(mine: Path, tmp_path: Path, nearfar: Command) -> None:
    export = tmp_path / "export.csv"
    assert "3 events" in nearfar("record", mine, "--export", export)[1]
    assert "0 events recorded, 3 were there already" in nearfar("record", mine, "--import", export)[1]
    other = tmp_path / "other.csv"
    other.write_text(
        "who,film,when,what\n1,film-001,2001-01-01,view\n1,film-002,someday,view\n2,film-003,2002-02-02,buy\n"
    )
    columns = [part for name in ("user=who", "item=film", "time=when", "action=what") for part in ("--column", name)]
    code, _, err = nearfar("record", mine, "--import", other, *columns)
    assert (code, "--user" in err) == (2, True)
    code, out, err = nearfar("record", mine, "--import", other, *columns, "--user", "1")
    assert code == 0
    assert "1 event recorded" in out
    assert "other.csv:3" in err


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (("record",), "say what was acted on"),
        (("record", "film-001", "--import", "x.csv"), "say what was acted on"),
        (("record", "--import", "none.csv"), "there is no such file"),
        (("record", "film-001", "--action", "veiw"), 'did you mean "view"'),
        (("record", "film-001", "--user", "1"), "give it with --import"),
        (("record", "--import", "KEY", "--column", "film=item"), "is no part of an event"),
        (("record", "--import", "KEY", "--dwell", "3"), "are of one event"),
        (("record", "--export", "x.csv", "--action", "view"), "are of one event"),
        (("recommend", "--where", "colour = 'red'"), "no item says 'colour'"),
        (("recommend", "--where", "year >"), "year"),
        (("recommend", "--context", "hour"), "name=value"),
        (("recommend", "--context", "hour=3"), "without a context"),
        (("recommend", "--diversity", "2"), "diversity"),
        (("recommend", "--explain", "film-1000"), "not in the catalogue"),
        (("recommend", "--rank", "none.txt"), "cannot be read"),
        (("forget", "--since", "yesterday"), "is no time"),
    ],
)
def test_slips_of_the_pen(mine: Path, nearfar: Command, arguments: tuple[str, ...], message: str) -> None:
    command, *rest = (str(mine.parent / "key") if part == "KEY" else part for part in arguments)
    code, _, err = nearfar(command, mine, *rest)
    assert code == 2
    assert message in " ".join(err.split())


def test_what_is_no_history(mine: Path, tmp_path: Path, nearfar: Command) -> None:
    code, _, err = nearfar("recommend", tmp_path / "nothing")
    assert (code, "there is no history here" in err) == (2, True)
    (tmp_path / "other").mkdir()
    (tmp_path / "other" / "notes.txt").touch()
    code, _, err = nearfar("recommend", tmp_path / "other")
    assert (code, "is no history, or a part of one is missing" in " ".join(err.split())) == (2, True)
    shutil.rmtree(next(mine.glob("bundle-*")))
    code, _, err = nearfar("recommend", mine)
    assert (code, "bundle" in err) == (2, True)


def test_a_newer_bundle(mine: Path, tmp_path: Path, nearfar: Command) -> None:
    newer = write_tiny_recommender_bundle(tmp_path / "newer", names=[f"film-{n:03}" for n in reversed(range(60))])
    assert nearfar("recommend", mine, "--bundle", newer.path)[0] == 0
    known = json.loads(nearfar("recommend", mine, "--explain", "film-001", "--json")[1])
    assert (
        known["reasons"] == []
    )  # it tells no kinds of action apart, so what was recorded with them says nothing to it
