"""From a log to the actions of a run: filters counted, splits in time that nothing leaks through, and the same on disk."""

from __future__ import annotations

import csv
from dataclasses import asdict
from pathlib import Path

import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from made_events import EVERYBODY, corpus_of, visits

from nearfar.errors import DataError
from nearfar.learn.data.action_cases import ranking_task
from nearfar.learn.data.actions import ActionCorpus
from nearfar.learn.data.split import DROPPED, TEST, TRAIN, VALIDATION

SHOP = {
    "columns": {"action": "action", "dwell": "dwell", "propensity": "propensity"},
    "weights": {"actions": {"view": 1.0, "buy": 3.0, "shown": 0.0, "dislike": -1.0}},
}


def histories(corpus: ActionCorpus) -> list[str]:
    """The items of each user, by name."""
    names = [corpus.names[item] for item in corpus.items.tolist()]
    return ["".join(names[begin:end]) for begin, end in zip(corpus.offsets[:-1], corpus.offsets[1:], strict=True)]


def event(user: str, item: str, at: float, action: str = "view", **more: object) -> dict[str, object]:
    return {"user": user, "item": item, "timestamp": at, "action": action, "dwell": "", "propensity": "", **more}


def test_the_last_action_is_tested_and_the_one_before_validates(tmp_path: Path) -> None:
    corpus = corpus_of(tmp_path, visits({"u": "abcd", "v": "ab", "w": "cab"}))
    assert histories(corpus) == ["abcd", "ab", "cab"]
    assert corpus.side.tolist() == [TRAIN, TRAIN, VALIDATION, TEST, TRAIN, TRAIN, TRAIN, VALIDATION, TEST]
    for side, expected in ((VALIDATION, [("ab", "c"), ("c", "a")]), (TEST, [("abc", "d"), ("ca", "b")])):
        task = ranking_task(corpus, side)
        cases = zip(task.begin, task.end, task.targets, strict=True)
        found = [("".join(corpus.names[i] for i in task.items[b:e]), corpus.names[t]) for b, e, t in cases]
        assert found == expected
        assert task.users.tolist() == [0, 2]


def test_a_part_that_is_not_wanted_is_not_held_out(tmp_path: Path) -> None:
    corpus = corpus_of(tmp_path, visits({"u": "abcd"}), split={"validation": 0.0})
    assert corpus.side.tolist() == [TRAIN, TRAIN, TRAIN, TEST]
    corpus = corpus_of(tmp_path, visits({"u": "abcd"}), split={"test": 0.0})
    assert corpus.side.tolist() == [TRAIN, TRAIN, TRAIN, VALIDATION]


def test_ties_in_time_keep_the_order_of_the_log(tmp_path: Path) -> None:
    corpus = corpus_of(tmp_path, visits({"u": "dbca"}, step=0), filters=EVERYBODY)
    assert histories(corpus) == ["dbca"]


def test_items_are_numbered_by_how_often_they_are_trained_on(tmp_path: Path) -> None:
    corpus = corpus_of(tmp_path, visits({"u": "abxy", "v": "cbxy", "w": "dbxy"}))
    assert corpus.names[0] == "b"
    assert ranking_task(corpus, TEST).popularity.tolist() == [3, 1, 1, 1, 0, 0]


def test_the_later_part_is_measured_and_only_the_earlier_learned(tmp_path: Path) -> None:
    early, late = visits({"u": "abab", "v": "abba"}), visits({"u": "bz", "n": "ab"}, begin=10**6)
    corpus = corpus_of(tmp_path, early + late, split={"by": "time", "validation": 0.0, "test": 1 / 3})
    assert corpus.counts.train == 8
    assert histories(corpus) == ["ababb", "abba", "ab"]
    assert corpus.names == ["a", "b"]  # z came up later only
    task = ranking_task(corpus, TEST)
    # Of u b and z, which nothing can find; of n the second action only, as nothing was known before the first.
    assert task.users.tolist() == [0, 0, 2]
    assert [corpus.names[t] if t >= 0 else None for t in task.targets] == ["b", None, "b"]
    assert (task.end - task.begin).tolist() == [4, 5, 1]
    assert corpus.counts.misses == 1


