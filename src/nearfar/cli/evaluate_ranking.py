"""What `nearfar evaluate` does with a recommender: how well it foresees what the users of a log did next."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from nearfar.bundle import Bundle
    from nearfar.road.evaluate_ranking import RankingReport


def evaluate_log(
    bundle: Bundle,
    log: Path,
    *,
    user: str | None = None,
    item: str | None = None,
    time: str | None = None,
    json_output: Path | None = None,
) -> None:
    """Measure a recommender on a log, print the figures, and write them if asked to."""
    from nearfar.cli.console import figures_table, out, progress_lines, show_skipped
    from nearfar.cli.result_file import write_figures
    from nearfar.road.evaluate_ranking import evaluate_ranking, names_of

    names = names_of(bundle)
    names = replace(names, user=user or names.user, item=item or names.item, timestamp=time or names.timestamp)
    with progress_lines() as stages:
        report = evaluate_ranking(bundle, log, names, stages=stages)
    show_skipped(report.refused.skipped, report.refused.examples)
    out.print(figures_table(report.metrics))
    out.print(f"\n{_in_words(report)}", soft_wrap=True)
    if json_output is not None:
        write_figures(json_output, as_record(report))


def as_record(report: RankingReport) -> dict[str, object]:
    """All figures as JSON takes them."""
    figures = {
        row: {name: metric.model_dump(exclude_none=True) for name, metric in of.items()}
        for row, of in report.metrics.items()
    }
    return {**figures, "users": report.users, "cases": report.cases, "misses": report.misses}


def _in_words(report: RankingReport) -> str:
    """How much the figures are worth."""
    drawn = f", drawn from {report.drawn_from:,}" if report.drawn_from > report.cases else ""
    lines = [
        f"{report.cases:,} actions of {report.users:,} users{drawn}, each foreseen from all that its user did before it in this log, among "
        "all items of the catalogue that they had not acted on; means over users, intervals over users"
    ]
    if report.misses:
        share = report.misses / report.cases
        lines.append(
            f"{report.misses:,} of them ({share:.1%}) nobody can find, as the item is not in the catalogue or the user had acted on it "
            "before: they count as missed"
        )
    if report.dropped:
        rules = ", ".join(f"{count:,} {rule}" for rule, count in report.dropped.items())
        lines.append(f"no actions by the rules of the bundle: {rules}")
    if report.users < 30:
        lines.append("of so few users intervals are too narrow: take them for the least that is uncertain")
    lines.append("if this log, or an earlier part of it, was trained on, the figures flatter")
    return "\n".join(lines)
