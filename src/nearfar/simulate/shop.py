"""A made shop: people with tastes who look, buy and come back, and what they were shown."""

from __future__ import annotations

import csv
from collections.abc import Iterator
from datetime import UTC, datetime
from pathlib import Path
from typing import Final, NamedTuple

import numpy as np
import numpy.typing as npt

from nearfar.errors import DataError
from nearfar.progress import Tick
from nearfar.simulate.shop_items import CATEGORIES, COLOURS, STYLES, ShopItems

Floats = npt.NDArray[np.float64]

EPOCH: Final = 1_767_225_600.0
"""When it opens: 2026-01-01 00:00 UTC, in seconds since 1970."""
DAYS: Final = 90
"""For how long it is watched."""

_DAY = 86_400.0
_SESSIONS, _STEPS = 5.0, 5.0  # means: of a person, and of what is looked at in one
_COMPANION, _CHANGE = (
    0.45,
    0.15,
)  # how often what goes with the last item is looked at next, and how often another kind of item
_BEST_FIRST = np.array([0.5, 0.25, 0.15, 0.1])
_SHOWN = 2  # items that are put before somebody at the beginning of a session
_ACCIDENT, _DOUBLE = 0.04, 0.02
_ROBOTS, _ROBOT_ACTIONS = 0.004, 300


class ShopEvent(NamedTuple):
    """A row of the log.

    Attributes:
        user: who.
        item: number of the item.
        action: `view`, `buy`, `dislike` or `shown`.
        time: seconds since 1970.
        dwell: seconds that it was looked at; None for what was not looked at.
        propensity: of what was shown, how likely it was to be.
    """

    user: str
    item: int
    action: str
    time: float
    dwell: float | None = None
    propensity: float | None = None


def simulate_shop(items: ShopItems, users: int, *, seed: int) -> Iterator[ShopEvent]:
    """Make the log of a shop.

    Everybody has a taste (kinds of item, style, price) and comes in sessions of a few minutes. Next is often looked at what goes with the
    last item, else what suits them best of the kind that they are after. At the beginning of a session some items are put before them,
    drawn by their appeal with known chances. Among people are a few robots; some looks are accidents, and some clicks are double.

    Args:
        items: what is sold.
        users: how many people.
        seed: of all that is drawn. A person is the same whatever the number of others.

    Yields:
        Events person by person, each in the order of time.
    """
    digits = len(str(users))
    for number in range(users):
        rng = np.random.default_rng([seed, 1, number])
        name = f"user-{number + 1:0{digits}}"
        if rng.random() < _ROBOTS:
            yield from _robot(name, items, rng)
        else:
            yield from _Person(name, items, rng).events()


