"""A replay as one page without anything beside it: no library, no network."""

from __future__ import annotations

import json
from collections.abc import Sequence
from html import escape
from typing import Any

import numpy as np

from nearfar.evaluate.anomaly import DAY, event_scores
from nearfar.road.replay_lanes import Curve, Lane, curve, elapsed, lanes, moment, short, ticks, value_range
from nearfar.road.replay_style import CSS, SCRIPT
from nearfar.road.trace import Floats, Trace, intervals

_WIDTH, _LEFT, _RIGHT = 1240, 218, 16
_COLUMNS = _WIDTH - _LEFT - _RIGHT
_SCORE, _LANE, _SPACE, _STRIP, _BETWEEN = 190, 74, 14, 10, 5
_LOGARITHMIC = 6.0  # times the threshold: where scores go further, healthy ones would lie flat on the axis
_LISTED = 200  # alarms in a table


def html_page(traces: Sequence[Trace], name: str, *, channels: int = 8) -> str:
    """Series, scores, threshold, alarms and labelled faults of some streams.

    Args:
        traces: one or more.
        name: of the monitor.
        channels: how many to draw of each, those first that say most of the alarms.
    """
    parts = [_section(trace, number, channels, alone=len(traces) == 1) for number, trace in enumerate(traces)]
    head = f'<meta charset="utf-8"><meta name="viewport" content="width=device-width"><title>{escape(name)}: replay</title>'
    body = f'<h1>{escape(name)}</h1>{"".join(parts)}<div id="tip" role="status"></div><script>{SCRIPT}</script>'
    return f'<!doctype html><html lang="en"><head>{head}<style>{CSS}</style></head><body>{body}</body></html>\n'


def _section(trace: Trace, number: int, channels: int, *, alone: bool) -> str:
    heading = "" if alone else f"<h2>{escape(trace.machine)}</h2>"
    machine = f"{escape(trace.machine)}, " if alone and trace.machine else ""
    span = f"{machine}{moment(trace.times[0])} to {moment(trace.end)}"
    clock = " UTC" if trace.times[0] >= 1e8 else ""
    frames = f"{len(trace.times):,} frames of {trace.settings.period:g} s"
    tiles = "".join(f'<div class="tile"><b>{value}</b><span>{label}</span></div>' for value, label in _tiles(trace))
    drawn = lanes(trace, channels)
    left_out = len(trace.settings.channels) - len(drawn)
    note = f"{left_out} more channels are not drawn" if left_out > 0 else ""
    return (
        f'{heading}<p class="sub">{span}{clock} · {frames}</p><div class="tiles">{tiles}</div>'
        f"{_svg(trace, drawn, number)}{_legend(trace, note)}{_table(trace)}"
    )


def _tiles(trace: Trace) -> list[tuple[str, str]]:
    days = (trace.end - trace.times[0]) / DAY
    share = float(trace.alarmed.mean())
    tiles = [(f"{len(trace.alarms):,}", "alarms"), (f"{share:.1%}", "of the time alarmed")]
    if trace.labels is not None:
        faults = intervals(trace.times, trace.labels, trace.settings.period)
        alarms = [(alarm.time, end) for alarm, end in zip(trace.alarms, trace.alarm_ends, strict=True)]
        events = event_scores(trace.labels, trace.alarmed, period=trace.settings.period)
        found = 0 if events.found is None else round(events.found.value * events.events)
        false = sum(not any(begin < stop and end > start for start, stop in faults) for begin, end in alarms)
        tiles += [(f"{found} of {events.events}", "labelled faults found"), (f"{false:,}", "alarms outside the labels")]
        if events.already:
            tiles.append((str(events.already), "faults that began under an alarm"))
    elif days >= 0.5:
        tiles.append((f"{len(trace.alarms) / days:.2g}", "alarms a day"))
    if out := sum(bool(trace.sensors_out(channel.name)) for channel in trace.settings.channels):
        tiles.append((str(out), "sensors stuck or unplugged"))
    return tiles


