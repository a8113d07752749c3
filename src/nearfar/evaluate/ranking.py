"""Ranking of all items by what a user did before: each held-out action is looked for among everything the user had not acted on yet."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass, replace
from typing import Protocol

import numpy as np
import numpy.typing as npt

from nearfar.errors import DataError
from nearfar.evaluate.bootstrap import Interval, mean_interval

Ints = npt.NDArray[np.int64]
Floats = npt.NDArray[np.float64]

_CELLS = 1 << 22
"""Scores that are looked at together: some tens of megabytes, however many items there are."""
_HEAD = 0.1
"""Share of the items that counts as the head, the most popular first."""


@dataclass(frozen=True)
class RankingTask:
    """Histories, each with the action that came next.

    Case c has the history `items[begin[c]:end[c]]`, oldest first, and looks for `targets[c]`; several cases of one user share what they
    have in common. What a user disliked is not in a task: figures are those of a device that was told of no dislike, and one that was
    has fewer items to choose among.

    Attributes:
        count: items that can be recommended; they are numbered from 0.
        items: int64 (e,), what was acted on.
        times: float64 (e,), seconds since 1970.
        weights: float32 (e,), above 0.
        begin: int64 (c,).
        end: int64 (c,).
        targets: int64 (c,); -1 for one that cannot be recommended, which is a miss.
        now: float64 (c,), when the target was acted on.
        users: int64 (c,), whose case it is; figures are means over users of the means over their cases.
        popularity: float64 (count,), how often items were acted on in training.
        values: float32 (c, F), and codes, int64 (c, F): what was known at each moment besides, as a TableFrontend gives it; None
            where there is no context.
        codes: see values.
    """

    count: int
    items: Ints
    times: npt.NDArray[np.float64]
    weights: npt.NDArray[np.float32]
    begin: Ints
    end: Ints
    targets: Ints
    now: npt.NDArray[np.float64]
    users: Ints
    popularity: npt.NDArray[np.float64]
    values: npt.NDArray[np.float32] | None = None
    codes: Ints | None = None


class Ranker(Protocol):
    """Anything that scores all items for a history."""

    def scores(self, task: RankingTask, cases: Ints) -> npt.NDArray[np.float32]:
        """Scores (len(cases), task.count) of all items for these cases; larger is better."""
        ...


@dataclass(frozen=True)
class RankingScores:
    """How well the next actions were found.

    Attributes:
        k: items of a list of recommendations.
        ranks: float64 (c,), of each case's target among all items that the user had not acted on, from 0; half of what ties with it
            stands before it; infinite for a miss.
        users: int64 (c,), whose case it is.
        shown: int64 (count,), in how many lists an item stood.
        popularity: float64 (count,), as in the task.
        targets: int64 (c,), as in the task.
    """

    k: int
    ranks: Floats
    users: Ints
    shown: Ints
    popularity: Floats
    targets: Ints

    @property
    def ndcg(self) -> Floats:
        """NDCG at k of each user (u,), in the order of their numbers: the mean of 1 / log2(rank + 2) over their cases."""
        return mean_by_user(gains(self.ranks, self.k), self.users)

    @property
    def recall(self) -> Floats:
        """Share of each user's cases (u,) whose target is among the first k."""
        return mean_by_user((self.ranks < self.k).astype(np.float64), self.users)

    @property
    def misses(self) -> int:
        """Cases whose target nobody can find: it is not in the catalogue, or the user had acted on it before."""
        return int(np.isinf(self.ranks).sum())

    @property
    def coverage(self) -> float:
        """Share of the items that stand in some list."""
        return float((self.shown > 0).mean())

    @property
    def popularity_bias(self) -> float:
        """Mean log popularity of what is recommended, less that of what was acted on: above 0 it prefers what is popular anyway."""
        popular = np.log(self.popularity + 1.0)
        found = self.targets[self.targets >= 0]
        if not len(found) or not self.shown.any():
            return 0.0
        return float(popular @ self.shown / self.shown.sum() - popular[found].mean())

    @property
    def head_share(self) -> float:
        """Share of all recommendations that are of the most popular tenth of the items."""
        order = np.argsort(-self.popularity, kind="stable")[: max(1, round(_HEAD * len(self.popularity)))]
        return float(self.shown[order].sum() / max(1, self.shown.sum()))

    def intervals(self, *, resamples: int = 1000, seed: int = 0) -> dict[str, Interval]:
        """NDCG and recall at k, with intervals over users drawn anew.

        Raises:
            DataError: there are no cases.
        """
        values = {f"ndcg_at_{self.k}": self.ndcg, f"recall_at_{self.k}": self.recall}
        return {name: mean_interval(of, resamples=resamples, seed=seed) for name, of in values.items()}


