"""Weights, gaps, repeats, and histories as a graph takes them."""

from __future__ import annotations

import math

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from nearfar.errors import DataError
from nearfar.frontend import EventsFrontend, EventsSettings
from nearfar.frontend.events import NOBODY, repeated
from nearfar.frontend.settings import CategoryColumn, NumberColumn, TableSettings

SHOP = EventsFrontend(
    EventsSettings(length=3, actions={"view": 1.0, "buy": 3.0, "shown": 0.0, "dislike": -2.0}, full_dwell=60, liked=3.0)
)


def test_weights_follow_kind_dwell_and_rating() -> None:
    assert SHOP.weight_of("view") == 1
    assert SHOP.weight_of("buy", dwell=60) == 3
    assert SHOP.weight_of("buy", dwell=10_000) == 3
    assert SHOP.weight_of("view", dwell=10) == pytest.approx(math.log(11) / math.log(61), rel=1e-6)
    assert SHOP.weight_of("view", dwell=0) == 0
    assert SHOP.weight_of("shown", dwell=10, rating=1) == 0
    assert SHOP.weight_of("dislike", dwell=1) == -2
    assert SHOP.weight_of("buy", dwell=1, rating=2.5) == -3
    assert SHOP.weight_of("buy", rating=3) == 3  # not below what is liked
    assert SHOP.weight_of("dislike", rating=1) == -2  # and disliking a bad one is no liking
    assert SHOP.weight_of("buy", rating=3) == 3


def test_an_accident_is_an_action_that_was_shorter_than_the_least_dwell() -> None:
    frontend = EventsFrontend(EventsSettings(length=1, least_dwell=2.0))
    assert frontend.is_accident(1.0, 1.99)
    assert not frontend.is_accident(1.0, 2.0)
    assert not frontend.is_accident(1.0, None)
    assert not frontend.is_accident(0.0, 0.0)


def test_without_kinds_every_action_counts_one() -> None:
    frontend = EventsFrontend(EventsSettings(length=3))
    assert frontend.weight_of() == 1
    with pytest.raises(DataError, match="kinds are not told apart"):
        frontend.weight_of("view")


def test_an_unknown_kind_is_refused_unless_others_have_a_weight() -> None:
    with pytest.raises(
        DataError, match=r'"veiw" is no known kind of action; did you mean "view"\? known are buy, dislike'
    ):
        SHOP.weight_of("veiw")
    with pytest.raises(DataError, match="without its kind"):
        SHOP.weight_of("")
    assert EventsFrontend(EventsSettings(length=1, actions={"buy": 3.0}, other=0.5)).weight_of("veiw") == 0.5


@pytest.mark.parametrize("dwell", [-1.0, float("nan")])
def test_a_dwell_time_below_nothing_is_refused(dwell: float) -> None:
    with pytest.raises(DataError, match="dwell time"):
        SHOP.weight_of("view", dwell=dwell)


def test_one_event_and_many_weigh_the_same() -> None:
    dwells = np.array([0.0, 0.1, 7.3, 59.999, np.nan])
    many = SHOP.weights_of(np.full(5, 3.0), dwells, np.full(5, np.nan))
    assert many.tolist() == [SHOP.weight_of("buy", None if np.isnan(dwell) else dwell) for dwell in dwells]


def test_gaps_are_counted_at_their_limits() -> None:
    found = SHOP.gap_numbers(np.array([[-5.0, 0.0, 9.999, 10.0], [59.0, 60.0, 2_592_000.0, 1e12]]))
    assert found.tolist() == [[0, 0, 0, 1], [1, 2, 8, 8]]
    assert found.dtype == np.int64


def test_a_batch_is_its_histories_padded_on_the_left() -> None:
    rng = np.random.default_rng(0)
    table = rng.normal(size=(6, 4)).astype(np.float32)
    items = np.array([0, 1, 2, 3, 4, 5, 0])
    times = np.array([0.0, 5.0, 70.0, 4000.0, 10.0, 20.0, 99.0])
    weights = np.array([1, 2, 3, 4, 5, 6, 7], np.float32)
    begin, end, now = np.array([0, 4, 6]), np.array([4, 6, 6]), np.array([4100.0, 20.0, 0.0])
    batch = SHOP.batch(table, items, times, weights, begin, end, now)
    assert batch["vectors"].shape == (3, 3, 4)
    assert batch["mask"].tolist() == [[1, 1, 1], [0, 1, 1], [0, 0, 0]]
    assert SHOP.positions(begin, end).tolist() == [[1, 2, 3], [NOBODY, 4, 5], [NOBODY, NOBODY, NOBODY]]
    assert batch["gaps"][0].tolist() == SHOP.gap_numbers(np.array([65.0, 3930.0, 100.0])).tolist()
    assert not batch["vectors"][1, 0].any()
    for row, (first, last, moment) in enumerate(zip(begin, end, now, strict=True)):
        own = slice(first, last)
        alone = SHOP.inputs(table[items[own]], times[own], weights[own], float(moment))
        length = alone["mask"].shape[1]
        assert length == max(1, min(3, last - first))
        for name, array in alone.items():
            assert np.array_equal(array[0], batch[name][row, -length:]), name
        assert {name: (array.dtype, array.ndim) for name, array in alone.items()} == {
            "vectors": (np.float32, 3),
            "gaps": (np.int64, 2),
            "weights": (np.float32, 2),
            "mask": (np.float32, 2),
        }


def test_a_history_without_actions_has_one_empty_place() -> None:
    nothing = np.zeros(0)
    alone = SHOP.inputs(np.zeros((0, 4), np.float32), nothing, nothing.astype(np.float32), 5.0)
    assert alone["vectors"].shape == (1, 1, 4)
    assert not any(array.any() for array in alone.values())


def test_a_context_may_be_missing_in_part_or_whole() -> None:
    columns = (
        NumberColumn(name="age", knots=(0.0, 100.0), levels=(-1.0, 1.0)),
        CategoryColumn(name="device", values=("phone", "desk")),
    )
    frontend = EventsFrontend(EventsSettings(length=1, context=TableSettings(columns=columns)))
    assert frontend.features == 2
    values, codes = frontend.context_of([{"age": 50, "device": "phone"}, {"device": "desk"}, None, {}])
    assert values[:, 0].tolist() == [0, 0, 0, 0]
    assert codes.tolist() == [[1, 2], [0, 3], [0, 0], [0, 0]]
    with pytest.raises(DataError, match='the context has no "weather"'):
        frontend.context_of([{"weather": "rain"}])
    assert [array.shape for array in SHOP.context_of([None, None])] == [(2, 0), (2, 0)]


EVENTS = st.lists(st.tuples(st.integers(0, 2), st.floats(0, 100).map(lambda at: round(at, 1))), max_size=30)


@given(EVENTS, st.sampled_from([0.0, 1.0, 10.0]))
def test_repeats_are_those_of_a_stream_that_remembers_one_time_a_key(
    events: list[tuple[int, float]], seconds: float
) -> None:
    keys = np.array([key for key, _ in events], np.int64)
    times = np.array([at for _, at in events], np.float64)
    last: dict[int, float] = {}
    expected = np.zeros(len(events), bool)
    for row in np.argsort(times, kind="stable").tolist():
        key, at = events[row]
        expected[row] = key in last and at - last[key] <= seconds
        last[key] = at
    assert repeated(keys, times, seconds).tolist() == expected.tolist()
