"""What is measured alike of pictures, recordings and rows, once their items are at hand."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

from nearfar.progress import Stages
from nearfar.road.measure import Counted

if TYPE_CHECKING:
    import numpy as np
    import numpy.typing as npt

    from nearfar.embedder import Embedder
    from nearfar.evaluate.bootstrap import Interval
    from nearfar.evaluate.labelled import LabelledTask
    from nearfar.recipe.training import Evaluation


def compare_items(
    rows: Mapping[str, Embedder],
    items: Sequence[Any],
    copies: Sequence[Any],
    task: LabelledTask | None,
    labelled: npt.NDArray[np.int64],
    settings: Evaluation,
    *,
    seed: int,
    stages: Stages,
) -> dict[str, dict[str, Interval]]:
    """Labels by neighbours, probes and clusters, and whether a changed copy of an item finds it.

    Args:
        rows: what is measured, by its name.
        items: of the test part, n of them.
        copies: a random view of each.
        task: of the labelled items; None where there are no labels to measure by.
        labelled: (m,) int64, which items are those of the task, in its order: each item is embedded once.
        settings: neighbours and resamples.
        seed: of the recipe.
        stages: told what is being done.

    Returns:
        Figures by row; of the task those of `score_labelled`, and `view_recall_at_1`.
    """
    from nearfar.evaluate.bootstrap import mean_interval
    from nearfar.evaluate.instances import instance_recall_at_1
    from nearfar.evaluate.labelled import embedded_units, score_labelled

    resamples = max(1, settings.bootstrap)
    found: dict[str, dict[str, Interval]] = {}
    for row, embedder in rows.items():
        tick = stages(f"measuring: {row}", len(items) + len(copies) + (len(task.train) if task else 0))
        counted = Counted(embedder, tick)
        plain = embedded_units(counted, items)
        found[row] = {}
        if task is not None:
            scores = score_labelled(
                embedded_units(counted, task.train),
                plain[labelled],
                task,
                k=settings.neighbours,
                resamples=resamples,
                seed=seed,
            )
            found[row] |= scores.intervals()
        recall = instance_recall_at_1(embedded_units(counted, copies), plain)
        found[row]["view_recall_at_1"] = mean_interval(recall, resamples=resamples, seed=seed)
    return found
