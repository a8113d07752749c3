"""Measuring an encoder of rows as it ships, with what it should be compared with beside it."""

from __future__ import annotations

import os
from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

from nearfar.progress import Stages
from nearfar.road.measure import in_manifest
from nearfar.road.measure_items import compare_items

if TYPE_CHECKING:
    from nearfar.bundle import Bundle, Metric
    from nearfar.embedder import Embedder
    from nearfar.learn.rows import TrainedRows


def compare_rows(
    trained: TrainedRows, bundle: Bundle, *, baselines: Sequence[str], dim: int | None, stages: Stages
) -> dict[str, dict[str, Metric]]:
    """Measure what ships on the test rows, read from their source anew and embedded as on the device.

    With labels: kNN, a linear probe, one with ten labels a class, clusters. With or without: whether a row finds its copy in which
    a fifth of the columns was replaced.

    Args:
        trained: the run.
        bundle: run through the device's own encoder.
        baselines: what to measure beside it, of `columns` and `untrained`.
        dim: components that the bundle keeps; None for all.
        stages: told what is being done.

    Returns:
        Metrics by row: `columns`, `untrained`, `model`, `bundle`; nothing where no row was held out.

    Raises:
        DataError: the rows are no longer where they were.
    """
    import numpy as np

    from nearfar.edge import Encoder
    from nearfar.evaluate.columns import ColumnEmbedder
    from nearfar.evaluate.labelled import LabelledTask
    from nearfar.learn.data.split import TEST, TRAIN
    from nearfar.learn.data.table_rows import open_rows

    recipe, corpus, settings = trained.recipe, trained.corpus, trained.recipe.evaluate
    rng = np.random.default_rng([recipe.seed, 3])
    test = np.sort(rng.permutation(corpus.numbers_of(TEST))[: settings.max_queries])
    if len(test) < 2:
        return {}
    frontend = trained.frontend
    rows: dict[str, Embedder] = {}
    if "columns" in baselines:
        rows["columns"] = ColumnEmbedder(frontend.encode, frontend.widths)
    if "untrained" in baselines:
        rows["untrained"] = trained.untrained()
    rows |= {"model": trained.embedder(dim=dim), "bundle": Encoder.open(bundle, threads=os.cpu_count() or 1)}

    bank = corpus.numbers_of(TRAIN)
    bank = np.sort(rng.permutation(bank[corpus.labels[bank] >= 0])[: settings.max_documents])
    labelled = np.flatnonzero(corpus.labels[test] >= 0)
    known = bank if len(labelled) and len(corpus.counts.classes) > 1 else bank[:0]
    items = _read(open_rows(recipe.of_table.source), corpus.ids, [*test, *known])
    asked, neighbours = items[: len(test)], items[len(test) :]
    task = None
    if len(known):
        task = LabelledTask(
            neighbours,
            corpus.labels[known],
            [asked[place] for place in labelled],
            corpus.labels[test][labelled],
            len(corpus.counts.classes),
        )
    copies = _edited(asked, [column.name for column in corpus.settings.columns], rng)
    found = compare_items(rows, asked, copies, task, labelled, settings, seed=recipe.seed, stages=stages)
    return in_manifest(found)


def _read(source: Any, ids: Sequence[str], numbers: Sequence[int]) -> list[Any]:
    """The cells of some rows, by number."""
    return list(source.contents([ids[int(number)] for number in numbers]))


def _edited(rows: Sequence[Any], columns: Sequence[str], rng: Any) -> list[dict[str, Any]]:
    """Each row with a fifth of its columns, at least one, as another row has them."""
    many = max(1, round(len(columns) / 5))
    copies = []
    for row in rows:
        copy = dict(row)
        for column in rng.choice(len(columns), size=min(many, len(columns)), replace=False):
            copy[columns[column]] = rows[int(rng.integers(len(rows)))].get(columns[column])
        copies.append(copy)
    return copies
