"""The logs of benchmarks/recommend.py: which recipe reads them, and the cuts that all systems are measured on."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from nearfar.learn.data.action_cases import ranking_task
from nearfar.learn.data.actions import ActionCorpus
from nearfar.learn.data.prepare_actions import prepare_actions
from nearfar.learn.data.split import TEST, VALIDATION
from nearfar.progress import Stages
from nearfar.recipe import load_recipe
from nearfar.recipe.events import EventsFrontendSettings
from nearfar.simulate.shop import simulate_shop, write_shop
from nearfar.simulate.shop_items import ShopItems
from tools.identity_trainings import RECIPES
from tools.recommend_ranking import Cut

SPLITS = {"last": "last_actions", "time": "time"}
"""Short name of a split -> what recipes call it."""

MADE_USERS, MADE_ITEMS = 200, 120


@dataclass(frozen=True)
class Log:
    """A log of events.

    Attributes:
        name: of the set.
        recipe: file in `recipes/`.
        path: of the log.
        changes: what the recipe does not say of it, as `key.path=value`.
    """

    name: str
    recipe: str
    path: Path
    changes: tuple[str, ...] = ()

    def split(self, by: str) -> tuple[str, ...]:
        """All changes for a run that is split so."""
        return (*self.changes, f"data.split.by={SPLITS[by]}")


def movielens(data: Path, work: Path) -> Log:
    """MovieLens small: every rating is an action, whatever its value.

    A sixth of the ratings have the time of the one before, to the second, and the file has these in the order of the movies' numbers.
    What comes next among them would be told by the number, which is no order of actions: here it is drawn, once.

    Args:
        data: folder of the sets.
        work: gets the log that all systems read.
    """
    import pyarrow.parquet as parquet

    folder, path = data / "movielens_small", work / "movielens_small.parquet"
    if not path.exists():
        ratings = parquet.read_table(folder / "ratings.parquet")
        path.parent.mkdir(parents=True, exist_ok=True)
        parquet.write_table(ratings.take(np.random.default_rng(0).permutation(ratings.num_rows)), path)
    return Log("movies", "movies.yaml", path, (f"data.source.items.path={folder / 'movies.parquet'}",))


def made(work: Path, stages: Stages) -> Log:
    """A made log of a shop."""
    folder = work / "shop"
    if not folder.exists():
        stages("making a log")
        items = ShopItems.draw(MADE_ITEMS, np.random.default_rng(0))
        write_shop(items, simulate_shop(items, MADE_USERS, seed=0), folder)
    return Log("shop", "shop.yaml", folder / "events.csv", (f"data.source.items.path={folder / 'items.csv'}",))


def given(path: Path, name: str) -> Log:
    """Any log, read as the recipe for movies reads one, without a table of items."""
    return Log(name, "movies.yaml", path, ("data.source.items=null",))


def cut_of(log: Log, by: str, corpus: ActionCorpus) -> Cut:
    """What a run has held out.

    Args:
        log: that it was made from.
        by: `last` or `time`.
        corpus: of the run.
    """
    return Cut(f"{log.name}_{by}", corpus, ranking_task(corpus, VALIDATION), ranking_task(corpus, TEST))


def prepared(log: Log, by: str, work: Path, stages: Stages, changes: Sequence[str]) -> Cut:
    """The cut that nearfar's own runs make of a log, without a training."""
    directory = work / f"{log.name}_{by}" / "prepared"
    directory.mkdir(parents=True, exist_ok=True)
    recipe = load_recipe(RECIPES / log.recipe, [*log.split(by), f"data.source.path={log.path}", *changes])
    assert isinstance(recipe.frontend, EventsFrontendSettings)
    reading = stages(f"reading {log.path.name}")
    return cut_of(log, by, prepare_actions(recipe.data, recipe.frontend, directory, reading))
