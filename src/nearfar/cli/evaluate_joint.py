"""What `nearfar evaluate` does with a bundle of several modalities: whether the items of a row find each other."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from nearfar.bundle import Bundle


def evaluate_partners(
    bundle: Bundle,
    table: Path,
    items: Sequence[str],
    *,
    label: str | None = None,
    json_output: Path | None = None,
) -> None:
    """Measure a bundle of several modalities on a table of partners, print the figures, and write them if asked to."""
    from nearfar.cli.console import figures_table, out, progress_lines, show_skipped
    from nearfar.cli.indexing import items_of
    from nearfar.cli.result_file import write_figures
    from nearfar.road.evaluate_joint import evaluate_joint

    with progress_lines() as stages:
        report = evaluate_joint(bundle, table, items_of(items), label=label, stages=stages)
    show_skipped(report.read.skipped, report.read.examples)
    out.print(figures_table(report.metrics))
    alone = f"; {report.alone:,} with fewer than two sides left out" if report.alone else ""
    different = ", ".join(f"{count:,} of {name}" for name, count in report.items.items())
    out.print(f"\n{report.rows:,} rows{alone}; different items: {different}", markup=False, soft_wrap=True)
    if json_output is not None:
        figures = {
            row: {name: metric.model_dump(exclude_none=True) for name, metric in of.items()}
            for row, of in report.metrics.items()
        }
        write_figures(json_output, {**figures, "rows": report.rows, "items": report.items, "alone": report.alone})
