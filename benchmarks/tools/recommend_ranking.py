"""How benchmarks/recommend.py measures a system on one cut of a log: settings by validation, figures on test."""

from __future__ import annotations

import sys
import time
from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np

from nearfar.evaluate import Interval, mean_interval
from nearfar.evaluate.bootstrap import ratio_interval
from nearfar.evaluate.ranking import Ints, Ranker, RankingScores, RankingTask, measure_ranking, some_cases
from nearfar.learn.data.actions import ActionCorpus
from nearfar.learn.data.split import TRAIN, VALIDATION
from tools.recommend_learned import sequences
from tools.recommend_peers import Peer, Settings
from tools.results import Figures, figure
from tools.text_state import State

MOST_OF_A_USER = 50
"""Validation cases of one user that settings are chosen on; figures of validation and test are of all."""

_UNITS = {"_ms": "ms", "_bytes": "bytes", "_mb": "MB", "_pct": "%"}


@dataclass(frozen=True)
class Cut:
    """A log and what is held out of it.

    Attributes:
        name: such as `movies_last`.
        corpus: as nearfar's own run has it.
        validation: what settings are chosen on.
        test: what figures are of.
    """

    name: str
    corpus: ActionCorpus
    validation: RankingTask
    test: RankingTask


def measure_peer(name: str, peer: Peer, cut: Cut, state: State, *, quick: bool) -> None:
    """Choose a peer's settings on validation, and keep its figures on test.

    Args:
        name: of the peer.
        peer: it.
        cut: the log.
        state: where figures are kept.
        quick: the first settings, without a choice.
    """
    started = time.perf_counter()
    learned = sequences(cut.corpus, cut.test.count)
    asked = few_of_each(cut.validation, MOST_OF_A_USER)

    def measured(ranker: Ranker) -> float:
        return float(measure_ranking(asked, ranker).ndcg.mean())

    best: tuple[float, Settings, Ranker] | None = None
    for settings in peer.grid(quick=quick):
        ranker = peer.make(learned, settings, measured)
        found = measured(ranker)
        if best is None or found > best[0]:
            best = found, settings, ranker
    assert best is not None
    reached, settings, ranker = best
    # Where time splits, validation is a stretch of time that nearfar's catalogue and model do not know either.
    if peer.validation_too and cut.name.endswith("last"):
        both = sequences(cut.corpus, cut.test.count, (TRAIN, VALIDATION))
        ranker = peer.make(both, settings, measured)
    keep(state, cut.name, name, measure_ranking(cut.test, ranker), seconds=time.perf_counter() - started)
    state.keep("validation", name, reached, group=cut.name)
    for key, value in settings.items():
        if len(peer.choices[key]) > 1:
            state.keep("chosen", f"{name}_{key}", value, group=cut.name)
    print(f"{cut.name} {name}: validation {reached:.4f} with {dict(settings)}", file=sys.stderr)


def few_of_each(task: RankingTask, most: int, seed: int = 0) -> RankingTask:
    """The same task with at most so many cases of each user, drawn by the seed."""
    order = np.random.default_rng(seed).permutation(len(task.users))
    order = order[np.argsort(task.users[order], kind="stable")]
    users = task.users[order]
    first = np.concatenate([[True], users[1:] != users[:-1]])
    place = np.arange(len(users)) - np.maximum.accumulate(np.where(first, np.arange(len(users)), 0))
    kept: Ints = np.sort(order[place < most])
    return some_cases(task, kept)


def keep(state: State, group: str, system: str, scores: RankingScores, *, seconds: float = 0.0) -> None:
    """Note what was measured of a system."""
    for kind, values in (
        ("ndcg", scores.ndcg),
        ("recall", scores.recall),
        ("coverage", scores.coverage),
        ("popularity_bias", scores.popularity_bias),
        ("head_share", scores.head_share),
        ("misses", scores.misses / len(scores.ranks)),
        ("seconds", seconds),
    ):
        state.keep(kind, system, values, group=group)