def test_with_a_split_by_time_rare_users_are_measured_but_not_learned_from(tmp_path: Path) -> None:
    filters = {**EVERYBODY, "least_of_user": 3}
    log = visits({"u": "abab", "v": "ab", "w": "abba"}) + visits({"u": "a", "v": "a"}, begin=10**6)
    corpus = corpus_of(tmp_path, log, split={"by": "time", "validation": 0.0, "test": 0.15}, filters=filters)
    assert corpus.side.tolist() == [TRAIN] * 4 + [TEST] + [DROPPED] * 2 + [TEST] + [TRAIN] * 4
    assert ranking_task(corpus, TEST).users.tolist() == [0, 1]


def test_rare_users_and_items_go_until_nothing_changes(tmp_path: Path) -> None:
    filters = {**EVERYBODY, "least_of_user": 3, "least_of_item": 2}
    # z is of one user only; without it x has two actions left, and then y one.
    corpus = corpus_of(tmp_path, visits({"u": "abc", "v": "abc", "x": "ayz", "w": "aby"}), filters=filters)
    assert histories(corpus) == ["abc", "abc"]
    assert corpus.counts.dropped == {
        "of users with fewer than least_of_user": 6,
    }


def test_every_rule_counts_what_it_takes_out(tmp_path: Path) -> None:
    log = [event("u", item, 100.0 * n) for n, item in enumerate("abcd")]
    log += [event("u", "a", 5.0), event("u", "b", 101.0, "buy"), event("u", "e", 900.0, dwell=0.5)]
    log += [event("u", "c", 1000.0, "dislike")]
    log += [event("bot", item, 10.0 * n) for n, item in enumerate("abcdabcdabcd")]
    filters = {**EVERYBODY, "repeat": 30.0, "least_dwell": 1.0, "most_per_hour": 10}
    corpus = corpus_of(tmp_path, log, filters=filters, **SHOP)
    assert histories(corpus) == ["abbcd"]
    assert corpus.weights.tolist() == [1, 1, 3, 1, 1]
    assert corpus.counts.dropped == {
        "shorter than least_dwell": 1,
        "repeated within the seconds of repeat": 1,
        "of users with more than most_per_hour": 12,
        "dislike, which is no action": 1,
    }


def test_what_was_shown_stands_between_the_actions_around_it(tmp_path: Path) -> None:
    log = [event("u", item, 10_000.0 * n) for n, item in enumerate("abcd")]
    log += [event("u", "x", 5_000.0, "shown", propensity=0.25), event("u", "c", 19_990.0, "shown")]
    log += [event("u", "b", 29_000.0, "shown"), event("u", "a", 50_000.0, "shown")]
    log += [event("v", "x", 0.0), event("v", "a", 1.0)]
    impressions = corpus_of(tmp_path, log, **SHOP).impressions
    assert impressions is not None
    assert impressions.histories.tolist() == [[0, 1], [0, 2], [0, 3], [0, 4]]
    assert impressions.acted.tolist() == [0, 1, 0, 0]
    assert impressions.propensities.tolist() == [0.25, 1, 1, 1]
    # Before the validation action it validates: trained on, it would tell what that action is.
    assert impressions.side.tolist() == [TRAIN, VALIDATION, TEST, TEST]


def test_a_shown_item_has_the_side_of_the_action_that_answers_it(tmp_path: Path) -> None:
    log = [event("u", item, 100.0 * n) for n, item in enumerate("abcd")] + [event("u", "d", 50.0, "shown")]
    impressions = corpus_of(tmp_path, log, **SHOP).impressions
    assert impressions is not None
    assert (impressions.acted.tolist(), impressions.side.tolist()) == ([1], [TEST])


def test_an_action_with_a_propensity_is_both_and_does_not_know_itself(tmp_path: Path) -> None:
    log = [event("u", item, 100.0 * n, propensity=0.5) for n, item in enumerate("abcd")]
    corpus = corpus_of(tmp_path, log, **SHOP)
    assert corpus.impressions is not None
    assert corpus.impressions.histories.tolist() == [[0, 0], [0, 1], [0, 2], [0, 3]]
    assert corpus.impressions.side.tolist() == corpus.side.tolist()
    assert corpus.impressions.acted.all()


