from __future__ import annotations

import json
from dataclasses import replace

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from nearfar.edge.monitor.decide import Change, Decider, Rule, decision_statistic

NAN = float("nan")
RULE = Rule(threshold=1.0, needed=3, out_of=5, release=0.8, cool_down=4.0)


def scores(*values: float) -> np.ndarray:
    return np.array(values, np.float32)


def times(count: int) -> np.ndarray:
    return np.arange(count, dtype=np.float64)


@given(
    st.lists(st.one_of(st.floats(0, 9, width=32), st.just(NAN)), min_size=0, max_size=40),
    st.integers(1, 7).flatmap(lambda m: st.tuples(st.integers(1, m), st.just(m))),
)
def test_statistic_is_the_needed_th_largest_of_the_last(values: list[float], rule: tuple[int, int]) -> None:
    needed, out_of = rule
    found = decision_statistic(np.array(values, np.float32), needed, out_of)
    for row in range(len(values)):
        known = sorted((v for v in values[max(0, row - out_of + 1) : row + 1] if v == v), reverse=True)
        assert found[row] == (known[needed - 1] if len(known) >= needed else -np.inf)


def test_statistic_of_a_long_window_takes_its_rows_in_parts() -> None:
    values = np.random.default_rng(0).random(5000).astype(np.float32)
    found = decision_statistic(values, 1000, 2000)
    assert found[3999] == np.sort(values[2000:4000])[-1000]


def test_an_alarm_needs_so_many_of_so_many() -> None:
    decider = Decider(RULE)
    assert not decider.push(times(6), scores(2, 2, 0, 0, 0, 2)).changes
    (change,) = decider.push(times(3) + 6, scores(0, 2, 3)).changes
    assert (change.raised, change.row, change.time, change.since) == (True, 2, 8.0, 5.0)
    assert change.score == 2.0
    assert decider.alarmed


def test_an_alarm_ends_below_its_release_and_not_before() -> None:
    decider = Decider(RULE)
    decider.push(times(3), scores(2, 3, 2))
    assert not decider.push(times(20) + 3, np.full(20, 0.9, np.float32)).changes
    (change,) = decider.push(times(6) + 23, np.full(6, 0.7, np.float32)).changes
    assert (change.raised, change.row, change.since, change.score) == (False, 4, 2.0, 2.0)


@pytest.mark.parametrize(("out_of", "calm", "ends"), [(5, 1, 4), (5, 8, 7), (1, 3, 2), (1, 1, 0)])
def test_all_of_the_last_scores_must_be_low_as_many_as_calm_says_and_at_least_out_of(
    out_of: int, calm: int, ends: int
) -> None:
    decider = Decider(Rule(threshold=1.0, out_of=out_of, calm=calm))
    decider.push(times(20), np.full(20, 2, np.float32))
    (ended,) = decider.push(times(20) + 20, np.zeros(20, np.float32)).changes
    assert (ended.raised, ended.row) == (False, ends)


def test_a_score_at_the_release_itself_is_not_low() -> None:
    decider = Decider(Rule(threshold=1.0, release=0.5))
    assert [change.raised for change in decider.push(times(4), scores(2, 0.5, 0.5, 0.4375)).changes] == [True, False]
    assert not decider.alarmed


def test_after_the_cool_down_a_machine_that_is_healthy_needs_no_more_than_the_threshold() -> None:
    decider = Decider(Rule(threshold=1.0, release=0.8, settle=0.5, cool_down=4.0))
    (begun, ended) = decider.push(times(3), scores(2, 0.7, 0.7)).changes
    assert (begun.raised, ended.time) == (True, 1.0)
    assert not decider.push(times(2) + 3, scores(1.3, 1.3)).changes  # not twice 0.7
    (again,) = decider.push(times(2) + 5, scores(1.3, 1.3)).changes
    assert (again.raised, again.time) == (True, 5.0)


SETTLING = Rule(threshold=1.0, release=0.8, settle=0.5)