def measure_ranking(
    task: RankingTask,
    ranker: Ranker,
    k: int = 10,
    *,
    candidates: npt.NDArray[np.bool_] | None = None,
    tick: Callable[[int], None] | None = None,
) -> RankingScores:
    """Look for each target among all items that the user had not acted on before; no sampled candidates.

    Ties count half: a ranker that scores all alike finds by chance, not by the order of numbers. The ranker gets histories alone:
    neither targets nor what came after them are within its reach.

    Args:
        task: the cases.
        ranker: what is measured.
        k: items of a list of recommendations.
        candidates: (count,), items that may be recommended; a target that is none of them is a miss. None for all.
        tick: told how many cases have been ranked since it was last told.

    Returns:
        Ranks by case, and what stood in the lists.

    Raises:
        DataError: the ranker gives scores that are no numbers.
        ValueError: the ranker gives scores of another shape, or `k` is below 1.

    Source: full ranking as asked for by Krichene and Rendle, On Sampled Metrics for Item Recommendation, KDD 2020.
    """
    if k < 1:
        raise ValueError(f"k must be 1 or more, got {k}")
    ranks = np.full(len(task.targets), np.inf)
    shown = np.zeros(task.count, np.int64)
    for cases, part in blind_batches(task):
        scores = np.array(ranker.scores(part, np.arange(len(cases))), dtype=np.float32)
        if candidates is not None:
            scores[:, ~candidates] = -np.inf
        ranks[cases] = rank_targets(scores, part, task.targets[cases])
        for row in scores:
            shown[_first(row, k)] += 1
        if tick is not None:
            tick(len(cases))
    return RankingScores(k, ranks, task.users, shown, task.popularity, task.targets)


def blind_batches(task: RankingTask) -> Iterator[tuple[Ints, RankingTask]]:
    """The cases in batches, as a ranker may see them: each with a copy of its own history, and nothing of what came after it.

    Yields:
        Numbers of some cases (n,), and a task of these alone, whose targets are all -1.
    """
    at_a_time = int(np.clip(_CELLS // max(1, task.count), 1, 1024))
    for start in range(0, len(task.targets), at_a_time):
        cases = np.arange(start, min(start + at_a_time, len(task.targets)))
        yield cases, _blind(task, cases)


def rank_targets(scores: npt.NDArray[np.float32], part: RankingTask, targets: Ints) -> Floats:
    """Where the targets stand among all items that are not in the histories.

    Args:
        scores: (n, count) of all items; those of past items are set to -inf, in place.
        part: the n histories.
        targets: (n,), -1 for none.

    Returns:
        (n,) from 0, half of what ties before it; infinite where the target is none or is not ranked.

    Raises:
        DataError: scores are no numbers.
        ValueError: scores are of another shape.
    """
    if scores.shape != (len(targets), part.count):
        raise ValueError(f"the ranker gave scores {scores.shape} for {len(targets)} cases and {part.count} items")
    if np.isnan(scores).any():
        raise DataError("the ranker gave scores that are no numbers: the model has diverged; train it anew")
    scores[np.repeat(np.arange(len(targets)), part.end - part.begin), part.items] = -np.inf
    own = scores[np.arange(len(scores)), np.maximum(targets, 0)][:, None]
    found = (targets >= 0) & np.isfinite(own[:, 0])
    ranks = (scores > own).sum(axis=1) + ((scores == own).sum(axis=1) - 1) / 2.0
    return np.where(found, ranks, np.inf)


def gains(ranks: Floats, k: int = 10) -> Floats:
    """NDCG at k of cases with one target each: 1 / log2(rank + 2), 0 from rank k on; of any shape."""
    return np.where(ranks < k, 1.0 / np.log2(np.maximum(ranks, 0.0) + 2.0), 0.0)


def mean_by_user(values: Floats, users: Ints) -> Floats:
    """Mean (u,) of the values (c,) of each user's cases, in the order of their numbers."""
    numbers = np.unique(users, return_inverse=True)[1]
    return np.asarray(np.bincount(numbers, values) / np.maximum(np.bincount(numbers), 1), dtype=np.float64)


def some_cases(task: RankingTask, cases: Ints) -> RankingTask:
    """The same task with these cases alone, (n,)."""
    return replace(
        task,
        begin=task.begin[cases],
        end=task.end[cases],
        targets=task.targets[cases],
        now=task.now[cases],
        users=task.users[cases],
        values=None if task.values is None else task.values[cases],
        codes=None if task.codes is None else task.codes[cases],
    )


def _blind(task: RankingTask, cases: Ints) -> RankingTask:
    """These cases with their histories alone, each with a copy of its own, and no targets."""
    lengths = task.end[cases] - task.begin[cases]
    end = np.cumsum(lengths)
    places = np.arange(lengths.sum()) + np.repeat(task.begin[cases] - (end - lengths), lengths)
    return replace(
        some_cases(task, cases),
        items=task.items[places],
        times=task.times[places],
        weights=task.weights[places],
        begin=end - lengths,
        end=end,
        targets=np.full(len(cases), -1, np.int64),
    )


def _first(scores: npt.NDArray[np.float32], k: int) -> Ints:
    """The numbers of the k best of a row, those of one score by their number; fewer where fewer can be recommended."""
    if k < len(scores):
        least = np.partition(scores, len(scores) - k)[len(scores) - k]
        among = np.flatnonzero(scores >= least)
    else:
        among = np.arange(len(scores))
    best = among[np.argsort(-scores[among], kind="stable")][:k]
    return np.asarray(best[scores[best] > -np.inf], dtype=np.int64)
