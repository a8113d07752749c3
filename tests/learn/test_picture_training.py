"""Training on pictures: repeatable, resumable and shared out bit for bit; what is wrong is said before it costs time."""

from __future__ import annotations

import csv
import json
import os
import signal
import subprocess
import sys
import time
import warnings
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest
import torch
from interruption import interrupt_at
from made_corpus import made_recipe, write_pairs
from made_pictures import TINY_GROUP, digits_recipe, picture_recipe, write_classes
from torch import Tensor

from nearfar.errors import CollapseWarning, DataError, InterruptedRunError, RecipeError, RunError
from nearfar.learn.pictures import PreparedPictures, TrainedPictures
from nearfar.learn.run import open_run, train_run
from nearfar.recipe import Recipe

pytestmark = pytest.mark.recipe

# 13 steps of 64; validation after 5 and 10, checkpoints after 3, 6, 9 and 12.
SCHEDULE = ("train.max_steps=13", "train.validate_every=5", "train.checkpoint_every=3")
METHODS = {
    "simclr": "{kind: simclr}",
    # Neither queue holds a whole number of batches, so that what is overwritten depends on every step before.
    "moco_v2": "{kind: moco_v2, queue: 200, momentum: 0.9}",
    "swav": "{kind: swav, prototypes: 16, queue: 100, queue_start: 0.1, freeze_prototypes: 0.3}",
    "nnclr": "{kind: nnclr, queue: 100, projector: [32, 32, 16], predictor: 32}",
    "instance_discrimination": "{kind: instance_discrimination, sample: 100, proximal: 1.0}",
    "byol": "{kind: byol, projector: [32, 16], predictor: 32}",
}
LOCAL = "views.local={count: 2, size: 4, scale: [0.1, 0.3]}"


def recipe_of(kind: str, *overrides: str) -> Recipe:
    local = (LOCAL,) if kind == "swav" else ()
    return digits_recipe(*SCHEDULE, *local, *overrides, method=METHODS[kind])


def state_of(directory: Path, name: str = "last") -> dict[str, Tensor]:
    """Weights, memory, and the optimiser's state."""
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


def ended(directory: Path) -> dict[str, float]:
    result: dict[str, float] = json.loads((directory / "fit.json").read_text("utf-8"))
    return result


def logged(directory: Path, attempt: int = 1) -> list[dict[str, str]]:
    with (directory / "logs" / f"attempt-{attempt}" / "metrics.csv").open() as file:
        return list(csv.DictReader(file))


def figures(directory: Path, name: str) -> list[float]:
    return [float(row[name]) for row in logged(directory) if row.get(name)]


@pytest.fixture(scope="module")
def unbroken(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Path]:
    """A run of each method that nothing disturbed."""
    folder = tmp_path_factory.mktemp("unbroken")
    for kind in METHODS:
        train_run(recipe_of(kind), folder / kind)
    return {kind: folder / kind for kind in METHODS}


# --- the same again ----------------------------------------------------------------------------------------------------


def test_one_seed_gives_one_set_of_weights(unbroken: dict[str, Path], tmp_path: Path) -> None:
    train_run(recipe_of("simclr"), tmp_path / "again")
    assert_same_bits(tmp_path / "again", unbroken["simclr"])
    train_run(recipe_of("simclr", "seed=1"), tmp_path / "other")
    weight = "method.encoder.layers.0.0.weight"
    assert not torch.equal(state_of(tmp_path / "other")[weight], state_of(unbroken["simclr"])[weight])


