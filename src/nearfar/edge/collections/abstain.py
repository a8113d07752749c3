"""When a classifier should rather say nothing."""

from __future__ import annotations

from typing import NamedTuple

import numpy as np
import numpy.typing as npt


class Abstention(NamedTuple):
    """A threshold, and what it does on the items that it was chosen on.

    Attributes:
        likelihood: answers less likely than this are not given; 0 gives all.
        precision: share of the answers that are right.
        coverage: share of the items with a known label that are answered.
    """

    likelihood: float
    precision: float
    coverage: float


def choose_threshold(
    likely: npt.ArrayLike, right: npt.ArrayLike, strange: npt.ArrayLike, *, precision: float, unknown: float
) -> Abstention:
    """The lowest threshold at which a share `precision` of the answers is right; the most precise where none is.

    Args:
        likely: (m,), likelihood of the best label of held-out items.
        right: (m,), whether it is the true one.
        strange: (s,), likelihood of the best label of items that are of no label; may be empty.
        precision: share of the answers that shall be right.
        unknown: share of all items that are of no label, below 1; without `strange` it is taken for 0.

    Source: selective classification, as in Geifman and El-Yaniv (arXiv:1705.08500), with the point estimate in place of a bound:
    few labels would give no bound that is of use.
    """
    scores = np.asarray(likely, dtype=np.float64)
    correct = np.asarray(right, dtype=np.float64)
    others = np.sort(np.asarray(strange, dtype=np.float64))
    order = np.argsort(-scores, kind="stable")
    answered = np.arange(1, len(scores) + 1) / len(scores)
    rightly = np.cumsum(correct[order]) / len(scores)
    ordered = scores[order]
    share = unknown if len(others) else 0.0
    wrongly = (len(others) - np.searchsorted(others, ordered, side="left")) / max(len(others), 1)
    precise = (1 - share) * rightly / ((1 - share) * answered + share * wrongly)
    # Of equal likelihoods all are answered or none.
    last = np.append(ordered[1:] < ordered[:-1], True)
    places = np.flatnonzero(last)
    good = places[precise[places] >= precision - 1e-9]  # 0.6 / 0.8 is a little below 0.75
    place = int(good[-1]) if len(good) else int(places[np.argmax(precise[places])])
    # Where nothing strange was seen and all answers may be given, there is no reason to refuse what scores still lower.
    likelihood = 0.0 if place == len(scores) - 1 and not len(others) else float(ordered[place])
    return Abstention(min(likelihood, 1.0), float(precise[place]), float(answered[place]))
