"""Samples to frames: however a stream is cut, whatever its clock does."""

from __future__ import annotations

import io
import json
import tracemalloc
from itertools import pairwise
from typing import Any

import numpy as np
import numpy.typing as npt
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from nearfar.errors import DataError
from nearfar.frontend.grid import Frames, Grid
from nearfar.frontend.settings import ChannelSettings, SeriesSettings

BANDS = ((10.0, 20.0), (20.0, 50.0))
START = 1_700_000_000.0


def series(slow: int = 1, fast: int = 0, *, rate: float = 100.0, **changed: Any) -> SeriesSettings:
    slow_ones = [ChannelSettings(name=f"slow{n}", centre=(0.0,), scale=(1.0,)) for n in range(slow)]
    fast_ones = [
        ChannelSettings(name=f"fast{n}", rate=rate, bands=BANDS, centre=(0.0,) * 5, scale=(1.0,) * 5)
        for n in range(fast)
    ]
    options = {"period": 1.0, "window": 4, "max_gap": 3.0, **changed}
    return SeriesSettings(channels=(*slow_ones, *fast_ones), **options)


def whole(grid: Grid, times: npt.ArrayLike, values: npt.ArrayLike) -> Frames:
    return put_together([grid.push(times, values), grid.flush()])


def put_together(parts: list[Frames]) -> Frames:
    return Frames(np.concatenate([p.times for p in parts]), np.concatenate([p.values for p in parts]))


def column(frames: Frames) -> list[float]:
    return [round(float(value), 4) for value in frames.values[:, 0]]


def same(a: Frames, b: Frames) -> None:
    np.testing.assert_array_equal(a.times, b.times)
    np.testing.assert_array_equal(a.values, b.values)


def test_a_frame_is_the_mean_of_its_samples_and_lies_on_multiples_of_the_period() -> None:
    grid = Grid(series(period=10.0))
    frames = grid.push([START + 3, START + 4, START + 9.9, START + 10], [[1], [3], [np.nan], [50]])
    assert frames.times.tolist() == [START]
    assert frames.values.tolist() == [[2.0]]
    assert grid.flush().values.tolist() == [[50.0]]


def test_a_frame_waits_for_the_first_sample_after_it_of_any_channel() -> None:
    grid = Grid(series(slow=2))
    assert not len(grid.push([START, START + 0.99], [[1.0], [3.0]], [0]).times)
    frames = grid.push([START + 1], [[7.0]], [1])
    assert frames.values[0, 0] == 2.0
    assert np.isnan(frames.values[0, 1])


def test_times_that_float64_does_not_hold_exactly_fall_into_their_own_frame() -> None:
    for period in (0.1, 0.01, 0.3, 1 / 3):
        numbers = np.arange(int(START / period), int(START / period) + 2000)
        frames = whole(Grid(series(period=period)), numbers * period, np.arange(2000.0)[:, None])
        assert frames.values[:, 0].tolist() == list(range(2000)), period


def test_the_last_value_is_held_for_max_gap_and_then_missing() -> None:
    grid = Grid(series(slow=2, max_gap=3.0))
    times = START + np.arange(8.0)
    values = np.full((8, 2), np.nan)
    values[:, 1] = 1.0
    values[[0, 7], 0] = 5.0
    assert column(whole(grid, times, values))[:4] == [5, 5, 5, 5]
    frames = whole(Grid(series(slow=2, max_gap=3.0)), times, values)
    assert np.isnan(frames.values[4:7, 0]).all()
    assert frames.values[7, 0] == 5.0


def test_what_is_not_finite_is_missing() -> None:
    frames = whole(Grid(series(max_gap=0.0)), START + np.arange(3), [[np.inf], [-np.inf], [1.0]])
    np.testing.assert_array_equal(frames.values[:, 0], [np.nan, np.nan, 1.0])


def test_late_samples_count_while_their_frame_is_open_and_are_counted_afterwards() -> None:
    times, values = START + np.array([0, 1.0, 0.5, 2.0, 3.0, 0.9, 1.9]), [[0], [1], [10], [2], [3], [99], [99]]
    grid = Grid(series(lateness=1.5))
    assert column(whole(grid, times, values)) == [5, 50, 2, 3]
    (notice,) = grid.notices
    assert (notice.what, notice.samples) == ("late", 1)
    assert notice.seconds == pytest.approx(2.1)
    strict = Grid(series())
    assert column(whole(strict, times, values)) == [0, 1, 2, 3]
    assert strict.notices[-1].samples == 3