@pytest.mark.parametrize(
    ("kind", "step", "number"),
    [
        ("simclr", 0, signal.SIGINT),
        ("simclr", 4, signal.SIGTERM),  # its validation comes first
        ("moco_v2", 3, signal.SIGINT),
        ("moco_v2", 9, signal.SIGTERM),
        ("swav", 2, signal.SIGINT),  # prototypes still stand
        ("swav", 8, signal.SIGTERM),
        ("nnclr", 7, signal.SIGINT),
        ("instance_discrimination", 7, signal.SIGINT),
        ("byol", 7, signal.SIGINT),
    ],
)
def test_an_interrupted_run_is_bit_identical_after_resume(
    unbroken: dict[str, Path], kind: str, step: int, number: int, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    interrupt_at(step, monkeypatch, number)
    with pytest.raises(InterruptedRunError, match=f"stopped after step {step + 1}; .* of 13. Go on with"):
        train_run(recipe_of(kind), tmp_path / "run")
    monkeypatch.undo()
    train_run(recipe_of(kind), tmp_path / "run", resume=True)
    assert_same_bits(tmp_path / "run", unbroken[kind])
    assert_same_bits(tmp_path / "run", unbroken[kind], "best")
    assert ended(tmp_path / "run")["steps"] == 13


def test_a_killed_run_is_bit_identical_after_resume(tmp_path: Path) -> None:
    """kill -9 in the middle of training, with a queue and a momentum encoder."""
    long = "train.max_steps=60"
    train_run(recipe_of("moco_v2", long), tmp_path / "whole")
    code = (
        "import sys; sys.path.insert(0, sys.argv[1])\n"
        "from pathlib import Path\n"
        "from test_picture_training import recipe_of\n"
        "from nearfar.learn.run import train_run\n"
        "train_run(recipe_of('moco_v2', sys.argv[3]), Path(sys.argv[2]))\n"
    )
    broken = tmp_path / "broken"
    process = subprocess.Popen([sys.executable, "-c", code, str(Path(__file__).parent), str(broken), long])
    while process.poll() is None and not (broken / "checkpoints" / "last.ckpt").exists():
        time.sleep(0.002)
    os.kill(process.pid, signal.SIGKILL)
    assert process.wait() == -signal.SIGKILL, "the run ended before it could be killed: make it longer"
    train_run(recipe_of("moco_v2", long), broken, resume=True)
    assert_same_bits(broken, tmp_path / "whole")


# --- what is written on the way ----------------------------------------------------------------------------------------


@pytest.mark.parametrize("kind", sorted(METHODS))
def test_health_is_in_the_log(unbroken: dict[str, Path], kind: str) -> None:
    directory = unbroken[kind]
    assert len(figures(directory, "loss")) == 13
    assert all(np.isfinite(figures(directory, "loss")))
    for name in ("embedding_std", "effective_rank", "uniformity"):
        of_steps = figures(directory, f"health/{name}")
        assert len(of_steps) >= 10, name
        assert all(np.isfinite(of_steps))
    assert figures(directory, "health/embedding_std")[0] > 0.1
    assert all(1 <= rank <= 16 for rank in figures(directory, "health/effective_rank"))
    assert len(figures(directory, "validation/knn_accuracy")) == 2
    assert len(figures(directory, "validation/embedding_std")) == 2
    assert figures(directory, "validation/knn_accuracy")[-1] > 0.3  # by chance 0.1


def test_pictures_without_labels_are_validated_by_their_views(tmp_path: Path) -> None:
    write_classes(tmp_path / "in")
    recipe = picture_recipe(tmp_path / "in", "data.source.labels=none", "train.batch_size=8", "train.validate_every=2")
    notes: list[str] = []
    train_run(recipe, tmp_path / "run", stages=lambda name, total=None: lambda count, note="": notes.append(note))
    assert figures(tmp_path / "run", "validation/view_recall")
    assert not figures(tmp_path / "run", "validation/knn_accuracy")
    assert any(" val " in note for note in notes)


def test_nothing_held_out_and_fewer_pictures_than_a_batch(tmp_path: Path) -> None:
    write_classes(tmp_path / "in", 2, 5)
    nothing = ("data.split={validation: 0, test: 0}", "train.epochs=3")
    run = train_run(picture_recipe(tmp_path / "in", *nothing), tmp_path / "run")
    assert (ended(tmp_path / "run")["steps"], ended(tmp_path / "run")["best_step"]) == (3, 3)
    assert run.embedder().embed([tmp_path / "in" / "a" / "000.png"]).shape == (1, 16)  # type: ignore[list-item]


# --- how it trains -----------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "method",
    [
        "{kind: simclr, projector: [32, 16]}",
        "{kind: moco_v2, queue: 150}",
        "{kind: vicreg, projector: [32, 16]}",
        "{kind: byol, projector: [32, 16], predictor: 32}",
    ],
)
def test_chunks_give_the_gradient_of_the_whole_batch(method: str, tmp_path: Path) -> None:
    # Plain descent: where a gradient is next to nothing AdamW would make a step of rounding errors.
    few = ("train.max_steps=4", "train.optimiser=sgd", "train.learning_rate=0.05")
    for chunk in ("null", "10"):
        recipe = digits_recipe(*few, f"train.chunk={chunk}", method=method, encoder=TINY_GROUP)
        train_run(recipe, tmp_path / chunk)
    start, whole, parts = (
        dict(digits_recipe_weights(tmp_path / "null")),
        state_of(tmp_path / "null"),
        state_of(tmp_path / "10"),
    )
    for name, value in whole.items():
        torch.testing.assert_close(parts[name], value, rtol=1e-3, atol=1e-5)
    weight = "method.encoder.layers.1.0.weight"
    assert (whole[weight] - start[weight]).abs().max() > 100 * (whole[weight] - parts[weight]).abs().max()


