"""A replay as one picture."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from nearfar.errors import DataError, MissingExtraError
from nearfar.road.replay_lanes import Curve, curve, lanes, moment, ticks, value_range
from nearfar.road.replay_style import LIGHT
from nearfar.road.trace import Trace, intervals

if TYPE_CHECKING:
    from matplotlib.axes import Axes

_COLUMNS = 1600
_LOGARITHMIC = 6.0  # times the threshold: where scores go further, healthy ones would lie flat on the axis


def write_png(trace: Trace, path: Path, name: str, *, channels: int = 8) -> None:
    """Draw series, scores, threshold, alarms and labelled faults of one stream.

    Args:
        trace: the stream.
        path: the picture.
        name: of the monitor.
        channels: how many to draw, those first that say most of the alarms.

    Raises:
        DataError: the picture cannot be written.
        MissingExtraError: matplotlib is not installed.
    """
    try:
        from matplotlib import rc_context
        from matplotlib.backends.backend_agg import FigureCanvasAgg
        from matplotlib.figure import Figure
    except ModuleNotFoundError as error:
        raise MissingExtraError("plot", "a replay as .png (as .html it needs nothing)") from error
    drawn = lanes(trace, channels)
    span = (float(trace.times.min()), float(trace.times.max()) + trace.settings.period)
    looks: Any = {
        "font.family": "sans-serif",
        "font.sans-serif": ["DejaVu Sans"],
        "font.size": 9,
        "text.color": LIGHT["ink"],
    }
    with rc_context(looks):
        heights = [0.36, 2.3, *[1.0] * len(drawn)]
        figure = Figure(figsize=(13, 1.35 + 0.92 * sum(heights)), dpi=120, facecolor=LIGHT["paper"])
        FigureCanvasAgg(figure)
        rows: Any = figure.subplots(len(heights), 1, sharex=True, height_ratios=heights)
        inches = figure.get_figheight()
        figure.subplots_adjust(left=0.155, right=0.968, top=1 - 0.78 / inches, bottom=0.5 / inches, hspace=0.16)
        _title(figure, trace, name, inches)
        _strips(rows[0], trace)
        for axes in rows[1:]:
            _clean(axes)
            for alarm, end in zip(trace.alarms, trace.alarm_ends, strict=True):
                axes.axvspan(alarm.time, end, color=LIGHT["alarm"], alpha=0.10, linewidth=0)
        _score(rows[1], trace, span)
        for axes, lane in zip(rows[2:], drawn, strict=True):
            axes.axhspan(*lane.healthy, color=LIGHT["healthy"], linewidth=0, zorder=0)
            for begin, end, why in lane.out:
                axes.axvspan(begin, end, color=LIGHT["out"], alpha=0.25, linewidth=0)
                axes.text(begin, 0.93, f" {why}", transform=axes.get_xaxis_transform(), va="top", color=LIGHT["faint"])
            _line(axes, curve(trace.times, lane.values, span, _COLUMNS, trace.settings.period), span, LIGHT["line"])
            axes.set_ylim(*value_range(lane.values, lane.healthy))
            _name(axes, lane.name, lane.unit)
        marks = ticks(span)
        rows[-1].set_xlim(*span)
        rows[-1].set_xticks([mark.time for mark in marks], [mark.text for mark in marks])
        rows[-1].tick_params(axis="x", labelbottom=True, labelcolor=LIGHT["faint"], pad=6)
        try:
            figure.savefig(path, format="png")
        except OSError as error:
            raise DataError(
                f"{path}: cannot be written ({error.strerror}): check the folder and the permissions"
            ) from error


def _title(figure: Any, trace: Trace, name: str, inches: float) -> None:
    machine = f"{trace.machine}, " if trace.machine and trace.machine != name else ""
    clock = " UTC" if trace.times[0] >= 1e8 else ""
    when = f"{machine}{moment(trace.times[0])} to {moment(trace.end)}{clock}"
    figure.text(0.012, 1 - 0.30 / inches, name, fontsize=14, fontweight="bold", va="center")
    told = f"{len(trace.alarms):,} alarm{'s' if len(trace.alarms) != 1 else ''}, {trace.alarmed.mean():.1%} of the time"
    figure.text(0.012, 1 - 0.56 / inches, f"{when}   ·   {told}", color=LIGHT["faint"], va="center")


def _strips(axes: Axes, trace: Trace) -> None:
    """Alarms above, labels below them."""
    axes.axis("off")
    axes.set_ylim(0, 1)
    for alarm, end in zip(trace.alarms, trace.alarm_ends, strict=True):
        axes.axvspan(alarm.time, end, ymin=0.62, ymax=1, color=LIGHT["alarm"], linewidth=0.8)
    for begin, end in trace.settled:  # the alarm is over, but the score still above the threshold
        axes.axvspan(begin, end, ymin=0.62, ymax=1, color=LIGHT["alarm"], alpha=0.35, linewidth=0)
    axes.text(-0.008, 0.8, "alarms", transform=axes.transAxes, ha="right", va="center", color=LIGHT["faint"])
    if trace.labels is not None:
        for begin, end in intervals(trace.times, trace.labels, trace.settings.period):
            axes.axvspan(begin, end, ymin=0, ymax=0.38, color=LIGHT["label"], linewidth=0.8)
        axes.text(-0.008, 0.18, "labelled", transform=axes.transAxes, ha="right", va="center", color=LIGHT["faint"])


def _score(axes: Axes, trace: Trace, span: tuple[float, float]) -> None:
    from matplotlib.patheffects import withStroke

    _line(axes, curve(trace.times, trace.scores, span, _COLUMNS, trace.settings.period), span, LIGHT["score"])
    axes.axhline(trace.threshold, color=LIGHT["alarm"], linestyle=(0, (5, 3)), linewidth=1)
    known = trace.scores[np.isfinite(trace.scores)]
    highest = max(float(known.max()) if len(known) else 0.0, trace.threshold)
    if highest > _LOGARITHMIC * trace.threshold > 0:
        positive = known[known > 0]
        axes.set_yscale("log")
        axes.set_ylim(max(float(positive.min()), trace.threshold / 100), highest * 1.15)
    else:
        axes.set_ylim(0, 1.12 * highest)
    axes.text(
        0.996, trace.threshold, f"threshold {trace.threshold:.3g}", transform=axes.get_yaxis_transform(),
        ha="right", va="bottom", color=LIGHT["alarm"], path_effects=[withStroke(linewidth=3, foreground=LIGHT["paper"])],
    )  # fmt: skip
    _name(axes, "score", "distance from normal")
    axes.tick_params(axis="y", which="minor", left=False)
    if trace.labels is not None:
        for begin, end in intervals(trace.times, trace.labels, trace.settings.period):
            for edge in (begin, end):
                axes.axvline(edge, color=LIGHT["label"], linestyle=(0, (3, 3)), linewidth=0.9)


def _clean(axes: Axes) -> None:
    for side in ("top", "right", "left"):
        axes.spines[side].set_visible(False)
    axes.spines["bottom"].set_color(LIGHT["rule"])
    axes.tick_params(axis="y", length=0, labelcolor=LIGHT["faint"], labelsize=8)
    axes.tick_params(axis="x", length=0, which="both", labelbottom=False)
    axes.grid(axis="x", color=LIGHT["rule"], linewidth=0.7)
    axes.set_axisbelow(True)
    axes.locator_params(axis="y", nbins=3)


def _name(axes: Axes, name: str, unit: str) -> None:
    axes.annotate(
        name if len(name) <= 22 else f"{name[:21]}…", (0.012, 0.88), xycoords=("figure fraction", "axes fraction"),
        va="top", fontweight="bold",
    )  # fmt: skip
    axes.annotate(
        unit, (0.012, 0.88), xycoords=("figure fraction", "axes fraction"), xytext=(0, -13), textcoords="offset points",
        va="top", color=LIGHT["faint"],
    )  # fmt: skip


def _line(axes: Axes, line: Curve, span: tuple[float, float], colour: str) -> None:
    flat = line.low is line.high
    x = span[0] + (line.x if flat else np.repeat(line.x, 2)) / _COLUMNS * (span[1] - span[0])
    y = line.low if flat else np.stack([line.low, line.high], 1).reshape(-1)
    axes.plot(x, y, color=colour, linewidth=0.8)
