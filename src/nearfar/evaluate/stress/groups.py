"""Groups: whether one threshold treats some people worse than others."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass

import numpy as np

from nearfar.evaluate.bootstrap import Interval
from nearfar.evaluate.verification import Trials, error_rates


@dataclass(frozen=True, slots=True)
class GroupRates:
    """Error rates within a group, with exact intervals as if trials were independent.

    Attributes:
        group: its name.
        identities: in it.
        fmr: false match rate among the group's own people; strangers of another group are told apart more easily.
        fnmr: false non-match rate.
    """

    group: str
    identities: int
    fmr: Interval
    fnmr: Interval


def group_rates(trials: Trials, groups: Sequence[str], threshold: float) -> list[GroupRates]:
    """False match and false non-match rate of each group at one threshold.

    Args:
        trials: what was tried.
        groups: of each identity by its number; empty for none.
        threshold: least score of a match.

    Returns:
        By group in the order of names; of groups with trials of both kinds.

    Source: ISO/IEC 19795-10 asks for error rates by group; NIST FRVT part 8 (NISTIR 8429) compares them.
    """
    names = np.asarray(groups, dtype=np.str_)
    found = []
    for group in sorted(set(groups) - {""}):
        own = names[trials.genuine_of] == group
        within = (names[trials.impostor_sample] == group) & (names[trials.impostor_template] == group)
        if not own.any() or not within.any():
            continue
        some = Trials(
            trials.genuine[own],
            trials.genuine_of[own],
            trials.same_session[own],
            trials.impostor[within],
            trials.impostor_sample[within],
            trials.impostor_template[within],
        )
        rates = error_rates(some, threshold)
        found.append(GroupRates(group, len(some.identities), rates.fmr, rates.fnmr))
    return found


def max_ratio(rates: Iterable[Interval]) -> float | None:
    """The largest rate over the geometric mean of all: 1 where groups are treated alike.

    Returns:
        The ratio; None with fewer than two groups, or where a rate is 0: then the mean is 0 too, and more trials are needed.

    Source: NISTIR 8429, Max / GeoMean.
    """
    values = np.array([rate.value for rate in rates], dtype=np.float64)
    if len(values) < 2 or not (values > 0).all():
        return None
    return float(values.max() / np.exp(np.log(values).mean()))