def digits_recipe_weights(run: Path) -> Iterator[tuple[str, Tensor]]:
    """The weights that a run began with."""
    opened = open_run(run)
    assert isinstance(opened, TrainedPictures)
    for name, value in opened.untrained().encoder.state_dict().items():
        yield f"method.encoder.{name}", value


def test_what_normalises_over_the_batch_is_not_embedded_in_parts(tmp_path: Path) -> None:
    recipe = digits_recipe("train.chunk=10", method="{kind: moco_v2}")
    message = r"train\.chunk is 10.*encoder\.layers\.0\.1 \(BatchNorm2d\).*encoder\.norm to group"
    with pytest.raises(RunError, match=message):
        train_run(recipe, tmp_path / "run")
    assert not (tmp_path / "run" / "checkpoints").exists()


def test_two_processes_end_where_one_does(tmp_path: Path) -> None:
    # The batches are those of one process; the queue holds the last three whole ones, in whatever order.
    method = "{kind: moco_v2, queue: 186, momentum: 0.9}"
    few = ("train.max_steps=5", "train.optimiser=sgd", "train.learning_rate=0.05", "train.batch_size=62")
    for devices in (1, 2):
        recipe = digits_recipe(*few, f"train.devices={devices}", method=method, encoder=TINY_GROUP)
        train_run(recipe, tmp_path / str(devices))
    expected, found = state_of(tmp_path / "1"), state_of(tmp_path / "2")
    for name, value in expected.items():
        if "queue" not in name:
            torch.testing.assert_close(found[name], value, rtol=1e-3, atol=1e-5)
    assert figures(tmp_path / "2", "loss") == pytest.approx(figures(tmp_path / "1", "loss"), rel=1e-4)
    assert figures(tmp_path / "2", "health/embedding_std")
    assert not (tmp_path / "2" / "logs" / "rank-1.txt").read_text("utf-8")


def test_descent_with_a_cosine_schedule_learns(tmp_path: Path) -> None:
    learning = ("train.optimiser=sgd", "train.decay=cosine", "train.learning_rate=0.05", "train.epochs=4")
    train_run(digits_recipe(*learning, "train.validate_every=19"), tmp_path / "run")
    losses = figures(tmp_path / "run", "loss")
    assert len(losses) >= 5
    assert losses[-1] < 0.8 * losses[0]
    assert figures(tmp_path / "run", "validation/knn_accuracy")[-1] > 0.75
    groups = torch.load(tmp_path / "run" / "checkpoints" / "last.ckpt", weights_only=True)["optimizer_states"][0]
    assert all(group["nesterov"] and group["lr"] < 1e-3 for group in groups["param_groups"])


def test_half_precision_on_a_cpu(tmp_path: Path) -> None:
    for kind in ("simclr", "swav", "classifier"):
        method = METHODS.get(kind, "{kind: classifier}")
        recipe = digits_recipe("train.precision=bf16-mixed", "train.max_steps=5", method=method)
        train_run(recipe, tmp_path / kind)
        assert all(value.isfinite().all() for value in state_of(tmp_path / kind).values())
        assert state_of(tmp_path / kind)["method.encoder.layers.0.0.weight"].dtype == torch.float32