def test_an_alarm_ends_too_where_the_machine_settles_to_something_else() -> None:
    decider = Decider(SETTLING)
    begun, ended = decider.push(times(6), scores(0, 10, 10, 10, 4, 4)).changes
    assert (begun.time, ended.time, ended.score) == (1.0, 4.0, 10.0)  # 4 is below half of the mean, 8.5
    assert not decider.push(times(4) + 6, scores(3, 5.9, 6, 4)).changes  # not above twice what it had calmed down to
    (again,) = decider.push(times(1) + 10, scores(6.1)).changes
    assert again.raised


def test_one_high_score_is_no_level_that_an_alarm_falls_from() -> None:
    decider = Decider(SETTLING)
    assert [change.raised for change in decider.push(times(9), scores(0, 4, 4, 4, 12, 4, 4, 4, 4)).changes] == [True]


def test_after_a_low_score_the_threshold_holds_again() -> None:
    decider = Decider(replace(SETTLING, cool_down=100.0))
    assert len(decider.push(times(4), scores(10, 10, 4, 0.7)).changes) == 2
    assert not decider.push(times(1) + 4, scores(1.1)).changes  # not twice 0.7
    assert not decider.push(times(1) + 5, scores(0.4)).changes
    (again,) = decider.push(times(2) + 6, scores(1.1, 1.2)).changes
    assert (again.row, again.raised) == (0, True)


def test_since_is_the_first_of_the_scores_that_made_it_also_after_the_machine_settled() -> None:
    decider = Decider(Rule(threshold=1.0, needed=2, out_of=4, settle=0.5))
    assert len(decider.push(times(12), scores(*8 * [10], 3, 3, 3, 3)).changes) == 2
    # 3 is above the threshold too, but makes no alarm now.
    (again,) = decider.push(times(4) + 12, scores(3, 9, 3, 9)).changes
    assert (again.time, again.since, again.score) == (15.0, 13.0, 9.0)


def test_an_infinite_score_raises_an_alarm_and_is_no_part_of_its_mean() -> None:
    for settle in (0.0, 0.5):
        decider = Decider(Rule(threshold=1.0, release=0.8, settle=settle))
        assert [change.raised for change in decider.push(times(4), scores(np.inf, 4, 4, np.inf)).changes] == [True]
        assert [change.raised for change in decider.push(times(1) + 4, scores(0)).changes] == [False]


def test_an_alarm_goes_on_until_scores_are_calm() -> None:
    decider = Decider(Rule(threshold=1.0, release=0.8, calm=4))
    decider.push(times(5), scores(0, 0, 0, 0, 2))
    assert not decider.push(times(6) + 5, scores(0, 0, 0, 0.9, 0, 0)).changes
    (ended,) = decider.push(times(3) + 11, scores(0, 0, 0)).changes
    assert (ended.raised, ended.time) == (False, 12.0)


def test_scores_that_go_up_and_down_are_one_alarm() -> None:
    rng = np.random.default_rng(0)
    rough = np.exp(rng.normal(1.0, 0.8, 2000)).astype(np.float32)
    hasty, calm = Rule(1.0, release=0.9, settle=0.5), Rule(1.0, release=0.9, settle=0.5, calm=20)
    assert len(Decider(hasty).push(times(2000), rough).changes) > 100
    assert len(Decider(calm).push(times(2000), rough).changes) == 1


def test_the_level_is_the_score_over_what_is_alarming_at_the_time() -> None:
    decisions = Decider(SETTLING).push(times(6), scores(0.5, 10, 10, 3, 3, 1.5))
    np.testing.assert_allclose(decisions.level, [0.5, 10, 10, 3, 0.5, 0.5])
    assert decisions.alarmed.tolist() == [False, True, True, False, False, False]


def test_a_settled_machine_of_which_nothing_is_known_is_still_settled() -> None:
    decider = Decider(SETTLING)
    assert len(decider.push(times(5), scores(10, 10, 3.9, NAN, NAN)).changes) == 2
    assert not decider.push(times(2) + 5, scores(5, 7)).changes
    assert decider.push(times(1) + 7, scores(7.9)).changes[0].raised