def test_before_the_first_frame_is_closed_an_earlier_one_may_be_opened() -> None:
    grid = Grid(series(lateness=5.0))
    grid.push([START + 3, START + 1], [[3], [1]])
    frames = grid.flush()
    assert frames.times.tolist() == [START + 1, START + 2, START + 3]


def test_a_long_gap_gives_a_window_of_missing_frames_and_a_notice() -> None:
    grid = Grid(series(max_gap=2.0, window=4))
    year = 365 * 86_400.0
    frames = whole(grid, [START, START + year, START + year + 1], [[1], [2], [3]])
    assert [None if np.isnan(v) else v for v in column(frames)] == [1, 1, 1, None, None, None, None, 2, 3]
    assert frames.times[-2] == START + year
    assert (np.diff(frames.times) > 0).all()
    (notice,) = grid.notices
    assert (notice.what, notice.seconds, notice.time) == ("gap", year, START)


def test_a_short_gap_gives_every_frame() -> None:
    frames = whole(Grid(series(max_gap=2.0)), [START, START + 15], [[1], [2]])
    assert len(frames.times) == 16


def test_samples_of_long_ago_are_stray_until_they_come_in_a_row() -> None:
    hour = 3600.0
    grid = Grid(series())
    grid.push(START + np.arange(10.0), np.ones((10, 1)))
    grid.push([START - hour], [[50.0]])
    assert [n.what for n in grid.notices] == ["late"]
    grid.push([START + 10, START + 11], [[1.0], [1.0]])
    back = grid.push(START - hour + np.arange(8.0), np.full((8, 1), 2.0))
    assert [n.what for n in grid.notices] == ["late", "jump"]
    assert grid.notices[-1].seconds == pytest.approx(-hour + 4 - 11)
    # The frame that was open, and those after the fifth sample.
    assert back.values[:, 0].tolist() == [1.0, 2.0, 2.0, 2.0]
    assert back.times[1] == START - hour + 4


def test_a_single_sample_from_the_future_heals() -> None:
    grid = Grid(series())
    grid.push(START + np.arange(3.0), np.ones((3, 1)))
    grid.push([START + 1e9], [[9.0]])
    grid.push(START + 3 + np.arange(10.0), np.ones((10, 1)))
    assert [n.what for n in grid.notices] == ["gap", "late", "jump"]
    assert grid.push([START + 13], [[1.0]]).times.tolist() == [START + 12]


def test_what_was_seen_is_held_over_a_clock_that_was_set_back() -> None:
    grid = Grid(series(slow=2, max_gap=3.0))
    grid.push(START + np.arange(4.0), np.ones((4, 2)))
    values = np.full((8, 2), np.nan)
    values[:, 1] = 2.0
    frames = put_together([grid.push(START - 5000 + np.arange(8.0), values), grid.flush()])
    assert column(frames)[:4] == [1, 1, 1, 1]
    assert np.isnan(frames.values[4:, 0]).all()


def test_a_fast_channel_gives_its_spectrum_and_is_missing_with_less_than_half_of_its_samples() -> None:
    rng = np.random.default_rng(0)
    times = START + np.arange(300) / 100
    values = rng.normal(size=(300, 1))
    values[110:200] = np.nan
    frames = whole(Grid(series(0, 1, max_gap=0.0)), times, values)
    assert frames.values.shape == (3, 5)
    assert np.isfinite(frames.values[[0, 2]]).all()
    assert np.isnan(frames.values[1]).all()
    assert frames.values[0, 0] == pytest.approx(np.sqrt(np.mean(values[:100] ** 2)), rel=1e-5)


def test_a_clock_that_stands_still_fills_no_memory() -> None:
    grid = Grid(series(1, 1))
    for _ in range(50):
        grid.push(np.full(1000, START), np.ones((1000, 2)))
    assert sum(notice.samples for notice in grid.notices) > 49_000
    assert len(grid.state()["open_times"]) < 300


def test_memory_is_constant() -> None:
    grid = Grid(series(2, 2))
    times, values = np.arange(20_000) / 100, np.random.default_rng(0).normal(size=(20_000, 4)).astype(np.float32)
    grid.push(START + times, values)
    tracemalloc.start()
    for day in range(1, 12):
        grid.push(START + 200 * day + times, values)
        if day == 2:
            before = tracemalloc.get_traced_memory()[0]
    after = tracemalloc.get_traced_memory()[0]
    tracemalloc.stop()
    assert after - before < 50_000


streams = st.lists(
    st.tuples(
        st.one_of(st.floats(-3, 6), st.sampled_from([0.0, 0.25, 1.0, 30.0, 100.0, -200.0, 5000.0, -5000.0])),
        st.one_of(st.floats(-1e3, 1e3, width=32), st.just(float("nan"))),
        st.booleans(),
    ),
    min_size=1,
    max_size=60,
)


