"""What `nearfar evaluate` does with a monitor: alarms against labelled faults."""

from __future__ import annotations

import math
from pathlib import Path
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from rich.table import Table

    from nearfar.bundle import Bundle
    from nearfar.evaluate.bootstrap import Interval
    from nearfar.road.evaluate_stream import StreamFigures, StreamReport
    from nearfar.road.stored_series import Reading

_SHOWN = 40  # streams in the table


def evaluate_stream(
    bundle: Bundle,
    data: Path,
    reading: Reading,
    *,
    machine: str | None = None,
    threshold: float | None = None,
    json_output: Path | None = None,
) -> None:
    """Measure a monitor on labelled samples, print the figures, and write them if asked to."""
    from nearfar.cli.console import out, progress_lines, show_recognised, show_skipped
    from nearfar.cli.result_file import write_figures
    from nearfar.cli.stream_options import show_missing
    from nearfar.frontend.settings import SeriesSettings
    from nearfar.road.evaluate_stream import evaluate_streams
    from nearfar.road.replay import missing_channels
    from nearfar.road.stored_series import open_stored

    series = open_stored(bundle, data, reading, only=machine)
    with progress_lines() as stages:
        stages("reading")
        recordings = list(series.recordings())
        report = evaluate_streams(bundle, recordings, threshold=threshold, stages=stages)
    show_recognised(series.report.recognised)
    show_skipped(series.report.skipped, series.report.examples)
    settings = bundle.manifest.frontend
    assert isinstance(settings, SeriesSettings)  # open_stored has refused others
    show_missing(missing_channels(recordings, [one.name for one in settings.channels]))
    if len(report.streams) > 1:
        out.print(_streams(report))
        if (more := len(report.streams) - _SHOWN) > 0:
            out.print(f"and {more:,} more (all of them with --json)")
        out.print()
    out.print(_summary(report))
    out.print(f"\n{_in_words(report)}", soft_wrap=True)
    if json_output is not None:
        write_figures(json_output, as_record(report))


def as_record(report: StreamReport) -> dict[str, object]:
    """All figures as JSON takes them; null where one cannot be told."""
    return {
        "all": _figures(report.pooled),
        "always_on": _figures(report.always),
        "streams": {stream.name: _figures(stream) for stream in report.streams},
    }


def _figures(stream: StreamFigures) -> dict[str, object]:
    scores = stream.scores
    plain = {
        "f1": scores.frames.f1,
        "far": scores.frames.far,
        "mar": scores.frames.mar,
        "balanced_accuracy": scores.frames.balanced_accuracy,
        "auc_pr": scores.auc_pr,
        "vus_pr": scores.vus_pr,
        "median_delay_seconds": scores.events.median_delay,
        "hours": stream.hours,
        "faulty": stream.faulty,
    }
    return {
        **{name: round(value, 6) if math.isfinite(value) else None for name, value in plain.items()},
        "frames": stream.frames,
        "events": scores.events.events,
        "events_found": _ends(scores.events.found),
        "events_already_alarmed": scores.events.already,
        "false_alarms_per_day": _ends(scores.false_alarms_per_day),
    }


def _ends(interval: Interval | None) -> dict[str, float] | None:
    if interval is None:
        return None
    return {name: round(getattr(interval, name), 6) for name in ("value", "low", "high")}


def _streams(report: StreamReport) -> Table:
    """A row a stream, as narrow as a terminal."""
    table = _plain("", "F1", "FAR", "MAR", "AUC-PR", "found", "delay", "false/day")
    for stream in report.streams[:_SHOWN]:
        cells = _cells(stream)
        shown = [cells[name] for name in ("F1", "FAR", "MAR", "AUC-PR", "faults found", "median delay")]
        name = (stream.name or "monitor").replace("[", "\\[")
        table.add_row(name, *shown, cells["false alarms a day"])
    return table


def _summary(report: StreamReport) -> Table:
    """All streams together, beside an alarm that is always on."""
    table = _plain("", "monitor", "always on")
    always = _cells(report.always)
    for name, cell in _cells(report.pooled).items():
        table.add_row(name, cell, always[name])
    return table


def _plain(*names: str) -> Table:
    from rich.table import Table

    table = Table(box=None, pad_edge=False, padding=(0, 2, 0, 0))
    table.add_column(names[0], overflow="ellipsis", no_wrap=True, max_width=24)
    for name in names[1:]:
        table.add_column(name, justify="right", no_wrap=True, min_width=max(5, len(name)))
    return table


def _cells(stream: StreamFigures) -> dict[str, str]:
    scores, frames, events = stream.scores, stream.scores.frames, stream.scores.events
    found, already = "", ""
    if events.found is not None:
        found, already = f"{round(events.found.value * events.events)}/{events.events}", str(events.already)
    false = "" if scores.false_alarms_per_day is None else f"{scores.false_alarms_per_day.value:.2g}"
    return {
        "F1": f"{frames.f1:.3f}",
        "FAR": _or_nothing(frames.far, "{:.1%}"),
        "MAR": _or_nothing(frames.mar, "{:.1%}"),
        "balanced accuracy": _or_nothing(frames.balanced_accuracy, "{:.3f}"),
        "AUC-PR": _or_nothing(scores.auc_pr, "{:.3f}"),
        "VUS-PR": _or_nothing(scores.vus_pr, "{:.3f}"),
        "faults found": found,
        "alarmed before": already,
        "median delay": _or_nothing(events.median_delay, "{:,.0f} s"),
        "false alarms a day": false,
    }


def _or_nothing(value: float, form: str) -> str:
    return form.format(value) if math.isfinite(value) else ""


def _in_words(report: StreamReport) -> str:
    """What the figures mean for somebody who has to live with the alarms."""
    scores = report.pooled.scores
    pooled = report.pooled
    parts = [
        f"by frame, without point adjustment: {pooled.frames:,} frames, {pooled.hours:,.1f} h, {pooled.faulty:.1%} of them labelled"
    ]
    if (found := scores.events.found) is not None:
        parts.append(
            f"{round(found.value * scores.events.events)} of {scores.events.events} faults found ({found.low:.0%} to {found.high:.0%})"
        )
        if already := scores.events.already:
            parts.append(
                f"{already} more began under an alarm that was on already: no other was raised, so they are not found, and it is not false"
            )
    if (false := scores.false_alarms_per_day) is not None:
        parts.append(f"{false.value:.2g} false alarms a day ({false.low:.2g} to {false.high:.2g})")
    return "\n".join(parts)
