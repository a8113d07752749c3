"""Simulate, train, watch, measure, draw and calibrate, with nothing but commands."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest

from nearfar.bundle import Bundle
from nearfar.edge.monitor.detector import Detector
from nearfar.sources.series import open_series
from nearfar.sources.series_columns import SeriesColumns

pytestmark = pytest.mark.recipe

RECIPE = """
name: plant
data:
  source: {kind: series, path: data/healthy}
  split: {validation: 0.35, test: 0.25}
frontend: {kind: series, window: 16}
encoder: {kind: dilated_cnn, width: 4, layers: 1, dim: 8, skip: false}  # too narrow for eight channels
method: {kind: fault_contrast, faults: {kinds: [shift]}}
train: {max_steps: 6, epochs: 1, batch_size: 32, threads: 1, accelerator: cpu}
watch: {block: 60.0, false_alarms_per_day: 72.0, smooth: [10, 20], least_windows: 0, cool_down: 10.0}
"""


def raise_levels(path: Path, factor: float) -> None:
    """Make it another machine: all channels read so many times as much."""
    head, *rows = path.read_text("utf-8").splitlines()
    cells = [row.split(",") for row in rows]
    more = [[row[0], *(f"{float(cell) * factor:.6g}" for cell in row[1:-1]), row[-1]] for row in cells]
    path.write_text("\n".join([head, *map(",".join, more)]) + "\n", "utf-8")


def test_from_the_command_line_to_alarms(nearfar, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)

    def does(*arguments: object) -> tuple[str, str]:
        code, out, err = nearfar(*arguments)
        assert code == 0, (arguments, out, err)
        return out, err

    does("simulate", "plant", "-o", "data", "--days", "0.05", "--faults", "2", "--seed", "1")
    Path("r.yaml").write_text(RECIPE, "utf-8")
    does("recipe", "check", "r.yaml")
    does("train", "r.yaml", "-o", "run")
    out, _ = does("inspect", "run/bundle")
    assert "At most 72 false alarms a day" in " ".join(out.split())
    assert "none: plain means were as good" in " ".join(out.split())
    assert not Path("run/bundle/encoder.onnx").exists()
    faulty = "data/faulty/plant.csv"
    out, err = does("monitor", "run/bundle", "--from", faulty)
    alarms = [record for record in map(json.loads, out.splitlines()) if record["kind"] == "alarm"]
    assert "4,320 samples" in err
    rows = [row.rsplit(",", 1)[1] for row in Path(faulty).read_text("utf-8").splitlines()[1:]]
    assert 1 <= len(alarms) <= 10
    out, _ = does("evaluate", "run/bundle", faulty, "--label", "label", "--json", "figures.json")
    figures = json.loads(Path("figures.json").read_text("utf-8"))["all"]
    assert figures["faulty"] == pytest.approx(rows.count("1") / len(rows), abs=0.01)
    assert figures["events_found"]["value"] == 1.0
    assert figures["auc_pr"] > figures["faulty"] + 0.3
    does("replay", "run/bundle", faulty, "--label", "label", "-o", "page.html")
    assert "2 of 2" in Path("page.html").read_text("utf-8")
    does("simulate", "plant", "-o", "other", "--days", "0.05", "--faults", "1", "--seed", "7")
    raise_levels(Path("other/healthy/plant.csv"), 1.2)
    out, _ = does("calibrate", "run/bundle", "other/healthy/plant.csv", "-o", "second")
    threshold = Detector.open("second").record.threshold
    assert f"alarms above {threshold:.4g} " in " ".join(out.split())
    assert Bundle.open("second").manifest.provenance.parent == Bundle.open("run/bundle").digest
    recordings = open_series(Path("other/healthy/plant.csv"), columns=SeriesColumns(label="label")).recordings()
    values = np.concatenate([recording.values for recording in recordings])
    shares = {}
    for name in ("run/bundle", "second"):
        detector = Detector.open(name)
        scores = detector.score(values[-1000:])
        shares[name] = float((scores > detector.record.threshold).mean())
    assert shares["second"] < 0.15
    assert shares["run/bundle"] > 0.99
