"""What goes into a recommender, and what it answers."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any


@dataclass(frozen=True, slots=True)
class Event:
    """Something that the user of this device did.

    Attributes:
        item: name of what it was done with.
        action: kind of action; empty where the recommender knows only one.
        time: seconds since 1970; None for now.
        dwell: seconds spent on it; None where nobody knows.
        rating: what the user gave it; None where there is none.
    """

    item: str
    action: str = ""
    time: float | None = None
    dwell: float | None = None
    rating: float | None = None


@dataclass(frozen=True, slots=True)
class Recommendation:
    """An item for the user.

    Attributes:
        item: its name.
        score: larger is better; to be compared only with others of the same answer.
        title: what people call it; empty where the bundle does not say.
        facts: what else the bundle says of it.
    """

    item: str
    score: float
    title: str = ""
    facts: Mapping[str, Any] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class Reason:
    """A past action that speaks for an item, or against it.

    Attributes:
        item: that was acted on.
        time: when.
        score: how much higher the item's score is than it would be without this action.
        title: of the item that was acted on.
    """

    item: str
    time: float
    score: float
    title: str = ""


@dataclass(frozen=True, slots=True)
class Explanation:
    """Why an item has its score.

    Attributes:
        item: what is explained.
        score: of the item.
        rank: among all items that could be recommended, from 1; None where it is not one of these.
        parts: `encoder`, `prior` and `popularity`, which add up to the score.
        reasons: past actions, the strongest first.
    """

    item: str
    score: float
    rank: int | None
    parts: Mapping[str, float]
    reasons: tuple[Reason, ...]