def _svg(trace: Trace, drawn: list[Lane], number: int) -> str:
    span = (float(trace.times.min()), float(trace.times.max()) + trace.settings.period)
    top = 2 * _STRIP + 2 * _BETWEEN
    height = top + _SCORE + len(drawn) * (_LANE + _SPACE) + 26
    bottom = height - 26

    def x(time: float) -> float:
        return _LEFT + (min(max(time, span[0]), span[1]) - span[0]) / (span[1] - span[0]) * _COLUMNS

    parts = [_time_axis(span, x, top, bottom)]
    alarms = [(alarm.time, end) for alarm, end in zip(trace.alarms, trace.alarm_ends, strict=True)]
    shades: list[str] = []
    for begin, end in alarms:
        wide = max(x(end) - x(begin), 1.5)
        shades.append(_box(x(begin), top, wide, bottom - top, "shade"))
        parts.append(_box(x(begin), 0, wide, _STRIP, "alarm"))
    for begin, end in trace.settled:
        parts.append(_box(x(begin), 0, max(x(end) - x(begin), 1.5), _STRIP, "settled"))
    parts.append(_text(_LEFT - 10, _STRIP - 1, "alarms", anchor="end"))
    if trace.labels is not None:
        parts.append(_text(_LEFT - 10, 2 * _STRIP + _BETWEEN - 1, "labelled", anchor="end"))
        for begin, end in intervals(trace.times, trace.labels, trace.settings.period):
            parts.append(_box(x(begin), _STRIP + _BETWEEN, max(x(end) - x(begin), 1.5), _STRIP, "label"))
            parts += [
                f'<line class="edge" x1="{x(at):.1f}" x2="{x(at):.1f}" y1="{top}" y2="{bottom}"/>'
                for at in (begin, end)
            ]
    score, score_line = _score_lane(trace, span, top + 6)
    parts.append(score)
    series = [{"name": "score", "values": _readable(score_line)}]
    y = top + _SCORE + _SPACE
    for lane in drawn:
        picture, line = _channel_lane(lane, trace, span, x, y)
        parts.append(picture)
        series.append({"name": f"{lane.name}{f' [{lane.unit}]' if lane.unit else ''}", "values": _readable(line)})
        y += _LANE + _SPACE
    parts += shades  # above the bands of healthy values, which would hide them
    parts.append(f'<line class="cross" y1="{top}" y2="{bottom}"/>')
    plot = {
        "width": _WIDTH,
        "left": _LEFT,
        "columns": _COLUMNS,
        "count": len(series[0]["values"]),
        "from": span[0],
        "step": (span[1] - span[0]) / len(series[0]["values"]),
        "clock": span[0] >= 1e8,
        "series": series,
    }
    label = escape(f"Scores and channels of {trace.machine or 'the machine'} over time")
    data = json.dumps(plot, ensure_ascii=False, separators=(",", ":")).replace("<", "\\u003c")
    return (
        f'<svg viewBox="0 0 {_WIDTH} {height}" data-plot="plot{number}" role="img" aria-label="{label}">{"".join(parts)}</svg>'
        f'<script type="application/json" id="plot{number}">{data}</script>'
    )


def _time_axis(span: tuple[float, float], x: Any, top: float, bottom: float) -> str:
    marks = []
    for mark in ticks(span):
        at = x(mark.time)
        marks.append(f'<line class="grid" x1="{at:.1f}" x2="{at:.1f}" y1="{top}" y2="{bottom}"/>')
        marks.append(_text(at, bottom + 17, mark.text, anchor="middle"))
    return "".join(marks)


def _score_lane(trace: Trace, span: tuple[float, float], top: float) -> tuple[str, Curve]:
    line = curve(trace.times, trace.scores, span, _COLUMNS, trace.settings.period)
    known = trace.scores[np.isfinite(trace.scores)]
    highest = max(float(known.max()) if len(known) else 0.0, trace.threshold)
    height = _SCORE - 12
    logarithmic = highest > _LOGARITHMIC * trace.threshold > 0
    if logarithmic:
        positive = known[known > 0]
        low = float(np.log10(max(positive.min() if len(positive) else 1e-3, trace.threshold / 100)))
        high = float(np.log10(highest)) + 0.05

        def place(values: Floats | float) -> Any:
            return top + height * (1 - (np.log10(np.maximum(values, 10**low)) - low) / (high - low))
    else:
        high = 1.12 * highest

        def place(values: Floats | float) -> Any:
            return top + height * (1 - np.asarray(values) / high)

    marks = [highest, 0.0]
    if logarithmic:
        marks = [highest, *(10.0**power for power in range(int(np.ceil(low)), int(np.floor(high - 0.15)) + 1))]
    at = float(place(trace.threshold))
    parts = [
        _text(_LEFT - 10, float(place(mark)) + 4, short(mark), anchor="end")
        for mark in marks
        if abs(float(place(mark)) - at) > 13
    ]
    parts += [
        _rule(top + height),
        _path(line, place, "score"),
        f'<line class="threshold" x1="{_LEFT}" x2="{_WIDTH - _RIGHT}" y1="{at:.1f}" y2="{at:.1f}"/>',
        _text(_LEFT - 10, at + 4, f"threshold {trace.threshold:.3g}", anchor="end", kind="threshold-name"),
        _text(0, top + 14, "score", kind="name"),
        _text(0, top + 30, "logarithmic" if logarithmic else "distance from normal"),
    ]
    return "".join(parts), line