def test_a_log_without_users_has_moments_and_context(tmp_path: Path) -> None:
    rows = [
        {"item": "ab"[n % 2], "timestamp": n, "click": n % 4 == 0, "p": 0.5, "device": ["phone", "desk"][n % 3 % 2]}
        for n in range(40)
    ]
    corpus = corpus_of(
        tmp_path,
        rows,
        columns={"user": None, "action": "click", "propensity": "p", "context": ["device"]},
        weights={"actions": {"true": 1.0, "false": 0.0}},
        split={"validation": 0.2, "test": 0.2},
    )
    assert corpus.counts.actions == 10
    assert np.diff(corpus.offsets).tolist() == [1] * 10
    assert corpus.settings.context is not None
    assert corpus.values.shape == (10, 1)
    assert corpus.impressions is not None
    assert corpus.impressions.codes.shape == (40, 1)
    assert set(corpus.impressions.side.tolist()) == {TRAIN, VALIDATION, TEST}
    assert (np.diff(corpus.impressions.side) >= 0).all()  # by time
    assert (corpus.impressions.histories[:, 0] == corpus.impressions.histories[:, 1]).all()
    assert len(ranking_task(corpus, TEST).targets) == 0


def items_csv(path: Path, rows: list[tuple[str, str, str, str]]) -> dict[str, object]:
    with path.open("w", encoding="utf-8", newline="") as file:
        csv.writer(file).writerows([("item", "title", "kind", "price"), *rows])
    return {"path": path, "columns": {"title": "title", "categories": ["kind"], "numbers": ["price"]}}


def test_rare_items_are_cold_with_content_and_left_out_without(tmp_path: Path) -> None:
    table = [("a", "Red lamp", "light|red", "1"), ("x", "Red Pan", "red", "3"), ("new", "Blue lamp", "light", "")]
    items = items_csv(tmp_path / "items.csv", table)
    log = visits({"u": "abxa", "v": "aaby", "w": "abba"})
    filters = {**EVERYBODY, "least_of_item": 2}
    corpus = corpus_of(tmp_path, log, filters=filters, items=items)
    assert corpus.names == ["a", "b", "x", "new"]
    assert (corpus.warm, corpus.counts.cold) == (2, 2)
    assert corpus.counts.dropped == {"on items with fewer than least_of_item": 1}
    content = corpus.content
    assert content is not None
    assert sorted(content.vocabulary) == ["kind=light", "kind=red", "word=lamp", "word=red"]
    tokens = [content.tokens[begin:end] for begin, end in zip(content.offsets[:-1], content.offsets[1:], strict=True)]
    assert [{content.vocabulary[token] for token in own} for own in tokens] == [
        {"word=red", "word=lamp", "kind=light", "kind=red"},
        set(),
        {"word=red", "kind=red"},
        {"word=lamp", "kind=light"},
    ]
    assert content.numbers.tolist() == [[-1, 0], [0, 1], [1, 0], [0, 1]]
    assert corpus.facts[0] == {"title": "Red lamp", "kind": ["light", "red"], "price": 1.0}
    assert corpus.facts[1] == {}

    left_out = corpus_of(tmp_path, log, filters=filters, items={**items, "cold": False})
    assert left_out.names == ["a", "b"]
    assert left_out.content is not None


def test_a_table_that_knows_none_of_the_items_is_refused(tmp_path: Path) -> None:
    items = items_csv(tmp_path / "items.csv", [("A1", "Red lamp", "light", "1"), ("A2", "Blue lamp", "light", "2")])
    with pytest.raises(DataError, match=r"knows no item of the log: it has 'A1' in .*, and the log 'a'.*columns\.item"):
        corpus_of(tmp_path, visits({"u": "abxa", "v": "aaby"}), items=items)


def test_bad_rows_are_counted_or_refused(tmp_path: Path) -> None:
    log = [*visits({"u": "abcd"}), {"user": "", "item": "a", "timestamp": 5}]
    assert corpus_of(tmp_path, log).counts.skipped == {"no user": 1}
    from nearfar.learn.data.prepare_actions import prepare_actions
    from nearfar.recipe.data import Data
    from nearfar.recipe.events import EventsFrontendSettings

    source = {"kind": "events", "path": tmp_path / "log.csv"}
    data = Data.model_validate({"source": source, "bad_rows": "refuse"})
    with pytest.raises(DataError, match=r"1 rows could not be read, first: .*log.csv:6: no user"):
        prepare_actions(data, EventsFrontendSettings(kind="events"), tmp_path / "other")


