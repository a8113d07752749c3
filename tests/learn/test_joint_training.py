"""Whole runs over partners of several modalities: what they learn, that they resume to the bit, in chunks and in processes."""

from __future__ import annotations

import csv
import json
import os
import signal
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from interruption import interrupt_at
from made_partners import partners_recipe, write_partners
from same_bits import assert_same_bits, weights

from nearfar.errors import DataError, InterruptedRunError, RunError
from nearfar.learn.joint import TrainedJoint
from nearfar.learn.run import open_run, train_run
from nearfar.recipe import Recipe

pytestmark = pytest.mark.recipe

NO = {"text": None, "image": None, "audio": None, "series": None, "table": None}
GROUPED = {"encoder": {"norm": "group"}}


@pytest.fixture(scope="module")
def table(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_partners(tmp_path_factory.mktemp("partners"), 150)


def recipe_of(table: Path, *towers: str, blocks: dict[str, Any] | None = None, **changes: Any) -> Recipe:
    """A recipe with some of the towers."""
    kept = {name: None for name in NO if name not in towers} | (blocks or {})
    return partners_recipe(table, towers=kept, **changes)


def logged(directory: Path, name: str) -> list[float]:
    """All values of a figure in the log."""
    rows = [row for path in (directory / "logs").glob("*/metrics.csv") for row in csv.DictReader(path.open())]
    return [float(row[name]) for row in rows if row.get(name)]


def recall_at_3(run: TrainedJoint, left: str, right: str, *, trained: bool = True) -> float:
    """Share of held-out items of one tower with an item of their label among the first three of another."""
    corpus = run.corpus
    rows = np.flatnonzero((corpus.side == 1) | (corpus.side == 2))
    vectors, labels = [], []
    for tower in (left, right):
        starts = corpus.sides[tower].starts[rows]
        numbers = corpus.sides[tower].items[starts]
        vectors.append((run.embedder(tower) if trained else run.untrained(tower)).embed(numbers))
        labels.append(corpus.labels[rows])
    first = np.argsort(-vectors[0] @ vectors[1].T, axis=1)[:, :3]
    return float((labels[1][first] == labels[0][:, None]).mean())


def test_three_towers_learn_one_space(table: Path, tmp_path: Path) -> None:
    recipe = recipe_of(table, "text", "image", "series", train={"epochs": 14.0, "early_stop": {"metric": "recall_at_1", "patience": 9}})  # fmt: skip
    run = train_run(recipe, tmp_path / "run")
    assert isinstance(run, TrainedJoint)
    for left, right in (("text", "image"), ("image", "series"), ("series", "text")):
        assert recall_at_3(run, left, right) > 0.6, "by chance one in six"
        assert recall_at_3(run, left, right, trained=False) < 0.45
    recalls = logged(tmp_path / "run", "validation/image_to_text_recall_at_10")
    assert recalls[-1] >= recalls[0]
    assert logged(tmp_path / "run", "streams/0_text_image/ignored_label")[-1] > 0
    ended = json.loads((tmp_path / "run" / "fit.json").read_text("utf-8"))
    assert ended["best_value"] == pytest.approx(max(logged(tmp_path / "run", "validation/recall_at_1")))
    again = open_run(tmp_path / "run")
    assert isinstance(again, TrainedJoint)
    assert np.array_equal(again.embedder("text").embed(np.arange(3)), run.embedder("text").embed([0, 1, 2]))
    assert run.embedder("image").embed([]).shape == (0, 32) == (0, run.embedder("image").dim)


@pytest.mark.parametrize("kind", ["clip", "siglip"])
def test_pictures_and_series_meet_through_text(table: Path, tmp_path: Path, kind: str) -> None:
    pairing = [{"kind": "partners", "anchor": "text"}]
    method = {"kind": kind} | ({"bias": -2.0} if kind == "siglip" else {})
    recipe = recipe_of(
        table, "text", "image", "series", data={"pairings": pairing}, method=method, train={"epochs": 18.0}
    )
    run = train_run(recipe, tmp_path / "run")
    assert isinstance(run, TrainedJoint)
    assert {(stream.left, stream.right) for stream in run.corpus.counts.streams} == {
        ("text", "image"),
        ("text", "series"),
    }
    assert recall_at_3(run, "image", "series") > 0.5, "by chance one in six"


SCHEDULE = {"train": {"epochs": 2.0, "validate_every": 4, "checkpoint_every": 3, "chunk": 10}}
HARD = {"method": {"kind": "clip", "hard": {"every": 4, "depth": 6}}}


def small(table: Path, **changes: Any) -> Recipe:
    return recipe_of(table, "text", "image", "series", blocks={"image": GROUPED}, **{**SCHEDULE, **changes})


@pytest.fixture(scope="module")
def whole(table: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A run with hard pairs that nobody has disturbed."""
    directory = tmp_path_factory.mktemp("whole") / "run"
    train_run(small(table, **HARD), directory)
    return directory


@pytest.mark.parametrize("step", [0, 5, 8, 13])
def test_an_interrupted_run_is_bit_identical_after_resume(
    table: Path, whole: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, step: int
) -> None:
    interrupt_at(step, monkeypatch)
    with pytest.raises(InterruptedRunError, match=f"stopped after step {step + 1}"):
        train_run(small(table, **HARD), tmp_path / "run")
    monkeypatch.undo()
    train_run(small(table, **HARD), tmp_path / "run", resume=True)
    assert any(name.startswith("sources.stream_0.table") for name in weights(whole))
    assert_same_bits(tmp_path / "run", whole)


@pytest.mark.parametrize("wait", ["data/joint.json", "checkpoints/last.ckpt"])
def test_a_killed_run_is_bit_identical_after_resume(table: Path, whole: Path, tmp_path: Path, wait: str) -> None:
    code = (
        "import sys; sys.path.insert(0, sys.argv[1])\n"
        "from pathlib import Path\n"
        "from test_joint_training import HARD, small\n"
        "from nearfar.learn.run import train_run\n"
        "train_run(small(Path(sys.argv[2]), **HARD), Path(sys.argv[3]))\n"
    )
    broken = tmp_path / "broken"
    process = subprocess.Popen([sys.executable, "-c", code, str(Path(__file__).parent), str(table), str(broken)])
    while process.poll() is None and not (broken / wait).exists():
        time.sleep(0.002)
    os.kill(process.pid, signal.SIGKILL)
    assert process.wait() == -signal.SIGKILL, "the run ended before it could be killed: make it longer"
    train_run(small(table, **HARD), broken, resume=True)
    assert_same_bits(broken, whole)


def test_chunks_and_processes_end_where_one_does(table: Path, tmp_path: Path) -> None:
    for name, changes in (("one", {"chunk": None}), ("chunks", {"chunk": 7}), ("two", {"chunk": 7, "devices": 2})):
        # Without hard pairs: rounding could bring others, and all that follows would differ.
        training = {**SCHEDULE["train"], "max_steps": 5, **changes}
        train_run(recipe_of(table, "text", "image", blocks={"image": GROUPED}, train=training), tmp_path / name)
    expected = weights(tmp_path / "one")
    for name in ("chunks", "two"):
        found = weights(tmp_path / name)
        assert found.keys() == expected.keys()
        for key, value in expected.items():
            if key.startswith("method.") and value.is_floating_point():
                torch.testing.assert_close(
                    found[key], value, rtol=1e-2, atol=2e-4, msg=lambda text, key=key: f"{key}: {text}"
                )


def test_a_frozen_tower_keeps_its_weights_and_a_slow_one_nearly(table: Path, whole: Path, tmp_path: Path) -> None:
    blocks = {"image": {**GROUPED, "frozen": True, "start": str(whole)}, "series": {"rate": 1e-6}}
    run = train_run(recipe_of(table, "text", "image", "series", blocks=blocks, train={"epochs": 2.0}), tmp_path / "run")
    assert isinstance(run, TrainedJoint)
    trained, fresh = run.method(), run.untrained("image").method
    for name, tolerance in (("image", 0.0), ("series", 1e-4)):
        for (key, value), other in zip(
            fresh.towers[name].named_parameters(), trained.towers[name].parameters(), strict=True
        ):
            torch.testing.assert_close(other, value, rtol=0, atol=tolerance, msg=lambda text, key=key: f"{key}: {text}")
        assert not torch.equal(trained.projections[name].weight, fresh.projections[name].weight)


def test_batch_norm_in_parts_and_too_small_batches_are_clear_errors(table: Path, tmp_path: Path) -> None:
    with pytest.raises(
        RunError,
        match=r"train\.chunk is 4, .*towers\.image\.\S+ \(BatchNorm2d\).* set towers\.image\.encoder\.norm to group",
    ):
        train_run(recipe_of(table, "text", "image", train={"chunk": 4}), tmp_path / "chunk")
    with pytest.raises(DataError, match=r"train\.batch_size is 5, but there are 10 kinds of pairs, .* 20 at least"):
        train_run(partners_recipe(table, train={"batch_size": 5}), tmp_path / "batch")