def _channel_lane(lane: Lane, trace: Trace, span: tuple[float, float], x: Any, top: float) -> tuple[str, Curve]:
    line = curve(trace.times, lane.values, span, _COLUMNS, trace.settings.period)
    low, high = value_range(lane.values, lane.healthy)

    def place(values: Floats | float) -> Any:
        return top + _LANE * (1 - (np.asarray(values) - low) / (high - low))

    known = lane.values[np.isfinite(lane.values)]
    upper, lower = (float(known.max()), float(known.min())) if len(known) else (high, low)
    band = float(place(lane.healthy[1])), float(place(lane.healthy[0]))
    parts = [_box(_LEFT, band[0], _COLUMNS, band[1] - band[0], "healthy"), _rule(top + _LANE)]
    for begin, end, why in lane.out:
        parts.append(_box(x(begin), top, max(x(end) - x(begin), 1.5), _LANE, "out"))
        parts.append(_text(x(begin) + 4, top + 12, why))
    parts.append(_path(line, place, "line"))
    name = lane.name if len(lane.name) <= 21 else f"{lane.name[:20]}…"
    parts += [_text(0, top + 14, name, kind="name"), _text(0, top + 30, lane.unit)]
    if float(place(lower)) - float(place(upper)) > 13:
        parts.append(_text(_LEFT - 10, float(place(lower)) + 4, short(lower), anchor="end"))
    parts.append(_text(_LEFT - 10, float(place(upper)) + 4, short(upper), anchor="end"))
    return "".join(parts), line


def _path(line: Curve, place: Any, kind: str) -> str:
    """One line through the lowest and highest value of each column, with breaks where there is nothing."""
    flat = line.low is line.high
    x = _LEFT + (line.x if flat else np.repeat(line.x, 2))
    y = np.asarray(place(line.low if flat else np.stack([line.low, line.high], 1).reshape(-1)), np.float64)
    pieces, pen = [], "M"
    for at, value in zip(x.tolist(), y.tolist(), strict=True):
        if value != value:
            pen = "M"
            continue
        pieces.append(f"{pen}{at:.1f} {value:.1f}")
        pen = "L"
    return f'<path class="{kind}" d="{"".join(pieces)}"/>'


def _readable(line: Curve) -> list[float | None]:
    """The values at `_COLUMNS` columns or fewer, for whoever points at them."""
    if line.low is line.high:
        count = max(1, min(_COLUMNS, len(line.x)))
        column = np.clip(np.nan_to_num(line.x) / _COLUMNS * count, 0, count - 1).astype(np.int64)
        values = np.full(count, np.nan)
        values[column] = line.high
    else:
        values = line.high.astype(np.float64)
    return [None if value != value else float(f"{value:.4g}") for value in values.tolist()]


def _legend(trace: Trace, note: str) -> str:
    entries = [("alarm", "alarm"), ("healthy", "where healthy values lie")]
    if trace.labels is not None:
        entries.insert(1, ("label", "labelled fault"))
    if trace.settled:
        entries.insert(1, ("settled", "alarm over, score still above the threshold"))
    if any(trace.sensors_out(channel.name) for channel in trace.settings.channels):
        entries.append(("out", "sensor stuck or unplugged: does not count"))
    keys = "".join(f'<span><i class="{name}"></i>{text}</span>' for name, text in entries)
    return f'<div class="legend">{keys}<span>{note}</span></div>'


def _table(trace: Trace) -> str:
    if not trace.alarms:
        return ""
    rows = []
    settled = dict(trace.settled)
    for alarm, end in list(zip(trace.alarms, trace.alarm_ends, strict=True))[:_LISTED]:
        shares = ", ".join(f"{escape(one.channel)} {one.share:.0%}" for one in alarm.channels[:4] if one.share >= 0.005)
        inside = (trace.times >= alarm.time) & (trace.times < max(end, alarm.time + trace.settings.period))
        seen = trace.scores[inside & np.isfinite(trace.scores)]
        peak = max(float(seen.max()) if len(seen) else alarm.score, alarm.score)
        lasted = elapsed(end - alarm.time) + (f", then {elapsed(settled[end] - end)} above" if end in settled else "")
        cells = (moment(alarm.time), lasted, f"{peak:.3g}", f"{alarm.p_value:.2g}", shares)
        rows.append("<tr>" + "".join(f"<td>{cell}</td>" for cell in cells) + "</tr>")
    more = len(trace.alarms) - _LISTED
    rest = f'<p class="sub">and {more:,} more</p>' if more > 0 else ""
    head = "".join(
        f"<th>{name}</th>" for name in ("alarm at", "lasted (h:m:s)", "highest score", "p", "channels that say most")
    )
    return f"<table><thead><tr>{head}</tr></thead><tbody>{''.join(rows)}</tbody></table>{rest}"


def _text(x: float, y: float, text: str, *, anchor: str = "start", kind: str = "") -> str:
    group = f' class="{kind}"' if kind else ""
    return f'<text x="{x:.1f}" y="{y:.1f}" text-anchor="{anchor}"{group}>{escape(text)}</text>'


def _box(x: float, y: float, width: float, height: float, kind: str) -> str:
    return f'<rect class="{kind}" x="{x:.1f}" y="{y:.1f}" width="{width:.1f}" height="{height:.1f}"/>'


def _rule(y: float) -> str:
    return f'<line class="rule" x1="{_LEFT}" x2="{_WIDTH - _RIGHT}" y1="{y:.1f}" y2="{y:.1f}"/>'
