"""What a monitor tells: alarms, and what happened to sensors and clock."""

from __future__ import annotations

from dataclasses import asdict, dataclass
from typing import Any, ClassVar, Literal


@dataclass(frozen=True, slots=True)
class Share:
    """How much of a score one channel makes.

    Attributes:
        channel: its name.
        share: from 0 to 1; those of an alarm add up to 1.
    """

    channel: str
    share: float


@dataclass(frozen=True, slots=True)
class Alarm:
    """The machine is not as it was when it was healthy.

    Attributes:
        time: when it was raised, seconds since 1970-01-01 UTC (or since the first sample, as the stream has it).
        score: distance from normal that raised it: what so many of the last scores were at least.
        threshold: what it had to exceed.
        p_value: how likely so high a score is in a healthy block of the monitor's length; small is alarming.
        since: when the score first rose above the threshold.
        channels: all channels, the ones that say most first.
    """

    kind: ClassVar[str] = "alarm"
    time: float
    score: float
    threshold: float
    p_value: float
    since: float
    channels: tuple[Share, ...]


@dataclass(frozen=True, slots=True)
class Cleared:
    """An alarm is over.

    Attributes:
        time: when. It is told once it is sure, `cool_down` seconds later: an alarm that comes again within them is the same one.
        since: when it had been raised.
        peak: the highest that its score was, in the same sense.
        settled: whether the score was still above the threshold, though far below its mean in the alarm: the machine is on its way back, or has
            settled to something else.
    """

    kind: ClassVar[str] = "cleared"
    time: float
    since: float
    peak: float
    settled: bool = False


@dataclass(frozen=True, slots=True)
class SensorFault:
    """One sensor says nothing that can be used; its values do not count until it is back.

    Attributes:
        time: when it was noticed.
        channel: its name.
        fault: `stuck` (has not changed for far longer than ever in healthy data), `unplugged` (nothing came, or only zeros or a
            rail value far outside the healthy range), or `ok` when it is back.
        since: when that began.
    """

    kind: ClassVar[str] = "sensor"
    time: float
    channel: str
    fault: Literal["stuck", "unplugged", "ok"]
    since: float


@dataclass(frozen=True, slots=True)
class ClockEvent:
    """Time did something else than go on.

    Attributes:
        time: of the last frame before it.
        what: `gap` (nothing came), `jump` (the clock was set) or `late` (samples came too late to count).
        seconds: how long a gap, how far a jump (below 0: back), how late the latest.
        samples: how many came too late.
    """

    kind: ClassVar[str] = "clock"
    time: float
    what: Literal["gap", "jump", "late"]
    seconds: float
    samples: int = 0


@dataclass(frozen=True, slots=True)
class Drift:
    """Healthy scores have moved, so that the promised number of false alarms no longer holds.

    Attributes:
        time: when it was noticed.
        ratio: median score of the last healthy blocks over that at calibration.
        rate: share of them above the level that one in ten exceeded at calibration.
        adapted: whether the centre was moved, which is off unless asked for.
    """

    kind: ClassVar[str] = "drift"
    time: float
    ratio: float
    rate: float
    adapted: bool = False


Event = Alarm | Cleared | SensorFault | ClockEvent | Drift


def as_record(event: Event) -> dict[str, Any]:
    """The event as JSON takes it, with `kind` first."""
    return {"kind": event.kind, **asdict(event)}
