"""From scores to an answer: the best items that may be shown, and not all alike."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Final

import numpy as np
import numpy.typing as npt

from nearfar.edge.diversity import mmr
from nearfar.edge.recommend.catalogue import Catalogue
from nearfar.edge.where import Condition, keys, matches
from nearfar.errors import DataError

Ints = npt.NDArray[np.int64]
Floats = npt.NDArray[np.float32]

_BLOCK: Final = 64
_CANDIDATES: Final = 10
"""How many times k items diversity chooses from."""
_KEYS_SHOWN: Final = 30


def choose(
    scores: Floats,
    catalogue: Catalogue,
    k: int,
    *,
    hidden: Ints | None = None,
    where: Condition | None = None,
    diversity: float = 0.0,
) -> Ints:
    """The best items, the best first; equal scores are in the order of their names.

    Args:
        scores: of all items, float32 (n,).
        catalogue: of these items.
        k: how many; fewer where fewer may be shown.
        hidden: numbers of items that may not be shown: seen, disliked, excluded.
        where: what the facts of an item must satisfy, as a business rule or a wish; see `nearfar.edge.where`.
        diversity: from 0 (order by score) to 1 (unlike each other above all); chosen from the best 10 k by `mmr` over the items' vectors.

    Returns:
        Numbers of items, int64 (at most k,).

    Raises:
        DataError: `k` is below 1, `diversity` outside of 0 to 1, or `where` speaks of what no item says.
    """
    if k < 1:
        raise DataError(f"k is {k}: ask for 1 item or more")
    wanted = k if diversity == 0 else _CANDIDATES * k
    shown = scores
    if hidden is not None and len(hidden):
        shown = scores.copy()
        shown[hidden] = -np.inf
    found = best(shown, catalogue, wanted) if where is None else _that_match(shown, catalogue, wanted, where)
    if diversity == 0:
        return found
    return found[mmr(scores[found], catalogue.vectors(found), k, diversity)]


def choose_with_fresh(
    scores: Floats,
    catalogue: Catalogue,
    k: int,
    fresh: int,
    *,
    where: Condition | None = None,
    diversity: float = 0.0,
) -> Ints:
    """The best items, some places of which are for items that hardly anybody has acted on yet.

    By score alone these stand behind all others, since popularity speaks against them and the prior says nothing of them; among
    each other they are told apart by their content. They take the last places, in the order of their scores.

    Args:
        scores: of all items, float32 (n,); -inf for those that may not be shown.
        catalogue: of these items.
        k: how many in all.
        fresh: how many of them, at least, where there are as many; see `Catalogue.fresh`.
        where: as in `choose`, for both kinds.
        diversity: likewise, among each kind.

    Returns:
        Numbers of items, int64 (at most k,).

    Raises:
        DataError: as `choose`, or `fresh` is below 0 or above `k`.
    """
    if not 0 <= fresh <= k:
        raise DataError(f"fresh is {fresh}: it goes from 0 to as many as are asked for in all, {k}")
    found = choose(scores, catalogue, k, where=where, diversity=diversity)
    missing = fresh - int(catalogue.fresh[found].sum())
    if missing <= 0:
        return found
    others = np.where(catalogue.fresh, scores, np.float32(-np.inf))
    others[found] = -np.inf
    more = choose(others, catalogue, missing, where=where, diversity=diversity)
    known = found[~catalogue.fresh[found]]
    dropped = known[max(k - len(more) - (len(found) - len(known)), 0) :]
    return np.concatenate([found[~np.isin(found, dropped)], more])


def best(scores: Floats, catalogue: Catalogue, k: int) -> Ints:
    """Numbers of the k items with the largest scores, the largest first, equal ones by name; never one of -inf.

    The largest scores of blocks of 64 bound from below what the k-th can be, so that a few items have to be sorted, not all.
    """
    floor = -np.inf
    if _BLOCK * k < len(scores):
        whole = len(scores) // _BLOCK * _BLOCK
        maxima = scores[:whole].reshape(-1, _BLOCK).max(axis=1)
        if k <= len(maxima):
            floor = float(np.partition(maxima, len(maxima) - k)[len(maxima) - k])
    found = np.flatnonzero(scores >= floor) if floor > -np.inf else np.flatnonzero(scores > -np.inf)
    values = scores[found]
    order = np.argsort(-values, kind="stable")
    sorted_values = values[order]
    if len(order) > 1 and (sorted_values[1 : k + 1] == sorted_values[:-1][:k]).any():
        order = np.lexsort((catalogue.name_ranks[found], -values))
    return found[order[:k]]


def in_order(scores: Floats, catalogue: Catalogue, numbers: Ints) -> Ints:
    """Some items, the best first, equal scores by name: what `rank` answers.

    Args:
        scores: of all items, float32 (n,).
        catalogue: of these items.
        numbers: which, int64 (m,).
    """
    return numbers[np.lexsort((catalogue.name_ranks[numbers], -scores[numbers]))]


def check_where(where: Condition, catalogue: Catalogue) -> None:
    """Refuse a condition on what no item says, which would leave nothing without a word.

    Raises:
        DataError: no item has one of its keys; the message names the known ones.
    """
    known = catalogue.fact_keys
    if strange := sorted(keys(where) - known):
        has = ", ".join(sorted(known)[:_KEYS_SHOWN]) or "nothing: train with data.source.items and recommend.facts"
        raise DataError(
            f"no item says {strange[0]!r}, so it cannot be asked for; items say {has} (recommend.facts in the recipe "
            "names the columns that go along)"
        )


def _that_match(scores: Floats, catalogue: Catalogue, k: int, where: Condition) -> Ints:
    check_where(where, catalogue)
    found: list[int] = []
    for number in _best_first(scores, catalogue, k):
        if matches(where, catalogue.facts_of(number)):
            found.append(number)
            if len(found) == k:
                break
    return np.array(found, dtype=np.int64)


def _best_first(scores: Floats, catalogue: Catalogue, k: int) -> Iterator[int]:
    """All items that may be shown, the best first, sorted in pieces that grow: mostly the first few are enough."""
    given, size = 0, 4 * k
    while True:
        found = best(scores, catalogue, size)
        yield from found[given:].tolist()
        if len(found) < size:
            return
        given, size = len(found), 8 * size
