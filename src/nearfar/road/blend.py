"""Choosing how much encoder, prior and popularity count, on cases that neither training nor the test has seen."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Final, Literal, Protocol

import numpy as np
import numpy.typing as npt

from nearfar.progress import Tick

if TYPE_CHECKING:
    from nearfar.edge.recommend.scorer import Parts, Weights
    from nearfar.evaluate.ranking import RankingTask

Floats = npt.NDArray[np.float32]
Ints = npt.NDArray[np.int64]

_PRIORS: Final = (1 / 32, 1 / 16, 1 / 8, 1 / 4, 1 / 2, 1.0, 2.0, 4.0)
_POPULARITIES: Final = (1 / 16, 1 / 8, 1 / 4, 1 / 2, 1.0)
_TIE: Final = 0.25
"""Standard errors within which two combinations are as good as each other. Not a whole one: of few users, that would throw away gains
that are there four times in five."""
_FINE: Final = (0.5**0.5, 1.0, 2**0.5)


class HasParts(Protocol):
    """What gives the parts of scores: the ranker of what ships."""

    def parts(self, task: RankingTask, cases: Ints) -> Parts:
        """Encoder (n, count), prior (n, count) and popularity (count,), each without its weight."""
        ...


@dataclass(frozen=True)
class Blend:
    """Weights with what speaks for them.

    Attributes:
        weights: the chosen ones.
        tried: each combination with its NDCG@10 on the cases, in the order in which they were tried.
    """

    weights: Weights
    tried: tuple[tuple[Weights, float], ...]


def choose_blend(
    ranker: HasParts, task: RankingTask, kind: Literal["auto", "encoder", "prior"] = "auto", *, tick: Tick | None = None
) -> Blend:
    """Try combinations of weights, and take the best; a part that makes no difference is left out.

    Only ratios of weights count. So prior and popularity get, beside the encoder, multiples of what makes their spread over the items
    equal to the encoder's; first from a coarse grid, then from a finer one around the best. Combinations with fewer parts win where
    the paired difference of NDCG@10 to the best is below a quarter of its standard error over users. Given the same cases the answer is the same.

    Args:
        ranker: of what ships.
        task: validation cases.
        kind: `auto`, or a single part.
        tick: told how many cases have been scored since it was last told; each is scored up to three times.
    """
    from nearfar.edge.recommend.scorer import Weights

    if kind != "auto" or not len(task.targets):
        return Blend(Weights(float(kind != "prior"), float(kind == "prior"), 0.0), ())
    prior, popularity = _even(ranker, task)
    coarse = [Weights(1.0, a * prior, b * popularity) for a in (0.0, *_PRIORS) for b in (0.0, *_POPULARITIES)]
    if prior:
        coarse += [Weights(0.0, 1.0, b * popularity / prior) for b in (0.0, *_POPULARITIES)]
    coarse = list(dict.fromkeys([*coarse, Weights(0.0, 0.0, 1.0)]))
    scores = _try(ranker, task, coarse, tick)
    best = coarse[int(np.argmax(scores.mean(axis=1)))]
    fine = [Weights(best.encoder, best.prior * a, best.popularity * b) for a in _FINE for b in _FINE]
    fine = [weights for weights in dict.fromkeys(fine) if weights not in coarse]
    scores = np.concatenate([scores, _try(ranker, task, fine, tick)]) if fine else scores
    tried = [*coarse, *fine]
    means = scores.mean(axis=1)
    return Blend(tried[_simplest(tried, scores)], tuple(zip(tried, (float(mean) for mean in means), strict=True)))


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


def _try(
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


def _even(ranker: HasParts, task: RankingTask) -> tuple[float, float]:
    """Weights of prior and popularity that make their spread over the items that of the encoder; 0 for a part that says nothing."""
    from nearfar.evaluate.ranking import blind_batches

    cases, part = next(iter(blind_batches(task)))
    encoder, prior, popularity = (float(of.std(axis=-1).mean()) for of in ranker.parts(part, np.arange(len(cases))))
    encoder = encoder or 1.0
    return encoder / prior if prior else 0.0, encoder / popularity if popularity else 0.0


def _simplest(tried: Sequence[Weights], scores: npt.NDArray[np.float64]) -> int:
    """The place of the combination that is taken: the best of the fewest parts that are as good as the best of all."""
    means = scores.mean(axis=1)
    best = int(np.argmax(means))
    for parts in (1, 2):
        of_these = [place for place, weights in enumerate(tried) if np.count_nonzero(weights) == parts]
        if not of_these:
            continue
        place = max(of_these, key=lambda place: (means[place], -place))
        lost = scores[best] - scores[place]
        if len(lost) > 1 and lost.mean() <= _TIE * lost.std(ddof=1) / np.sqrt(len(lost)):
            return place
    return best