def test_unknown_scores_neither_raise_nor_end_an_alarm() -> None:
    decider = Decider(RULE)
    assert not decider.push(times(5), scores(2, NAN, NAN, NAN, 2)).changes
    assert decider.push(times(1) + 5, scores(2)).changes == []  # 2 of the last 5: the first has left
    assert decider.push(times(1) + 6, scores(2)).changes[0].raised
    assert not decider.push(times(50) + 7, np.full(50, NAN, np.float32)).changes
    assert decider.alarmed
    # After so long a silence it takes as many low scores as there could have been high ones.
    assert not decider.push(times(4) + 57, scores(0, 0, 0, 0)).changes
    assert not decider.push(times(1) + 61, scores(0)).changes[0].raised


@given(
    st.lists(st.one_of(st.floats(0, 9, width=32), st.just(NAN)), max_size=60),
    st.sampled_from([RULE, SETTLING, Rule(1.0, 2, 3, 0.9, 2.0, 0.7), Rule(2.0, 1, 2, 0.9, 0.0, 0.9, 4)]),
    st.data(),
)
def test_any_cut_of_the_stream_decides_alike(values: list[float], rule: Rule, data: st.DataObject) -> None:
    all_scores, all_times = np.array(values, np.float32), times(len(values))
    whole = Decider(rule).push(all_times, all_scores)
    decider, start, changes, alarmed = Decider(rule), 0, [], []
    while start < len(values):
        stop = data.draw(st.integers(start + 1, len(values)))
        part = decider.push(all_times[start:stop], all_scores[start:stop])
        changes += [change._replace(row=change.row + start) for change in part.changes]
        alarmed += part.alarmed.tolist()
        start = stop
    assert changes == whole.changes
    assert alarmed == whole.alarmed.tolist()


def plainly(rule: Rule, at: list[float], values: list[float]) -> tuple[list[Change], list[bool], list[float]]:
    """What the docstring of `Rule` says, score by score: changes, whether alarmed, and levels."""
    looked_at = max(rule.out_of, rule.calm)
    changes: list[Change] = []
    alarmed, levels = [], []
    raised: int | None = None
    statistics: list[float] = []
    calmest: list[float] = []  # the highest of the last scores, at every row since the last end
    ready = -np.inf
    for row, value in enumerate(values):
        recent = range(max(0, row - rule.out_of + 1), row + 1)
        known = sorted((values[i] for i in recent if values[i] == values[i]), reverse=True)
        statistic = known[rule.needed - 1] if len(known) >= rule.needed else -np.inf
        last = values[max(0, row - looked_at + 1) : row + 1]
        highest = max(last) if len(last) == looked_at and all(v == v for v in last) else np.inf
        needs = rule.threshold
        if raised is None:
            calmest.append(highest)
            wary = at[row] < ready or min(calmest) >= rule.release * rule.threshold
            if rule.settle and ready > -np.inf and wary:
                needs = max(needs, min(calmest) / rule.settle)
            if value == value and statistic > needs:
                since = next(at[i] for i in recent if values[i] > needs)
                changes.append(Change(row, True, at[row], since, statistic))
                raised, statistics = row, [statistic]
        else:
            statistics.append(statistic)
            scored = [v for v in values[raised : row + 1] if v == v]
            if highest < max(rule.release * rule.threshold, rule.settle * (sum(scored) / len(scored))):
                above = statistic > rule.threshold
                changes.append(Change(row, False, at[row], at[raised], max(statistics), above))
                raised, calmest, ready = None, [highest], at[row] + rule.cool_down
        alarmed.append(raised is not None)
        levels.append(value / needs)
    return changes, alarmed, levels


RULES = st.integers(1, 5).flatmap(
    lambda out_of: st.builds(
        Rule,
        threshold=st.sampled_from([0.5, 1.0, 2.0]),
        needed=st.integers(1, out_of),
        out_of=st.just(out_of),
        release=st.sampled_from([0.5, 0.9, 1.0]),
        cool_down=st.sampled_from([0.0, 3.0, 9.0]),
        settle=st.sampled_from([0.0, 0.5, 0.7]),
        calm=st.integers(1, 7),
    )
)


