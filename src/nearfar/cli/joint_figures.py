"""The figures of a bundle of several modalities on screen: a line for each direction."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING

from rich.table import Table

from nearfar.bundle.joint_card import measured_directions

if TYPE_CHECKING:
    from nearfar.bundle import Metric

_Place = tuple[str, str]
"""Row and figure."""
_HEADINGS = {"recall_at_1": "R@1", "recall_at_10": "R@10", "precision_at_10": "P@10", "full_recall_at_10": "of all"}
_TITLES = {
    "recall_at_10": "Held-out partners: queries with one among the first ten",
    "precision_at_10": "Held-out items: share of the first ten that fit the query (P@10)",
}
_WORDS = {
    "R@1": "one in the first place",
    "R@10": "one among the first ten",
    "of all": "that among the items of all rows",
    "P@10": "share of the first ten that fit",
}


def joint_table(metrics: Mapping[str, Mapping[str, Metric]]) -> Table:
    """What queries of each tower find among the items of another, the best first, narrow enough for 80 columns.

    Where labels say what else fits, nearly every query has something that fits among the first ten: there the share of the ten that fits
    leads, and recall follows. Half the 95 % interval stands beside the bundle's leading figure.
    """
    found = measured_directions(metrics)
    leading = _leading(metrics, found)
    columns: dict[_Place, str] = {
        ("chance", leading): "chance",
        ("untrained", leading): "untrained",
        ("bundle", leading): "bundle",
        **{("bundle", name): heading for name, heading in _HEADINGS.items() if name != leading},
    }
    columns = {
        (row, name): heading
        for (row, name), heading in columns.items()
        if any(f"{direction}_{name}" in metrics.get(row, {}) for direction in found)
    }
    words = [f"{heading}: {_WORDS[heading]}" for heading in columns.values() if heading in _WORDS]
    table = Table(
        title=_TITLES[leading],
        title_justify="left",
        caption="; ".join(words) or None,
        caption_justify="left",
        box=None,
        pad_edge=False,
        padding=(0, 2, 0, 0),
    )
    table.add_column("", overflow="fold")
    for heading in columns.values():
        table.add_column(heading, justify="right", no_wrap=True)

    def rank(direction: str) -> tuple[float, ...]:
        values = metrics.get("bundle", {})
        shown = [values.get(f"{direction}_{name}") for name in (leading, "recall_at_1", "precision_at_10")]
        return tuple(-metric.value if metric else 0.0 for metric in shown)

    for direction in sorted(found, key=rank):
        cells = []
        for row, name in columns:
            metric = metrics.get(row, {}).get(f"{direction}_{name}")
            cells.append("" if metric is None else _cell(metric, interval=(row, name) == ("bundle", leading)))
        table.add_row(direction.replace("_to_", " → "), *cells)
    return table


def _leading(metrics: Mapping[str, Mapping[str, Metric]], directions: list[str]) -> str:
    """The figure that tells most: precision where all directions have it."""
    values = metrics.get("bundle", {})
    labelled = all(f"{direction}_precision_at_10" in values for direction in directions)
    return "precision_at_10" if labelled else "recall_at_10"


def _cell(metric: Metric, *, interval: bool) -> str:
    if interval and metric.low is not None and metric.high is not None:
        return f"{metric.value:.3f} ±{(metric.high - metric.low) / 2:.3f}"
    return f"{metric.value:.3f}"
