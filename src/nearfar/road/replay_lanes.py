"""The lanes of a replay: which channels are drawn, and what is left of a long stream on so many pixels."""

from __future__ import annotations

from collections import defaultdict
from datetime import UTC, datetime
from typing import NamedTuple

import numpy as np
import numpy.typing as npt

from nearfar.frontend.settings import ChannelSettings
from nearfar.road.trace import Floats, Times, Trace

HEALTHY_SPREADS = 3.0
"""Half the height of the band in which nearly all healthy values lie, in spreads of the channel."""

_FIRST_CLOCK = 1e8  # seconds since 1970; smaller numbers count from the first sample of a stream without a clock
_SECONDS = (1, 2, 5, 10, 15, 30)
_STEPS = (
    *_SECONDS,
    *(60 * n for n in _SECONDS),
    *(3600 * n for n in (1, 2, 3, 6, 12)),
    *(86_400 * n for n in (1, 2, 7, 14, 28, 91, 182, 364)),
)


class Curve(NamedTuple):
    """A line in so many columns of pixels, from the lowest to the highest value in each.

    Attributes:
        x: float64 (m,), in columns from the left.
        low: float32 (m,), NaN where there is nothing.
        high: float32 (m,).
    """

    x: npt.NDArray[np.float64]
    low: Floats
    high: Floats


class Lane(NamedTuple):
    """One channel.

    Attributes:
        name: of what is drawn of it.
        unit: of its values.
        values: float32 (k,).
        healthy: lower and upper end of the band of healthy values.
        out: from, to, why: when the sensor did not count.
    """

    name: str
    unit: str
    values: Floats
    healthy: tuple[float, float]
    out: list[tuple[float, float, str]]


class Tick(NamedTuple):
    """A mark on the axis of time."""

    time: float
    text: str


def lanes(trace: Trace, most: int) -> list[Lane]:
    """The channels that say most of the alarms, in the order of the bundle; without alarms those that stray furthest.

    Args:
        trace: a stream.
        most: how many at most.
    """
    settings = trace.settings
    weight: dict[str, float] = defaultdict(float)
    for alarm in trace.alarms:
        for share in alarm.channels:
            weight[share.channel] += share.share
    if not weight:
        for number, channel in enumerate(settings.channels):
            lane = _lane(trace, number, channel)
            spread = max((lane.healthy[1] - lane.healthy[0]) / 2, 1e-30)
            far = np.abs(lane.values - (lane.healthy[1] + lane.healthy[0]) / 2) / spread
            weight[channel.name] = float(np.nan_to_num(np.nanmax(far, initial=0.0)))
    # A sensor that was out is worth a look, whatever the alarms say.
    broken = {channel.name for channel in settings.channels if trace.sensors_out(channel.name)}
    ranked = sorted(settings.channels, key=lambda channel: (channel.name in broken, weight[channel.name]), reverse=True)
    chosen = {channel.name for channel in ranked[:most]}
    return [_lane(trace, number, channel) for number, channel in enumerate(settings.channels) if channel.name in chosen]


def _lane(trace: Trace, number: int, channel: ChannelSettings) -> Lane:
    feature = trace.settings.channel_of_feature.index(number)
    half = HEALTHY_SPREADS * channel.scale[0]
    return Lane(
        name=channel.name if channel.rate is None else f"{channel.name} rms",
        unit=channel.unit,
        values=trace.frames[:, feature],
        healthy=(channel.centre[0] - half, channel.centre[0] + half),
        out=trace.sensors_out(channel.name),
    )


def curve(times: Times, values: Floats, span: tuple[float, float], columns: int, period: float) -> Curve:
    """Draw (k,) values into columns of pixels, so that no peak is lost.

    Args:
        times: float64 (k,), ascending.
        values: float32 (k,), NaN where there is nothing.
        span: the times at the left and the right edge.
        columns: how many.
        period: seconds from one frame to the next; a longer distance is a gap in the line.
    """
    x = (times - span[0]) / max(span[1] - span[0], 1e-9) * columns
    jumps = np.flatnonzero(np.diff(times) > 1.5 * period) + 1
    if len(times) <= 2 * columns:
        x, values = np.insert(x, jumps, np.nan), np.insert(values, jumps, np.nan)
        return Curve(np.asarray(x, np.float64), values, values)
    column = np.clip(x.astype(np.int64), 0, columns - 1)
    order = np.argsort(column, kind="stable")  # a clock that was set back
    found, starts = np.unique(column[order], return_index=True)
    low = np.full(columns, np.nan, np.float32)
    high = low.copy()
    low[found] = np.fmin.reduceat(values[order], starts)
    high[found] = np.fmax.reduceat(values[order], starts)
    return Curve(np.arange(columns, dtype=np.float64) + 0.5, low, high)


def value_range(values: Floats, healthy: tuple[float, float] | None = None) -> tuple[float, float]:
    """From where to where an axis goes, with some room."""
    known = values[np.isfinite(values)]
    low, high = (float(known.min()), float(known.max())) if len(known) else (0.0, 1.0)
    if healthy is not None:
        low, high = min(low, healthy[0]), max(high, healthy[1])
    room = 0.06 * (high - low) or abs(high) * 0.1 or 1.0
    return low - room, high + room


def ticks(span: tuple[float, float], most: int = 9) -> list[Tick]:
    """Marks at round times; UTC, or hours since the beginning where the stream has no clock."""
    length = span[1] - span[0]
    step = next(
        (step for step in _STEPS if length / step <= most), _STEPS[-1] * max(1, round(length / _STEPS[-1] / most))
    )
    clock = span[0] >= _FIRST_CLOCK
    moments = np.arange(np.ceil(span[0] / step) * step, span[1] + step * 1e-6, step)
    marks, day = [], ""
    for moment in moments.tolist():
        if not clock:
            marks.append(Tick(moment, elapsed(moment)))
            continue
        when = datetime.fromtimestamp(moment, UTC)
        today = f"{when.day} {when:%b}"
        text = when.strftime("%H:%M:%S" if step < 60 else "%H:%M")
        marks.append(Tick(moment, today if step >= 86_400 else (f"{today} {text}" if today != day else text)))
        day = today
    return marks


def moment(seconds: float) -> str:
    """A time in words: `2026-05-01 12:00:05`, or what has passed where the stream has no clock."""
    if seconds < _FIRST_CLOCK:
        return elapsed(seconds)
    return datetime.fromtimestamp(seconds, UTC).strftime("%Y-%m-%d %H:%M:%S")


def elapsed(seconds: float) -> str:
    """`1:02:05` of hours, minutes and seconds."""
    whole = round(seconds)
    hours, minutes = whole // 3600, whole // 60 % 60
    return f"{hours}:{minutes:02}:{whole % 60:02}" if hours else f"{minutes}:{whole % 60:02}"


def short(value: float) -> str:
    """A number for an axis: three digits, but no powers of ten for thousands."""
    return f"{value:,.0f}" if 1000 <= abs(value) < 1e7 else f"{value:.3g}"
