"""Measuring a monitor as it ships, with what it should be compared with beside it."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

import numpy as np

from nearfar.progress import Stages, silent

if TYPE_CHECKING:
    from nearfar.bundle import Metric
    from nearfar.edge.monitor.detector import Detector, Embed
    from nearfar.edge.monitor.make import MachineParts
    from nearfar.edge.monitor.stretch import Stretch
    from nearfar.learn.data.frames import MachineFrames, SeriesCorpus
    from nearfar.learn.series import TrainedSeries


def machine_parts(corpus: SeriesCorpus) -> list[MachineParts]:
    """The healthy frames of each machine: to fit to, to choose by, and to check with."""
    from nearfar.edge.monitor.make import MachineParts
    from nearfar.learn.data.split import TEST, TRAIN, VALIDATION

    period = corpus.settings.period
    parts = [
        MachineParts(*(_healthy(machine, side, period) for side in (TRAIN, VALIDATION, TEST)))
        for machine in corpus.machines
    ]
    return [part for part in parts if part.fitted]


def compare_series(
    trained: TrainedSeries,
    parts: Sequence[MachineParts],
    detector: Detector,
    *,
    baselines: Sequence[str],
    stages: Stages,
) -> dict[str, dict[str, Metric]]:
    """Measure what ships on the test part: how well injected faults are found, and what healthy data raises.

    Args:
        trained: the run.
        parts: healthy frames of each machine.
        detector: what ships.
        baselines: what to measure beside it, of `untrained`.
        stages: told what is being done.

    Returns:
        Metrics by row: `raw`, `untrained`, `model`, `bundle`, all by the same faults and frames; nothing where no healthy data was
        held out.
    """
    from nearfar.bundle import Metric
    from nearfar.edge.monitor.choose import try_candidates
    from nearfar.edge.monitor.fit import Candidate, Fitter
    from nearfar.edge.monitor.make import machine_fitter
    from nearfar.errors import DataError

    recipe, watch = trained.recipe, trained.recipe.of_series.watch
    record = detector.record
    shipped = Candidate(record.features, record.by, record.smooth)
    embedding = Candidate("embedding", "mahalanobis", 1)
    rows: dict[str, tuple[Candidate, Embed | None]] = {
        "raw": (Candidate("raw", "mahalanobis", sorted(watch.smooth)[len(watch.smooth) // 2]), None)
    }
    if "untrained" in baselines:
        rows["untrained"] = (embedding, _in_float(trained, trained=False))
    rows["model"] = (embedding, _in_float(trained, trained=True))
    rows["bundle"] = (shipped, detector.embed)
    # An encoder is no candidate of the same fitters, so each row is measured alone: what it needs in front must be that of all.
    history = max(candidate.smooth for candidate, _ in rows.values())
    tick = stages("measuring", len(rows))
    found: dict[str, dict[str, Metric]] = {}
    for name, (candidate, embed) in rows.items():
        pooled = Fitter(trained.settings, watch, embed, recipe.seed + 1)
        fitters = [machine_fitter(pooled, part) for part in parts] if len(parts) > 1 else [pooled]
        machines = [(part.fitted, part.check) for part in parts]
        try:
            (trial,) = try_candidates(
                fitters, [candidate], machines, faults=recipe.of_series.method.faults, history=history, stages=silent
            )
        except DataError:
            return {}  # nothing was held out that faults could be injected into
        found[name] = {"fault_auc_pr": trial.auc_pr}
        tick(1, name)
    if record.realised_per_day is not None:
        found["bundle"]["false_alarms_per_day"] = Metric(**record.realised_per_day.model_dump())
    return found


def _healthy(machine: MachineFrames, side: int, period: float) -> list[Stretch]:
    """The stretches of one side without known faults."""
    from nearfar.edge.monitor.stretch import in_stretches

    rows = np.flatnonzero((machine.side == side) & (machine.labels == 0))
    return in_stretches(machine.name, np.asarray(machine.times[rows]), np.asarray(machine.frames[rows]), period)


def _in_float(run: TrainedSeries, *, trained: bool) -> Embed:
    """The encoder in torch, before or after training, as a detector takes it."""
    from nearfar.learn.trainer.series import embed_windows

    encoder = (run.embedder() if trained else run.untrained()).encoder
    return lambda windows, present: embed_windows(encoder, windows, present)
