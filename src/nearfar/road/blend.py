"""Choosing the prior and how much it counts beside the encoder, on cases that neither training nor the test has seen.

An encoder is trained to give the logarithms of chances, and the part of a prior goes from 0 to 1: what is good elsewhere is good here, and a
few hundred users say too little to fit weights anew. So there is a default, and few things to choose from. On validation parts of MovieLens
small and 100k, by either split, the default comes within 3 % of the best of the other weights.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Final, Literal, NamedTuple, Protocol

import numpy as np
import numpy.typing as npt

from nearfar.progress import Tick

if TYPE_CHECKING:
    from nearfar.edge.recommend.scorer import Parts, Weights
    from nearfar.evaluate.ranking import RankingTask

Floats = npt.NDArray[np.float32]
Ints = npt.NDArray[np.int64]

_DEFAULT: Final = 6.0
_OTHERS: Final = (3.0, 12.0, 1.5)
"""Weights of the prior beside the encoder, nearest to the default first."""


class HasParts(Protocol):
    """What gives the parts of scores: the ranker of what ships."""

    def parts(self, task: RankingTask, cases: Ints) -> Parts:
        """Encoder (n, count), prior (n, count) and popularity (count,), each without its weight."""
        ...


class Tried(NamedTuple):
    """Something that can be chosen.

    Attributes:
        prior: its place among those that were given.
        weights: of the parts.
        ndcg: NDCG@10 on the cases, the mean over users; NaN where there was nothing to choose.
    """

    prior: int
    weights: Weights
    ndcg: float


@dataclass(frozen=True)
class Blend:
    """What was chosen, with what speaks for it.

    Attributes:
        chosen: the one that ships.
        tried: all, in the order in which they are preferred where the difference is small.
    """

    chosen: Tried
    tried: tuple[Tried, ...]


def choose_blend(
    rankers: Sequence[HasParts],
    task: RankingTask,
    kind: Literal["auto", "encoder", "prior"] = "auto",
    *,
    popularity: float,
    tick: Tick | None = None,
) -> Blend:
    """Choose one of several priors, and its weight.

    First the prior that is best at the default weight; no case speaks for one of them beforehand. Then the weight: the default, unless
    another is better by more than a standard error of the paired difference over users; of several, the nearest to the default that is
    within a standard error of the best (as Breiman et al., Classification and Regression Trees, 1984, section 3.4.3, choose the smallest tree).
    The encoder alone and the prior alone are the last in that order. Given the same cases the answer is the same.

    Args:
        rankers: of what ships, one for each prior; they differ in nothing else.
        task: validation cases.
        kind: `auto`; `encoder` and `prior` leave the other out, and only a prior is left to choose.
        popularity: its weight beside the encoder, as it was trained.
        tick: told how many cases have been scored since it was last told; each is scored once by each ranker.
    """
    from nearfar.edge.recommend.scorer import Weights

    alone = {"encoder": Weights(1.0, 0.0, popularity), "prior": Weights(0.0, 1.0, 0.0)}
    weights = [Weights(1.0, weight, popularity) for weight in (_DEFAULT, *_OTHERS)] + list(alone.values())
    if kind != "auto":
        weights = [alone[kind]]
    if not len(task.targets) or len(rankers) * len(weights) == 1 or kind == "encoder":
        return Blend(Tried(0, weights[0], float("nan")), ())
    figures = np.stack([_figures(ranker, task, weights, tick) for ranker in rankers])
    means = figures.mean(axis=2)
    prior = int(np.argmax(means[:, 0]))
    tried = [
        [Tried(place, of, float(mean)) for of, mean in zip(weights, row, strict=True)]
        for place, row in enumerate(means)
    ]
    return Blend(tried[prior][_nearest(figures[prior])], tuple(each for row in tried for each in row))


def weighted(parts: Parts, weights: Weights) -> Floats:
    """The scores (n, count) by their parts; one of weight 0 adds nothing.

    Args:
        parts: encoder (n, count), prior (n, count), popularity (count,).
        weights: of each.
    """
    scores = np.zeros_like(parts.encoder)
    for weight, part in zip(weights, (parts.encoder, parts.prior, parts.popularity[None]), strict=True):
        if weight:
            scores += np.float32(weight) * part
    return scores


def _figures(
    ranker: HasParts, task: RankingTask, combinations: Sequence[Weights], tick: Tick | None
) -> npt.NDArray[np.float64]:
    """NDCG@10 of each user by each combination, (w, u); the parts of a case are made once for all of them."""
    from nearfar.evaluate.ranking import blind_batches, gains, mean_by_user, rank_targets

    ranks = np.full((len(combinations), len(task.targets)), np.inf)
    for cases, part in blind_batches(task):
        found = ranker.parts(part, np.arange(len(cases)))
        for row, weights in enumerate(combinations):
            ranks[row, cases] = rank_targets(weighted(found, weights), part, task.targets[cases])
        if tick is not None:
            tick(len(cases))
    return np.stack([mean_by_user(gains(of), task.users) for of in ranks])


def _nearest(figures: npt.NDArray[np.float64]) -> int:
    """The first row of (w, u) that is no worse than the best one, but for a standard error over users."""
    best = int(np.argmax(figures.mean(axis=1)))
    lost = figures[best] - figures
    if lost.shape[1] < 2:
        return 0
    errors = lost.std(axis=1, ddof=1) / np.sqrt(lost.shape[1])
    return int(np.argmax(lost.mean(axis=1) <= errors))
