"""An encoder for a benchmark, trained through a recipe as a user would."""

from __future__ import annotations

import csv
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from nearfar import road
from nearfar.edge.monitor.detector import Embed
from tools.anomaly_skab import SkabFile

if TYPE_CHECKING:
    from nearfar.learn.series import TrainedSeries

_RECIPE = Path(__file__).resolve().parents[2] / "recipes" / "machine-monitor.yaml"


def train_encoder(folder: Path, run: Path, *overrides: str, steps: int) -> tuple[TrainedSeries, Embed]:
    """Train on the healthy CSV files of a folder; the trained run, and its encoder as what ships, in int8 where that is enough.

    Args:
        folder: of the data.
        run: directory of the run.
        overrides: of `recipes/machine-monitor.yaml`.
        steps: of training.
    """
    from nearfar.edge.monitor.embedding import open_embedding
    from nearfar.learn.run import open_run
    from nearfar.learn.series import TrainedSeries
    from nearfar.progress import silent
    from nearfar.road.export_series import encoder_draft

    road.train(_RECIPE, run, overrides=[f"data.source.path={folder}", f"train.max_steps={steps}", *overrides])
    trained = open_run(run)
    assert isinstance(trained, TrainedSeries)
    bundle = encoder_draft(trained, quantise="int8", stages=silent).written(run / "encoder")
    return trained, open_embedding(bundle, threads=1)


def write_training_rows(experiments: Sequence[SkabFile], folder: Path) -> None:
    """The training rows of each experiment as a CSV file of its own, a second apart."""
    folder.mkdir(parents=True)
    for experiment in experiments:
        with (folder / experiment.name.replace("/", "-")).open("w", newline="") as file:
            writer = csv.writer(file)
            writer.writerow(["time", *experiment.channels])
            writer.writerows([second, *row] for second, row in enumerate(experiment.train.tolist()))