@given(streams, st.lists(st.integers(0, 60), max_size=8), st.sampled_from([0.0, 1.5, 7.0]))
@settings(max_examples=200, deadline=None)
def test_any_cutting_of_a_stream_gives_the_same_frames(
    stream: list[tuple[float, float, bool]], cuts: list[int], lateness: float
) -> None:
    times = START + np.cumsum([step for step, _, _ in stream])
    values = np.array([[value, np.nan if lost else value] for _, value, lost in stream], np.float32)
    chosen = series(slow=2, lateness=lateness)
    once, often = Grid(chosen), Grid(chosen)
    edges = sorted({0, len(times), *(min(cut, len(times)) for cut in cuts)})
    parts = [often.push(times[a:b], values[a:b]) for a, b in pairwise(edges)]
    same(whole(once, times, values), put_together([*parts, often.flush()]))
    assert list(once.notices) == list(often.notices)


@given(st.lists(st.integers(0, 900), max_size=6), st.integers(0, 99))
@settings(max_examples=40, deadline=None)
def test_any_cutting_gives_the_same_spectra_and_a_restart_changes_nothing(cuts: list[int], seed: int) -> None:
    rng = np.random.default_rng(seed)
    times = START + np.arange(900) / 100 + rng.normal(scale=0.004, size=900)  # neighbours change places
    values = rng.normal(size=(900, 3)).astype(np.float32)
    values[rng.random(values.shape) < 0.1] = np.nan
    chosen = series(1, 2, lateness=0.5)
    expected = whole(Grid(chosen), times, values)
    grid, parts = Grid(chosen), []
    edges = sorted({0, 900, *cuts})
    for number, (a, b) in enumerate(pairwise(edges)):
        parts.append(grid.push(times[a:b], values[a:b]))
        saved = io.BytesIO()
        np.savez(saved, **grid.state())
        saved.seek(0)
        state: Any = dict(np.load(saved))
        if number % 2:
            state = json.loads(json.dumps({name: array.tolist() for name, array in state.items()}))
        grid = Grid.restore(chosen, state)
    same(put_together([*parts, grid.flush()]), expected)


def test_a_new_grid_can_be_saved_too() -> None:
    restored = Grid.restore(series(), Grid(series()).state())
    assert column(whole(restored, [START], [[4.0]])) == [4]


def test_a_state_of_other_channels_is_refused() -> None:
    state = Grid(series(slow=2)).state()
    with pytest.raises(DataError, match="does not fit"):
        Grid.restore(series(slow=3), state)
    with pytest.raises(DataError, match="does not fit"):
        Grid.restore(series(slow=2), {"clock": [1.0]})
    with pytest.raises(DataError, match="does not fit"):
        Grid.restore(series(2, 1), state)


def test_wrong_shapes_channels_and_times_are_refused_before_anything_is_taken() -> None:
    grid = Grid(series(slow=2))
    with pytest.raises(DataError, match=r"values \(n, 2\)"):
        grid.push([START], [[1.0]])
    with pytest.raises(DataError, match="no channel 2"):
        grid.push([START], [[1.0]], [2])
    with pytest.raises(DataError, match="twice"):
        grid.push([START], [[1.0, 2.0]], [1, 1])
    with pytest.raises(DataError, match="time 1 is nan, which is no time in seconds"):
        grid.push([START, np.nan], np.ones((2, 2)))
    with pytest.raises(DataError, match=r"time 0 is 1.7e\+12, .* milliseconds"):
        grid.push([START * 1000], np.ones((1, 2)))
    assert not len(grid.flush().times)


def test_slow_beside_fast_channels_each_at_its_own_rate() -> None:
    chosen = series(1, 1, rate=20_000.0, period=1.0)
    rng = np.random.default_rng(0)
    vibration = rng.normal(size=(60_000, 1)).astype(np.float32)
    grid, parts = Grid(chosen), []
    for second in range(3):
        parts.append(grid.push([START + second], [[20.0 + second]], [0]))
        block = slice(20_000 * second, 20_000 * (second + 1))
        parts.append(grid.push(START + second + np.arange(20_000) / 20_000, vibration[block], [1]))
    frames = put_together([*parts, grid.flush()])
    assert frames.times.tolist() == [START, START + 1, START + 2]
    assert column(frames) == [20, 21, 22]
    np.testing.assert_allclose(frames.values[:, 1], 1.0, atol=0.02)
    assert not grid.notices
