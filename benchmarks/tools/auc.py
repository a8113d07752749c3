"""Area under the ROC curve of several systems on the same items, over several draws of what they were fitted on."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import numpy as np
import numpy.typing as npt

from nearfar.evaluate import Interval

Scores = npt.NDArray[np.float64]


class Ranked:
    """Scores of n items with two labels, sorted once, so that many reweightings are cheap.

    Args:
        labels: (n,) 0 or 1.
        scores: (n,), higher for label 1.
    """

    def __init__(self, labels: npt.NDArray[np.int64], scores: Scores) -> None:
        self._order = np.argsort(scores, kind="stable")
        self._positive = labels[self._order] == 1
        in_order = scores[self._order]
        self._starts = np.flatnonzero(np.concatenate([[True], in_order[1:] != in_order[:-1]]))

    def auc(self, weights: Scores) -> float:
        """How likely a random item of label 1 has a higher score than one of label 0; equal scores count half.

        Args:
            weights: (n,) how often each item counts.
        """
        sorted_weights = weights[self._order]
        ones = np.add.reduceat(np.where(self._positive, sorted_weights, 0.0), self._starts)
        zeros = np.add.reduceat(np.where(self._positive, 0.0, sorted_weights), self._starts)
        below = np.cumsum(zeros) - zeros
        return float((ones * (below + zeros / 2)).sum() / (ones.sum() * zeros.sum()))


def auc_intervals(
    labels: npt.NDArray[np.int64],
    scores: Mapping[str, Sequence[Scores]],
    pairs: Sequence[tuple[str, str]] = (),
    *,
    resamples: int = 500,
    seed: int = 0,
) -> dict[str, Interval]:
    """The mean AUC of each system over the draws, with the 95 % interval of other test items and other draws.

    Both are resampled, and for all systems alike, so that differences are paired.

    Args:
        labels: (n,) 0 or 1, of the test items.
        scores: system -> for each draw the scores (n,) of the test items.
        pairs: systems to subtract, first minus second.
        resamples: of the bootstrap.
        seed: of the bootstrap.

    Returns:
        Name of a system, or `a_minus_b`, -> AUC.
    """
    rng = np.random.default_rng(seed)
    ranked = {name: [Ranked(labels, one) for one in draws] for name, draws in scores.items()}
    even = np.ones(len(labels))
    values = {name: float(np.mean([one.auc(even) for one in draws])) for name, draws in ranked.items()}
    found: dict[str, list[float]] = {name: [] for name in ranked}
    for _ in range(resamples):
        weights = np.bincount(rng.integers(len(labels), size=len(labels)), minlength=len(labels)).astype(np.float64)
        places = {count: rng.integers(count, size=count) for count in sorted({len(d) for d in ranked.values()})}
        for name, draws in ranked.items():
            taken, many = np.unique(places[len(draws)], return_counts=True)
            aucs = [draws[place].auc(weights) for place in taken]
            found[name].append(float(np.average(aucs, weights=many)))
    for one, other in pairs:
        name = f"{one}_minus_{other}"
        values[name] = values[one] - values[other]
        found[name] = [left - right for left, right in zip(found[one], found[other], strict=True)]
    return {
        name: Interval(values[name], *(float(end) for end in np.quantile(found[name], [0.025, 0.975])))
        for name in values
    }
