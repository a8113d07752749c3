"""What `nearfar evaluate` does with an encoder of texts: whether queries find what belongs to them."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from nearfar.bundle import Bundle


def evaluate_pairs(
    bundle: Bundle,
    pairs: Path,
    *,
    query: str = "query",
    positive: str = "positive",
    json_output: Path | None = None,
) -> None:
    """Measure an encoder of texts on held-out pairs, print the figures, and write them if asked to."""
    from nearfar import road
    from nearfar.cli.console import figures_table, out, progress_lines
    from nearfar.cli.result_file import write_figures
    from nearfar.evaluate.report import as_figures

    with progress_lines() as stages:
        scores = road.evaluate(bundle.path, pairs, query=query, positive=positive, stages=stages)
    out.print(figures_table(road.as_metrics(scores)))
    if json_output is not None:
        write_figures(json_output, as_figures(scores))
