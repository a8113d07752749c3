"""Whether the encoder finds more injected faults than plain statistics in data that came after all that was fitted: made plants."""

from __future__ import annotations

from pathlib import Path

from nearfar.bundle.block import Metric
from nearfar.edge.monitor.choose import try_candidates
from nearfar.edge.monitor.fit import Candidate, Fitter
from nearfar.edge.monitor.make import machine_fitter
from nearfar.evaluate import Interval
from nearfar.road.measure_series import machine_parts
from nearfar.simulate import Plant, simulate_plant, write_csv
from tools.anomaly_encoder import train_encoder
from tools.anomaly_monitors import DAY
from tools.results import Figures, figure

_RAW = [Candidate("raw", by, smooth) for smooth in (10, 20, 30) for by in ("mahalanobis", "prototypes", "knn")]
_EMBEDDING = [Candidate("embedding", by, 1) for by in ("centroid", "mahalanobis", "prototypes", "knn")]


def measure_choice(folder: Path, *, quick: bool) -> Figures:
    """AUC-PR over frames of injected faults on the test part of four days of a plant: the best raw scorer and the best of embeddings.

    Which is best is told by the validation part.
    """
    days, steps = (0.5, 30) if quick else (4.0, 2000)
    write_csv(simulate_plant(Plant(), int(days * DAY), seed=7), folder / "plant")
    ignored = 'data.source.columns.ignore=["label", "regime"]'
    trained, embed = train_encoder(folder / "plant", folder / "run", ignored, steps=steps)
    parts, recipe = machine_parts(trained.corpus), trained.recipe
    pooled = Fitter(trained.settings, recipe.of_series.watch, embed, recipe.seed)
    fitters = [machine_fitter(pooled, part) for part in parts] if len(parts) > 1 else [pooled]
    faults, found = recipe.of_series.method.faults, Figures()
    for name, among in (("raw", _RAW), ("embedding", _EMBEDDING)):
        best = try_candidates(fitters, among, [(part.fitted, part.later) for part in parts], faults=faults)[0]
        chosen = Candidate(best.features, best.by, best.smooth)
        (tested,) = try_candidates(
            fitters, [chosen], [(part.fitted, part.check) for part in parts], faults=faults, draws=12
        )
        found[f"plant_fault_auc_pr_{name}"] = figure(_interval(tested.auc_pr))
    return found


def _interval(metric: Metric) -> Interval:
    assert metric.low is not None
    assert metric.high is not None
    return Interval(metric.value, metric.low, metric.high)
