"""What a device records, recommends and says, through its public door."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest
from tests.edge.tiny_recommender_bundle import write_tiny_recommender_bundle

pytest.importorskip("cryptography")

import nearfar
from nearfar.bundle import Bundle
from nearfar.edge import Event, Recommender
from nearfar.edge.recommend.catalogue import Catalogue
from nearfar.edge.recommend.profile import Profile
from nearfar.errors import BundleError, DataError, KeyUnavailableError, StoreError

NOW = 2e9
RULES = {"actions": {"view": 1.0, "buy": 3.0, "shown": 0.0, "hide": -1.0}, "least_dwell": 2.0, "liked": 3.0}


@pytest.fixture(scope="module")
def bundle(tmp_path_factory: pytest.TempPathFactory) -> Bundle:
    return write_tiny_recommender_bundle(tmp_path_factory.mktemp("films") / "bundle", settings=RULES)


@pytest.fixture
def place(tmp_path: Path) -> str:
    return f"file:{tmp_path / 'key'}"


@pytest.fixture
def recommender(bundle: Bundle, tmp_path: Path, place: str) -> Recommender:
    return Recommender.create(tmp_path / "mine", bundle, key=place, clock=lambda: NOW)


def items(recommended: list[nearfar.edge.recommend.answers.Recommendation]) -> list[str]:
    return [one.item for one in recommended]


def profile(recommender: Recommender) -> Profile:
    return recommender._current()[1].profile


def acted(recommender: Recommender) -> list[str]:
    return [recommender.catalogue.names[number] for number in profile(recommender).items]


def test_a_new_user_is_recommended_what_is_popular(recommender: Recommender) -> None:
    assert recommender.is_new
    assert items(recommender.recommend(4)) == ["film-000", "film-001", "film-002", "film-003"]
    recommender.record(Event("film-000", "view"))
    assert not recommender.is_new
    first = recommender.rank(["film-030", "film-001"])[0]  # what comes after film-000 by the prior
    assert first.title == "Film 1"
    assert first.facts == {"genres": ["drama", "long"], "year": 1951}


def test_what_was_acted_on_is_not_recommended_but_what_was_shown_is(recommender: Recommender) -> None:
    recommender.record_many([Event("film-000", "view"), Event("film-001", "shown"), Event("film-002", "hide")])
    recommended = items(recommender.recommend(60))
    assert "film-001" in recommended
    assert not {"film-000", "film-002"} & set(recommended)
    assert len(recommended) == 58
    again = items(recommender.recommend(60, seen=True))
    assert "film-000" in again
    assert "film-002" not in again, "what is disliked is never recommended"
    recommender.record(Event("film-002", "buy"))
    assert "film-002" in items(recommender.recommend(60, seen=True)), "the last word counts"


@pytest.mark.parametrize(
    ("event", "is_action"),
    [
        (Event("film-009", "view", 1e9), True),
        (Event("film-009", "shown", 1e9), False),
        (Event("film-009", "view", 1e9, dwell=1.9), False),
        (Event("film-009", "view", 1e9, dwell=2.0), True),
        (Event("film-009", "buy", 1e9, rating=2.0), False),
        (Event("film-009", "buy", 1e9, rating=3.0), True),
        (Event("not in the catalogue", "buy", 1e9), False),
    ],
)
def test_what_counts_as_an_action(recommender: Recommender, event: Event, is_action: bool) -> None:
    assert recommender.record(event)
    assert recommender.events() == [event]
    assert acted(recommender) == ([event.item] if is_action else [])


def test_a_repeat_is_one_action_whatever_came_between(recommender: Recommender) -> None:
    """30 seconds by the event before it, itself a repeat or not; of the same kind; accidents are nothing to repeat."""
    times = [0, 20, 45, 80]
    recommender.record_many([Event("film-003", "view", 1e9 + time) for time in reversed(times)])
    recommender.record(Event("film-003", "buy", 1e9 + 81))
    recommender.record_many([Event("film-004", "view", 1e9 + 100, dwell=1.0), Event("film-004", "view", 1e9 + 101)])
    assert profile(recommender).times.tolist() == [1e9, 1e9 + 80, 1e9 + 81, 1e9 + 101]
    assert profile(recommender).weights.tolist() == [1.0, 1.0, 3.0, 1.0]


def test_the_same_event_is_one_and_now_is_never_the_same(recommender: Recommender) -> None:
    event = Event("film-005", "view", 1.5e9, dwell=7, rating=4)
    assert recommender.record(event)
    assert not recommender.record(Event("film-005", "view", 1_500_000_000, dwell=7.0, rating=4.0))
    assert recommender.record(Event("film-005", "view", 1.5e9, dwell=7.5, rating=4))
    assert recommender.record(Event("film-006", "view"))
    assert recommender.record(Event("film-006", "view"))
    times = [event.time for event in recommender.events()]
    assert len(times) == len(recommender) == 4
    assert times[3] - times[2] == pytest.approx(1e-6, rel=0.3)


@pytest.mark.parametrize(
    ("event", "message"),
    [
        (Event("", "view"), "without an item"),
        (Event("a\nb", "view"), "one line"),
        (Event("a" * 1001, "view"), "1,000"),
        (Event("film-001", "veiw"), 'did you mean "view"'),
        (Event("film-001"), "known are buy, hide, shown, view"),
        (Event("film-001", "view", float("nan")), "finite"),
        (Event("film-001", "view", 1.7e12), "milliseconds"),
        (Event("film-001", "view", NOW + 90_000), "ahead of this device's clock"),
        (Event("film-001", "view", dwell=-1.0), "dwell"),
        (Event("film-001", "view", rating="good"), "rating 'good'"),  # type: ignore[arg-type]
    ],
)
def test_an_event_that_cannot_be_is_refused_in_words(recommender: Recommender, event: Event, message: str) -> None:
    with pytest.raises(DataError, match=message):
        recommender.record_many([Event("film-001", "view"), event])
    assert not len(recommender)


def test_wishes_and_rules(recommender: Recommender) -> None:
    recommender.record(Event("film-000", "view"))
    dramas = recommender.recommend(60, where="genres = 'drama' and year < 1990")
    assert {one.item for one in dramas} == {f"film-{number:03}" for number in range(1, 40, 4)}
    assert "film-001" not in items(recommender.recommend(60, exclude=["film-001", "who knows"]))
    assert len(recommender.recommend(60, exclude="film-001")) == 58
    assert items(recommender.rank("film-001")) == ["film-001"]
    plain, diverse = recommender.recommend(8), recommender.recommend(8, diversity=0.9)
    assert items(plain) != items(diverse)
    assert recommender.recommend(3, where="year > 3000") == []
    for wrong in ({"k": 0}, {"diversity": 2.0}, {"where": "colour = 'red'"}, {"context": {"hour": 3}}):
        with pytest.raises(DataError):
            recommender.recommend(**wrong)


def test_candidates_of_somebody_else_are_put_into_order(recommender: Recommender) -> None:
    recommender.record(Event("film-000", "view"))
    scores = {one.item: one.score for one in recommender.recommend(60, seen=True)}
    ranked = recommender.rank(["film-030", "film-000", "film-001", "film-030"])
    assert items(ranked) == sorted(["film-000", "film-001", "film-030"], key=lambda item: -scores[item])
    assert [one.score for one in ranked] == [scores[one.item] for one in ranked]
    with pytest.raises(DataError, match=r"'film-99'.*did you mean"):
        recommender.rank(["film-001", "film-99"])


def test_why(recommender: Recommender) -> None:
    recommender.record_many([Event("film-000", "view", 1e9), Event("film-007", "view", 1.1e9)])
    told = recommender.explain("film-008")
    assert sum(told.parts.values()) == pytest.approx(told.score, abs=1e-5)
    assert told.rank == 1 + items(recommender.recommend(60)).index("film-008")
    assert {reason.item for reason in told.reasons} == {"film-000", "film-007"}
    assert recommender.explain("film-000").rank is None
    without = next(reason.score for reason in told.reasons if reason.item == "film-007")
    recommender.forget(item="film-007")
    assert recommender.explain("film-008").score == pytest.approx(told.score - without, abs=1e-5)


def test_an_event_before_the_others_takes_its_place(recommender: Recommender, tmp_path: Path, bundle: Bundle) -> None:
    events = [Event(f"film-{number:03}", "view", 1e9 + 100 * number) for number in range(12)]
    for event in [*events[6:], *events[:6]]:
        recommender.record(event)
    with Recommender.create(tmp_path / "other", bundle, key=f"file:{tmp_path / 'key'}", clock=lambda: NOW) as other:
        other.record_many(events)
        assert profile(other) == profile(recommender)
        assert other.recommend() == recommender.recommend()


def test_a_newer_bundle_takes_over_the_history(recommender: Recommender, tmp_path: Path) -> None:
    """Other items have other numbers; what the first did not know counts now."""
    newer = write_tiny_recommender_bundle(
        tmp_path / "newer", names=[f"film-{number:03}" for number in range(59, -1, -1)], settings=RULES, seed=3
    )
    strange = write_tiny_recommender_bundle(tmp_path / "strange", settings={"actions": {"listen": 1.0}})
    recommender.record_many([Event("film-001", "view", 1e9), Event("film-002", "buy", 1.1e9)])
    recommender.close()
    for bundle, known in ((newer, ["film-001", "film-002"]), (strange, [])):
        with Recommender.open(tmp_path / "mine", bundle, clock=lambda: NOW) as opened:
            assert opened.bundle.digest == bundle.digest
            assert acted(opened) == known
        assert len(list((tmp_path / "mine").glob("bundle-*"))) == 1
        with Recommender.open(tmp_path / "mine", clock=lambda: NOW) as opened:
            assert acted(opened) == known


def test_a_damaged_bundle_is_replaced_by_the_same_one(recommender: Recommender, tmp_path: Path, bundle: Bundle) -> None:
    recommender.record(Event("film-001", "view"))
    recommender.close()
    (next((tmp_path / "mine").glob("bundle-*")) / "history.onnx").write_bytes(b"broken")
    with pytest.raises(BundleError):
        Recommender.open(tmp_path / "mine")
    with Recommender.open(tmp_path / "mine", bundle) as opened:
        assert acted(opened) == ["film-001"]


def test_a_stored_profile_is_used_as_it_is(recommender: Recommender, tmp_path: Path) -> None:
    recommender.record_many([Event(f"film-{number:03}", "view", 1e9 + 100 * number) for number in range(40)])
    before, answers = profile(recommender), recommender.recommend()
    recommender.close()
    with Recommender.open(tmp_path / "mine", clock=lambda: NOW) as opened:
        assert profile(opened) == before
        assert opened.recommend() == answers
        assert opened.profile_bytes == len(before.to_bytes()) <= 4096


@pytest.mark.parametrize("name", ["history.csv", "history.jsonl"])
def test_a_history_goes_out_and_comes_in_again(recommender: Recommender, tmp_path: Path, name: str) -> None:
    events = [
        Event("film-001", "view", 1.1e9 + 1 / 3, dwell=12.5),
        Event('=film, "002"', "buy", 1.2e9, rating=4.0),
        Event("film-003", "hide", 1.3e9),
    ]
    recommender.record_many(events)
    assert recommender.export(tmp_path / name) == 3
    assert (tmp_path / name).stat().st_mode & 0o077 == 0
    before = profile(recommender)
    done = recommender.import_history(tmp_path / name)
    assert (done.read, done.new) == (3, 0)
    assert recommender.forget(everything=True) == 3
    done = recommender.import_history(tmp_path / name)
    assert (done.read, done.new, done.skipped) == (3, 3, {})
    assert recommender.events() == events
    assert profile(recommender) == before
    with pytest.raises(DataError, match=r"\.csv or \.jsonl"):
        recommender.export(tmp_path / "history.txt")


def test_bad_rows_of_an_import_are_counted_with_their_place(recommender: Recommender, tmp_path: Path) -> None:
    export = tmp_path / "export.csv"
    export.write_text(
        "who,film,when,what\n1,film-001,2001-01-01,view\n1,film-002,someday,view\n1,,2001-01-02,view\n"
        "1,film-003,2001-01-03,veiw\n1,film-004,2101-01-03,view\n1,film-005,2001-01-05,buy\n2,film-006,2001-01-05,buy\n"
    )
    columns = {"item": "film", "time": "when", "user": "who", "action": "what"}
    with pytest.raises(DataError, match="rows of 2 users"):
        recommender.import_history(export, columns)
    with pytest.raises(DataError, match="no row is of the user 'ann'"):
        recommender.import_history(export, columns, user="ann")
    with pytest.raises(DataError, match="did you mean 'time'"):
        recommender.import_history(export, {"tme": "when"})
    assert not len(recommender)
    done = recommender.import_history(export, columns, user="1")
    assert (done.read, done.new) == (2, 2)
    assert sum(done.skipped.values()) == 4
    assert any("export.csv:3" in example for example in done.examples)
    assert any("did you mean" in example for example in done.examples)
    assert [event.item for event in recommender.events()] == ["film-001", "film-005"]
    with pytest.raises(DataError, match="does not exist"):
        recommender.import_history(tmp_path / "nothing.csv")


def test_columns_that_are_not_named_are_those_of_their_name(recommender: Recommender, tmp_path: Path) -> None:
    export = tmp_path / "export.csv"
    export.write_text("item,when,action,dwell\nfilm-001,2001-01-01T00:00:00Z,buy,7\n")
    recommender.import_history(export, {"time": "when"})
    assert recommender.events() == [Event("film-001", "buy", 978_307_200.0, dwell=7.0)]


def test_a_file_that_does_not_say_the_kind_of_action(recommender: Recommender, tmp_path: Path) -> None:
    export = tmp_path / "export.csv"
    export.write_text("item,time\nfilm-001,1e9\n")
    with pytest.raises(DataError, match=r"no event in it that can be recorded.*without its kind of action"):
        recommender.import_history(export)
    with pytest.raises(DataError, match="did you mean"):
        recommender.import_history(export, action="veiw")
    recommender.import_history(export, action="view")
    assert recommender.events() == [Event("film-001", "view", 1e9)]


def test_reasons_to_skip_are_few_however_many_rows_there_are(recommender: Recommender, tmp_path: Path) -> None:
    export = tmp_path / "export.csv"
    bad = "".join(f"film-001,kind-{number},1e9\nfilm-001,view,{5e9 + number}\n" for number in range(50))
    export.write_text("item,action,time\nfilm-001,view,1e9\n" + bad)
    done = recommender.import_history(export)
    assert done.new == 1
    assert sorted(done.skipped.values()) == [50, 50]
    assert len(done.examples) == 5


def test_ten_thousand_events_come_in_in_a_few_transactions(recommender: Recommender, tmp_path: Path) -> None:
    lines = [
        {"item": f"film-{number % 60:03}", "action": "view", "time": 1e9 + 50 * number} for number in range(10_000)
    ]
    (tmp_path / "export.jsonl").write_text("\n".join(map(json.dumps, lines)))
    before = recommender._current()[1].head.counter
    done = recommender.import_history(tmp_path / "export.jsonl")
    assert done.new == 10_000
    assert recommender._current()[1].head.counter == before + 2
    assert np.array_equal(profile(recommender).times, [line["time"] for line in lines[-20:]])


def test_what_forget_takes(recommender: Recommender) -> None:
    recommender.record_many([Event(f"film-{number:03}", "view", 1e9 + number) for number in range(10)])
    assert recommender.forget(item="film-099") == 0
    assert recommender.forget(item="film-004") == 1
    assert recommender.forget(since=1e9 + 7) == 3
    assert len(recommender) == 6
    assert recommender.forget(everything=True) == 6
    assert recommender.is_new
    for wrong in ({}, {"item": "a", "everything": True}):
        with pytest.raises(DataError, match="exactly one"):
            recommender.forget(**wrong)


def test_what_cannot_be_made_or_opened(bundle: Bundle, tmp_path: Path, place: str) -> None:
    with pytest.raises(StoreError, match="there is no history here"):
        Recommender.open(tmp_path / "nothing")
    with pytest.raises(KeyUnavailableError):
        Recommender.create(tmp_path / "new", bundle, key="under the mat")
    with pytest.raises(BundleError):
        Recommender.create(tmp_path / "new", tmp_path / "no bundle", key=place)
    assert not (tmp_path / "new").exists()
    Recommender.create(tmp_path / "new", bundle, key=place).close()
    with pytest.raises(StoreError, match="something already"):
        Recommender.create(tmp_path / "new", bundle, key=place)
    closed = Recommender.open(tmp_path / "new")
    closed.close()
    with pytest.raises(StoreError, match="was closed"):
        closed.record(Event("film-001", "view"))


def test_the_doors_are_found(bundle: Bundle) -> None:
    assert nearfar.Recommender is Recommender
    assert nearfar.Event is Event
    assert len(Catalogue.open(bundle)) == 60
