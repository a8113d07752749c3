"""Runs over what users did: they learn, end, stop early and go on."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest
import torch
from interruption import interrupt_at

from nearfar.errors import InterruptedRunError, RunError
from nearfar.evaluate.counting import Popularity
from nearfar.evaluate.ranking import measure_ranking
from nearfar.learn.actions import TrainedActions
from nearfar.learn.data.action_cases import ranking_task
from nearfar.learn.data.split import TEST
from nearfar.learn.export.sequence import run_graph
from nearfar.learn.run import open_run, train_run
from nearfar.recipe import Recipe

pytestmark = pytest.mark.recipe

# 12 steps; validation after 5 and 10, checkpoints after 3, 6, 9 and 12.
SCHEDULE = {"max_steps": 12, "validate_every": 5, "checkpoint_every": 3}


@pytest.fixture(scope="module")
def source(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A log of users who mostly go on from one item to the one after the next."""
    folder = tmp_path_factory.mktemp("log")
    rng = np.random.default_rng(0)
    lines, items = ["user,item,timestamp"], 40
    for user in range(150):
        item, time = int(rng.integers(items)), 1_600_000_000 + user * 1000
        for _ in range(rng.integers(6, 16)):
            item = int(rng.integers(items)) if rng.random() < 0.1 else (item + int(rng.integers(1, 3))) % items
            time += int(rng.integers(60, 4000))
            lines.append(f"u{user},i{item:02},{time}")
    (folder / "log.csv").write_text("\n".join(lines), "utf-8")
    names = ["item,part"] + [f"i{item:02},{item // 4}" for item in range(items)] + ["new,3"]
    (folder / "items.csv").write_text("\n".join(names), "utf-8")
    return folder


def recipe_of(source: Path, **train: object) -> Recipe:
    items = {"path": str(source / "items.csv"), "columns": {"categories": ["part"]}}
    return Recipe.model_validate(
        {
            "name": "made",
            "seed": 3,
            "data": {"source": {"kind": "events", "path": str(source / "log.csv"), "items": items}},
            "frontend": {"kind": "events", "length": 8},
            "encoder": {"kind": "sequence_transformer", "dim": 16, "layers": 1, "dropout": 0.1},
            "views": {"weight": 0.05},
            "method": {"kind": "next_action"},
            "train": {
                "batch_size": 32,
                "learning_rate": 0.01,
                "threads": 1,
                "accelerator": "cpu",
                "early_stop": {"metric": "ndcg_at_10"},
                **train,
            },
        }
    )


@pytest.fixture(scope="module")
def unbroken(source: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    directory = tmp_path_factory.mktemp("run") / "run"
    train_run(recipe_of(source, **SCHEDULE), directory)
    return directory


def bits(directory: Path, name: str) -> dict[str, torch.Tensor]:
    state = torch.load(directory / "checkpoints" / f"{name}.ckpt", weights_only=True)
    return state["state_dict"]


@pytest.mark.parametrize("step", [2, 7])
def test_an_interrupted_run_is_bit_identical_after_resume(
    source: Path, unbroken: Path, step: int, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    interrupt_at(step, monkeypatch)
    with pytest.raises(InterruptedRunError, match=f"stopped after step {step + 1}; .* of 12. Go on with"):
        train_run(recipe_of(source, **SCHEDULE), tmp_path / "run")
    monkeypatch.undo()
    train_run(recipe_of(source, **SCHEDULE), tmp_path / "run", resume=True)
    for name in ("last", "best"):
        one, other = bits(tmp_path / "run", name), bits(unbroken, name)
        assert one.keys() == other.keys()
        assert all(one[key].equal(other[key]) for key in one)


def test_it_beats_popularity_and_the_untrained_encoder(source: Path, tmp_path: Path) -> None:
    trained = train_run(recipe_of(source, epochs=40.0), tmp_path / "run")
    assert isinstance(trained, TrainedActions)
    task = ranking_task(trained.corpus, TEST)
    found, untrained, popular = (
        measure_ranking(task, ranker).ndcg.mean()
        for ranker in (trained.ranker(), trained.untrained_ranker(), Popularity())
    )
    assert found > 0.4
    assert found > 2 * max(untrained, popular)

    # What ships is what was learned.
    ranker = trained.ranker()
    method = trained.method()
    for quantise, tolerance in (("none", 1e-5), ("int8", None)):
        graph = trained.export_graph(quantise)
        feed = trained.examples(method)
        vectors = run_graph(graph.content, feed)
        if tolerance is not None:
            frontend, table = trained.frontend, trained.item_vectors()
            cases = np.arange(20)
            inputs = frontend.batch(
                table, task.items, task.times, task.weights, task.begin[cases], task.end[cases], task.now[cases]
            )
            np.testing.assert_allclose(run_graph(graph.content, inputs), ranker.vectors(task, cases), atol=1e-4)
        assert graph.agreement > 0.99
        assert vectors.shape == (len(feed["mask"]), 16)

    # An item that nobody acted on is near those that it shares its part with.
    table = trained.item_vectors()
    names = trained.corpus.names
    assert names[-1] == "new"
    content = trained.corpus.content
    assert content is not None
    np.testing.assert_allclose(trained.vectors_of_content(content)[-1], table[-1], atol=1e-6)


def test_the_best_step_is_kept_and_the_log_says_how_it_went(unbroken: Path) -> None:
    fit = json.loads((unbroken / "fit.json").read_text("utf-8"))
    assert fit["steps"] == 12
    assert fit["best_step"] in (5, 10)
    log = (unbroken / "logs" / "attempt-1" / "metrics.csv").read_text("utf-8")
    for name in ("validation/ndcg_at_10", "validation/recall_at_10", "health/embedding_std", "negatives/count"):
        assert name in log.splitlines()[0]
    trained = open_run(unbroken)
    assert isinstance(trained, TrainedActions)
    np.testing.assert_array_equal(trained.item_vectors(), trained.item_vectors())


def test_without_content_there_are_no_vectors_of_new_items(source: Path, tmp_path: Path) -> None:
    recipe = recipe_of(source, **SCHEDULE)
    bare = recipe.model_dump(mode="json", exclude_unset=True)
    bare["data"]["source"].pop("items")
    trained = train_run(Recipe.model_validate(bare), tmp_path / "run")
    assert isinstance(trained, TrainedActions)
    with pytest.raises(RunError, match="train with a table of items"):
        trained.vectors_of_content(None)  # type: ignore[arg-type]
