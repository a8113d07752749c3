"""How long-running work tells somebody how far it is, without knowing who looks."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Protocol


class Tick(Protocol):
    """Told how many items were just done."""

    def __call__(self, count: int, note: str = "") -> None:
        """Advance by `count`; `note` is a short figure to show beside it."""
        ...


class Stages(Protocol):
    """Told what begins."""

    def __call__(self, name: str, total: int | None = None) -> Tick:
        """Begin the stage `name`, of `total` items where that is known; the stage before it is over."""
        ...


def _no_tick(count: int, note: str = "") -> None:
    """Nobody looks."""


def silent(name: str, total: int | None = None) -> Tick:
    """The `Stages` of somebody who does not look."""
    return _no_tick


def cumulative(stages: Stages, names: Mapping[str, str]) -> Callable[[str, int], None]:
    """For work that reports (key, items done so far): begins the stage `names[key]` when its key first comes up."""
    current = ""
    done = 0
    tick: Tick = _no_tick

    def report(key: str, count: int) -> None:
        nonlocal current, done, tick
        if key != current:
            current, done, tick = key, 0, stages(names.get(key, key))
        tick(count - done)
        done = count

    return report
