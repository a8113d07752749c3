"""Whether a promised number of false alarms a day is kept on healthy data that comes later: many made plants, each watched for days."""

from __future__ import annotations

import sys

import numpy as np

from nearfar.edge.monitor.events import Alarm
from nearfar.edge.monitor.monitor import Monitor
from nearfar.evaluate import Interval
from nearfar.evaluate.exact_intervals import poisson_interval
from nearfar.recipe.series import Watch
from nearfar.simulate import Plant, simulate_plant
from tools.anomaly_monitors import DAY, fit_monitor, prepare
from tools.results import Figures, figure

PROMISED = 1.0  # a day


def measure_false_alarms(*, quick: bool) -> Figures:
    """Realised over promised false alarms, for plants that stay as they are and for plants that drift.

    Each plant's monitor is fitted to its first days and watches the days that follow, through the runtime of the device. The first
    interval is the exact one of a Poisson count. The other takes whole plants anew: what is common to the alarms of one plant,
    such as a threshold that came out low, is in it.
    """
    plants, fitted, watched = (2, 2, 1) if quick else (30, 10, 10)
    found: Figures = {}
    for name, drift in (("", 0.0), ("_drifting", 0.2)):
        counts = np.array([_alarms(seed, drift, fitted, watched) for seed in range(plants)])
        print(f"false alarms{name} of each plant in {watched} days: {' '.join(map(str, counts))}", file=sys.stderr)
        days = plants * watched
        exact = poisson_interval(int(counts.sum()), days * PROMISED)
        drawn = counts[np.random.default_rng(0).integers(plants, size=(2000, plants))].sum(axis=1) / (days * PROMISED)
        found[f"false_alarm_ratio{name}"] = figure(exact)
        found[f"false_alarm_ratio_by_plant{name}"] = figure(
            Interval(exact.value, *(float(end) for end in np.percentile(drawn, [2.5, 97.5])))
        )
    found["false_alarm_days"] = figure(plants * watched, "d")
    return found


def _alarms(seed: int, drift: float, fitted: int, watched: int) -> int:
    """Alarms that a plant's monitor raises on healthy data."""
    recordings = list(simulate_plant(Plant(drift=drift), (fitted + watched) * DAY, seed=seed))
    until = recordings[0].times[0] + fitted * DAY
    detector = fit_monitor(
        prepare([r for r in recordings if r.times[0] < until]), watch=Watch(false_alarms_per_day=PROMISED)
    )
    monitor = Monitor(detector)
    alarms = 0
    for recording in recordings:
        if recording.times[0] >= until:
            monitor.update(recording.values, recording.times)
            alarms += sum(isinstance(event, Alarm) for event in monitor.drain())
    return alarms