def made_stream(seed: int) -> list[float]:
    """Faults, machines that settle, and gaps. Quarters are added without rounding, and often equal the threshold and its shares."""
    rng = np.random.default_rng(seed)
    values: list[float] = []
    while len(values) < 120:
        level = rng.choice([0, 1, 3, 6, 12, 24])
        quarters = np.round(level * rng.uniform(0.6, 1.4, rng.integers(1, 20)))
        values += np.where(rng.random(len(quarters)) < 0.1, NAN, quarters / 4).tolist()
    return values


@settings(max_examples=300)
@given(st.integers(0, 2**32).map(made_stream), RULES, st.data())
def test_decisions_are_those_of_the_rule_whatever_the_cuts_and_restarts(
    values: list[float], rule: Rule, data: st.DataObject
) -> None:
    at = times(len(values))
    decider, start, changes, alarmed, levels = Decider(rule), 0, [], [], []
    while start < len(values):
        stop = start + data.draw(st.integers(1, 40))
        part = decider.push(at[start:stop], np.array(values[start:stop], np.float32))
        changes += [change._replace(row=change.row + start) for change in part.changes]
        alarmed += part.alarmed.tolist()
        levels += part.level.tolist()
        start = stop
        if data.draw(st.booleans()):
            state, decider = decider.state(), Decider(rule)
            decider.restore(state)
    expected = plainly(rule, at.tolist(), values)
    assert changes == expected[0]
    assert alarmed == expected[1]
    np.testing.assert_allclose(levels, expected[2], rtol=1e-6)


def test_a_long_stream_in_one_piece_decides_as_in_many() -> None:
    rng = np.random.default_rng(0)
    rule = Rule(1.0, 2, 3, 0.9, 5.0, 0.6, 6)
    values = np.exp(rng.normal(0, 0.5, 30_000) + np.sin(np.arange(30_000) / 500)).astype(np.float32)
    values[rng.random(30_000) < 0.01] = np.nan
    whole = Decider(rule).push(times(30_000), values)
    decider, changes = Decider(rule), []
    for start in range(0, 30_000, 700):
        part = decider.push(times(30_000)[start : start + 700], values[start : start + 700])
        changes += [change._replace(row=change.row + start) for change in part.changes]
    assert whole.changes == changes
    assert len(changes) > 50
    assert max(ended.time - ended.since for ended in changes if not ended.raised) > 500


def test_a_clock_that_is_set_back_does_not_lengthen_the_cool_down() -> None:
    decider = Decider(Rule(threshold=1.0, release=0.8, settle=0.5, cool_down=4.0))
    assert len(decider.push(times(3) + 1000, scores(2, 0.7, 0.7)).changes) == 2
    decider.shift(-1000.0)
    changes = decider.push(times(4) + 3, scores(1.3, 1.3, 1.3, 1.3)).changes
    assert [change.time for change in changes] == [5.0]


def test_state_goes_on_with_the_threshold_that_was_set() -> None:
    decider = Decider(RULE)
    decider.rule = Rule(5.0, 3, 5, 0.8, 4.0)
    decider.push(times(4), scores(6, 6, 6, 6))
    other, own = Decider(RULE), Decider(RULE)
    other.restore(decider.state())
    own.restore(decider.state(), keep_threshold=True)
    assert (other.alarmed, other.rule.threshold, own.rule.threshold) == (True, 5.0, 1.0)
    more = (times(5) + 4, scores(0, 0, 0, 0, 0))
    assert other.push(*more).changes == decider.push(*more).changes != []


def test_out_of_one_is_the_score_itself() -> None:
    decisions = Decider(Rule(1.0)).push(times(3), scores(0.5, 1.5, 0.5))
    assert [change.raised for change in decisions.changes] == [True, False]
    assert decisions.alarmed.tolist() == [False, True, False]
    assert json.dumps(Decider(Rule(1.0)).state()["raised"]) == "null"


@pytest.mark.parametrize("count", [0, 1, 4])
def test_statistic_of_few_scores(count: int) -> None:
    assert decision_statistic(np.ones(count, np.float32), 3, 5).shape == (count,)
