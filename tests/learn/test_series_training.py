"""Training on series: it learns what plain statistics do not see, repeats itself bit for bit, and resumes as if nothing had happened."""

from __future__ import annotations

import csv
import json
import signal
from contextlib import nullcontext
from pathlib import Path

import numpy as np
import pytest
import torch
from interruption import interrupt_at
from made_series import series_recipe, write_machines
from torch import Tensor

from nearfar.errors import DataError, InterruptedRunError
from nearfar.learn.data.batches import Share
from nearfar.learn.run import open_run, train_run
from nearfar.learn.series import PreparedSeries, TrainedSeries, build_method
from nearfar.learn.trainer.caching import embed_by_chunks
from nearfar.learn.trainer.series import FaultFigures
from nearfar.recipe import Recipe

pytestmark = pytest.mark.recipe

# 13 steps of 64; validation after 5 and 10, checkpoints after 3, 6, 9 and 12.
SCHEDULE = ("train.max_steps=13", "train.validate_every=5", "train.checkpoint_every=3")


def state_of(directory: Path, name: str = "last") -> dict[str, Tensor]:
    """Weights and the optimiser's state."""
    checkpoint = torch.load(directory / "checkpoints" / f"{name}.ckpt", weights_only=True)
    state: dict[str, Tensor] = dict(checkpoint["state_dict"])
    for number, moments in checkpoint["optimizer_states"][0]["state"].items():
        state.update({f"{number}.{key}": value for key, value in moments.items() if isinstance(value, Tensor)})
    return state


def assert_same_bits(run: Path, other: Path, name: str = "last") -> None:
    found, expected = state_of(run, name), state_of(other, name)
    assert found.keys() == expected.keys()
    for key, value in expected.items():
        assert torch.equal(found[key], value), key


