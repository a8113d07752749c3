"""The steps of compression as rows for people: size, time and quality side by side."""

from __future__ import annotations

from collections.abc import Mapping

from nearfar.bundle.block import Metric
from nearfar.bundle.manifest import Agreement, CompressionStep, Manifest

_FIGURES = {"ndcg_at_10": "nDCG@10", "knn_accuracy": "kNN accuracy", "view_recall_at_1": "view recall@1"}


def compression_table(manifest: Manifest) -> list[tuple[str, ...]]:
    """Heads and rows of the table, the trained model first; nothing where the bundle was made without steps."""
    steps = manifest.compression
    if not steps:
        return []
    figure = next((step.figure for step in steps if step.figure), "")
    heads = ("step", "MB", "ms", _FIGURES.get(figure, "quality"), "change", "")
    return [heads, *(_row(step) for step in steps)]


def step_name(settings: Mapping[str, object]) -> str:
    """A step in a few words by its settings, as `weights int8`; `float` for the trained model, which has none."""
    if not settings:
        return "float"
    value = next((settings[key] for key in ("dim", "rank", "keep", "format") if settings.get(key) is not None), "")
    return f"{settings.get('kind', 'step')} {value}".strip()


def in_words(agreement: Agreement) -> str:
    """How far the graphs agree with the model, as a sentence without its full stop."""
    return (
        f"cosine with the model in float {agreement.mean:.4f} on average, {agreement.least:.4f} at least, "
        f"over {agreement.items:,} items"
    )


def _row(step: CompressionStep) -> tuple[str, ...]:
    missing = "" if step.mb is None else "not measured"
    return (
        step_name(step.step),
        "" if step.mb is None else _size(step.mb),
        "" if step.milliseconds is None else f"{step.milliseconds:.3g}",
        missing if step.quality is None else f"{step.quality.value:.3f}{_half_width(step.quality)}",
        "" if step.change is None else _percent(step.change),
        "" if step.kept else "left out",
    )


def _size(mb: float) -> str:
    return f"{mb:.1f}" if mb >= 10 else f"{mb:.2f}" if mb >= 0.1 else f"{mb:.3f}"


def _half_width(metric: Metric) -> str:
    return "" if metric.low is None or metric.high is None else f" ±{(metric.high - metric.low) / 2:.3f}"


def _percent(change: Metric) -> str:
    if change.low is None or change.high is None:
        return f"{change.value:+.1%}"
    return f"{change.value:+.1%} [{change.low:+.1%}, {change.high:+.1%}]"
