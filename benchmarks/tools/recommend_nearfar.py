"""The parts of benchmarks/recommend.py that train nearfar: on a log as it is, and without a share of its items."""

from __future__ import annotations

import time
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from nearfar.bundle import Bundle
from nearfar.edge.recommend.catalogue import Catalogue
from nearfar.evaluate import Interval
from nearfar.evaluate.counting import Popularity
from nearfar.evaluate.ranking import Ranker, measure_ranking
from nearfar.learn.actions import TrainedActions
from nearfar.learn.run import open_run
from nearfar.progress import Stages
from nearfar.road.measure_ranking import device_rankers
from tools import recommend_cold as cold
from tools.identity_trainings import trained
from tools.recommend_ranking import keep, keep_value
from tools.recommend_sets import Log, cut_of, prepared
from tools.text_state import State


def measure_nearfar(
    log: Log, by: str, work: Path, state: State, stages: Stages, seeds: int, changes: Sequence[str], *, quick: bool
) -> None:
    """Train with each seed, and keep what the bundles find; of the first seed also what its parts find alone."""
    for seed in range(seeds):
        started = time.perf_counter()
        folder = work / f"{log.name}_{by}" / f"seed_{seed}"
        run, bundle = trained(
            log.recipe, log.path, folder, stages, seed=seed, changes=[*log.split(by), *changes], quick=quick
        )
        model = open_run(run.directory)
        assert isinstance(model, TrainedActions)
        cut = cut_of(log, by, model.corpus)
        ways = device_rankers(bundle)
        systems = {f"nearfar_seed_{seed}": ways.pop("bundle")}
        if seed == 0:
            systems |= {f"nearfar_{way}": ranker for way, ranker in ways.items()}
            systems |= {"nearfar_model_in_float": model.ranker(), "nearfar_untrained": model.untrained_ranker()}
        for name, ranker in systems.items():
            tick = stages(f"{cut.name}: {name}", len(cut.test.targets))
            found = measure_ranking(cut.test, ranker, tick=tick)
            keep(state, cut.name, name, found, seconds=time.perf_counter() - started)
        if seed == 0:
            _keep_membership(bundle, state, by)


def measure_cold(
    log: Log, work: Path, state: State, stages: Stages, seeds: int, changes: Sequence[str], *, quick: bool
) -> None:
    """Hold items out of training, and look for actions on them; with each seed others."""
    whole = prepared(log, "last", work, stages, changes).corpus
    users = len(whole.offsets) - 1
    for seed in range(seeds):
        warm = work / f"warm_{seed}.parquet"
        held_out = cold.hold_out(log.path, whole.names, warm, seed)
        changed = [*log.split("last"), "data.source.items.cold=true", *changes]
        _, bundle = trained(log.recipe, warm, work / f"seed_{seed}", stages, seed=seed, changes=changed, quick=quick)
        catalogue = Catalogue.open(bundle)
        task = cold.cold_task(whole, catalogue, held_out)
        systems: dict[str, Ranker] = {
            "nearfar": device_rankers(bundle)["bundle"],
            "chance": cold.Chance(seed),
            "popularity": Popularity(),
            "shared_categories": cold.SharedCategories(
                [_categories(catalogue.facts_of(n)) for n in range(len(catalogue))]
            ),
        }
        among = {"cold_alone": cold.candidates(catalogue, held_out), "cold_among_all": None}
        for group, wanted in among.items():
            for name, ranker in systems.items():
                tick = stages(f"{group}: {name}", len(task.targets))
                found = measure_ranking(task, ranker, candidates=wanted, tick=tick)
                for kind, values in (("ndcg", found.ndcg), ("recall", found.recall)):
                    by_user = np.full(users, np.nan)  # not everybody acted on an item that is held out
                    by_user[np.unique(task.users)] = values
                    state.keep(kind, f"{name}_seed_{seed}", by_user, group=group)


def _categories(facts: Mapping[str, Any]) -> list[str]:
    """What an item is said to be."""
    said = {key: value if isinstance(value, list) else [value] for key, value in facts.items() if key != "title"}
    return [f"{key}={word}" for key, words in said.items() for word in words if isinstance(word, str)]


def _keep_membership(bundle: Bundle, state: State, by: str) -> None:
    """What the card says of the long-term vector's privacy."""
    suffix = "" if by == "last" else f"_{by}"
    for name, metric in bundle.manifest.metrics["privacy"].items():
        low, high = (metric.value if end is None else end for end in (metric.low, metric.high))
        keep_value(state, "membership", f"{name}{suffix}", Interval(metric.value, low, high))
