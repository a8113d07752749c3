"""A trained monitor made to fit another machine, on the device: the encoder stays, what is normal is learned anew."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any, TypeVar

import numpy as np
from pydantic import BaseModel, ValidationError

from nearfar.bundle import Bundle, BundleWriter, render_card
from nearfar.bundle.monitor_record import DetectorRecord
from nearfar.edge.monitor.detector import Detector
from nearfar.edge.monitor.fit import Candidate, Fitter
from nearfar.edge.monitor.make import MachineParts, make_detector
from nearfar.edge.monitor.stretch import Stretch, in_stretches, in_time
from nearfar.errors import BundleError, DataError
from nearfar.frontend.fit_series import refit_series
from nearfar.frontend.join import frame_labels, join
from nearfar.frontend.settings import SeriesSettings
from nearfar.progress import Stages, silent
from nearfar.recipe.series import Faults, Watch
from nearfar.sources.recording import Recording, RecordingSource

_Settings = TypeVar("_Settings", bound=BaseModel)
_SHARES = (0.5, 0.3, 0.2)
_LEAST_REFERENCES = 10  # that `Watch` takes
_FITTED = (
    "false_alarms_per_day",
    "block",
    "needed",
    "out_of",
    "release",
    "calm",
    "settle",
    "cool_down",
    "adapt",
    "adapt_limit",
)


def calibrate(
    bundle: str | Path | Bundle,
    source: RecordingSource,
    target: str | Path,
    *,
    watch: Watch | None = None,
    choose: bool = False,
    stages: Stages = silent,
) -> Bundle:
    """Fit the statistics of one machine: scales, what is normal, and the threshold. Needs no training.

    The first half of the data says what is normal, the next 30 % set the threshold, and the last 20 % show how many false alarms
    come of it. Data too short for blocks takes the threshold from what the bundle learned of other machines, if it has.

    Args:
        bundle: a monitor.
        source: healthy data of the machine; what is labelled as a fault is left out.
        target: directory of the new bundle, another one.
        watch: when to alarm; by default as the bundle has it.
        choose: choose anew how to score, among the ways that `watch` allows, by faults as the recipe of the bundle has them; else
            that stays as the bundle has it.
        stages: told what is being done.

    Returns:
        The new bundle; its manifest names the one it was made from.

    Raises:
        DataError: too little data, a channel is missing, or the data is of several machines.
        BundleError: the bundle is damaged or no monitor, or the target is the bundle itself or cannot be written.
    """
    bundle = bundle if isinstance(bundle, Bundle) else Bundle.open(bundle)
    old = Detector.open(bundle)
    if Path(target).resolve().is_relative_to(bundle.path.resolve()):
        raise BundleError(
            f"{target}: is the bundle that is to be calibrated, or lies in it, and that one stays as it is: give the new bundle a directory "
            "of its own"
        )
    tick = stages("reading")
    recordings = []
    for recording in source.recordings():
        if len(recording.times):
            recordings.append(recording)
        tick(len(recording.times))
    machines = sorted({recording.machine for recording in recordings})
    if len(machines) != 1:
        raise DataError(
            f"the data is of {len(machines) or 'no'} machines ({', '.join(machines[:5])}), but a monitor watches one: give the data of one"
            if machines
            else "the data holds no samples: check the path"
        )
    settings, parts = _divided(recordings, old.settings)
    fitter = Fitter(settings, watch or watch_of(bundle), old.embed)
    candidate = None if choose else Candidate(old.record.features, old.record.by, old.record.smooth)
    made = make_detector(
        fitter, [parts], faults=faults_of(bundle), candidate=candidate, ratio=old.record.fleet_ratio, stages=stages
    )
    chosen = made.record if choose else old.record
    record = made.record.model_copy(update={"trials": chosen.trials, "remark": chosen.remark})
    return _written(bundle, made, record, target, machines[0])


def watch_of(bundle: Bundle) -> Watch:
    """When a monitor alarms, as its recipe and what was fitted by it say.

    Raises:
        BundleError: the bundle is no monitor, or its recipe is of another nearfar.
    """
    detector = Detector.open(bundle)
    record = detector.record
    asked = _block(bundle, "watch")
    # The recipe knows how to choose a scorer, the record what became of values that were left to be found.
    fitted = {name: getattr(record, name) for name in _FITTED}
    if asked.get("needed") is None and (record.needed, record.out_of) == Watch().votes(record.features):
        del fitted["needed"], fitted["out_of"]  # they go with what is scored, which may be chosen anew
    return _understood(bundle, Watch, {**asked, **fitted, **_counts(detector)}, "watch")


def faults_of(bundle: Bundle) -> Faults:
    """The faults that the bundle's recipe has; the usual ones where it has none, as with other methods.

    Raises:
        BundleError: its recipe is of another nearfar.
    """
    faults = _block(bundle, "method").get("faults")
    return Faults() if faults is None else _understood(bundle, Faults, faults, "method.faults")


def _block(bundle: Bundle, name: str) -> dict[str, Any]:
    """A block of the bundle's recipe; empty where it has none."""
    block = bundle.manifest.provenance.recipe.get(name)
    return block if isinstance(block, dict) else {}


