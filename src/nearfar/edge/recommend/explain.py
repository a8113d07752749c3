"""Why an item has its score: the parts that it is the sum of, and what each past action did to it."""

from __future__ import annotations

import numpy as np
import numpy.typing as npt

from nearfar.edge.recommend.answers import Explanation, Reason
from nearfar.edge.recommend.profile import Profile
from nearfar.edge.recommend.scorer import Context, Scorer

Ints = npt.NDArray[np.int64]


def explain(
    scorer: Scorer,
    profile: Profile,
    number: int,
    now: float,
    context: Context | None = None,
    *,
    hidden: Ints | None = None,
    most: int = 10,
) -> Explanation:
    """Take a score apart.

    A reason is what this device would say otherwise: the score less that of a history without the action. Scores are no sums over
    actions, so reasons do not add up to anything: two actions that say the same can both be weak ones.

    Args:
        scorer: whose score.
        profile: of the user; only the actions that it holds can be reasons.
        number: of the item.
        now: seconds since 1970.
        context: as in `Scorer.scores`.
        hidden: numbers of items that may not be shown; such an item has no rank, and the others do not stand before it.
        most: reasons that are given, the strongest (for or against) first; equal ones the latest first.

    Returns:
        The explanation, the same each time.
    """
    catalogue = scorer.catalogue
    scores = scorer.scores(profile, now, context)
    parts = scorer.parts_of(number, profile, now, context)
    whole = sum(parts)
    drops = np.array(
        [whole - sum(scorer.parts_of(number, profile.without(place), now, context)) for place in range(len(profile))]
    )
    latest_first = np.arange(len(drops))[::-1]
    strongest = latest_first[np.argsort(-np.abs(drops[latest_first]), kind="stable")][:most]
    reasons = []
    for place in strongest:
        item = int(profile.items[place])
        reasons.append(
            Reason(catalogue.names[item], float(profile.times[place]), float(drops[place]), catalogue.title_of(item))
        )
    return Explanation(
        catalogue.names[number],
        float(scores[number]),
        _rank(scorer, scores, number, hidden),
        parts._asdict(),
        tuple(reasons),
    )


def _rank(scorer: Scorer, scores: npt.NDArray[np.float32], number: int, hidden: Ints | None) -> int | None:
    """The place of an item among those that may be shown, from 1."""
    shown = np.ones(len(scores), dtype=np.bool_)
    if hidden is not None:
        shown[hidden] = False
    if not shown[number]:
        return None
    before = scores > scores[number]
    ties = np.flatnonzero(shown & (scores == scores[number]))
    if len(ties) > 1:
        ranks = scorer.catalogue.name_ranks
        before[ties] = ranks[ties] < ranks[number]
    return 1 + int((shown & before).sum())
