"""How well a monitor does on streams in which somebody has labelled the faults."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np

from nearfar.bundle.bundle import Bundle
from nearfar.errors import DataError
from nearfar.evaluate.anomaly import AnomalyScores, event_scores, false_alarms_per_day, measure_alarms
from nearfar.progress import Stages, silent
from nearfar.road.replay import replay
from nearfar.road.trace import Flags, Floats, Trace
from nearfar.sources.recording import Recording


@dataclass(frozen=True, slots=True)
class StreamFigures:
    """Figures of one stream, or of all together.

    Attributes:
        name: of the machine or the file; `all`.
        scores: of the monitor.
        frames: how many there are.
        faulty: the share of them that is labelled.
        hours: how long it is.
    """

    name: str
    scores: AnomalyScores
    frames: int
    faulty: float
    hours: float


@dataclass(frozen=True, slots=True)
class StreamReport:
    """What was measured.

    Attributes:
        streams: each for itself.
        pooled: all frames together.
        always: an alarm that is always on, on the same frames: what figures are worth.
    """

    streams: tuple[StreamFigures, ...]
    pooled: StreamFigures
    always: StreamFigures


def evaluate_streams(
    bundle: str | Path | Bundle,
    recordings: Iterable[Recording],
    *,
    threshold: float | None = None,
    stages: Stages = silent,
) -> StreamReport:
    """Put labelled recordings through the monitor and hold its alarms against the labels.

    Args:
        bundle: of kind `series-monitor`.
        recordings: with labels.
        threshold: in place of that of the bundle.
        stages: told how far it is.

    Raises:
        BundleError: the bundle is no monitor.
        DataError: nothing is labelled, or the recordings do not fit the bundle.
    """
    traces = replay(bundle, recordings, threshold=threshold, stages=stages)
    return measure_traces(traces)


def measure_traces(traces: Sequence[Trace]) -> StreamReport:
    """The figures of streams that have been through a monitor.

    Raises:
        DataError: a stream has no labels, or no frame of any is labelled.
    """
    for trace in traces:
        if trace.labels is None:
            raise DataError(
                f"{trace.machine or 'the stream'}: no labels: say with --label which column is not 0 where a fault is known"
            )
    labels = [trace.labels for trace in traces if trace.labels is not None]
    if not any(some.any() for some in labels):
        raise DataError(
            "not one frame is labelled as a fault: check --label, and whether the labels lie at the times of the data"
        )
    period = traces[0].settings.period
    streams = tuple(_pooled(trace.machine, [some], [trace], period) for trace, some in zip(traces, labels, strict=True))
    pooled = _pooled("all", labels, traces, period)
    on = np.ones(sum(map(len, labels)), np.bool_)
    always = _figures("always on", np.concatenate(labels), on.astype(np.float32), on, period)
    apart = np.concatenate([np.append(some, False) for some in labels])
    raised = np.concatenate([np.append(np.ones(len(some), np.bool_), False) for some in labels])
    always = replace(always, scores=replace(always.scores, events=event_scores(apart, raised, period=period)))
    return StreamReport(streams, pooled, always)


def _figures(name: str, labels: Flags, scores: Floats, alarms: Flags, period: float) -> StreamFigures:
    measured = measure_alarms(labels, scores, alarms, period=period)
    return StreamFigures(name, measured, len(labels), float(labels.mean()), len(labels) * period / 3600)


def _pooled(name: str, labels: Sequence[Flags], traces: Sequence[Trace], period: float) -> StreamFigures:
    """All frames together; an event that ends one stream and one that begins the next stay two.

    Frames count by whether scores were alarming, events and false alarms by what was told.
    """
    scores, alarmed = (np.concatenate([getattr(trace, part) for trace in traces]) for part in ("scores", "alarmed"))
    together = _figures(name, np.concatenate(labels), scores, alarmed, period)
    apart = np.concatenate([np.append(some, False) for some in labels])
    raised = np.concatenate([np.append(trace.told, False) for trace in traces])
    events = event_scores(apart, raised, period=period)
    healthy = not np.concatenate(labels).all()
    false = false_alarms_per_day(apart, raised, period=period) if healthy else None
    return replace(together, scores=replace(together.scores, events=events, false_alarms_per_day=false))
