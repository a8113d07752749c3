"""Rows of event logs as arrays, and the numbers of who and what is in them."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

import numpy as np
import numpy.typing as npt

from nearfar.sources.event_cells import Names

Floats = npt.NDArray[np.float64]
Ints = npt.NDArray[np.int64]


@dataclass(frozen=True)
class EventTable:
    """Rows of a log, in the order of its files.

    Attributes:
        users: int64 (n,), places in `user_names`; each row another one for a log without users.
        items: int64 (n,), places in `item_names`.
        times: float64 (n,), seconds since 1970.
        actions: int64 (n,), places in `action_names`; all 0 for a log without kinds.
        dwells: float64 (n,) in seconds, NaN where nobody knows.
        ratings: float64 (n,), NaN where there is none.
        propensities: float64 (n,), NaN where nobody knows.
        context: column -> cells (n).
        user_names: by number; none for a log without users.
        item_names: by number.
        action_names: by number; one empty name for a log without kinds.
    """

    users: Ints
    items: Ints
    times: Floats
    actions: Ints
    dwells: Floats
    ratings: Floats
    propensities: Floats
    context: Mapping[str, list[Any]]
    user_names: list[str]
    item_names: list[str]
    action_names: list[str]

    def __len__(self) -> int:
        return len(self.items)

    @classmethod
    def of(cls, rows: Rows, numbering: Numbering, *, users: bool, kinds: bool) -> EventTable:
        """All rows of a log, and who is which number; whether it has users, and kinds of action."""
        return cls(
            users=rows.users if users else np.arange(len(rows.items)),
            items=rows.items,
            times=rows.times,
            actions=rows.actions,
            dwells=rows.dwells,
            ratings=rows.ratings,
            propensities=rows.propensities,
            context=rows.context,
            user_names=numbering.users.names,
            item_names=numbering.items.names,
            action_names=numbering.actions.names if kinds else [""],
        )


@dataclass
class Numbering:
    """Who is which number."""

    users: Names = field(default_factory=Names)
    items: Names = field(default_factory=Names)
    actions: Names = field(default_factory=Names)

    def copy(self) -> Numbering:
        """The same numbers, to go on from."""
        return Numbering(self.users.copy(), self.items.copy(), self.actions.copy())

    def take(self, other: Numbering) -> None:
        """Go on from those of another."""
        self.users, self.items, self.actions = other.users, other.items, other.actions


@dataclass(frozen=True)
class Rows:
    """Rows of one file, or piece of a file; as in `EventTable`."""

    users: Ints
    items: Ints
    times: Floats
    actions: Ints
    dwells: Floats
    ratings: Floats
    propensities: Floats
    context: dict[str, list[Any]]

    @classmethod
    def empty(cls, context: tuple[str, ...]) -> Rows:
        """No rows, with these columns of context."""
        ints, floats = np.zeros(0, np.int64), np.zeros(0)
        return cls(ints, ints, floats, ints, floats, floats, floats, {name: [] for name in context})

    @classmethod
    def join(cls, parts: list[Rows]) -> Rows:
        """All rows of some parts, in their order; there is at least one part."""
        return cls(
            users=np.concatenate([part.users for part in parts]),
            items=np.concatenate([part.items for part in parts]),
            times=np.concatenate([part.times for part in parts]),
            actions=np.concatenate([part.actions for part in parts]),
            dwells=np.concatenate([part.dwells for part in parts]),
            ratings=np.concatenate([part.ratings for part in parts]),
            propensities=np.concatenate([part.propensities for part in parts]),
            context={name: [cell for part in parts for cell in part.context[name]] for name in parts[0].context},
        )

    def of(self, rows: Ints) -> Rows:
        """Some of the rows."""
        chosen = rows.tolist()
        return Rows(
            users=self.users[rows],
            items=self.items[rows],
            times=self.times[rows],
            actions=self.actions[rows],
            dwells=self.dwells[rows],
            ratings=self.ratings[rows],
            propensities=self.propensities[rows],
            context={name: [cells[row] for row in chosen] for name, cells in self.context.items()},
        )
