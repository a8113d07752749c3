"""Several systems on one task, side by side: as figures for JSON, and as a table for people."""

from __future__ import annotations

import math
import re
from collections.abc import Mapping

from nearfar.evaluate.bootstrap import Interval, ratio_interval
from nearfar.evaluate.retrieval import RetrievalScores

Figure = dict[str, float | str | None]
"""`value`, `low`, `high` and `unit` of one figure; an end that is not finite is None, because JSON has no infinity."""


def as_figures(rows: Mapping[str, RetrievalScores]) -> dict[str, Figure]:
    """Every figure of every system as plain data, ready for `json.dumps`.

    Args:
        rows: system name -> its scores; `BM25, plain` becomes `bm25_plain`.

    Returns:
        `<system>_<metric>` in snake_case -> its value, low, high and unit; all are shares from 0 to 1.

    Raises:
        ValueError: if two systems have the same name once written in snake_case.
    """
    figures: dict[str, Figure] = {}
    for system, scores in rows.items():
        for metric, interval in scores.intervals().items():
            key = f"{_snake_case(system)}_{metric}"
            if key in figures:
                raise ValueError(f"two systems share the key {key!r}; rename {system!r}")
            figures[key] = as_figure(interval, "share")
    return figures


def as_figure(interval: Interval, unit: str) -> Figure:
    """One interval as plain data, with the unit it is in."""
    ends = {"value": interval.value, "low": interval.low, "high": interval.high}
    return {**{name: end if math.isfinite(end) else None for name, end in ends.items()}, "unit": unit}


def ratios(
    rows: Mapping[str, RetrievalScores],
    baseline: str,
    *,
    metric: str = "ndcg_at_10",
    resamples: int = 2000,
    seed: int = 0,
) -> dict[str, Interval]:
    """How every other system compares with `baseline` on the same queries.

    Args:
        rows: system name -> its scores, all on the same task.
        baseline: the name of the system to divide by.
        metric: which figure to compare.
        resamples: how many paired bootstrap resamples the intervals rest on.
        seed: of the resampling.

    Returns:
        System name -> ratio of the means; an interval that excludes 1 is a difference that other queries would show too.

    Raises:
        DataError: if the baseline scores 0 on every query.
        ValueError: if the systems were not measured on the same number of queries.
    """
    denominator = rows[baseline].per_query[metric]
    return {
        system: ratio_interval(scores.per_query[metric], denominator, resamples=resamples, seed=seed)
        for system, scores in rows.items()
        if system != baseline
    }


def as_table(rows: Mapping[str, RetrievalScores]) -> str:
    """A plain text table, one line a system: each figure with the interval that it lies in.

    Args:
        rows: system name -> its scores.

    Returns:
        Lines of equal length without a trailing newline; the first is the header. Empty if there are no rows.
    """
    if not rows:
        return ""
    metrics = list(next(iter(rows.values())).intervals())
    lines = [["", *(_heading(metric) for metric in metrics)]]
    lines += [[system, *map(str, scores.intervals().values())] for system, scores in rows.items()]
    widths = [max(map(len, column)) for column in zip(*lines, strict=True)]
    return "\n".join("  ".join([line[0].ljust(widths[0]), *map(str.rjust, line[1:], widths[1:])]) for line in lines)


def _heading(metric: str) -> str:
    """`ndcg_at_10` as people write it: nDCG@10."""
    name, _, k = metric.partition("_at_")
    written = {"ndcg": "nDCG", "mrr": "MRR"}
    return f"{written.get(name, name)}@{k}" if k else name.replace("_", " ")


def _snake_case(name: str) -> str:
    return re.sub(r"\W+", "_", name.lower()).strip("_")