@pytest.fixture(scope="module")
def source(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_machines(tmp_path_factory.mktemp("source"), 2)


@pytest.fixture(scope="module")
def unbroken(source: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A short run that nothing disturbed."""
    directory = tmp_path_factory.mktemp("unbroken") / "run"
    train_run(series_recipe(source, *SCHEDULE), directory)
    return directory


def separated(run: TrainedSeries, recipe: Recipe) -> tuple[float, float, float]:
    """AUC-PR of new faults by the trained encoder, by the untrained one, and by means of windows."""
    figures = FaultFigures(run.corpus, recipe.of_series.method.faults, seed=99)
    trained, untrained = (figures.measure(method) for method in (run.method(), build_method(recipe, run.corpus)))
    return trained["fault_auc_pr"], untrained["fault_auc_pr"], trained["raw_auc_pr"]


def test_it_learns_to_tell_faults_that_means_do_not_show(source: Path, tmp_path: Path) -> None:
    """Noise and oscillations, which leave the mean of a window as it is."""
    weak = "method.faults={kinds: [variance, harmonic], strength: [0.5, 2.0]}"
    recipe = series_recipe(source, weak, "train.learning_rate=0.005", "train.epochs=25", "train.max_steps=250")
    run = train_run(recipe, tmp_path / "run")
    assert isinstance(run, TrainedSeries)
    trained, untrained, means = separated(run, recipe)
    assert trained > untrained + 0.06
    assert trained > means + 0.15
    with next((tmp_path / "run" / "logs").glob("*/metrics.csv")).open() as file:
        shown = [
            float(row["validation/fault_auc_pr"]) for row in csv.DictReader(file) if row["validation/fault_auc_pr"]
        ]
    assert len(shown) >= 10
    assert shown[-1] > shown[0] + 0.02


@pytest.mark.parametrize(
    "encoder",
    [
        "{kind: patch_transformer, width: 16, layers: 1, dim: 16, skip: false}",
        "{kind: spectral, width: 16, dim: 16, skip: false}",
    ],
)
def test_other_encoders_learn_too(source: Path, tmp_path: Path, encoder: str) -> None:
    """Without the skip, which would say most of it before the first step."""
    recipe = series_recipe(source, "train.epochs=25", "train.max_steps=200", encoder=encoder)
    run = train_run(recipe, tmp_path / "run")
    assert isinstance(run, TrainedSeries)
    trained, untrained, _ = separated(run, recipe)
    assert trained > untrained + 0.03


def test_one_seed_gives_one_set_of_weights(source: Path, unbroken: Path, tmp_path: Path) -> None:
    train_run(series_recipe(source, *SCHEDULE), tmp_path / "again")
    assert_same_bits(tmp_path / "again", unbroken)
    train_run(series_recipe(source, *SCHEDULE, "seed=1"), tmp_path / "other")
    weight = "method.encoder.stem.weight"
    assert not torch.equal(state_of(tmp_path / "other")[weight], state_of(unbroken)[weight])


@pytest.mark.parametrize(("step", "number"), [(0, signal.SIGINT), (4, signal.SIGTERM), (9, signal.SIGINT)])
def test_an_interrupted_run_is_bit_identical_after_resume(
    source: Path, unbroken: Path, step: int, number: int, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    recipe = series_recipe(source, *SCHEDULE)
    interrupt_at(step, monkeypatch, number)
    with pytest.raises(InterruptedRunError, match=f"stopped after step {step + 1}; .* of 13. Go on with"):
        train_run(recipe, tmp_path / "run")
    monkeypatch.undo()
    train_run(recipe, tmp_path / "run", resume=True)
    assert_same_bits(tmp_path / "run", unbroken)
    assert_same_bits(tmp_path / "run", unbroken, "best")
    assert json.loads((tmp_path / "run" / "fit.json").read_text("utf-8"))["steps"] == 13


def test_chunks_give_the_gradient_of_the_whole(source: Path, unbroken: Path) -> None:
    recipe = series_recipe(source)
    prepared = PreparedSeries.open(unbroken)
    workload = prepared.workload(recipe, threads=1, say=lambda _: None)
    method = workload.method
    batch = workload.surroundings.before(workload.rows[Share(0, np.arange(24))], 0)

    def gradients(size: int) -> list[Tensor]:
        method.zero_grad()
        cached = embed_by_chunks(method.embed, batch.split(size), torch.device("cpu"))
        method.loss(cached.embedded).backward()
        cached.backward(nullcontext)
        return [parameter.grad.clone() for parameter in method.parameters()]

    for whole, parts in zip(gradients(24), gradients(7), strict=True):
        torch.testing.assert_close(whole, parts, rtol=1e-4, atol=1e-6)


def test_two_processes_train_what_one_does(source: Path, unbroken: Path, tmp_path: Path) -> None:
    train_run(series_recipe(source, *SCHEDULE, "train.devices=2", "train.threads=2"), tmp_path / "two")
    found, expected = state_of(tmp_path / "two", "best"), state_of(unbroken, "best")
    for key, value in expected.items():
        if key.startswith("method."):
            torch.testing.assert_close(found[key], value, rtol=1e-3, atol=1e-5)


def test_a_finished_run_opens_and_embeds_windows_in_physical_units(unbroken: Path) -> None:
    run = open_run(unbroken)
    assert isinstance(run, TrainedSeries)
    frames = run.corpus.machines[0].frames
    windows = [frames[end - 32 : end] for end in (40, 50, 60)]
    vectors = run.embedder().embed(windows)
    assert vectors.shape == (3, 16)
    assert vectors.dtype == np.float32
    assert np.linalg.norm(vectors, axis=1).std() > 1e-3
    values, present = run.normal_windows(50)
    assert values.shape == present.shape == (50, 32, 4)
    examples, _ = run.example_windows(100)
    assert examples.shape == (100, 32, 4)
    assert np.abs(examples).max() > 1.2 * np.abs(values).max(), "half of them have faults"
    assert not np.array_equal(vectors, run.untrained().embed(windows))


def test_early_stop_needs_windows_to_watch(source: Path, tmp_path: Path) -> None:
    stop = "train.early_stop={metric: fault_auc_pr}"
    with pytest.raises(DataError, match=r"watches fault_auc_pr, but no machine has a healthy window of 32 frames"):
        train_run(series_recipe(source, stop, "data.split.validation=0.01"), tmp_path / "run")
    run = train_run(series_recipe(source, stop, *SCHEDULE), tmp_path / "stopped")
    assert json.loads((run.directory / "fit.json").read_text("utf-8"))["best_value"] > 0.5


def test_without_validation_windows_a_run_trains_to_its_end(source: Path, tmp_path: Path) -> None:
    train_run(series_recipe(source, "data.split={validation: 0.0, test: 0.0}", "train.max_steps=3"), tmp_path / "run")
    assert json.loads((tmp_path / "run" / "fit.json").read_text("utf-8"))["steps"] == 3
