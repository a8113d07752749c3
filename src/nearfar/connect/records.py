"""Events as other programs and people get them: one JSON object each."""

from __future__ import annotations

from datetime import UTC, datetime
from typing import Any

from nearfar.edge.monitor.events import Alarm, Cleared, ClockEvent, Drift, Event, SensorFault, as_record

_FIRST_CLOCK = 1e8  # seconds since 1970; smaller numbers count from the first sample of a stream without a clock
_NAMED = 3  # channels in a sentence


def record_of(event: Event, name: str) -> dict[str, Any]:
    """What is sent of an event.

    Args:
        event: what happened.
        name: which monitor says so.

    Returns:
        The fields of the event, times as ISO 8601 in UTC where the stream has a clock, with `kind`, `name` and `time` first, and
        `text`, the same in a sentence.
    """
    record = as_record(event)
    for field in ("time", "since"):
        if field in record:
            record[field] = iso_time(record[field])
    head = {"kind": record.pop("kind"), "name": name, "time": record.pop("time"), "text": f"{name}: {sentence(event)}"}
    return head | {field: _rounded(value) for field, value in record.items()}


def silence_record(name: str, seconds: float, now: float) -> dict[str, Any]:
    """What is sent when samples have stopped coming, for so many seconds up to `now`."""
    text = f"{name}: no samples for {duration(seconds)}"
    return {"kind": "silence", "name": name, "time": iso_time(now), "text": text, "seconds": round(seconds, 1)}


def iso_time(seconds: float) -> str | float:
    """`2026-05-01T12:00:00.000Z`, or the number itself where it is no time of a clock."""
    if seconds < _FIRST_CLOCK:
        return round(seconds, 3)
    return datetime.fromtimestamp(seconds, UTC).isoformat(timespec="milliseconds").replace("+00:00", "Z")


def duration(seconds: float) -> str:
    """`45 s`, `12 min`, `3.5 h`, `2.0 days`."""
    size = abs(seconds)
    if size < 120:
        return f"{seconds:.3g} s"
    if size < 7200:
        return f"{seconds / 60:.0f} min"
    return f"{seconds / 3600:.1f} h" if size < 172_800 else f"{seconds / 86_400:.1f} days"


def sentence(event: Event) -> str:
    """An event in words."""
    if isinstance(event, Alarm):
        most = ", ".join(f"{one.channel} {one.share:.0%}" for one in event.channels[:_NAMED] if one.share >= 0.005)
        return f"alarm, score {event.score:.4g} above {event.threshold:.4g}" + (f" ({most})" if most else "")
    if isinstance(event, Cleared):
        after = f"after {duration(event.time - event.since)}, highest score {event.peak:.4g}"
        if event.settled:
            return f"the alarm is over {after}; the score has come down, but is still above the threshold"
        return f"the alarm is over {after}"
    if isinstance(event, SensorFault):
        if event.fault == "ok":
            return f"sensor {event.channel} is back"
        return f"sensor {event.channel} is {event.fault}; it does not count until it is back"
    if isinstance(event, ClockEvent):
        return _clock(event)
    assert isinstance(event, Drift)
    moved = ", and the centre was moved" if event.adapted else ""
    means = "more false alarms than promised" if event.ratio >= 1.0 else "faults may be missed"
    return f"healthy scores have drifted to {event.ratio:.2g} times what they were: {means}; calibrate again{moved}"


def _clock(event: ClockEvent) -> str:
    if event.what == "gap":
        return f"no samples for {duration(event.seconds)}"
    if event.what == "jump":
        return f"the clock was set {'forward' if event.seconds > 0 else 'back'} by {duration(abs(event.seconds))}"
    return f"{event.samples:,} samples came too late to count, by up to {duration(event.seconds)}"


def _rounded(value: Any) -> Any:
    """Six digits of a number; more would be noise to read."""
    if isinstance(value, float):
        return float(f"{value:.6g}")
    if isinstance(value, dict):
        return {key: _rounded(inner) for key, inner in value.items()}
    return [_rounded(inner) for inner in value] if isinstance(value, (list, tuple)) else value
