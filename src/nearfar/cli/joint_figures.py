"""The figures of a bundle of several modalities on screen: a line for each direction."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING

from rich.table import Table

from nearfar.bundle.joint_card import measured_directions

if TYPE_CHECKING:
    from nearfar.bundle import Metric

_COLUMNS = {
    ("chance", "recall_at_10"): "chance",
    ("untrained", "recall_at_10"): "untrained",
    ("model", "recall_at_10"): "float",
    ("bundle", "recall_at_10"): "bundle",
    ("bundle", "recall_at_1"): "R@1",
    ("bundle", "full_recall_at_10"): "of all",
    ("bundle", "precision_at_10"): "P@10",
}
"""Row and figure -> heading; the first four are of recall at ten."""
_INTERVAL = ("bundle", "recall_at_10")


def joint_table(metrics: Mapping[str, Mapping[str, Metric]]) -> Table:
    """What queries of each tower find among the items of another; half the 95 % interval beside the bundle's recall."""
    table = Table(
        title="Held-out partners: queries with one among the first ten",
        title_justify="left",
        box=None,
        pad_edge=False,
        padding=(0, 2, 0, 0),
    )
    found = measured_directions(metrics)
    columns = {
        place: heading
        for place, heading in _COLUMNS.items()
        if any(f"{direction}_{place[1]}" in metrics.get(place[0], {}) for direction in found)
    }
    table.add_column("", no_wrap=True)
    for heading in columns.values():
        table.add_column(heading, justify="right", no_wrap=True)
    for direction in found:
        cells = []
        for place in columns:
            metric = metrics.get(place[0], {}).get(f"{direction}_{place[1]}")
            cells.append("" if metric is None else _cell(metric, interval=place == _INTERVAL))
        table.add_row(direction.replace("_to_", " → "), *cells)
    return table


def _cell(metric: Metric, *, interval: bool) -> str:
    if interval and metric.low is not None and metric.high is not None:
        return f"{metric.value:.3f} ±{(metric.high - metric.low) / 2:.3f}"
    return f"{metric.value:.3f}"
