"""The figures of several modalities fit into a terminal of 80 columns."""

from __future__ import annotations

from rich.console import Console

from nearfar.bundle import Metric
from nearfar.cli.joint_figures import joint_table

_FIGURES = ("recall_at_1", "recall_at_10", "full_recall_at_10", "precision_at_10")


def shown(metrics: dict[str, dict[str, Metric]]) -> list[str]:
    console = Console(width=80)
    with console.capture() as capture:
        console.print(joint_table(metrics))
    return capture.get().splitlines()


def metrics(values: dict[str, float], *, labelled: bool) -> dict[str, dict[str, Metric]]:
    figures = _FIGURES if labelled else _FIGURES[:-1]
    return {
        row: {
            f"{direction}_{figure}": Metric(value=value, low=value / 2, high=value)
            for direction, value in values.items()
            for figure in figures
        }
        for row in ("chance", "untrained", "model", "bundle")
    }


def test_every_figure_is_whole_and_the_best_direction_first() -> None:
    lines = shown(metrics({"readings_to_vibration": 0.512, "vibration_to_readings": 0.876}, labelled=True))
    assert "…" not in "".join(lines)
    assert lines[0].startswith("Held-out items: share of the first ten that fit")
    assert lines[1].split() == ["chance", "untrained", "bundle", "R@1", "R@10", "of", "all"]
    assert lines[2].split() == ["vibration", "→", "readings", "0.876", "0.876", "0.876", "±0.219", *["0.876"] * 3]
    assert lines[3].startswith("readings → vibration")


def test_without_labels_recall_leads() -> None:
    lines = shown(metrics({"image_to_text": 0.25}, labelled=False))
    assert "queries with one among the first ten" in " ".join(lines)
    assert any(line.split() == ["chance", "untrained", "bundle", "R@1", "of", "all"] for line in lines)


def test_long_names_of_towers_are_folded() -> None:
    lines = shown(metrics({f"{'a' * 24}_to_{'b' * 24}": 0.5}, labelled=True))
    assert "…" not in "".join(lines)
    assert "0.500 ±0.125" in " ".join(lines)
