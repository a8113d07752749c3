"""When scores become an alarm: so many of so many in a row above the threshold; and when it is over."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import Any, NamedTuple

import numpy as np
import numpy.typing as npt

Times = npt.NDArray[np.float64]
Scores = npt.NDArray[np.float32]
Mask = npt.NDArray[np.bool_]

_CELLS_AT_A_TIME = 2**20  # of the scores looked at together: 4 MB, whatever `out_of` is


def decision_statistic(scores: Scores, needed: int, out_of: int, *, missing: float = -np.inf) -> Scores:
    """The `needed`-th largest of the last `out_of` scores: an alarm is raised where this exceeds the threshold.

    Args:
        scores: float32 (n,) of consecutive frames, NaN where nothing is known.
        needed: so many scores above a threshold make an alarm, 1 to `out_of`.
        out_of: so many scores are looked at, the newest included.
        missing: what an unknown score counts as; also one before the first. By default it can raise nothing.

    Returns:
        float32 (n,); with the default, minus infinity where fewer than `needed` scores are known.
    """
    past = np.full(out_of - 1, missing, np.float32)
    known = np.concatenate([past, np.where(np.isnan(scores), np.float32(missing), scores).astype(np.float32)])
    return _order_statistic(known, needed, out_of)


def _order_statistic(known: Scores, needed: int, out_of: int) -> Scores:
    """The `needed`-th largest of each `out_of` neighbours of `known` (n + out_of - 1,) without NaN."""
    if out_of == 1 or len(known) < out_of:
        return known[out_of - 1 :]
    rank = out_of - needed
    if len(known) == out_of:  # one score, as it comes from a stream: a view would cost more than the answer
        return np.partition(known, rank)[rank : rank + 1]
    windows = np.lib.stride_tricks.sliding_window_view(known, out_of)
    found = np.empty(len(windows), np.float32)
    step = max(1, _CELLS_AT_A_TIME // out_of)
    for start in range(0, len(windows), step):
        found[start : start + step] = np.partition(windows[start : start + step], rank, axis=1)[:, rank]
    return found


@dataclass(frozen=True)
class Rule:
    """When an alarm begins and ends.

    Attributes:
        threshold: scores above it are alarming.
        needed: so many of them ...
        out_of: ... among the last so many raise an alarm.
        release: it ends when scores stay below this share of the threshold.
        cool_down: seconds after its end in which no other is raised.
        calm: neither happens before so many scores in a row are low enough; at least `out_of`.
        settle: it ends also below this share of the alarm's mean score: the machine has settled to something else. After any end
            another is raised only where the statistic comes as much above what the scores had calmed down to. 0 turns both off.
    """

    threshold: float
    needed: int = 1
    out_of: int = 1
    release: float = 1.0
    cool_down: float = 0.0
    settle: float = 0.0
    calm: int = 1

    @property
    def looked_at(self) -> int:
        """How many of the last scores matter."""
        return max(self.out_of, self.calm)

    @property
    def released(self) -> float:
        """Below it the machine is healthy again."""
        return self.release * self.threshold


class Change(NamedTuple):
    """An alarm begins or ends.

    Attributes:
        row: of the scores that were passed.
        raised: whether it begins.
        time: of that row.
        since: when it begins: the first of the scores that made it; when it ends: when it was raised.
        score: when it begins: the statistic that exceeded the threshold; when it ends: the highest of it.
        settled: when it ends: whether the statistic exceeds the threshold even so.
    """

    row: int
    raised: bool
    time: float
    since: float
    score: float
    settled: bool = False


class Decisions(NamedTuple):
    """What came of n scores.

    Attributes:
        statistic: float32 (n,), as `decision_statistic` has it.
        alarmed: bool (n,), whether there is an alarm after each score.
        level: float32 (n,), the scores over what is alarming at the time, which after an alarm that ended by `settle` is more than
            the threshold.
        changes: in the order of time.
    """

    statistic: Scores
    alarmed: Mask
    level: Scores
    changes: list[Change]


class Decider:
    """Follows the scores of one stream. A score that is not known neither raises nor ends an alarm.

    Args:
        rule: when an alarm begins and ends; may be exchanged at any time by one that looks at as many scores.
    """

    def __init__(self, rule: Rule) -> None:
        self.rule = rule
        self._times: Times = np.full(rule.looked_at - 1, np.nan)
        self._scores: Scores = np.full(rule.looked_at - 1, np.nan, np.float32)
        self._raised: float | None = None
        self._peak = -np.inf
        self._ready = -np.inf
        self._sum, self._count = 0.0, 0  # of the scores of the alarm
        self._settled = 0.0  # what scores have calmed down to since an alarm ended; 0 when it no longer matters

    @property
    def alarmed(self) -> bool:
        """Whether there is an alarm now."""
        return self._raised is not None

    def push(self, times: Times, scores: Scores) -> Decisions:
        """Take the scores float32 (n,) of the next frames, whose times float64 (n,) ascend."""
        n, rule = len(scores), self.rule
        past = rule.looked_at - 1
        times, scores = np.concatenate([self._times, times]), np.concatenate([self._scores, scores])
        unknown = np.isnan(scores)
        known = np.where(unknown, np.float32(-np.inf), scores)
        up = _order_statistic(known[past - (rule.out_of - 1) :], rule.needed, rule.out_of)
        # An unknown score may have been a high one: for the end of an alarm it counts as such.
        high = _order_statistic(np.where(unknown, np.float32(np.inf), scores), 1, rule.looked_at)
        alarmed = np.zeros(n, np.bool_)
        needs = np.full(n, rule.threshold, np.float32)
        changes: list[Change] = []
        row = 0
        while row < n:
            was = self.alarmed
            if was:
                found = self._end(scores[past:], up, high, row)
            else:
                needs[row:] = self._alarming(high, row)
                found = self._beginning(times[past:], up, needs, high, unknown[past:], row)
            alarmed[row : n if found is None else found] = was
            if found is None:
                break
            changes.append(self._change(times, scores, up, high, found))
            needs[found + 1 :] = rule.threshold
            alarmed[found] = self.alarmed
            row = found + 1
        level = scores[past:] / needs if rule.threshold > 0 else scores[past:]
        keep = len(scores) - past
        self._times, self._scores = times[keep:].copy(), scores[keep:].copy()
        return Decisions(up, alarmed, level, changes)

    def shift(self, seconds: float) -> None:
        """Follow a clock that was set: what is remembered happened so much later by it."""
        self._times = self._times + seconds
        self._ready += seconds
        if self._raised is not None:
            self._raised += seconds

    def state(self) -> dict[str, Any]:
        """What `restore` takes."""
        return {
            "times": self._times,
            "scores": self._scores,
            "raised": self._raised,
            "peak": self._peak,
            "sum": self._sum,
            "count": self._count,
            "ready": self._ready,
            "settled": self._settled,
            "threshold": self.rule.threshold,
        }

    def restore(self, state: Mapping[str, Any], *, keep_threshold: bool = False) -> None:
        """Go on where another of the same rule was, with the threshold that it had, unless this one's is to be kept."""
        self._times, self._scores = state["times"], state["scores"]
        self._raised, self._peak = state["raised"], state["peak"]
        self._ready, self._settled = state["ready"], state["settled"]
        self._sum, self._count = state["sum"], state["count"]
        if not keep_threshold:
            self.rule = replace(self.rule, threshold=state["threshold"])

    def _end(self, scores: Scores, up: Scores, high: Scores, row: int) -> int | None:
        """The first row from `row` on at which the alarm ends."""
        known = np.isfinite(scores[row:])
        sums = self._sum + np.cumsum(np.where(known, scores[row:], 0.0), dtype=np.float64)
        counts = self._count + np.cumsum(known)
        hits = high[row:] < np.maximum(self.rule.released, self.rule.settle * sums / np.maximum(counts, 1))
        first = _first(hits)
        last = -1 if first is None else first
        self._sum, self._count = float(sums[last]), int(counts[last])
        self._peak = max(self._peak, float(up[row:][: None if first is None else first + 1].max()))
        return None if first is None else row + first

    def _alarming(self, high: Scores, row: int) -> Scores:
        """What the statistic must exceed from `row` on while there is no alarm."""
        threshold = np.full(len(high) - row, self.rule.threshold, np.float32)
        if not self._settled:
            return threshold
        return np.maximum(threshold, (self._lowest(high, row) / self.rule.settle).astype(np.float32))

    def _lowest(self, high: Scores, row: int) -> Scores:
        """What scores have calmed down to since an alarm ended, from `row` on."""
        return np.minimum(np.minimum.accumulate(high[row:]), np.float32(self._settled))

    def _beginning(self, times: Times, up: Scores, needs: Scores, high: Scores, unknown: Mask, row: int) -> int | None:
        """The first row from `row` on at which an alarm begins."""
        # A cool-down that is over, or a rule that changed, waits for a score too.
        first = _first((up[row:] > needs[row:]) & (times[row:] >= self._ready) & ~unknown[row:])
        if first is None:
            lowest = float(self._lowest(high, row)[-1])
            self._settled = lowest if lowest > self.rule.settle * self.rule.threshold else 0.0
        return None if first is None else row + first

    def _change(self, times: Times, scores: Scores, up: Scores, high: Scores, row: int) -> Change:
        """Begin or end an alarm at `row`; times and scores have those before them in front."""
        now = row + self.rule.looked_at - 1
        time = float(times[now])
        if self._raised is not None:
            change = Change(row, False, time, self._raised, self._peak, bool(up[row] > self.rule.threshold))
            self._raised, self._ready = None, time + self.rule.cool_down
            self._settled = float(high[row]) if self.rule.settle else 0.0
            return change
        recent = slice(now + 1 - self.rule.out_of, now + 1)
        first = int((scores[recent] > self.rule.threshold).argmax())
        self._raised, self._peak, self._settled = time, float(up[row]), 0.0
        self._sum, self._count = float(scores[now]), 1
        return Change(row, True, time, float(times[recent][first]), float(up[row]))


def _first(hits: Mask) -> int | None:
    first = int(hits.argmax())
    return first if hits[first] else None
