"""From the values of single queries to the figures of the text benchmark, over several collections."""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np
import numpy.typing as npt

from nearfar.evaluate import Interval
from tools.latency import ratio_of_medians
from tools.results import Figures, figure
from tools.text_state import State

Floats = npt.NDArray[np.float64]

_RESAMPLES = 2_000

RATIOS = (
    ("query_static", "minilm"),
    ("query_static_small", "minilm"),
    ("static_hybrid", "minilm_hybrid"),
    ("query_static_hybrid", "minilm_hybrid"),
    ("transformer", "minilm"),
    ("transformer_hybrid", "minilm_hybrid"),
)
"""Each system by what it has to come near to."""

DIFFERENCES = (
    ("query_static_hybrid", "bm25"),
    ("query_static_small_hybrid", "bm25"),
    ("static_hybrid", "bm25"),
    ("minilm_hybrid", "bm25"),
)
"""The same in points, hundredths of nDCG@10."""


class Means:
    """The mean of a system over collections, and over resamples of the queries within each; all systems get the same queries.

    Args:
        collections: name -> system -> figure of each query (q,); a system without one of them has no mean.
    """

    def __init__(self, collections: Mapping[str, Mapping[str, Floats]]) -> None:
        in_all = set.intersection(*(set(systems) for systems in collections.values()))
        self._values: dict[str, float] = {}
        self._resampled: dict[str, Floats] = {}
        for number, systems in enumerate(collections[name] for name in sorted(collections)):
            queries = len(next(iter(systems.values())))
            drawn = np.random.default_rng(number).integers(queries, size=(_RESAMPLES, queries))
            for system in in_all:
                mean, means = systems[system].mean(), systems[system][drawn].mean(axis=1)
                self._values[system] = self._values.get(system, 0.0) + float(mean) / len(collections)
                self._resampled[system] = self._resampled.get(system, np.zeros(_RESAMPLES)) + means / len(collections)

    def __contains__(self, system: str) -> bool:
        return system in self._values

    def mean(self, system: str) -> Interval:
        """Its mean with the 95 % interval."""
        return _interval(self._values[system], self._resampled[system])

    def ratio(self, above: str, below: str) -> Interval:
        """One mean over another, paired; an end is infinite where the lower one draws nothing but zeros."""
        with np.errstate(divide="ignore", invalid="ignore"):
            resampled = self._resampled[above] / self._resampled[below]
            value = float(np.float64(self._values[above]) / self._values[below])
        return _interval(value, resampled)

    def points(self, above: str, below: str) -> Interval:
        """A hundred times one mean less another, paired."""
        value = self._values[above] - self._values[below]
        return _interval(100 * value, 100 * (self._resampled[above] - self._resampled[below]))


def figures_of(state: State, systems: tuple[str, ...]) -> Figures:
    """Everything that was measured so far."""
    figures: Figures = {}
    ndcg = {name: state.of("ndcg", name) for name in state.groups("ndcg")}
    if ndcg:
        means = Means(ndcg)
        figures |= _compared(means, "")
        figures |= {f"mean_ndcg_at_10_{s}": figure(means.mean(s), "share") for s in systems if s in means}
    for name, values in ndcg.items():
        alone = Means({name: values})
        figures |= {f"ndcg_at_10_{name}_{s}": figure(alone.mean(s), "share") for s in _ordered(values, systems)}
        figures |= _compared(alone, f"_{name}")
        figures[f"queries_{name}"] = figure(len(next(iter(values.values()))))
    return figures | _speeds(state, systems) | _single(state, systems) | _added(state) | _sts(state)


def _ordered(found: Mapping[str, object], systems: tuple[str, ...]) -> list[str]:
    return [name for name in systems if name in found] + [name for name in sorted(found) if name not in systems]


def _compared(means: Means, suffix: str) -> Figures:
    figures: Figures = {}
    for above, below in RATIOS:
        if above in means and below in means:
            figures[f"{above}_vs_{below}{suffix}"] = figure(means.ratio(above, below), "times")
    for above, below in DIFFERENCES:
        if above in means and below in means:
            figures[f"{above}_minus_{below}{suffix}"] = figure(means.points(above, below), "points")
    return figures


def _speeds(state: State, systems: tuple[str, ...]) -> Figures:
    """Over all collections: the median, and how often the teacher's own time it goes into that."""
    figures: Figures = {}
    groups = {name: state.of("seconds", name) for name in state.groups("seconds")}
    for name in _ordered({key: None for group in groups.values() for key in group}, systems):
        pooled = np.concatenate([group[name] for group in groups.values() if name in group])
        figures[f"query_ms_{name}"] = figure(float(np.median(pooled)) * 1e3, "ms")
        paired = [group for group in groups.values() if name in group and "minilm" in group]
        if name != "minilm" and paired:
            teacher = np.concatenate([group["minilm"] for group in paired])
            own = np.concatenate([group[name] for group in paired])
            figures[f"{name}_speed_vs_minilm"] = figure(ratio_of_medians(teacher, own), "times")
    for group, seconds in groups.items():
        for name in _ordered(seconds, systems):
            if name != "minilm" and "minilm" in seconds:
                ratio = ratio_of_medians(seconds["minilm"], seconds[name])
                figures[f"{name}_speed_vs_minilm_{group}"] = figure(ratio, "times")
    return figures


def _single(state: State, systems: tuple[str, ...]) -> Figures:
    """The largest bundle of each system, its mean speed over documents, and how long it was trained."""
    figures: Figures = {}
    for kind, key, unit, joined in (
        ("mb", "mb_{}", "MB", max),
        ("passages", "passages_per_second_{}", "1/s", lambda found: sum(found) / len(found)),
    ):
        groups = [state.of(kind, name) for name in state.groups(kind)]
        for name in _ordered({key: None for group in groups for key in group}, systems):
            found = [float(group[name][0]) for group in groups if name in group]
            figures[key.format(name)] = figure(joined(found), unit)
    for group in state.groups("train_seconds"):
        for name, seconds in state.of("train_seconds", group).items():
            figures[f"train_seconds_{group}_{name}"] = figure(float(seconds[0]), "s")
    return figures


def _added(state: State) -> Figures:
    figures: Figures = {}
    for group in state.groups("added"):
        ways = state.of("added", group)
        means = Means({group: ways})
        figures |= {f"added_{group}_{way}": figure(means.mean(way), "share") for way in ways}
        figures[f"added_{group}_table_vs_teacher"] = figure(means.ratio("table", "teacher"), "times")
    return figures


def _sts(state: State) -> Figures:
    found = state.of("sts")
    return {f"sts_{name}": figure(Interval(*values.tolist())) for name, values in found.items()}


def _interval(value: float, resampled: Floats) -> Interval:
    low, high = np.quantile(resampled, [0.025, 0.975], method="inverted_cdf")
    return Interval(value, float(low), float(high))