def figures_of_cut(state: State, group: str, suffix: str) -> Figures:
    """All figures of one cut; systems called `nearfar_seed_N` count as one, the mean over its seeds.

    Args:
        state: with what was measured.
        group: of which cut.
        suffix: behind every key, such as `_time`; empty for the first.
    """
    figures: Figures = {}
    ndcg, recall = joined(state.of("ndcg", group)), joined(state.of("recall", group))
    if not ndcg:
        return figures
    peers = {name: values for name, values in ndcg.items() if not name.startswith("nearfar")}
    if "nearfar" in ndcg:
        figures[f"ndcg_at_10{suffix}"] = figure(mean_interval(ndcg["nearfar"]))
        figures[f"recall_at_10{suffix}"] = figure(mean_interval(recall["nearfar"]))
    if peers:
        best = max(peers, key=lambda name: float(peers[name].mean()))
        figures[f"best_baseline_ndcg_at_10{suffix}"] = figure(mean_interval(peers[best]), best)
        if "nearfar" in ndcg:
            figures[f"ratio_to_best{suffix}"] = figure(ratio_interval(ndcg["nearfar"], peers[best]))
    seeds = [float(values.mean()) for name, values in state.of("ndcg", group).items() if _is_seed(name, "nearfar")]
    if len(seeds) > 1:
        mean = float(np.mean(seeds))
        figures[f"ndcg_at_10{suffix}_least_and_most_of_{len(seeds)}_seeds"] = figure(
            Interval(mean, min(seeds), max(seeds))
        )
    figures[f"misses_share{suffix}"] = figure(float(next(iter(state.of("misses", group).values()))[0]))
    for kind in ("ndcg", "recall", "coverage", "popularity_bias", "head_share"):
        key = f"{kind}_at_10" if kind in ("ndcg", "recall") else kind
        for system, values in joined(state.of(kind, group)).items():
            measured = mean_interval(values) if kind in ("ndcg", "recall") else float(values[0])
            figures[f"{key}{suffix}_{system}"] = figure(measured)
    for setting, values in state.of("chosen", group).items():
        figures[f"chosen{suffix}_{setting}"] = figure(float(values[0]))
    return figures


def cold_figures(state: State) -> Figures:
    """What was measured of items that nobody had acted on."""
    figures: Figures = {}
    for group, prefix in (("cold_alone", "cold"), ("cold_among_all", "cold_among_all")):
        for kind in ("ndcg", "recall"):
            for system, values in joined(state.of(kind, group)).items():
                suffix = "" if system == "nearfar" else f"_{system}"
                figures[f"{prefix}_{kind}_at_10{suffix}"] = figure(mean_interval(values[~np.isnan(values)]))
    return figures


def keep_value(state: State, group: str, key: str, value: float | Interval) -> None:
    """Note a figure that is of one system alone."""
    ends = (value.value, value.low, value.high) if isinstance(value, Interval) else (value, np.nan, np.nan)
    state.keep("value", key, np.array(ends, dtype=np.float64), group=group)


def kept_figure(state: State, group: str, key: str) -> dict[str, float | str | None]:
    """A figure that was noted so; its unit is what its name ends in."""
    value, low, high = state.of("value", group)[key].tolist()
    unit = next((unit for ending, unit in _UNITS.items() if key.endswith(ending)), "")
    return figure(Interval(value, low, high), unit)


def joined(values: Mapping[str, np.ndarray]) -> dict[str, np.ndarray]:
    """The same with `NAME_seed_N` of all seeds as their mean under NAME; users whom a seed has no figure of are NaN in it."""
    by_name: dict[str, list[np.ndarray]] = {}
    for name, of in values.items():
        by_name.setdefault(name.partition("_seed_")[0], []).append(of)
    return {name: _mean(np.array(several)) for name, several in by_name.items()}


def _mean(runs: np.ndarray) -> np.ndarray:
    """Mean over runs (r, u) of what is known (u,); NaN where no run knows."""
    known = ~np.isnan(runs)
    counts = known.sum(axis=0)
    return np.where(counts > 0, np.where(known, runs, 0.0).sum(axis=0) / np.maximum(counts, 1), np.nan)


def _is_seed(name: str, system: str) -> bool:
    return name.startswith(f"{system}_seed_")