def test_early_stopping_needs_labels(tmp_path: Path) -> None:
    write_classes(tmp_path / "in")
    stop = "train.early_stop={metric: knn_accuracy, patience: 1}"
    recipe = picture_recipe(tmp_path / "in", stop, "data.source.labels=none")
    with pytest.raises(DataError, match=r"early_stop watches knn_accuracy, which needs labelled pictures"):
        train_run(recipe, tmp_path / "run")
    assert not (tmp_path / "run").exists(), "it is not in the way of the next try"
    with pytest.raises(RecipeError, match=r"early_stop\.metric is ndcg_at_10.*set it to knn_accuracy"):
        picture_recipe(tmp_path / "in", "train.early_stop={patience: 1}")


def test_early_stopping_ends_the_run_and_takes_its_best_step(tmp_path: Path) -> None:
    """Nothing changes at this rate: the second validation is no better than the first."""
    stop = (
        "train.early_stop={metric: knn_accuracy, patience: 1}",
        "train.validate_every=2",
        "train.learning_rate=1.0e-12",
    )
    train_run(digits_recipe(*stop, encoder=TINY_GROUP), tmp_path / "run")
    assert (ended(tmp_path / "run")["steps"], ended(tmp_path / "run")["best_step"]) == (4, 2)
    assert ended(tmp_path / "run")["best_value"] == figures(tmp_path / "run", "validation/knn_accuracy")[0]


# --- where it starts ---------------------------------------------------------------------------------------------------


def test_an_encoder_starts_from_the_weights_of_a_run(unbroken: dict[str, Path], tmp_path: Path) -> None:
    still = ("train.max_steps=1", "train.learning_rate=1.0e-12", "train.optimiser=sgd")
    for start in (unbroken["byol"], unbroken["byol"] / "checkpoints" / "best.ckpt"):
        recipe = digits_recipe(*still, f"encoder.start={start}")
        train_run(recipe, tmp_path / start.name)
        before, after = state_of(unbroken["byol"], "best"), state_of(tmp_path / start.name)
        names = [name for name in before if name.startswith("method.encoder.") and "running" not in name]
        assert len(names) > 10
        for name in names:
            if "num_batches" not in name:
                torch.testing.assert_close(after[name], before[name], atol=1e-6, rtol=0)
        assert not torch.equal(after["method.projector.0.weight"], before["method.projector.0.weight"])


def test_a_finished_run_no_longer_needs_what_it_started_from(tmp_path: Path) -> None:
    few = ("train.max_steps=2",)
    train_run(digits_recipe(*few), tmp_path / "first")
    train_run(digits_recipe(*few, f"encoder.start={tmp_path / 'first'}"), tmp_path / "second")
    digits = [np.zeros((8, 8), np.uint8), np.eye(8, dtype=np.uint8) * 255]
    expected = open_run(tmp_path / "second").embedder().embed(digits)  # type: ignore[arg-type]
    (tmp_path / "first").rename(tmp_path / "moved")
    found = open_run(tmp_path / "second").embedder().embed(digits)  # type: ignore[arg-type]
    np.testing.assert_array_equal(found, expected)


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        (("encoder.start=nowhere",), r"encoder\.start is .*nowhere, which is neither a finished run"),
        (("encoder.start={run}", "encoder.dim=24"), r"encoder\.start: .*best\.ckpt does not hold the weights of such an encoder"),
        (("encoder.start={run}", "encoder={kind: vit, dim: 12, layers: 1, start: {run}}"), "does not hold the weights of such"),
        (("encoder.start={run}", "frontend.channels=3"), "does not hold the weights of such an encoder"),
        (("encoder.start={text}",), r"does not hold the weights of such an encoder|neither a finished run"),
        (("encoder.start={run}/fit.json",), "does not hold the weights of such an encoder"),
        (("encoder={kind: vit, patch: 3, dim: 12, layers: 1}",), r"frontend\.size \(8\) is not a multiple of encoder\.patch"),
        (("encoder={kind: vit, patch: 4, dim: 12, layers: 1}", "method={kind: swav, prototypes: 8}", "views.local={size: 6}"),
         r"a crop has 6 x 6 pixels, which encoder\.patch \(4\) does not divide"),
        (("encoder={kind: resnet, stem: large, width: 8}",), r"frontend\.size is 8, but this encoder"),
    ],
)  # fmt: skip
def test_an_encoder_that_cannot_be_is_met_before_anything_is_read(
    unbroken: dict[str, Path], settings: tuple[str, ...], message: str, tmp_path: Path
) -> None:
    write_pairs(tmp_path / "pairs.jsonl", 60)
    told: list[str] = []
    if "{text}" in settings[0]:
        few = ("train.max_steps=1", "train.early_stop=null")
        train_run(made_recipe(tmp_path / "pairs.jsonl", *few), tmp_path / "text")
    places = {"{run}": str(unbroken["simclr"]), "{text}": str(tmp_path / "text")}
    for mark, place in places.items():
        settings = tuple(setting.replace(mark, place) for setting in settings)

    def stages(name: str, total: int | None = None) -> object:
        told.append(name)
        return lambda count, note="": None

    with pytest.raises(RunError, match=message):
        train_run(digits_recipe(*settings), tmp_path / "run", stages=stages)  # type: ignore[arg-type]
    assert told == []
    assert not (tmp_path / "run").exists(), "it is not in the way of the next try"