def test_a_log_of_which_nothing_is_left_is_refused_with_the_reasons(tmp_path: Path) -> None:
    with pytest.raises(DataError, match=r"nothing is left to learn from \(left out: 4 of users with fewer"):
        corpus_of(tmp_path, visits({"u": "ab", "v": "ab"}), filters={})
    with pytest.raises(DataError, match="no event in it is an action of positive weight"):
        corpus_of(tmp_path, [event("u", "a", 1.0, "shown")], **SHOP)


LOGS = st.lists(
    st.tuples(
        st.sampled_from("uvwx"), st.sampled_from("abcdef"), st.integers(0, 50), st.sampled_from(["view", "shown"])
    ),
    min_size=4,
    max_size=60,
)


@settings(max_examples=60, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(LOGS, st.sampled_from(["last_actions", "time"]), st.integers(1, 2))
def test_nothing_of_training_is_later_than_what_it_is_measured_by(
    tmp_path: Path, log: list[tuple[str, str, int, str]], by: str, least: int
) -> None:
    rows = [event(*some) for some in log]
    filters = {**EVERYBODY, "least_of_item": least}
    try:
        corpus = corpus_of(tmp_path, rows, split={"by": by, "validation": 0.2, "test": 0.2}, filters=filters, **SHOP)
    except DataError:
        return
    shown = corpus.impressions
    owners = np.repeat(np.arange(len(corpus.offsets) - 1), np.diff(corpus.offsets))
    for user in range(len(corpus.offsets) - 1):
        own = slice(corpus.offsets[user], corpus.offsets[user + 1])
        assert (np.diff(corpus.times[own]) >= 0).all()
        learned = corpus.side[own][corpus.side[own] != DROPPED]
        assert (np.diff(learned) >= 0).all()
    if by == "time":
        trained = corpus.times[corpus.side == TRAIN]
        held_out = corpus.times[corpus.side > TRAIN]
        assert not len(trained) or not len(held_out) or trained.max() < held_out.min()
    for side in (VALIDATION, TEST):
        task = ranking_task(corpus, side)
        for case in range(len(task.targets)):
            before = slice(task.begin[case], task.end[case])
            assert task.end[case] > task.begin[case]
            assert (task.times[before] <= task.now[case]).all()
            assert (owners[before] == task.users[case]).all()
            if by == "last_actions":
                assert (corpus.side[before] < side).all()
    for row in range(0 if shown is None else len(shown.items)):
        assert shown is not None
        before = slice(*shown.histories[row])
        assert (corpus.times[before] <= shown.now[row]).all()
        # What is trained on tells of no held-out action: not by its history, nor by what it was answered with.
        if shown.side[row] == TRAIN:
            assert (corpus.side[before] == TRAIN).all() or by == "time"
            held = (corpus.side > TRAIN) & (corpus.items == shown.items[row]) & (corpus.side != DROPPED)
            near = held & (corpus.times >= shown.now[row]) & (corpus.times <= shown.now[row] + 3600)
            if shown.acted[row] and near.any():
                earlier = (corpus.side == TRAIN) & (corpus.items == shown.items[row])
                assert (earlier & (corpus.times >= shown.now[row])).any()


def test_a_corpus_is_the_same_from_disk_and_from_the_same_log(tmp_path: Path) -> None:
    items = items_csv(tmp_path / "items.csv", [("a", "Red lamp", "light", "1"), ("b", "Lamp", "light", "2")])
    log = [event("u", item, 100.0 * n) for n, item in enumerate("abcab")] + [event("u", "a", 30.0, "shown")]
    one = corpus_of(tmp_path, log, items=items, **SHOP)
    other = ActionCorpus.open(tmp_path / "run")
    assert one.counts == other.counts
    assert one.digest() == other.digest() == one.counts.fingerprint
    assert (one.names, one.facts, one.settings) == (other.names, other.facts, other.settings)
    assert one.content is not None
    assert other.content is not None
    assert one.content.scales == other.content.scales
    assert corpus_of(tmp_path, log, items=items, **SHOP).digest() == one.digest()
    assert corpus_of(tmp_path, log[:-2], items=items, **SHOP).digest() != one.digest()
    assert asdict(one.counts)["dropped"] == {}
