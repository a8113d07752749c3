"""The part of benchmarks/recommend.py on items that nobody had acted on: a share of them is held out of training altogether."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import numpy.typing as npt
import pyarrow as pa
import pyarrow.parquet as pq
from pyarrow import csv

from nearfar.edge.recommend.catalogue import Catalogue
from nearfar.evaluate.counting import latest_actions
from nearfar.evaluate.ranking import Ints, RankingTask
from nearfar.learn.data.actions import ActionCorpus
from tools.recommend_learned import Floats

SHARE = 0.1
"""Of the items, how many are held out."""


def hold_out(log: Path, names: list[str], target: Path, seed: int) -> set[str]:
    """Write a log without the events of some items.

    Args:
        log: Parquet or CSV with a column `item`.
        names: of the items that are chosen from.
        target: Parquet, the log without them.
        seed: of which.

    Returns:
        Names of the items that are held out.
    """
    rows = csv.read_csv(log) if log.suffix == ".csv" else pq.read_table(log)
    order = np.random.default_rng(seed).permutation(len(names))
    chosen = {names[number] for number in order[: round(SHARE * len(names))]}
    kept = [str(item) not in chosen for item in rows["item"].to_pylist()]
    target.parent.mkdir(parents=True, exist_ok=True)
    pq.write_table(rows.filter(pa.array(kept)), target)
    return chosen


def cold_task(whole: ActionCorpus, catalogue: Catalogue, held_out: set[str]) -> RankingTask:
    """Every action on a held-out item is looked for by what its user did before with the other items of the catalogue.

    Args:
        whole: all actions, those that are held out too.
        catalogue: of what was trained without them.
        held_out: names of the items that are looked for.
    """
    numbers = np.array([-1 if (found := catalogue.number_of(name)) is None else found for name in whole.names])
    users = np.repeat(np.arange(len(whole.offsets) - 1), np.diff(whole.offsets))
    items = numbers[whole.items]
    known = items >= 0
    users, items, times, weights = users[known], items[known], whole.times[known], whole.weights[known]
    wanted = candidates(catalogue, held_out)[items]
    before = np.concatenate([[0], np.cumsum(~wanted)])
    begin, end = before[np.searchsorted(users, users, side="left")], before[:-1]
    cases = np.flatnonzero(wanted & (end > begin))
    return RankingTask(
        count=len(catalogue),
        items=items[~wanted],
        times=times[~wanted],
        weights=weights[~wanted],
        begin=begin[cases],
        end=end[cases],
        targets=items[cases],
        now=times[cases],
        users=users[cases],
        popularity=np.bincount(items[~wanted], minlength=len(catalogue)).astype(np.float64),
    )


def candidates(catalogue: Catalogue, held_out: set[str]) -> npt.NDArray[np.bool_]:
    """Which items of the catalogue are held out, (items,)."""
    return np.array([name in held_out for name in catalogue.names])


class SharedCategories:
    """Items with the categories of what was acted on: cosine of the decayed counts of a history to each item's.

    Args:
        categories: of each item.
        decay: weight of each older action, as a share of the one after it.
        last: actions that are looked at.
    """

    def __init__(self, categories: list[list[str]], *, decay: float = 0.95, last: int = 100) -> None:
        known = sorted({category for own in categories for category in own})
        places = {category: place for place, category in enumerate(known)}
        table = np.zeros((len(categories), len(known)), dtype=np.float32)
        for number, own in enumerate(categories):
            table[number, [places[category] for category in own]] = 1.0
        self._table = table / np.maximum(np.linalg.norm(table, axis=1, keepdims=True), 1.0)
        self._decay, self._last = decay, last

    def scores(self, task: RankingTask, cases: Ints) -> Floats:
        """Scores (len(cases), task.count)."""
        asked = latest_actions(task, cases, decay=self._decay, last=self._last)
        found: Floats = (asked @ self._table) @ self._table.T
        return found


class Chance:
    """No preference: the order is drawn anew for each case.

    Args:
        seed: of the draws.
    """

    def __init__(self, seed: int = 0) -> None:
        self._generator = np.random.default_rng(seed)

    def scores(self, task: RankingTask, cases: Ints) -> Floats:
        """Scores (len(cases), task.count)."""
        return self._generator.random((len(cases), task.count), dtype=np.float32)
