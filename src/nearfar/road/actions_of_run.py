"""What a run over events was trained on, and what it is measured on."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import TYPE_CHECKING

import numpy as np
import numpy.typing as npt

if TYPE_CHECKING:
    from scipy.sparse import csr_matrix

    from nearfar.evaluate.ranking import RankingTask
    from nearfar.learn.data.actions import ActionCorpus
    from nearfar.recipe import Recipe
    from nearfar.recipe.events import CountedPrior

Ints = npt.NDArray[np.int64]


def training_actions(corpus: ActionCorpus) -> tuple[Ints, Ints]:
    """The actions of training: items (e,), and whose they are (e,), users together, oldest first."""
    from nearfar.learn.data.split import TRAIN

    trained = np.flatnonzero(corpus.side == TRAIN)
    owners = np.repeat(np.arange(len(corpus.offsets) - 1), np.diff(corpus.offsets))
    return corpus.items[trained], owners[trained]


def kept_facts(recipe: Recipe, facts: Iterable[Mapping[str, object]]) -> list[dict[str, object]]:
    """What goes along of items: of all that is known of each its title, its categories, and the columns that the recipe names."""
    content, settings = recipe.of_events.source.items, recipe.of_events.recommend
    kept = {*settings.facts, *(content.columns.categories if content is not None else ())}
    if settings.titles:
        kept.add("title")
    return [{key: value for key, value in of_item.items() if key in kept} for of_item in facts]


def transitions_of(corpus: ActionCorpus, settings: CountedPrior) -> csr_matrix:
    """What came after what in training; sparse float32 (items, items)."""
    from nearfar.evaluate.transitions import count_transitions

    items, owners = training_actions(corpus)
    return count_transitions(
        items, owners, len(corpus.names), skip=settings.skip, decay=settings.decay, back=settings.back
    )


def cases_of(corpus: ActionCorpus, side: int, *, most: int, seed: int) -> RankingTask:
    """The cases of one side, at most so many, drawn by chance.

    Args:
        corpus: of the run.
        side: VALIDATION or TEST.
        most: cases.
        seed: of the draw.
    """
    from nearfar.evaluate.ranking import some_cases
    from nearfar.learn.data.action_cases import ranking_task

    task = ranking_task(corpus, side)
    cases = len(task.targets)
    if cases <= most:
        return task
    return some_cases(task, np.sort(np.random.default_rng([seed, 3]).permutation(cases)[:most]))