class _Person:
    """Somebody with a taste, and what they have seen."""

    def __init__(self, name: str, items: ShopItems, rng: np.random.Generator) -> None:
        self._name, self._items, self._rng = name, items, rng
        self._kinds = rng.dirichlet(np.full(len(CATEGORIES), 0.3))
        style = rng.normal(0, 1.0, STYLES)
        dear = rng.normal(3.2, 0.7)
        self._liking = items.styles @ style + items.appeal - 0.5 * (np.log(items.prices) - dear) ** 2
        self._fresh = np.ones(len(items), bool)

    def events(self) -> Iterator[ShopEvent]:
        """All that they do, in the order of time."""
        rng = self._rng
        begins = np.sort(rng.uniform(rng.random() ** 2 * 0.8, 1.0, 1 + rng.poisson(_SESSIONS)))
        now = 0.0
        for begin in begins.tolist():
            now = max(now + 600.0, EPOCH + begin * DAYS * _DAY)
            for event in self._session(now):
                now = event.time
                yield event

    def _session(self, now: float) -> Iterator[ShopEvent]:
        rng = self._rng
        there = self._items.born * DAYS * _DAY + EPOCH <= now
        if not there.any():
            return
        for item, odds in self._put_before(there):
            yield ShopEvent(self._name, item, "shown", now, propensity=odds)
            now += 2.0
            if self._fresh[item] and rng.random() < 0.5 / (1 + np.exp(3.0 - self._liking[item])):
                for event in self._look(item, now, there):
                    now = event.time
                    yield event
        kind, last = int(rng.choice(len(CATEGORIES), p=self._kinds)), -1
        for _ in range(1 + rng.poisson(_STEPS - 1)):
            now += float(np.exp(rng.normal(3.5, 0.8)))
            last, kind = self._next(last, kind, there)
            if last < 0:
                return
            for event in self._look(last, now, there):
                now = event.time
                yield event

    def _put_before(self, there: npt.NDArray[np.bool_]) -> Iterator[tuple[int, float]]:
        chances = np.where(there, np.exp(self._items.appeal), 0.0)
        chances /= chances.sum()
        for item in self._rng.choice(len(chances), _SHOWN, p=chances).tolist():
            yield item, float(chances[item])

    def _next(self, last: int, kind: int, there: npt.NDArray[np.bool_]) -> tuple[int, int]:
        """The item that is looked at next, -1 where there is none any more, and the kind that they are after."""
        rng = self._rng
        if rng.random() < _CHANGE:
            kind = int(rng.choice(len(CATEGORIES), p=self._kinds))
        some = there & self._fresh
        if last >= 0 and rng.random() < _COMPANION:
            companions = self._items.companions[last]
            chances = _BEST_FIRST * some[companions]
            if chances.sum() > 0:
                return int(rng.choice(companions, p=chances / chances.sum())), kind
        own = some & (self._items.categories == kind)
        wanted = np.flatnonzero(own if own.any() else some)
        if not len(wanted):
            return -1, kind
        chances = np.exp(self._liking[wanted] - self._liking[wanted].max())
        return int(rng.choice(wanted, p=chances / chances.sum())), kind

    def _look(self, item: int, now: float, there: npt.NDArray[np.bool_]) -> Iterator[ShopEvent]:
        rng = self._rng
        if rng.random() < _ACCIDENT:
            yield ShopEvent(self._name, int(rng.choice(np.flatnonzero(there))), "view", now, 1.0)
            now += 3.0
        self._fresh[item] = False
        liking = 1 / (1 + np.exp(2.0 - self._liking[item]))
        dwell = round(float(np.exp(rng.normal(2.0 + 2.0 * liking, 0.6))) + 2.0, 1)
        yield ShopEvent(self._name, item, "view", now, dwell)
        if rng.random() < _DOUBLE:
            yield ShopEvent(self._name, item, "view", now + 1.0, dwell)
        now += dwell
        chance = rng.random()
        if chance < 0.3 * liking:
            yield ShopEvent(self._name, item, "buy", now)
        elif chance > 0.99:
            yield ShopEvent(self._name, item, "dislike", now)


def _robot(name: str, items: ShopItems, rng: np.random.Generator) -> Iterator[ShopEvent]:
    """Something that opens one item after the other."""
    begin = EPOCH + float(rng.uniform(0, DAYS - 1)) * _DAY
    there = np.flatnonzero(items.born * DAYS * _DAY + EPOCH <= begin)
    for step, item in enumerate(rng.choice(there, _ROBOT_ACTIONS).tolist() if len(there) else []):
        yield ShopEvent(name, item, "view", begin + 4.0 * step, 3.0)


def write_shop(items: ShopItems, log: Iterator[ShopEvent], folder: Path, tick: Tick | None = None) -> tuple[Path, Path]:
    """Write `events.csv`, in the order of time, and `items.csv`.

    Args:
        items: what is sold.
        log: what people did.
        folder: where to; it is made if it does not exist.
        tick: told of every event.

    Raises:
        DataError: the folder or a file cannot be written.
    """
    events = sorted(log, key=lambda event: event.time)
    paths = folder / "events.csv", folder / "items.csv"
    try:
        folder.mkdir(parents=True, exist_ok=True)
        with paths[0].open("w", encoding="utf-8", newline="") as file:
            rows = csv.writer(file, lineterminator="\n")
            rows.writerow(("user", "item", "action", "timestamp", "dwell", "propensity"))
            for event in events:
                moment = datetime.fromtimestamp(round(event.time, 3), UTC).isoformat(timespec="milliseconds")
                dwell = "" if event.dwell is None else f"{event.dwell:g}"
                odds = "" if event.propensity is None else f"{event.propensity:.6g}"
                rows.writerow((event.user, items.names[event.item], event.action, moment, dwell, odds))
                if tick is not None:
                    tick(1)
        with paths[1].open("w", encoding="utf-8", newline="") as file:
            rows = csv.writer(file, lineterminator="\n")
            rows.writerow(("item", "title", "category", "colour", "price"))
            kinds = list(CATEGORIES)
            for number, name in enumerate(items.names):
                category, colour = kinds[items.categories[number]], COLOURS[items.colours[number]]
                rows.writerow((name, items.titles[number], category, colour, f"{items.prices[number]:.2f}"))
    except OSError as error:
        raise DataError(
            f"{error.filename or folder}: cannot be written ({error.strerror}): choose another folder"
        ) from error
    return paths
