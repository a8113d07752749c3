"""Membership: what a profile vector that somebody got hold of tells of what its owner did."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from nearfar.errors import DataError
from nearfar.evaluate.bootstrap import Interval, mean_interval

Floats = npt.NDArray[np.float32]
Ints = npt.NDArray[np.int64]


@dataclass(frozen=True, slots=True)
class Membership:
    """How well past actions can be guessed from a profile vector.

    Attributes:
        auc: how often an item of the history has a higher dot product with the vector than one that is as popular but was not acted
            on: 0.5 says nothing, 1 says all. The mean over users, with an interval over them.
        by_popularity: the same by popularity alone: near 0.5 where the matching is fair.
        users: with a history and something to match it with.
        pairs: of an item and its match.
    """

    auc: Interval
    by_popularity: Interval
    users: int
    pairs: int


def membership(
    profiles: Floats,
    vectors: Floats,
    items: Ints,
    owners: Ints,
    popularity: npt.NDArray[np.float64],
    *,
    matches: int = 4,
    resamples: int = 1000,
    seed: int = 0,
) -> Membership:
    """Guess by dot product which items are of a user's history, against items that are as popular.

    Items that nobody has acted on, and popular ones that everybody has, would make guessing look easy: so each item of the history is
    set against others of nearly its own popularity.

    Args:
        profiles: (u, d) what the attacker has, a row a user.
        vectors: (n, d) of the items, known to everybody who has the bundle.
        items: (e,) what was acted on.
        owners: (e,) by which user, in [0, u).
        popularity: (n,) of the items.
        matches: items that each one is set against.
        resamples: of the interval over users.
        seed: of the matches and the intervals.

    Raises:
        DataError: no user has a history, or all have acted on everything.

    Source: membership inference as defined by Shokri et al., IEEE S&P 2017, of recommenders by Zhang et al., CCS 2021; the attacker
    here has no model to train, only the geometry of the space.
    """
    rng = np.random.default_rng(seed)
    order = np.argsort(popularity, kind="stable")
    place = np.empty_like(order)
    place[order] = np.arange(len(order))
    aucs, plain, pairs = [], [], 0
    by_owner = np.argsort(owners, kind="stable")
    users, starts = np.unique(owners[by_owner], return_index=True)
    for user, acted in zip(users, np.split(items[by_owner], starts[1:]), strict=True):
        own = np.unique(acted)
        other = np.ones(len(vectors), bool)
        other[own] = False
        beside = order[other[order]]  # what was not acted on, by popularity
        if not len(beside):
            continue
        pair = _nearest(place[own], place[beside], min(matches, len(beside)), rng)
        dots = vectors @ profiles[user]
        aucs.append(_won(dots[own], dots[beside[pair]]))
        plain.append(_won(popularity[own], popularity[beside[pair]]))
        pairs += pair.size
    if not aucs:
        raise DataError("nobody has a history with items beside it: there is nothing to guess")
    return Membership(
        auc=mean_interval(np.array(aucs), resamples=resamples, seed=seed),
        by_popularity=mean_interval(np.array(plain), resamples=resamples, seed=seed),
        users=len(aucs),
        pairs=pairs,
    )


def _nearest(wanted: Ints, there: Ints, matches: int, rng: np.random.Generator) -> Ints:
    """For each place of popularity (m,) the numbers (m, matches) of others near it, as many above as below on average."""
    middle = np.searchsorted(there, wanted) - matches // 2
    # The odd one out lies above or below by chance, or matches would all be a little more popular.
    start = middle - rng.integers(0, 2, len(wanted)) * (matches % 2)
    places: Ints = np.clip(start, 0, len(there) - matches)[:, None] + np.arange(matches)
    return places


def _won(own: npt.NDArray[np.floating], other: npt.NDArray[np.floating]) -> float:
    """Share of pairs in which the item's own value (m,) is above its matches' (m, k); half where they tie."""
    return float(((own[:, None] > other) + 0.5 * (own[:, None] == other)).mean())