def _understood(bundle: Bundle, kind: type[_Settings], content: object, name: str) -> _Settings:
    try:
        return kind.model_validate(content)
    except ValidationError as error:
        first = error.errors()[0]
        key = ".".join([name, *map(str, first["loc"])])
        raise BundleError(
            f"{bundle.path}: the recipe in its manifest says {key} in a way that this nearfar does not know ({first['msg']}): calibrate it "
            "with the nearfar that made it, or train and export it again"
        ) from error


def _counts(detector: Detector) -> dict[str, int]:
    """How many prototypes or neighbours a detector has, which an earlier calibration may have set apart from the recipe."""
    points = len(detector.distance.points)
    if detector.record.by == "prototypes":
        return {"prototypes": points}
    if detector.record.by == "knn":
        return {"neighbours": detector.distance.k, "references": max(_LEAST_REFERENCES, points)}
    return {}


def _divided(recordings: Sequence[Recording], settings: SeriesSettings) -> tuple[SeriesSettings, MachineParts]:
    """The settings of this machine, fitted to its first part, and its healthy frames in parts."""
    times = np.sort(np.concatenate([recording.times for recording in recordings]))
    cut = times[min(len(times) - 1, int(_SHARES[0] * len(times)))]
    first = [
        replace(
            recording,
            times=recording.times[:stop],
            values=recording.values[:stop],
            labels=None if recording.labels is None else recording.labels[:stop],
            regime=None if recording.regime is None else recording.regime[:stop],
        )
        for recording in recordings
        if (stop := int(np.searchsorted(recording.times, cut)))
    ]
    if not first:
        raise DataError("a single sample says nothing of what is normal: give at least some minutes of healthy data")
    settings = refit_series(first, settings)
    frames = join(recordings, settings)
    healthy = frame_labels(frames.times, recordings, settings) == 0
    stretches: list[Stretch] = in_stretches(
        recordings[0].machine, frames.times[healthy], frames.values[healthy], settings.period
    )
    return settings, MachineParts(*in_time(stretches, _SHARES, settings.window))


def _written(bundle: Bundle, made: Detector, record: DetectorRecord, target: str | Path, machine: str) -> Bundle:
    old = bundle.manifest
    assert old.detector is not None
    manifest = old.model_copy(
        update={
            "name": f"{old.name}-{machine}" if machine else old.name,
            "frontend": made.settings,
            "detector": record,
            "provenance": old.provenance.model_copy(update={"parent": bundle.digest}),
            "metrics": {},
        }
    )
    with BundleWriter(target) as writer:
        for name in sorted(old.file_names - {old.detector.weights}):
            writer.add(name, bundle.read(name))
        writer.add(record.weights, made.to_bytes())
        return writer.finish(manifest, render_card(manifest))
