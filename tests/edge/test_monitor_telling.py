"""What is told of alarms that come and go."""

from __future__ import annotations

import numpy as np
import numpy.typing as npt

from nearfar.edge.monitor.decide import Change
from nearfar.edge.monitor.telling import Teller


def ends(first: int, count: int) -> npt.NDArray[np.float64]:
    return np.arange(first, first + count, dtype=np.float64)


def raised(row: int, time: float) -> Change:
    return Change(row, True, time, time, 2.0)


def over(row: int, time: float, since: float, peak: float = 2.0) -> Change:
    return Change(row, False, time, since, peak)


def test_an_alarm_that_comes_again_soon_is_told_once() -> None:
    teller = Teller(10.0)
    told = teller.push(ends(0, 30), [raised(2, 2), over(5, 5, 2), raised(9, 9), over(12, 12, 9, 7.0)])
    assert [(change.raised, change.row, change.time) for change in told] == [(True, 2, 2.0), (False, 22, 12.0)]
    assert (told[1].since, told[1].score) == (2.0, 7.0)  # the whole of it
    assert not teller.open


def test_an_end_is_told_when_it_is_sure_and_before_the_next_alarm() -> None:
    teller = Teller(5.0)
    assert [change.raised for change in teller.push(ends(0, 8), [raised(1, 1), over(4, 4, 1)])] == [True]
    assert teller.open
    told = teller.push(ends(8, 8), [raised(1, 9)])
    assert [(change.raised, change.row, change.time) for change in told] == [(False, 1, 4.0), (True, 1, 9.0)]


def test_without_a_cool_down_everything_is_told_at_once() -> None:
    changes = [raised(1, 1), over(2, 2, 1), raised(3, 3), over(4, 4, 3)]
    assert Teller(0.0).push(ends(0, 6), changes) == changes


def test_whatever_the_cuts_and_restarts() -> None:
    rng = np.random.default_rng(0)
    times = np.sort(rng.choice(2000, 120, replace=False))
    changes = [raised(t, t) if i % 2 == 0 else over(t, t, times[i - 1], float(i)) for i, t in enumerate(times.tolist())]
    whole = [change._replace(row=0) for change in Teller(15.0).push(ends(0, 2000), changes)]
    teller, told, start = Teller(15.0), list[Change](), 0
    while start < 2000:
        stop = min(2000, start + int(rng.integers(1, 90)))
        part = [change._replace(row=change.row - start) for change in changes if start <= change.row < stop]
        told += [change._replace(row=0) for change in teller.push(ends(start, stop - start), part)]
        state, teller = teller.state(), Teller(15.0)
        teller.restore(state)
        start = stop
    assert told == whole
    assert 10 < len(whole) < len(changes)


def test_a_clock_that_is_set_back_takes_the_end_along() -> None:
    teller = Teller(5.0)
    teller.push(ends(1000, 4), [raised(1, 1001), over(3, 1003, 1001)])
    teller.shift(-1000.0)
    (told,) = teller.push(ends(4, 10), [])
    assert (told.raised, told.time, told.since, told.row) == (False, 3.0, 1.0, 4)