def test_a_damaged_checkpoint_of_a_run_over_pictures(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    interrupt_at(3, monkeypatch)
    with pytest.raises(InterruptedRunError):
        train_run(recipe_of("simclr"), tmp_path / "run")
    monkeypatch.undo()
    last = tmp_path / "run" / "checkpoints" / "last.ckpt"
    last.write_bytes(last.read_bytes()[:2_000])
    with pytest.raises(RunError, match=r"last\.ckpt cannot be read .* Delete that file"):
        train_run(recipe_of("simclr"), tmp_path / "run", resume=True)


def test_methods_that_learn_from_labels_ask_for_them(tmp_path: Path) -> None:
    write_classes(tmp_path / "in", 1, 20)
    for kind in ("sup_con", "classifier"):
        with pytest.raises(RunError, match=rf"method '{kind}' learns by labels and needs at least two"):
            train_run(picture_recipe(tmp_path / "in", method=f"{{kind: {kind}}}"), tmp_path / kind)


# --- what goes wrong ---------------------------------------------------------------------------------------------------


COLLAPSES = ("train.max_steps=80", "train.learning_rate=3.0", "train.optimiser=sgd", "train.warmup=0.0")


def test_a_collapse_is_told_once_and_training_goes_on(tmp_path: Path) -> None:
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always")
        train_run(digits_recipe(*COLLAPSES, "train.epochs=10", method=METHODS["byol"]), tmp_path / "run")
    found = [str(w.message) for w in caught if issubclass(w.category, CollapseWarning)]
    assert len(found) == 1, found
    assert "train.learning_rate" in found[0]
    assert ended(tmp_path / "run")["steps"] == 80


def test_a_healthy_run_is_not_warned_of(tmp_path: Path) -> None:
    with warnings.catch_warnings():
        warnings.simplefilter("error", CollapseWarning)
        train_run(digits_recipe("train.epochs=4"), tmp_path / "run")


# --- how pictures are seen ---------------------------------------------------------------------------------------------


def test_squashed_pictures_are_measured_squashed(tmp_path: Path) -> None:
    """What is seen of the stored picture is what the frontend makes of the file."""
    from made_pictures import noise, write_picture

    from nearfar.learn.data.picture_rows import as_on_device

    for number in range(10):
        write_picture(tmp_path / "in" / "ab"[number % 2] / f"{number}.png", noise(number, 16, 48).repeat(1, 0))
    for fit in ("crop", "squash"):
        settings = (f"frontend.fit={fit}", "data.split={validation: 0, test: 0}", "frontend.store_size=48")
        recipe = picture_recipe(tmp_path / "in", *settings)
        (tmp_path / fit).mkdir()
        prepared = PreparedPictures.prepare(recipe, tmp_path / fit, lambda name, total=None: lambda n, note="": None)
        files = [tmp_path / "in" / prepared.corpus.ids[i] for i in range(10)]
        by_frontend = TrainedPictures(tmp_path / fit, recipe, prepared).frontend.encode(files)
        seen = as_on_device(prepared.corpus, np.arange(10), 8, fit)  # type: ignore[arg-type]
        assert np.abs(seen.numpy() - by_frontend).mean() < 0.02
