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
_ROWS_AT_A_TIME = (
    4096  # that a change is looked for in: a long stream with many changes is not gone through anew after each
)


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


def _highest(known: Scores, width: int) -> Scores:
    """The highest of each `width` neighbours of `known` (n + width - 1,) without NaN."""
    if len(known) == width:  # one score, as it comes from a stream
        return np.asarray(known.max(keepdims=True))
    covered = 1
    while covered < width:  # by each value: twice as many neighbours every time
        step = min(covered, width - covered)
        known = np.maximum(known[:-step], known[step:])
        covered += step
    return known


@dataclass(frozen=True)
class Rule:
    """When an alarm begins and ends.

    It begins at a known score where the statistic is above the threshold, or above more than that soon after another. It ends where the highest of the
    last `looked_at` scores is low: below `release` times the threshold, or below `settle` times the mean of the known scores of the
    alarm, from the one that raised it to the newest. A score that is unknown may have been a high one and counts as such.

    Attributes:
        threshold: scores above it are alarming.
        needed: so many of them ...
        out_of: ... among the last so many raise an alarm: the statistic is the `needed`-th largest of them.
        release: scores below this share of the threshold end an alarm: the machine is healthy again.
        settle: scores below this share of the alarm's mean end it too: the machine has settled to something else. After any end
            another needs a statistic above the lowest since of those highest scores, divided by this: for the cool-down, and after it
            until that lowest is below the release. 0 turns both off.
        cool_down: seconds.
        calm: an alarm ends only where so many scores in a row are low; `out_of` of them where that is more.
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


class Change(NamedTuple):
    """An alarm begins or ends.

    Attributes:
        row: of the scores that were passed.
        raised: whether it begins.
        time: of that row.
        since: when it begins: the first of the scores that made it; when it ends: when it was raised.
        score: when it begins: the statistic that exceeded the threshold; when it ends: the highest statistic of the alarm.
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
        level: float32 (n,), the scores over what is alarming at the time: by `settle` that may be more than the threshold after an
            alarm.
        changes: in the order of time.
    """

    statistic: Scores
    alarmed: Mask
    level: Scores
    changes: list[Change]


class Decider:
    """Follows the scores of one stream; whatever pieces they come in, the decisions are the same.

    Args:
        rule: when an alarm begins and ends; may be exchanged at any time by one that looks at as many scores.
    """

    def __init__(self, rule: Rule) -> None:
        self.rule = rule
        self._times: Times = np.full(rule.looked_at - 1, np.nan)
        self._scores: Scores = np.full(rule.looked_at - 1, np.nan, np.float32)
        self._raised: float | None = None
        self._peak = -np.inf
        self._sum, self._count = 0.0, 0  # of the known scores of the alarm
        self._ready = -np.inf
        self._settled = 0.0  # the lowest that the highest of the last scores has been since an alarm ended; 0 before

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
        high = _highest(np.where(unknown, np.float32(np.inf), scores), rule.looked_at)
        alarmed, needs = np.zeros(n, np.bool_), np.zeros(n)
        changes: list[Change] = []
        row = 0
        while row < n:
            part, was = slice(row, min(n, row + _ROWS_AT_A_TIME)), self.alarmed
            if was:
                needs[part] = np.float32(rule.threshold)
                found = self._end(scores[past:][part], up[part], high[part])
            else:
                lowest = np.minimum(np.minimum.accumulate(high[part]), np.float32(self._settled))
                needs[part] = self._alarming(times[past:][part], lowest)
                # A cool-down that is over, or a rule that changed, waits for a score too.
                found = _first((up[part] > needs[part]) & ~unknown[past:][part])
                if found is None:
                    self._settled = float(lowest[-1])
            last = part.stop - 1 if found is None else row + found
            alarmed[row : last + 1] = was
            if found is not None:
                seen = slice(last + 1 + past - rule.out_of, last + 1 + past)
                changes.append(self._change(last, times[seen], scores[seen], up[last], high[last], needs[last]))
                alarmed[last] = self.alarmed
            row = last + 1
        level = (scores[past:] / needs).astype(np.float32) if rule.threshold > 0 else scores[past:]
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

    def _end(self, scores: Scores, up: Scores, high: Scores) -> int | None:
        """The first row at which the alarm ends."""
        known = np.isfinite(scores)
        # Added up from the first on, one after the other: so the sum is the same to the last bit however the stream is cut.
        sums = np.cumsum(np.concatenate([[self._sum], np.where(known, scores, 0.0)]))[1:]
        counts = self._count + np.cumsum(known)
        means = sums / np.maximum(counts, 1)
        first = _first(high < np.maximum(self.rule.release * self.rule.threshold, self.rule.settle * means))
        last = len(scores) - 1 if first is None else first
        self._sum, self._count = float(sums[last]), int(counts[last])
        self._peak = max(self._peak, float(up[: last + 1].max()))
        return first

    def _alarming(self, times: Times, lowest: Scores) -> Times:
        """What the statistic must exceed while there is no alarm, after such `lowest` scores since the last one."""
        rule = self.rule
        threshold = np.full(len(lowest), np.float32(rule.threshold), np.float64)
        if not rule.settle:
            return threshold
        wary = (times < self._ready) | (lowest >= rule.release * rule.threshold)
        return np.where(wary, np.maximum(threshold, lowest.astype(np.float64) / rule.settle), threshold)

    def _change(
        self, row: int, times: Times, scores: Scores, up: np.float32, high: np.float32, needs: np.float64
    ) -> Change:
        """Begin or end an alarm at `row`, the last of the `times` and `scores` (out_of,) that are looked at to begin one."""
        time = float(times[-1])
        if self._raised is not None:
            change = Change(row, False, time, self._raised, self._peak, bool(up > needs))
            self._raised, self._ready, self._settled = None, time + self.rule.cool_down, float(high)
            return change
        newest = float(scores[-1])
        self._raised, self._peak = time, float(up)
        self._sum, self._count = (newest, 1) if np.isfinite(newest) else (0.0, 0)
        return Change(row, True, time, float(times[int((scores > needs).argmax())]), float(up))


def _first(hits: Mask) -> int | None:
    first = int(hits.argmax())
    return first if hits[first] else None
